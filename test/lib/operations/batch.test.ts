import {strict as assert} from 'node:assert';

import type {Connection} from '../../../src/lib/connection.ts';
import {findAgain} from '../../../src/lib/operations/batch.ts';
import type {RegistrationToken} from '../../../src/lib/registration-token.ts';
import {FakeHomeserver, fakeConnection, find, outcomeSummary} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';

const T0 = Date.UTC(2035, 0, 1, 12);

describe('findAgain', () => {
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

  const meddlings: [string, Partial<RegistrationToken>][] = [
    ['was disabled', {uses_allowed: 0, expiry_time: T0 - 1, disabled: true}],
    ['got another expiry', {expiry_time: T0 + 5000}],
    ['got other uses', {uses_allowed: 9}],
    ['has a sign-up under way', {pending: 1}],
  ];
  for (const [what, fields] of meddlings) {
    it(`leaves a token alone that ${what} while the question stood, and has the others as they were`, async () => {
      for (const token of ['aaa', 'bbb']) homeserver.add(token, {uses_allowed: 5, expiry_time: T0 - 10_000});
      const shown = await find(connection, 'aaa', 'bbb', 'none');
      homeserver.add('aaa', {uses_allowed: 5, expiry_time: T0 - 10_000, ...fields});
      assert.deepEqual(outcomeSummary(await findAgain(connection, shown)), [
        'aaa: changed_meanwhile',
        'bbb: ok',
        'none: no_such_token',
      ]);
    });
  }

  it('takes those too where a change of theirs is no reason to stop, as they are by now', async () => {
    homeserver.add('aaa', {uses_allowed: 5});
    const shown = await find(connection, 'aaa');
    homeserver.add('aaa', {uses_allowed: 9});
    const [again] = await findAgain(connection, shown, true);
    assert(again?.outcome.ok);
    assert.equal(again.outcome.value.token.uses_allowed, 9);
  });

  it('misses one that was deleted', async () => {
    homeserver.add('aaa');
    const shown = await find(connection, 'aaa');
    homeserver.tokens.delete('aaa');
    assert.deepEqual(outcomeSummary(await findAgain(connection, shown)), ['aaa: no_such_token']);
  });

  it('does not mind registrations, and sign-ups that were under way before', async () => {
    homeserver.add('aaa', {uses_allowed: 5, pending: 2});
    const shown = await find(connection, 'aaa');
    homeserver.add('aaa', {uses_allowed: 5, pending: 1, completed: 1});
    assert.deepEqual(outcomeSummary(await findAgain(connection, shown)), ['aaa: ok']);
  });
});
