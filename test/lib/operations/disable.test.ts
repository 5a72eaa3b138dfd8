import {strict as assert} from 'node:assert';
import {writeFileSync} from 'node:fs';

import type {Connection} from '../../../src/lib/connection.ts';
import {interruptedError, MxtokError} from '../../../src/lib/errors.ts';
import {foundOf} from '../../../src/lib/operations/batch.ts';
import {type DisabledRecord, disableTokens, planDisable} from '../../../src/lib/operations/disable.ts';
import {HttpClient} from '../../../src/lib/homeserver/http.ts';
import {Synapse} from '../../../src/lib/homeserver/synapse.ts';
import type {RegistrationToken} from '../../../src/lib/registration-token.ts';
import {
  auditEnds,
  auditEntries,
  auditSummary,
  BROKEN,
  FakeHomeserver,
  fakeConnection,
  find,
  known,
  onlyOf,
  outcomeSummary,
} from '../../helpers/fake-homeserver.ts';
import {FakeSynapse} from '../../helpers/fake-synapse.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {secret} from '../../helpers/secrets.ts';
import {tempDir} from '../../helpers/temp.ts';

const T0 = Date.UTC(2035, 0, 1, 12);
const DAY = 86_400_000;
const TOKEN = 'abc-token';

describe('disableTokens', () => {
  let time: FrozenTime;
  let homeserver: FakeHomeserver;
  let dir: string;
  let connection: Connection;

  beforeEach(() => {
    time = new FrozenTime();
    homeserver = new FakeHomeserver(T0);
    dir = tempDir();
    connection = fakeConnection(homeserver, dir);
  });

  afterEach(() => {
    time.restore();
  });

  async function disable(): Promise<DisabledRecord> {
    return onlyOf(await disableTokens(connection, await find(connection, TOKEN)));
  }

  it('closes the token, and says what was confirmed', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, completed: 2, expiry_time: T0 + DAY});
    const record = await disable();
    assert.equal(record.status, 'disabled');
    assert.equal(record.accepted, false);
    assert.equal(record.changed, true);
    assert.equal(record.confirmed_by, 'validity');
    assert.deepEqual(homeserver.changes, [`close ${TOKEN}`, `mark ${TOKEN}`]);
  });

  it('keeps the limits that another disable of the same token has remembered a moment ago', async () => {
    homeserver.add(TOKEN, {uses_allowed: 7});
    const read = connection.metadata.read.bind(connection.metadata);
    const before = read();
    // The other one has come as far as its first step; this one read the metadata before and the token after that.
    const row = homeserver.add(TOKEN, {uses_allowed: 1, expiry_time: T0 + 1000});
    const disabled = {uses_allowed: 7, expiry_time: null, at: T0, done: false};
    await connection.metadata.update([TOKEN], (entry) => ({...entry, disabled}));
    connection.metadata.read = () => before;
    await disable();
    connection.metadata.read = read;
    assert.equal(homeserver.accepts(row), false);
    assert.deepEqual(known(connection, TOKEN)?.disabled, {...disabled, done: true});
  });

  it('remembers the limits, and logs, before the first request; and that it is done after the last', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, completed: 2, expiry_time: T0 + DAY});
    await connection.metadata.update([TOKEN], (entry) => ({...entry, label: 'x'}));
    homeserver.before = () => {
      assert.deepEqual(known(connection, TOKEN), {
        token: TOKEN,
        label: 'x',
        disabled: {uses_allowed: 5, expiry_time: T0 + DAY, at: T0, done: false},
      });
      const [started, ...others] = auditEntries(connection);
      assert.deepEqual(others, []);
      assert.equal(started?.phase, 'started');
      assert.deepEqual(started.before, {
        uses_allowed: 5,
        pending: 0,
        completed: 2,
        expiry_time: T0 + DAY,
        label: 'x',
      });
    };
    await disable();
    assert.equal(homeserver.changes.length, 2);
    assert.deepEqual(known(connection, TOKEN)?.disabled, {
      uses_allowed: 5,
      expiry_time: T0 + DAY,
      at: T0,
      done: true,
    });
    assert.equal(known(connection, TOKEN)?.label, 'x');
    const [, finished] = auditEntries(connection);
    assert.equal(finished?.outcome, 'ok');
    assert.deepEqual(finished.after, {
      uses_allowed: 0,
      pending: 0,
      completed: 2,
      expiry_time: T0 + 1000,
      label: 'x',
    });
  });

  it('does nothing with a token that is disabled and refused already, and says so', async () => {
    homeserver.add(TOKEN, {uses_allowed: 0, expiry_time: T0 - 1});
    const record = await disable();
    assert.equal(record.changed, false);
    assert.equal(record.status, 'disabled');
    assert.equal(record.confirmed_by, 'expiry_time');
    assert.deepEqual(homeserver.probes, [TOKEN]);
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
  });

  describe('with a Date that a reverse proxy writes, its clock ahead', () => {
    beforeEach(() => {
      homeserver.dateAhead = 5000;
      homeserver.pass(0);
    });

    it('closes one that is disabled already by that Date alone', async () => {
      const row = homeserver.add(TOKEN, {uses_allowed: 0, completed: 3, expiry_time: T0 + 3000});
      // It looks closed, and anybody can register with it.
      assert.equal(homeserver.accepts(row), false);
      assert.equal(homeserver.accepts(row, homeserver.now), true);
      const record = await disable();
      assert.equal(record.changed, true);
      assert.deepEqual(homeserver.probes, [TOKEN]);
      assert.deepEqual(homeserver.changes, [`close ${TOKEN}`, `mark ${TOKEN}`]);
      assert.equal(homeserver.accepts(row, homeserver.now), false);
      assert.deepEqual(auditSummary(connection), ['started disable', 'finished disable ok']);
    });

    it('keeps the limits remembered of one that was disabled here', async () => {
      homeserver.add(TOKEN, {uses_allowed: 0, expiry_time: T0 + 3000});
      const disabled = {uses_allowed: 7, expiry_time: T0 + DAY, at: T0 - DAY, done: true};
      await connection.metadata.update([TOKEN], (entry) => ({...entry, disabled}));
      await disable();
      const {at: _, ...after} = known(connection, TOKEN)?.disabled ?? assert.fail();
      assert.deepEqual(after, {uses_allowed: 7, expiry_time: T0 + DAY, done: true});
    });

    it('asks nothing about one that is open by any clock', async () => {
      homeserver.add(TOKEN, {uses_allowed: 5});
      await disable();
      assert.deepEqual(homeserver.probes, []);
    });
  });

  it('says of one that cannot be asked about what went wrong, and disables the others', async () => {
    homeserver.add('off-token', {uses_allowed: 0, expiry_time: T0 - 1});
    homeserver.add(TOKEN, {uses_allowed: 5});
    homeserver.before = (change) => {
      if (change === 'probe off-token') throw new MxtokError('refused', 'no');
    };
    const outcomes = await disableTokens(connection, await find(connection, 'off-token', TOKEN));
    assert.deepEqual(outcomeSummary(outcomes), ['off-token: refused', `${TOKEN}: ok`]);
    const [off] = outcomes;
    assert(off?.outcome.ok === false && off.outcome.error.token === 'off-token');
    assert.deepEqual(auditEnds(connection, ['off-token', TOKEN]), ['not logged', 'ok']);
    assert.equal(known(connection, 'off-token'), undefined);
  });

  it('says what it would do, as far as Date tells, and does nothing', async () => {
    homeserver.add('open-token', {uses_allowed: 5});
    homeserver.add('off-token', {uses_allowed: 0, expiry_time: T0 - 1});
    homeserver.add('zero-token', {uses_allowed: 0});
    homeserver.add('old-token', {expiry_time: T0 - 1});
    const found = foundOf(await find(connection, 'open-token', 'off-token', 'zero-token', 'old-token'));
    assert.deepEqual(
      planDisable(connection, found).map(({record, action}) => `${record.token}: ${action}`),
      ['open-token: disable', 'off-token: none', 'zero-token: disable', 'old-token: disable'],
    );
    assert.deepEqual([homeserver.changes, homeserver.probes], [[], []]);
    assert.equal(connection.metadata.read().size, 0);
  });

  it('closes a token at 0 that is still accepted', async () => {
    homeserver.add(TOKEN, {uses_allowed: 0, completed: 7});
    const record = await disable();
    assert.equal(record.changed, true);
    assert.equal(record.accepted, false);
    assert.equal(known(connection, TOKEN)?.disabled?.uses_allowed, 0);
  });

  it('disables an expired token too, and remembers its limits', async () => {
    homeserver.add(TOKEN, {uses_allowed: 2, expiry_time: T0 - DAY});
    assert.equal((await disable()).changed, true);
    assert.deepEqual(known(connection, TOKEN)?.disabled, {
      uses_allowed: 2,
      expiry_time: T0 - DAY,
      at: T0,
      done: true,
    });
  });

  /** Disable in a process that is killed right before it makes a change. */
  async function killedBefore(step: string): Promise<void> {
    await new Promise<void>((reached) => {
      homeserver.before = (change) => {
        if (!change.startsWith(step)) return undefined;
        reached();
        return new Promise(() => undefined);
      };
      void find(connection, TOKEN).then((found) => disableTokens(connection, found));
    });
    // The next process.
    homeserver.before = () => undefined;
    connection = fakeConnection(homeserver, dir);
  }

  const limits: Partial<RegistrationToken>[] = [
    {uses_allowed: 5, completed: 2, expiry_time: T0 + DAY},
    {uses_allowed: null, expiry_time: null},
    {uses_allowed: 1, pending: 1, expiry_time: null},
  ];
  for (const fields of limits) {
    const {uses_allowed, expiry_time} = fields as RegistrationToken;
    const remembered = {uses_allowed, expiry_time};

    it(`finishes after a kill between the steps, and remembers ${JSON.stringify(remembered)} still`, async () => {
      homeserver.add(TOKEN, fields);
      await killedBefore('mark');
      assert.deepEqual(auditSummary(connection), ['started disable']);
      assert.deepEqual(known(connection, TOKEN)?.disabled, {...remembered, at: T0, done: false});
      homeserver.pass(60_000);
      const record = await disable();
      assert.equal(record.status, 'disabled');
      assert.equal(record.changed, true);
      const {at, ...after} = known(connection, TOKEN)?.disabled ?? assert.fail();
      assert.deepEqual(after, {...remembered, done: true});
      assert(at >= T0);
    });

    it(`remembers ${JSON.stringify(remembered)} after two kills in a row`, async () => {
      homeserver.add(TOKEN, fields);
      await killedBefore('mark');
      homeserver.pass(30 * 60_000);
      await killedBefore('mark');
      homeserver.pass(5000);
      await disable();
      const {at: _, ...after} = known(connection, TOKEN)?.disabled ?? assert.fail();
      assert.deepEqual(after, {...remembered, done: true});
    });
  }

  it('logs as what was before the limits that the operator had set, not those of the first step', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, completed: 2, expiry_time: T0 + DAY});
    await killedBefore('mark');
    await disable();
    const second = auditEntries(connection).at(1);
    assert.equal(second?.phase, 'started');
    assert.equal(second.before?.['uses_allowed'], 5);
    assert.equal(second.before['expiry_time'], T0 + DAY);
  });

  it('remembers after a kill before the first request what the token has then', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5});
    await killedBefore('close');
    await homeserver.update(TOKEN, {uses_allowed: 9});
    homeserver.pass(60_000);
    await disable();
    assert.equal(known(connection, TOKEN)?.disabled?.uses_allowed, 9);
  });

  it('notes that a disabling is done which was killed after its last request', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, expiry_time: null});
    await killedBefore('mark');
    await homeserver.update(TOKEN, {uses_allowed: 0});
    const record = await disable();
    assert.equal(record.changed, false);
    assert.deepEqual(known(connection, TOKEN)?.disabled, {
      uses_allowed: 5,
      expiry_time: null,
      at: T0,
      done: true,
    });
  });

  it('keeps the limits remembered where somebody has opened a disabled token by its expiry', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, expiry_time: T0 + DAY});
    await disable();
    await homeserver.update(TOKEN, {expiry_time: null});
    homeserver.pass(60_000);
    assert.equal((await disable()).changed, true);
    const {uses_allowed, expiry_time, done} = known(connection, TOKEN)?.disabled ?? assert.fail();
    assert.deepEqual({uses_allowed, expiry_time, done}, {uses_allowed: 5, expiry_time: T0 + DAY, done: true});
  });

  it('remembers the new limits of a token that was enabled by other means', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, expiry_time: T0 + DAY});
    await disable();
    await homeserver.update(TOKEN, {uses_allowed: 8, expiry_time: T0 + 2 * DAY});
    await disable();
    const {uses_allowed, expiry_time} = known(connection, TOKEN)?.disabled ?? assert.fail();
    assert.deepEqual({uses_allowed, expiry_time}, {uses_allowed: 8, expiry_time: T0 + 2 * DAY});
  });

  it('has an outcome for each token in its place', async () => {
    for (const token of ['aaa-token', 'bbb-token', 'ccc-token']) homeserver.add(token, {uses_allowed: 4});
    homeserver.add('off-token', {uses_allowed: 0, expiry_time: T0 - 1});
    homeserver.before = (change) => {
      if (change === 'mark bbb-token') throw new MxtokError('server_error', 'down', {status: 500});
    };
    const names = ['gone-token', 'ccc-token', 'off-token', 'bbb-token', 'aaa-token'];
    const outcomes = await disableTokens(connection, await find(connection, ...names));
    assert.deepEqual(
      outcomes.map(({token, outcome}) => [token, outcome.ok ? outcome.value.changed : outcome.error.code]),
      [
        ['gone-token', 'no_such_token'],
        ['ccc-token', true],
        ['off-token', false],
        ['bbb-token', 'server_error'],
        ['aaa-token', true],
      ],
    );
    const [, , , failed] = outcomes;
    assert(failed?.outcome.ok === false && failed.outcome.error.token === 'bbb-token');
    assert.equal(known(connection, 'bbb-token')?.disabled?.done, false);
    assert.equal(known(connection, 'aaa-token')?.disabled?.done, true);
    assert.equal(known(connection, 'gone-token'), undefined);
    assert.deepEqual(auditSummary(connection).sort(), [
      'finished disable ok',
      'finished disable ok',
      'finished disable unknown server_error',
      'started disable',
      'started disable',
      'started disable',
    ]);
  });

  it('logs an interruption, and can be run again', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5});
    homeserver.before = (change) => {
      if (change === 'wait') throw interruptedError();
    };
    assert.equal((await errorOf(disable())).code, 'interrupted');
    assert.deepEqual(auditSummary(connection), ['started disable', 'finished disable unknown interrupted']);
    homeserver.before = () => undefined;
    await disable();
    assert.equal(known(connection, TOKEN)?.disabled?.uses_allowed, 5);
  });

  describe('after an error that would meet all others too', () => {
    const names = Array.from({length: 12}, (_, index) => `token-${String(index).padStart(2, '0')}`);

    beforeEach(() => {
      for (const name of names) homeserver.add(name, {uses_allowed: 5});
    });

    it('begins no more, finishes what is closed, and logs which were not begun', async () => {
      homeserver.before = (change) => {
        if (change.startsWith('close') && change !== 'close token-00')
          throw new MxtokError('not_admin', 'no');
      };
      const outcomes = await disableTokens(connection, await find(connection, ...names));
      assert.deepEqual(outcomeSummary(outcomes), [
        'token-00: ok',
        ...names.slice(1).map((name) => `${name}: not_admin`),
      ]);
      const closings = homeserver.changes.filter((change) => change.startsWith('close')).length;
      assert(closings >= 2 && closings < names.length, `${closings} were begun`);
      assert.deepEqual(auditEnds(connection, names), [
        'ok',
        ...Array<string>(closings - 1).fill('failed not_admin'),
        ...Array<string>(names.length - closings).fill('failed interrupted'),
      ]);
      for (const name of names.slice(1)) assert.equal(known(connection, name)?.disabled?.done, false);
    });

    it('logs of none that was closed that it was not done, or not begun', async () => {
      homeserver.before = (change) => {
        if (change.startsWith('mark')) throw new MxtokError('unauthorized', 'no');
      };
      await disableTokens(connection, await find(connection, ...names));
      assert.deepEqual(auditEnds(connection, names), Array<string>(12).fill('unknown unauthorized'));
    });
  });

  it('logs what was done where the local store breaks meanwhile, and says that it did', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5});
    homeserver.before = () => {
      writeFileSync(connection.metadata.path, BROKEN);
    };
    assert.equal((await errorOf(disable())).code, 'store');
    assert.deepEqual(auditSummary(connection), ['started disable', 'finished disable ok']);
  });
});

