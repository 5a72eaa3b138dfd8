import {strict as assert} from 'node:assert';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {dirname} from 'node:path';

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
} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';

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
      assert.equal(known(connection, TOKEN), undefined);
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

  it('says that the token was made where it cannot be noted, and logs it as made', async () => {
    const {path} = connection.metadata;
    homeserver.before = () => {
      mkdirSync(dirname(path), {recursive: true, mode: 0o700});
      writeFileSync(path, BROKEN, {mode: 0o600});
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

  it('forgets what was known of an earlier token of that name', async () => {
    await connection.metadata.update([TOKEN], (entry) => ({...entry, label: 'old', note: 'old'}));
    await createToken(connection, {token: TOKEN, uses_allowed: 1, expiry: NEVER});
    assert.deepEqual(Object.keys(known(connection, TOKEN) ?? {}), ['token', 'created_at', 'created_by']);
  });
});

describe('createTokens', () => {
  let time: FrozenTime;
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
    connection = fakeConnection(homeserver);
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

  it('has every token in the log before its request, so that none is unknown after a crash', async () => {
    homeserver.before = (change) => {
      const [, token = ''] = change.split(' ');
      assert(auditEntries(connection).some((entry) => entry.fingerprint === fingerprint(token)));
    };
    const outcomes = await createTokens(connection, wanted(20));
    assert(outcomes.every(({outcome}) => outcome.ok));
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
