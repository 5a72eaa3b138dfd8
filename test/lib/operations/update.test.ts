import {strict as assert} from 'node:assert';

import type {Connection} from '../../../src/lib/connection.ts';
import {type ErrorCode, MxtokError} from '../../../src/lib/errors.ts';
import {planUpdate, type TokenChanges, updateTokens} from '../../../src/lib/operations/update.ts';
import {parseExpiry} from '../../../src/lib/when.ts';
import {
  auditEnds,
  auditEntries,
  auditSummary,
  FakeHomeserver,
  fakeConnection,
  find,
  known,
  onlyOf,
  outcomeSummary,
} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';

const T0 = Date.UTC(2035, 0, 1, 12);
const DAY = 86_400_000;

describe('updateTokens', () => {
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

  /** One token; fails where it cannot be changed. */
  async function update(changes: TokenChanges) {
    return onlyOf(await updateTokens(connection, await find(connection, 'abc-token'), changes));
  }

  it('changes what is given and nothing else', async () => {
    homeserver.add('abc-token', {uses_allowed: 3, expiry_time: T0 + DAY});
    assert.equal((await update({uses_allowed: 5})).changed, true);
    await update({expiry: parseExpiry('2d')});
    await update({uses_allowed: null, expiry: {kind: 'never'}});
    assert.deepEqual(homeserver.changes, [
      'update abc-token {"uses_allowed":5}',
      // The uses go along: had a disable set them to 0 meanwhile, a later expiry alone would open the token.
      `update abc-token {"uses_allowed":5,"expiry_time":${T0 + 2 * DAY}}`,
      'update abc-token {"uses_allowed":null,"expiry_time":null}',
    ]);
  });

  it('sends nothing where everything is so already, and says so', async () => {
    homeserver.add('abc-token', {uses_allowed: 3});
    await connection.metadata.update(['abc-token'], (entry) => ({...entry, label: 'x'}));
    const record = await update({uses_allowed: 3, expiry: {kind: 'never'}, label: 'x', note: ''});
    assert.equal(record.changed, false);
    assert.equal(record.label, 'x');
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
  });

  it('sends no expiry where only the uses differ', async () => {
    homeserver.add('abc-token', {uses_allowed: 3, expiry_time: T0 + DAY});
    await update({uses_allowed: 4, expiry: {kind: 'instant', time: T0 + DAY}});
    assert.deepEqual(homeserver.changes, ['update abc-token {"uses_allowed":4}']);
  });

  it('changes label and note without asking the homeserver for anything, and clears them', async () => {
    homeserver.add('abc-token');
    const labelled = await update({label: 'one', note: 'two'});
    assert.deepEqual([labelled.changed, labelled.label, labelled.note], [true, 'one', 'two']);
    assert.equal((await update({label: 'three'})).note, 'two');
    assert.equal((await update({label: ''})).label, null);
    assert.deepEqual(known(connection, 'abc-token'), {token: 'abc-token', note: 'two'});
    await update({note: ''});
    assert.equal(known(connection, 'abc-token'), undefined);
    assert.deepEqual(homeserver.changes, []);
    assert.equal(auditEntries(connection).length, 8);
  });

  it('keeps everything else that is known of the token', async () => {
    homeserver.add('abc-token');
    const disabled = {uses_allowed: 3, expiry_time: null, at: 1, done: false};
    const entry = {token: 'abc-token', created_at: '2034-01-01T00:00:00Z', created_by: '@a:b', disabled};
    await connection.metadata.update(['abc-token'], () => ({...entry, label: 'old'}));
    await update({label: 'new'});
    assert.deepEqual(known(connection, 'abc-token'), {...entry, label: 'new'});
  });

  it('forgets a disabling that was cut short once the limits are set anew', async () => {
    homeserver.add('abc-token');
    const disabled = {uses_allowed: 3, expiry_time: null, at: 1, done: false};
    await connection.metadata.update(['abc-token'], (entry) => ({...entry, label: 'x', disabled}));
    await update({uses_allowed: 2});
    assert.deepEqual(known(connection, 'abc-token'), {token: 'abc-token', label: 'x'});
  });

  it('leaves a note alone that another update has saved meanwhile', async () => {
    homeserver.add('abc-token');
    const read = connection.metadata.read.bind(connection.metadata);
    const before = read();
    await update({note: 'theirs'});
    // What this update read is older than that.
    connection.metadata.read = () => before;
    await update({label: 'ours'});
    connection.metadata.read = read;
    assert.deepEqual(known(connection, 'abc-token'), {token: 'abc-token', label: 'ours', note: 'theirs'});
  });

  it('logs how it was and how it is to be before the request, and how it is after', async () => {
    homeserver.add('abc-token', {uses_allowed: 3, completed: 1});
    homeserver.before = () => {
      const [started] = auditEntries(connection);
      assert.equal(started?.phase, 'started');
      const before = {uses_allowed: 3, pending: 0, completed: 1, expiry_time: null};
      assert.deepEqual(started.before, before);
      assert.deepEqual(started.after, {...before, uses_allowed: 9, label: 'x'});
    };
    await update({uses_allowed: 9, label: 'x'});
    const [, finished] = auditEntries(connection);
    assert.equal(finished?.outcome, 'ok');
    assert.equal(finished.after?.['uses_allowed'], 9);
  });

  it('has an outcome for each token in its place, and no label for those that failed', async () => {
    for (const token of ['aaa-token', 'bbb-token', 'ccc-token']) homeserver.add(token);
    homeserver.before = (change) => {
      if (change.includes('bbb')) throw new MxtokError('timeout', 'too slow');
    };
    const names = ['gone-token', 'ccc-token', 'bbb-token', 'aaa-token'];
    const outcomes = await updateTokens(connection, await find(connection, ...names), {
      uses_allowed: 2,
      label: 'x',
    });
    assert.deepEqual(
      outcomes.map(({token, outcome}) => [token, outcome.ok ? 'ok' : outcome.error.code]),
      [
        ['gone-token', 'no_such_token'],
        ['ccc-token', 'ok'],
        ['bbb-token', 'timeout'],
        ['aaa-token', 'ok'],
      ],
    );
    assert(outcomes.every(({token, outcome}) => outcome.ok || outcome.error.token === token));
    assert.deepEqual([...connection.metadata.read().keys()].sort(), ['aaa-token', 'ccc-token']);
    assert.equal(
      auditSummary(connection).filter((line) => line === 'finished update unknown timeout').length,
      1,
    );
  });

  describe('after an error that would meet all others too', () => {
    const names = Array.from({length: 12}, (_, index) => `token-${String(index).padStart(2, '0')}`);

    beforeEach(() => {
      for (const name of names) homeserver.add(name);
    });

    const ends: [ErrorCode, string][] = [
      ['unauthorized', 'failed unauthorized'],
      ['timeout', 'unknown timeout'],
      ['interrupted', 'unknown interrupted'],
    ];
    for (const [code, end] of ends) {
      it(`begins no more (${code}), and logs which were not begun and what became of the others`, async () => {
        homeserver.before = (change) => {
          if (!change.includes('token-00')) throw new MxtokError(code, 'no');
        };
        const outcomes = await updateTokens(connection, await find(connection, ...names), {
          uses_allowed: 2,
          label: 'x',
        });
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
        assert.deepEqual([...connection.metadata.read().keys()], ['token-00']);
        for (const {token, outcome} of outcomes.slice(sent))
          assert(
            !outcome.ok && outcome.error.token === token && outcome.error.message === 'not tried, after: no',
          );
      });
    }
  });

  it('opens none of many that a disable has got to before it came to them', async () => {
    const names = Array.from({length: 12}, (_, index) => `token-${String(index).padStart(2, '0')}`);
    for (const name of names) homeserver.add(name, {uses_allowed: 5, expiry_time: T0 + DAY});
    const asked = await find(connection, ...names);
    homeserver.add('token-11', {uses_allowed: 0, expiry_time: T0 - 1, disabled: true});
    const outcomes = await updateTokens(connection, asked, {expiry: parseExpiry('7d')});
    assert.deepEqual(outcomeSummary(outcomes), [
      ...names.slice(0, 11).map((name) => `${name}: ok`),
      'token-11: changed_meanwhile',
    ]);
    const closed = homeserver.tokens.get('token-11');
    assert(closed && !homeserver.accepts(closed));
    assert.deepEqual(auditEnds(connection, ['token-11']), ['failed changed_meanwhile']);
  });

  it('says what it would do, and does nothing', async () => {
    for (const token of ['aaa-token', 'bbb-token', 'off-token', 'so-token'])
      homeserver.add(token, {uses_allowed: 3});
    homeserver.add('off-token', {uses_allowed: 0, expiry_time: T0 - DAY});
    homeserver.add('so-token', {uses_allowed: 5, expiry_time: T0 + DAY});
    await connection.metadata.update(['so-token', 'bbb-token'], (entry) => ({...entry, label: 'x'}));
    const asked = await find(connection, 'aaa-token', 'gone-token', 'bbb-token', 'off-token', 'so-token');
    const expires_at = '2035-01-02T12:00:00.000Z';
    const plans = planUpdate(connection, asked, {uses_allowed: 5, expiry: parseExpiry('1d'), label: 'x'});
    assert.deepEqual(outcomeSummary(plans), [
      'aaa-token: ok',
      'gone-token: no_such_token',
      'bbb-token: ok',
      'off-token: token_disabled',
      'so-token: ok',
    ]);
    const limits = {uses_allowed: 5, expiry_time: T0 + DAY, expires_at};
    assert.deepEqual(
      plans.map(({outcome}) => outcome.ok && [outcome.value.action, outcome.value.changes]),
      [['update', {...limits, label: 'x'}], false, ['update', limits], false, ['none', {}]],
    );
    const [first] = plans;
    assert(first?.outcome.ok && first.outcome.value.record.uses_allowed === 3);
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
  });

  const opening: [string, TokenChanges][] = [
    ['no expiry', {expiry: {kind: 'never'}}],
    ['a later expiry', {expiry: parseExpiry('1d')}],
    ['a later expiry and uses', {uses_allowed: 5, expiry: parseExpiry('1d')}],
    ['other uses', {uses_allowed: 5}],
  ];
  for (const [name, changes] of opening) {
    it(`refuses to give a disabled token ${name}: only enable knows what it had`, async () => {
      const row = homeserver.add('abc-token', {uses_allowed: 0, expiry_time: T0 - DAY});
      const error = await errorOf(update({...changes, label: 'x'}));
      assert.equal(error.code, 'token_disabled');
      assert.equal(error.token, 'abc-token');
      assert.match(error.hint ?? '', /mxtok enable/);
      assert.deepEqual(homeserver.changes, []);
      assert.equal(homeserver.accepts(row), false);
      assert.equal(known(connection, 'abc-token'), undefined);
      assert.deepEqual(auditEntries(connection), []);
    });
  }

  it('labels a disabled token', async () => {
    homeserver.add('abc-token', {uses_allowed: 0, expiry_time: T0 - DAY});
    assert.equal((await update({label: 'x'})).status, 'disabled');
  });

  it('limits a token at 0 that is still accepted', async () => {
    homeserver.add('abc-token', {uses_allowed: 0});
    const record = await update({expiry: parseExpiry('1h')});
    assert.equal(record.accepted, true);
    assert.equal(record.expiry_time, T0 + 3_600_000);
  });

  it('refuses an expiry that has passed by the homeserver’s clock, for all of them', async () => {
    homeserver.add('abc-token');
    const when = {kind: 'instant', time: T0 - 1} as const;
    assert.equal((await errorOf(update({expiry: when}))).code, 'usage');
    assert.deepEqual(homeserver.changes, []);
  });
});
