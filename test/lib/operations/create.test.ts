import {strict as assert} from 'node:assert';
import {mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {dirname} from 'node:path';
import {setImmediate as turn} from 'node:timers/promises';

import type {Connection} from '../../../src/lib/connection.ts';
import {type ErrorCode, MxtokError} from '../../../src/lib/errors.ts';
import {createToken, createTokens} from '../../../src/lib/operations/create.ts';
import {fingerprint} from '../../../src/lib/registration-token.ts';
import {parseExpiry} from '../../../src/lib/when.ts';
import {
  auditEntries,
  auditSummary,
  BROKEN,
  FakeHomeserver,
  fakeConnection,
  known,
  outcomeSummary,
} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {tempDir} from '../../helpers/temp.ts';

const T0 = Date.UTC(2035, 0, 1, 12);
const TOKEN = 'CrispOtterLampBravoStone';
const NEVER = {kind: 'never'} as const;

describe('createToken', () => {
  let time: FrozenTime;
  let homeserver: FakeHomeserver;
  let connection: Connection;

  beforeEach(() => {
    time = new FrozenTime();
    homeserver = new FakeHomeserver(T0);
    connection = fakeConnection(homeserver);
  });

  afterEach(() => {
    time.restore();
  });

  it('makes the token with its limits, and keeps what the homeserver has no place for', async () => {
    const record = await createToken(connection, {
      token: TOKEN,
      uses_allowed: 5,
      expiry: parseExpiry('7d'),
      label: 'spring workshop',
      note: 'for Ada',
    });
    const expiry_time = T0 + 7 * 86_400_000;
    assert.deepEqual(record, {
      server: 'main',
      token: TOKEN,
      status: 'valid',
      accepted: true,
      uses_allowed: 5,
      pending: 0,
      completed: 0,
      expiry_time,
      expires_at: '2035-01-08T12:00:00.000Z',
      label: 'spring workshop',
      note: 'for Ada',
      link: null,
    });
    assert.deepEqual(homeserver.changes, [`create ${TOKEN} {"uses_allowed":5,"expiry_time":${expiry_time}}`]);
    const {created_at, ...entry} = known(connection, TOKEN) ?? {};
    assert.deepEqual(entry, {
      token: TOKEN,
      label: 'spring workshop',
      note: 'for Ada',
      created_by: '@admin:example.org',
    });
    assert(!Number.isNaN(Date.parse(created_at ?? '')));
  });

  it('logs before the request what is about to be made, and after it what was made', async () => {
    let before: ReturnType<typeof auditEntries> = [];
    homeserver.before = () => {
      before = auditEntries(connection);
      // Its label too is on the disk by then: a token that the homeserver has is never without it.
      assert.equal(known(connection, TOKEN)?.label, 'x');
    };
    await createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER, label: 'x'});
    assert.equal(before.length, 1);
    const {id, time: startedAt, os_user, ...started} = before[0] ?? assert.fail();
    const after = {uses_allowed: 1, pending: 0, completed: 0, expiry_time: null, label: 'x'};
    assert.deepEqual(started, {
      version: 1,
      phase: 'started',
      server: 'main',
      server_name: 'example.org',
      actor: '@admin:example.org',
      operation: 'create',
      token: 'Cris…',
      fingerprint: fingerprint(TOKEN),
      after,
    });
    const [, finished] = auditEntries(connection);
    assert.equal(finished?.id, id);
    assert.equal(finished.phase, 'finished');
    assert.equal(finished.outcome, 'ok');
    assert.equal(finished.os_user, os_user);
    assert.deepEqual(finished.after, after);
    assert(finished.time >= startedAt);
  });

  const failures: [ErrorCode, string][] = [
    ['already_exists', 'finished create failed already_exists'],
    ['not_admin', 'finished create failed not_admin'],
    ['unreachable', 'finished create unknown unreachable'],
    ['timeout', 'finished create unknown timeout'],
    ['interrupted', 'finished create unknown interrupted'],
  ];
  for (const [code, line] of failures) {
    const kept = line.includes(' unknown ');
    it(`keeps ${kept ? 'the' : 'no'} label where the homeserver says ${code}, and logs that`, async () => {
      homeserver.before = () => {
        throw new MxtokError(code, 'no');
      };
      const error = await errorOf(
        createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER, label: 'x'}),
      );
      assert.equal(error.code, code);
      // Where nobody knows whether the token was made, it has its label if it turns up.
      assert.equal(known(connection, TOKEN)?.label, kept ? 'x' : undefined);
      assert.deepEqual(auditSummary(connection), ['started create', line]);
    });
  }

  it('refuses an expiry that has passed by the homeserver’s clock, and does nothing', async () => {
    const when = {kind: 'instant', time: T0} as const;
    const error = await errorOf(createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: when}));
    assert.equal(error.code, 'usage');
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
  });

  it('knows of a broken store before anything is sent, and leaves it as it is', async () => {
    const {path} = connection.metadata;
    mkdirSync(dirname(path), {recursive: true, mode: 0o700});
    writeFileSync(path, BROKEN, {mode: 0o600});
    const error = await errorOf(createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER}));
    assert.equal(error.code, 'store');
    assert.deepEqual(homeserver.changes, []);
    assert.equal(readFileSync(path, 'utf8'), BROKEN);
  });

  it('needs the store no more once the request is sent: all that is to be noted is in it', async () => {
    const {path} = connection.metadata;
    homeserver.before = () => {
      writeFileSync(path, BROKEN);
    };
    const record = await createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER, label: 'x'});
    assert.equal(record.label, 'x');
    assert.deepEqual(auditSummary(connection), ['started create', 'finished create ok']);
  });

  it('says that the token was made where it cannot be noted, and logs it as made', async () => {
    // Of an earlier token of that name something is known, which stays until the new one is there.
    await connection.metadata.update([TOKEN], (entry) => ({...entry, label: 'old'}));
    homeserver.before = () => {
      writeFileSync(connection.metadata.path, BROKEN);
    };
    const error = await errorOf(
      createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER, label: 'x'}),
    );
    assert.equal(error.code, 'store');
    assert.equal(error.token, TOKEN);
    assert.match(error.message, /was created, but could not be noted/);
    assert(homeserver.tokens.has(TOKEN));
    assert.deepEqual(auditSummary(connection), ['started create', 'finished create ok']);
  });

  it('says that the token was made where its end cannot be logged', async () => {
    const {path} = connection.audit;
    homeserver.before = () => {
      rmSync(path);
      mkdirSync(path);
    };
    const error = await errorOf(createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER}));
    assert.equal(error.code, 'store');
    assert.match(error.message, new RegExp(`the token ${TOKEN} was created, but`));
    assert(homeserver.tokens.has(TOKEN));
  });

  it('sends nothing, and logs that, where its label cannot be saved', async () => {
    const {metadata} = connection;
    metadata.update = () => Promise.reject(new MxtokError('store', 'the disk is full'));
    const error = await errorOf(
      createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER, label: 'x'}),
    );
    assert.equal(error.message, 'the disk is full');
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditSummary(connection), ['started create', 'finished create failed interrupted']);
  });

  it('forgets what was known of an earlier token of that name', async () => {
    await connection.metadata.update([TOKEN], (entry) => ({...entry, label: 'old', note: 'old'}));
    homeserver.before = () => {
      // The old one may be there still: whoever reads the store now is told of that.
      assert.equal(known(connection, TOKEN)?.label, 'old');
    };
    await createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER});
    assert.deepEqual(Object.keys(known(connection, TOKEN) ?? {}), ['token', 'created_at', 'created_by']);
  });

  for (const code of ['already_exists', 'not_admin', 'timeout', 'unreachable', 'interrupted'] as const) {
    it(`keeps what is known of an earlier token of that name after ${code}`, async () => {
      const disabled = {uses_allowed: 3, expiry_time: null, at: T0, done: true};
      const entry = {token: TOKEN, label: 'mine', note: 'important', disabled};
      await connection.metadata.update([TOKEN], () => entry);
      homeserver.before = () => {
        throw new MxtokError(code, 'no');
      };
      await errorOf(createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER, label: 'x'}));
      assert.deepEqual(known(connection, TOKEN), entry);
    });
  }

  it('leaves a label alone that somebody else has given to a token of that name meanwhile', async () => {
    homeserver.before = async () => {
      await connection.metadata.update([TOKEN], (entry) => ({...entry, label: 'theirs'}));
      throw new MxtokError('already_exists', 'there is one');
    };
    await errorOf(createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER, label: 'x'}));
    assert.equal(known(connection, TOKEN)?.label, 'theirs');
  });
});

