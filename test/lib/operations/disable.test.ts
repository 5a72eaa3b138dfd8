import {strict as assert} from 'node:assert';
import {writeFileSync} from 'node:fs';

import type {Connection} from '../../../src/lib/connection.ts';
import {interruptedError, MxtokError} from '../../../src/lib/errors.ts';
import {type DisabledRecord, disableTokens} from '../../../src/lib/operations/disable.ts';
import type {RegistrationToken} from '../../../src/lib/registration-token.ts';
import {
  auditEntries,
  auditSummary,
  BROKEN,
  FakeHomeserver,
  fakeConnection,
  known,
  onlyOf,
} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
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
    return onlyOf(await disableTokens(connection, [TOKEN]));
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
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
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
      void disableTokens(connection, [TOKEN]);
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
    const outcomes = await disableTokens(connection, names);
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
      if (change.startsWith('mark')) throw interruptedError();
    };
    assert.equal((await errorOf(disable())).code, 'interrupted');
    assert.deepEqual(auditSummary(connection), ['started disable', 'finished disable unknown interrupted']);
    homeserver.before = () => undefined;
    await disable();
    assert.equal(known(connection, TOKEN)?.disabled?.uses_allowed, 5);
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
