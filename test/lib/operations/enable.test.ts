import {strict as assert} from 'node:assert';
import {writeFileSync} from 'node:fs';

import type {Connection} from '../../../src/lib/connection.ts';
import {type ErrorCode, MxtokError} from '../../../src/lib/errors.ts';
import {
  describeEnable,
  type EnabledRecord,
  type EnablePlans,
  enableTokens,
  planEnable,
} from '../../../src/lib/operations/enable.ts';
import {disableTokens} from '../../../src/lib/operations/disable.ts';
import type {RegistrationToken} from '../../../src/lib/registration-token.ts';
import {parseExpiry} from '../../../src/lib/when.ts';
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
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {tempDir} from '../../helpers/temp.ts';

const T0 = Date.UTC(2035, 0, 1, 12);
const DAY = 86_400_000;
const TOKEN = 'abc-token';

describe('planEnable and enableTokens', () => {
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

  async function enable(given: Parameters<typeof planEnable>[2] = {}): Promise<EnabledRecord> {
    return onlyOf(await enableTokens(connection, await plan(given)));
  }

  async function plan(given: Parameters<typeof planEnable>[2], ...names: string[]): Promise<EnablePlans> {
    const asked = await find(connection, ...(names.length > 0 ? names : [TOKEN]));
    return planEnable(connection, asked, given);
  }

  async function disable(...names: string[]): Promise<void> {
    const found = await find(connection, ...(names.length > 0 ? names : [TOKEN]));
    await disableTokens(connection, found);
  }

  const before: Partial<RegistrationToken>[] = [
    {uses_allowed: 5, completed: 2, expiry_time: T0 + DAY},
    {uses_allowed: 5, expiry_time: null},
    {uses_allowed: null, expiry_time: T0 + DAY},
    {uses_allowed: null, completed: 9, expiry_time: null},
  ];
  for (const fields of before) {
    const {uses_allowed, expiry_time} = fields as RegistrationToken;
    const shown = JSON.stringify({uses_allowed, expiry_time});

    it(`brings ${shown} back exactly`, async () => {
      homeserver.add(TOKEN, fields);
      await connection.metadata.update([TOKEN], (entry) => ({...entry, label: 'x'}));
      const original = await homeserver.get(TOKEN);
      await disable();
      homeserver.pass(60_000);
      const record = await enable();
      assert.equal(record.changed, true);
      assert.equal(record.accepted, true);
      assert.deepEqual(await homeserver.get(TOKEN), original);
      assert.deepEqual(known(connection, TOKEN), {token: TOKEN, label: 'x'});
    });

    it(`brings ${shown} back after a disabling that was killed between its steps`, async () => {
      homeserver.add(TOKEN, fields);
      const original = await homeserver.get(TOKEN);
      await new Promise<void>((reached) => {
        homeserver.before = (change) => {
          if (!change.startsWith('mark')) return undefined;
          reached();
          return new Promise(() => undefined);
        };
        void disable();
      });
      homeserver.before = () => undefined;
      connection = fakeConnection(homeserver, dir);
      await enable();
      assert.deepEqual(await homeserver.get(TOKEN), original);
    });
  }

  it('sends both limits in one request, so that none is open without the other', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, expiry_time: T0 + DAY});
    await disable();
    homeserver.changes.length = 0;
    await enable();
    assert.deepEqual(homeserver.changes, [`update ${TOKEN} {"uses_allowed":5,"expiry_time":${T0 + DAY}}`]);
  });

  it('logs before and after', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5});
    await disable();
    homeserver.before = () => {
      const started = auditEntries(connection).at(-1);
      assert.equal(started?.phase, 'started');
      assert.equal(started.operation, 'enable');
      assert.equal(started.before?.['uses_allowed'], 0);
      assert.equal(started.after?.['uses_allowed'], 5);
    };
    await enable();
    assert.deepEqual(auditSummary(connection).slice(2), ['started enable', 'finished enable ok']);
  });

  async function missing(given: Parameters<typeof planEnable>[2] = {}) {
    return (await plan(given)).plans[0]?.missing;
  }

  it('asks for a new expiry where the old one has passed', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, expiry_time: T0 + DAY});
    await disable();
    homeserver.pass(DAY);
    assert.deepEqual(await missing(), ['expiry']);
    assert.deepEqual(await missing({expiry: parseExpiry('1h')}), []);
    const record = await enable({expiry: parseExpiry('1h')});
    assert.equal(record.uses_allowed, 5);
    assert.equal(record.expiry_time, homeserver.now + 3_600_000);
  });

  it('asks for both where nobody here knows what there was', async () => {
    homeserver.add(TOKEN, {uses_allowed: 0, expiry_time: T0 - DAY});
    assert.deepEqual(await missing(), ['uses', 'expiry']);
    assert.deepEqual(await missing({uses_allowed: null}), ['expiry']);
    assert.deepEqual(await missing({uses_allowed: 3, expiry: {kind: 'never'}}), []);
  });

  it('asks for uses only where the expiry is still ahead, or there is none', async () => {
    homeserver.add(TOKEN, {uses_allowed: 0, expiry_time: T0 + DAY});
    assert.deepEqual(await missing(), ['uses']);
    homeserver.add(TOKEN, {uses_allowed: 0, expiry_time: null});
    assert.deepEqual(await missing(), ['uses']);
  });

  it('never brings back 0, which is unlimited', async () => {
    homeserver.add(TOKEN, {uses_allowed: 0});
    await disable();
    assert.deepEqual(await missing(), ['uses']);
  });

  it('prefers what is given to what is remembered', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, expiry_time: T0 + DAY});
    await disable();
    const record = await enable({uses_allowed: 2, expiry: {kind: 'never'}});
    assert.deepEqual([record.uses_allowed, record.expiry_time], [2, null]);
  });

  it('changes nothing while planning', async () => {
    homeserver.add(TOKEN, {uses_allowed: 0, expiry_time: T0 - DAY});
    await plan({uses_allowed: 1, expiry: {kind: 'never'}});
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
  });

  it('does nothing with a token that is not disabled, and says so', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5});
    const record = await enable({uses_allowed: 9});
    assert.equal(record.changed, false);
    assert.equal(record.uses_allowed, 5);
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
  });

  it('refuses an expiry that has passed by the homeserver’s clock', async () => {
    homeserver.add(TOKEN, {uses_allowed: 0, expiry_time: T0 - DAY});
    const expiry = {kind: 'instant', time: T0} as const;
    assert.equal((await errorOf(plan({expiry}))).code, 'usage');
  });

  it('remembers the limits still where the homeserver refuses, and has each outcome in its place', async () => {
    for (const token of ['aaa-token', 'bbb-token']) homeserver.add(token, {uses_allowed: 5});
    await disable('aaa-token', 'bbb-token');
    homeserver.before = (change) => {
      if (change.includes('bbb')) throw new MxtokError('timeout', 'too slow');
    };
    const plans = await plan({}, 'gone-token', 'bbb-token', 'aaa-token');
    const outcomes = await enableTokens(connection, plans);
    assert.deepEqual(
      outcomes.map(({token, outcome}) => [token, outcome.ok ? 'ok' : outcome.error.code]),
      [
        ['gone-token', 'no_such_token'],
        ['bbb-token', 'timeout'],
        ['aaa-token', 'ok'],
      ],
    );
    assert.equal(known(connection, 'bbb-token')?.disabled?.uses_allowed, 5);
    assert.equal(known(connection, 'aaa-token'), undefined);
  });

  const fatal: [ErrorCode, string][] = [
    ['unauthorized', 'failed unauthorized'],
    ['server_error', 'unknown server_error'],
  ];
  for (const [code, end] of fatal) {
    it(`begins no more after ${code}, logs which were not begun, and remembers the limits still`, async () => {
      const names = Array.from({length: 12}, (_, index) => `token-${String(index).padStart(2, '0')}`);
      for (const name of names) homeserver.add(name, {uses_allowed: 5});
      await disable(...names);
      homeserver.changes.length = 0;
      homeserver.before = (change) => {
        if (!change.includes('token-00')) throw new MxtokError(code, 'no');
      };
      const outcomes = await enableTokens(connection, await plan({}, ...names));
      assert.deepEqual(outcomeSummary(outcomes), [
        'token-00: ok',
        ...names.slice(1).map((name) => `${name}: ${code}`),
      ]);
      const sent = homeserver.changes.length;
      assert(sent >= 2 && sent < names.length, `${sent} were sent`);
      assert.deepEqual(auditEnds(connection, names), [
        'ok',
        ...Array<string>(sent - 1).fill(end),
        ...Array<string>(names.length - sent).fill('failed interrupted'),
      ]);
      for (const name of names.slice(1)) assert.equal(known(connection, name)?.disabled?.uses_allowed, 5);
      assert.equal(known(connection, 'token-00'), undefined);
    });
  }

  it('says what it would do', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5, expiry_time: T0 + DAY});
    homeserver.add('open-token', {uses_allowed: 3});
    await disable();
    const described = describeEnable(connection, await plan({uses_allowed: 7}, TOKEN, 'open-token'));
    assert.deepEqual(
      described.map(({record, action, changes}) => [record.token, record.status, action, changes]),
      [
        [
          TOKEN,
          'disabled',
          'enable',
          {uses_allowed: 7, expiry_time: T0 + DAY, expires_at: '2035-01-02T12:00:00.000Z'},
        ],
        ['open-token', 'valid', 'none', {}],
      ],
    );
  });

  it('logs what was done where the local store breaks meanwhile, and says that it did', async () => {
    homeserver.add(TOKEN, {uses_allowed: 5});
    await disable();
    homeserver.before = () => {
      writeFileSync(connection.metadata.path, BROKEN);
    };
    assert.equal((await errorOf(enable())).code, 'store');
    assert.equal(auditSummary(connection).at(-1), 'finished enable ok');
  });
});