describe('disableTokens on Synapse', () => {
  const ACCESS_TOKEN = secret('syt_YWRtaW4_disableTests_0');
  const names = Array.from({length: 12}, (_, index) => `token-${String(index).padStart(2, '0')}`);
  let time: FrozenTime;
  let fake: FakeSynapse;
  let http: HttpClient;
  let controller: AbortController;
  let connection: Connection;

  beforeEach(() => {
    time = new FrozenTime();
    fake = new FakeSynapse('https://matrix.example.org', ACCESS_TOKEN, T0);
    controller = new AbortController();
    const {signal} = controller;
    http = new HttpClient({baseUrl: 'https://matrix.example.org', timeout: 30_000, userAgent: 'x', signal});
    connection = {...fakeConnection(new Synapse(http, ACCESS_TOKEN)), http};
  });

  afterEach(() => {
    time.restore();
    http.close();
  });

  /** Disable all of them. Their expiries are near, so that the wait is short; time passes on both sides meanwhile. */
  async function disableAll(
    onWait = (ms: number): void => {
      time.advance(ms);
      fake.now += ms;
    },
  ): Promise<string[]> {
    for (const name of names) fake.add(name, {uses_allowed: 5, completed: 1, expiry_time: T0 + 20});
    const found = await find(connection, ...names);
    return outcomeSummary(await disableTokens(connection, found, {signal: controller.signal, onWait}));
  }

  const isStep2 = (request: string): boolean =>
    fake.probes.includes(request) || request.includes('"uses_allowed":0');

  it('closes a token at 0 that a reverse proxy’s Date takes for over', async () => {
    const row = fake.add('abc', {uses_allowed: 0, completed: 2, expiry_time: T0 - 1});
    let early = true;
    fake.before = (request) => {
      // By Synapse's own clock it is to come: the expiry can be set once more.
      const answer = early && fake.probes.includes(request) ? {status: 200, body: {...row}} : undefined;
      if (answer) early = false;
      return answer;
    };
    const record = onlyOf(await disableTokens(connection, await find(connection, 'abc')));
    assert.equal(early, false);
    assert.equal(record.changed, true);
    assert.equal(record.confirmed_by, 'validity');
    assert(fake.sent.includes('PUT /abc {"uses_allowed":0}'));
    assert.equal(fake.accepts('abc'), false);
  });

  it('logs of none that an interrupted first step has reached that it was not begun', async () => {
    const reached = new Set<string>();
    fake.before = (request) => {
      const [method, path = ''] = request.split(' ');
      if (method === 'PUT') {
        reached.add(path.slice(1));
        controller.abort();
      }

      return undefined;
    };
    await disableAll().catch(() => []);
    assert(reached.size >= 1 && reached.size < names.length, `${reached.size} were reached`);
    const ends = auditEnds(connection, names);
    for (const [index, name] of names.entries()) {
      if (reached.has(name)) assert.equal(ends[index], 'unknown interrupted', name);
      else assert.match(ends[index] ?? '', /^(?:unknown|failed) interrupted$/, name);
    }

    for (const name of reached) assert.equal(fake.accepts(name), false);
    for (const name of names) {
      assert.deepEqual(known(connection, name)?.disabled, {
        uses_allowed: 5,
        expiry_time: T0 + 20,
        at: T0,
        done: false,
      });
    }
  });

  it('logs of all as unknown what is interrupted between its steps, also of those it had not come to again', async () => {
    fake.before = (request) => {
      if (isStep2(request)) controller.abort();
      return undefined;
    };
    const outcomes = await disableAll();
    assert.deepEqual(
      outcomes,
      names.map((name) => `${name}: interrupted`),
    );
    assert.deepEqual(auditEnds(connection, names), Array<string>(12).fill('unknown interrupted'));
    for (const name of names) assert.equal(fake.accepts(name), false);
  });

  it('logs of all as unknown what is interrupted in the wait between its steps', async () => {
    const error = await errorOf(
      disableAll(() => {
        controller.abort();
      }),
    );
    assert.equal(error.code, 'interrupted');
    assert.match(error.hint ?? '', /disable again to finish, or enable to go back/);
    assert.deepEqual(auditEnds(connection, names), Array<string>(12).fill('unknown interrupted'));
    for (const name of names) assert.equal(fake.accepts(name), false);
  });

  it('logs as unknown, not as not done, what was closed before the access token ended', async () => {
    fake.before = (request) =>
      isStep2(request)
        ? {
            status: 401,
            body: {errcode: 'M_UNKNOWN_TOKEN', error: 'Access token has expired', soft_logout: true},
          }
        : undefined;
    const outcomes = await disableAll();
    assert.deepEqual(
      outcomes,
      names.map((name) => `${name}: unauthorized`),
    );
    assert.deepEqual(auditEnds(connection, names), Array<string>(12).fill('unknown unauthorized'));
    for (const name of names) assert.equal(known(connection, name)?.disabled?.done, false);
  });

  it('begins no more after one that the homeserver has no answer for, and marks those it has closed', async () => {
    fake.before = (request) =>
      request.startsWith('PUT /token-01 ')
        ? {status: 500, body: {errcode: 'M_UNKNOWN', error: 'x'}}
        : undefined;
    const outcomes = await disableAll();
    const ends = auditEnds(connection, names);
    assert.equal(ends[1], 'unknown server_error');
    assert.equal(outcomes[1], 'token-01: server_error');
    assert.equal(ends.at(-1), 'failed interrupted');
    assert(!fake.sent.some((request) => request.startsWith('PUT /token-11')));
    for (const [index, name] of names.entries()) {
      if (ends[index] === 'ok') assert.equal(fake.tokens.get(name)?.uses_allowed, 0);
      else assert.equal(fake.tokens.get(name)?.uses_allowed, 5);
    }
  });
});