describe('createTokens', () => {
  let time: FrozenTime;
  let dir: string;
  let homeserver: FakeHomeserver;
  let connection: Connection;
  const wanted = (count: number) =>
    Array.from({length: count}, (_, index) => ({
      token: `bulk-${String(index).padStart(4, '0')}`,
      uses_allowed: 1,
      expiry: NEVER,
      label: 'bulk',
    }));

  beforeEach(() => {
    time = new FrozenTime();
    homeserver = new FakeHomeserver(T0);
    dir = tempDir();
    connection = fakeConnection(homeserver, dir);
  });

  afterEach(() => {
    time.restore();
  });

  it('makes all of them, tells of each, labels each and logs each to its end', async () => {
    const told: string[] = [];
    const outcomes = await createTokens(connection, wanted(1203), {
      onCreated: ({token}) => void told.push(token),
    });
    const names = wanted(1203).map(({token}) => token);
    assert.deepEqual(
      outcomes.map(({token, outcome}) => [token, outcome.ok]),
      names.map((name) => [name, true]),
    );
    assert.deepEqual(told.sort(), names);
    assert.equal(connection.metadata.read().size, 1203);
    assert([...connection.metadata.read().values()].every(({label}) => label === 'bulk'));
    const entries = auditEntries(connection);
    assert.equal(entries.filter(({phase}) => phase === 'started').length, 1203);
    assert.equal(entries.filter(({phase, outcome}) => phase === 'finished' && outcome === 'ok').length, 1203);
  });

  it('has every token in the log, and its label on the disk, before its request', async () => {
    const seen: string[] = [];
    homeserver.before = (change) => {
      const [, token = ''] = change.split(' ');
      // What another process would find, were this one killed now.
      const after = fakeConnection(homeserver, dir);
      assert(auditEntries(after).some((entry) => entry.fingerprint === fingerprint(token)));
      assert.equal(known(after, token)?.label, 'bulk');
      seen.push(token);
    };
    const outcomes = await createTokens(connection, wanted(20));
    assert(outcomes.every(({outcome}) => outcome.ok));
    assert.equal(seen.length, 20);
  });

  it('logs and labels them in few writes, each before the first request of what it is about', async () => {
    const writes: number[] = [];
    const update = connection.metadata.update.bind(connection.metadata);
    connection.metadata.update = (tokens, change) => {
      if (tokens.length > 0) writes.push(tokens.length);
      return update(tokens, change);
    };
    let atFirst = 0;
    homeserver.before = () => {
      atFirst ||= connection.metadata.read().size;
    };
    await createTokens(connection, wanted(6000), {concurrency: 32});
    assert.deepEqual(writes, [500, 1000, 2000, 2000, 500]);
    // No more than the batch at hand, and the one that is made ready behind it.
    assert(atFirst === 500 || atFirst === 1500, `${atFirst} were labelled ahead`);
    assert.equal(connection.metadata.read().size, 6000);
  });

  it('leaves no label and no open end in the log of those that were made ready and never sent', async () => {
    const controller = new AbortController();
    homeserver.before = async (change) => {
      if (!change.startsWith('create bulk-0000')) return;
      // The second batch is ready before the first is done.
      while (connection.metadata.read().size < 1500) await turn();
      controller.abort();
    };
    const outcomes = await createTokens(connection, wanted(1600), {
      concurrency: 1,
      signal: controller.signal,
    });
    assert.deepEqual(outcomeSummary(outcomes), ['bulk-0000: ok']);
    assert.deepEqual([...connection.metadata.read().keys()], ['bulk-0000']);
    const finished = auditEntries(connection).filter(({phase}) => phase === 'finished');
    assert.equal(finished.length, 1500);
    assert.equal(finished.filter(({outcome}) => outcome === 'ok').length, 1);
    assert.equal(finished.filter(({error}) => error?.code === 'interrupted').length, 1499);
  });

  it('takes back the labels of those that were not made, and keeps those that may have been', async () => {
    const codes: Record<string, ErrorCode> = {'bulk-0001': 'already_exists', 'bulk-0002': 'refused'};
    homeserver.before = (change) => {
      const [, token = ''] = change.split(' ');
      const code = codes[token];
      if (code) throw new MxtokError(code, 'no');
      if (token === 'bulk-0004') throw new MxtokError('timeout', 'too slow');
    };
    const outcomes = await createTokens(connection, wanted(8), {concurrency: 1});
    assert.deepEqual(outcomeSummary(outcomes), [
      'bulk-0000: ok',
      'bulk-0001: already_exists',
      'bulk-0002: refused',
      'bulk-0003: ok',
      'bulk-0004: timeout',
    ]);
    assert.deepEqual([...connection.metadata.read().keys()], ['bulk-0000', 'bulk-0003', 'bulk-0004']);
    assert.deepEqual(auditSummary(connection).slice(8), [
      'finished create ok',
      'finished create failed already_exists',
      'finished create failed refused',
      'finished create ok',
      'finished create unknown timeout',
      ...Array<string>(3).fill('finished create failed interrupted'),
    ]);
  });

  it('makes none of a further batch whose labels cannot be saved, and says of the first what became of it', async () => {
    const told: string[] = [];
    const update = connection.metadata.update.bind(connection.metadata);
    connection.metadata.update = (tokens, change) =>
      tokens.includes('bulk-0500')
        ? Promise.reject(new MxtokError('store', 'the disk is full'))
        : update(tokens, change);
    const error = await errorOf(
      createTokens(connection, wanted(600), {onCreated: ({token}) => void told.push(token)}),
    );
    assert.equal(error.code, 'store');
    assert.equal(homeserver.tokens.size, 500);
    assert.equal(told.length, 500);
    const entries = auditEntries(connection);
    assert.equal(entries.filter(({outcome}) => outcome === 'ok').length, 500);
    assert.equal(entries.filter(({error: problem}) => problem?.code === 'interrupted').length, 100);
  });

  it('makes no further ones where it cannot be noted any more what was made', async () => {
    const update = connection.metadata.update.bind(connection.metadata);
    // What follows a batch has nothing to take back here; it fails all the same.
    connection.metadata.update = (tokens, change) =>
      tokens.length === 0
        ? Promise.reject(new MxtokError('store', 'the disk is full'))
        : update(tokens, change);
    const outcomes = await createTokens(connection, wanted(4000));
    assert(homeserver.tokens.size < 4000, 'all were made');
    assert.equal(outcomes.length, homeserver.tokens.size);
    for (const {outcome} of outcomes)
      assert(!outcome.ok && outcome.error.code === 'store' && /was created, but/.test(outcome.error.message));
    const ends = auditEntries(connection).filter(({phase}) => phase === 'finished');
    assert.equal(ends.filter(({outcome}) => outcome === 'ok').length, homeserver.tokens.size);
  });

  it('checks all of them before the first is logged or sent', async () => {
    const all = wanted(3);
    const late = {
      ...wanted(1)[0],
      token: 'late',
      uses_allowed: 1,
      expiry: {kind: 'instant', time: T0} as const,
    };
    assert.equal((await errorOf(createTokens(connection, [...all, late]))).code, 'usage');
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
    assert.equal(connection.metadata.read().size, 0);
  });

  it('begins no more once it is interrupted, and saves and counts those under way', async () => {
    const controller = new AbortController();
    const outcomes = await createTokens(connection, wanted(1500), {
      concurrency: 4,
      signal: controller.signal,
      onCreated: ({token}) => {
        if (token === 'bulk-0005') controller.abort();
      },
    });
    assert(outcomes.length >= 6 && outcomes.length <= 10, `${outcomes.length} were begun`);
    assert.equal(homeserver.changes.length, outcomes.length);
    assert.equal(connection.metadata.read().size, outcomes.length);
    // What was logged ahead is logged as not begun, so that nothing looks cut short.
    const entries = auditEntries(connection);
    const [started, finished] = ['started', 'finished'].map((phase) =>
      entries.filter((entry) => entry.phase === phase),
    );
    assert.equal(started?.length, finished?.length);
    assert.equal(finished?.filter(({outcome}) => outcome === 'ok').length, outcomes.length);
  });

  it('logs and notes nothing where it was interrupted before it began', async () => {
    assert.deepEqual(await createTokens(connection, wanted(3), {signal: AbortSignal.abort()}), []);
    assert.deepEqual(auditEntries(connection), []);
    assert.equal(connection.metadata.read().size, 0);
  });

  it('stops at an error that would meet all others too', async () => {
    homeserver.before = () => {
      throw new MxtokError('unauthorized', 'the access token has expired');
    };
    const outcomes = await createTokens(connection, wanted(600), {concurrency: 4});
    assert(outcomes.length <= 4, `${outcomes.length} were tried`);
    assert.equal(connection.metadata.read().size, 0);
  });

  it('goes on after one that exists already', async () => {
    await createToken(connection, {token: 'bulk-0001', uses_allowed: 7, expiry: NEVER, label: 'mine'});
    const outcomes = await createTokens(connection, wanted(3));
    assert.deepEqual(
      outcomes.map(({outcome}) => (outcome.ok ? 'ok' : outcome.error.code)),
      ['ok', 'already_exists', 'ok'],
    );
    assert.equal(known(connection, 'bulk-0001')?.label, 'mine');
  });
});
