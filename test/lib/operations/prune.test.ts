import {strict as assert} from 'node:assert';

import type {Connection} from '../../../src/lib/connection.ts';
import {
  choosePrunable,
  provenOver,
  type PruneChoice,
  type PruneQuery,
} from '../../../src/lib/operations/prune.ts';
import type {RegistrationToken} from '../../../src/lib/registration-token.ts';
import type {TokenMetadata} from '../../../src/lib/store/metadata.ts';
import {parseDuration} from '../../../src/lib/when.ts';
import {auditEntries, FakeHomeserver, fakeConnection, outcomeSummary} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';

const T0 = Date.UTC(2035, 0, 31, 12);
const DAY = 86_400_000;

describe('choosePrunable', () => {
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

  async function add(
    token: string,
    fields: Partial<RegistrationToken>,
    metadata: Partial<TokenMetadata> = {},
  ): Promise<void> {
    homeserver.add(token, fields);
    await connection.metadata.update([token], (entry) => ({...entry, ...metadata}));
  }

  function choose(query: Partial<PruneQuery> = {}): Promise<PruneChoice> {
    return choosePrunable(connection, {disabled: false, pending: false, filter: {}, ...query});
  }

  /** Those that would go. */
  async function chosen(query: Partial<PruneQuery> = {}): Promise<string[]> {
    return (await choose(query)).found.map(({token}) => token.token);
  }

  const olderThan = parseDuration('30d', '--older-than');
  const ago = (days: number): number => T0 - days * DAY;
  const isoAgo = (days: number): string => new Date(ago(days)).toISOString();
  const disabledAgo = (days: number) => ({
    disabled: {uses_allowed: 5, expiry_time: null, at: ago(days), done: true},
  });

  describe('without a time', () => {
    beforeEach(async () => {
      await add('unlimited', {});
      await add('valid', {uses_allowed: 5, completed: 4, expiry_time: T0 + 1});
      await add('expired', {uses_allowed: 5, expiry_time: T0 - 1});
      await add('expired-now', {expiry_time: T0});
      await add('exhausted', {uses_allowed: 2, completed: 2});
      await add('reserved', {uses_allowed: 2, completed: 1, pending: 1});
      await add('disabled', {uses_allowed: 0, expiry_time: T0 - 1});
      await add('zero', {uses_allowed: 0});
      await add('zero-later', {uses_allowed: 0, completed: 9, expiry_time: T0 + 1});
    });

    it('takes what has expired or is used up, by token', async () => {
      assert.deepEqual(await chosen(), ['exhausted', 'expired', 'expired-now']);
    });

    it('takes what is disabled too where it is told to, but nothing that the homeserver accepts', async () => {
      assert.deepEqual(await chosen({disabled: true}), ['disabled', 'exhausted', 'expired', 'expired-now']);
      for (const {token} of (await choose({disabled: true, pending: true})).found)
        assert.equal(homeserver.accepts(token), false);
    });

    it('does nothing to any of them', async () => {
      await choose({disabled: true, pending: true});
      assert.deepEqual(homeserver.changes, []);
      assert.deepEqual(auditEntries(connection), []);
    });
  });

  it('are asked for their end by the homeserver itself before they go, whatever Date says', async () => {
    homeserver.dateAhead = 7_200_000;
    await add('long-over', {uses_allowed: 5, expiry_time: ago(1)});
    await add('live', {uses_allowed: 5, expiry_time: T0 + 3_600_000});
    await add('used-up', {uses_allowed: 2, completed: 2, expiry_time: null});
    homeserver.pass(0);
    const {found} = await choose();
    const asked = found.map((value) => ({token: value.token.token, outcome: {ok: true as const, value}}));
    assert.deepEqual(outcomeSummary(await provenOver(connection, asked)), [
      'live: still_accepted',
      'long-over: ok',
      'used-up: ok',
    ]);
    assert.deepEqual(homeserver.changes, []);
    homeserver.tokens.delete('live');
    assert.deepEqual(outcomeSummary(await provenOver(connection, asked)), [
      'live: ok',
      'long-over: ok',
      'used-up: ok',
    ]);
  });

  describe('that a disabling has closed and not marked yet', () => {
    const closing = (at: number, done: boolean) => ({
      disabled: {uses_allowed: 5, expiry_time: T0 + 7 * DAY, at, done},
    });

    beforeEach(async () => {
      await add('under-way', {uses_allowed: 1, expiry_time: T0 - 1000}, closing(T0 - 3000, false));
      await add('left-half-way', {uses_allowed: 1, expiry_time: ago(1)}, closing(ago(1) - 2000, false));
      await add('merely-expired', {uses_allowed: 1, expiry_time: ago(1)});
    });

    it('keeps them, for they are to be disabled, not to be lost', async () => {
      assert.deepEqual(await chosen(), ['merely-expired']);
    });

    it('takes one that was left half-way with the disabled ones, but none that may be at it still', async () => {
      assert.deepEqual(await chosen({disabled: true}), ['left-half-way', 'merely-expired']);
    });
  });

  it('judges by the homeserver’s clock, not by ours', async () => {
    await add('expired', {expiry_time: T0 - 1});
    await add('valid', {expiry_time: T0 + DAY});
    assert.deepEqual(await chosen(), ['expired']);
    homeserver.pass(DAY);
    assert.deepEqual(await chosen(), ['expired', 'valid']);
  });

  describe('with sign-ups under way', () => {
    beforeEach(async () => {
      await add('expired', {uses_allowed: 5, pending: 1, expiry_time: T0 - 1});
      await add('exhausted', {uses_allowed: 2, completed: 2, pending: 1});
      await add('off', {uses_allowed: 0, pending: 2, expiry_time: T0 - 1});
      await add('reserved', {uses_allowed: 1, pending: 1});
      await add('quiet', {expiry_time: T0 - 1});
    });

    it('keeps them, and names them', async () => {
      const choice = await choose({disabled: true});
      assert.deepEqual(
        choice.found.map(({token}) => token.token),
        ['quiet'],
      );
      assert.deepEqual(choice.pending, ['exhausted', 'expired', 'off']);
      assert.deepEqual((await choose()).pending, ['exhausted', 'expired']);
    });

    it('takes them where it is told to, but never one whose uses may come back', async () => {
      const choice = await choose({disabled: true, pending: true});
      assert.deepEqual(
        choice.found.map(({token}) => token.token),
        ['exhausted', 'expired', 'off', 'quiet'],
      );
      assert.deepEqual(choice.pending, []);
    });

    it('names none that would stay anyway, for it is too young', async () => {
      assert.deepEqual((await choose({olderThan})).pending, ['exhausted']);
    });
  });

  describe('older than a time', () => {
    it('counts from the expiry of an expired one', async () => {
      await add('expired-31', {expiry_time: ago(31)});
      await add('expired-30', {expiry_time: ago(30)});
      await add('expired-29', {expiry_time: ago(30) + 1});
      assert.deepEqual(await chosen({olderThan}), ['expired-30', 'expired-31']);
    });

    it('counts from the creation of one that is used up, and keeps one that was not made here', async () => {
      await add('new', {uses_allowed: 1, completed: 1}, {created_at: isoAgo(29)});
      await add('old', {uses_allowed: 1, completed: 1}, {created_at: isoAgo(30)});
      await add('found', {uses_allowed: 1, completed: 1}, {label: 'x'});
      await add('odd', {uses_allowed: 1, completed: 1}, {created_at: 'yesterday'});
      const choice = await choose({olderThan});
      assert.deepEqual(
        choice.found.map(({token}) => token.token),
        ['old'],
      );
      assert.deepEqual(choice.ageless, ['found', 'odd']);
      // Without a time, nobody has to know.
      assert.deepEqual(await chosen(), ['found', 'new', 'odd', 'old']);
      assert.deepEqual((await choose()).ageless, []);
    });

    it('counts from the expiry also of one that expired before it was used up', async () => {
      await add('both', {uses_allowed: 1, completed: 1, expiry_time: ago(31)}, {created_at: isoAgo(29)});
      assert.deepEqual(await chosen({olderThan}), ['both']);
    });

    it('counts from when a disabled one was disabled', async () => {
      await add('off-31', {uses_allowed: 0, expiry_time: ago(31)}, disabledAgo(31));
      await add('off-29', {uses_allowed: 0, expiry_time: ago(29)}, disabledAgo(29));
      // It had expired long before, so its expiry has stayed.
      await add('late-29', {uses_allowed: 0, expiry_time: ago(90)}, disabledAgo(29));
      await add('late-31', {uses_allowed: 0, expiry_time: ago(90)}, disabledAgo(31));
      assert.deepEqual(await chosen({olderThan, disabled: true}), ['late-31', 'off-31']);
    });

    it('counts from the expiry where one was disabled elsewhere: until then it was accepted', async () => {
      await add('elsewhere-31', {uses_allowed: 0, expiry_time: ago(31)});
      await add('elsewhere-29', {uses_allowed: 0, expiry_time: ago(29)});
      // Disabled here, put off by another tool, and over since yesterday.
      await add('put-off', {uses_allowed: 0, expiry_time: ago(1)}, disabledAgo(60));
      assert.deepEqual(await chosen({olderThan, disabled: true}), ['elsewhere-31']);
    });

    it('counts from the expiry of one that another tool has opened again after it was disabled here', async () => {
      await add('again', {uses_allowed: 5, expiry_time: ago(1)}, disabledAgo(60));
      assert.deepEqual(await chosen({olderThan}), []);
      assert.deepEqual(await chosen(), ['again']);
    });

    it('counts months by the calendar', async () => {
      await add('december', {expiry_time: Date.UTC(2034, 11, 31, 12)});
      await add('january', {expiry_time: Date.UTC(2034, 11, 31, 12, 0, 1)});
      assert.deepEqual(await chosen({olderThan: parseDuration('1mo', '--older-than')}), ['december']);
    });
  });

  describe('a token that a disabling has left between its steps', () => {
    /** It has expired since, by that disabling's doing, which began so long ago. */
    async function addCutShort(token: string, age: number): Promise<void> {
      const at = T0 - age;
      await add(
        token,
        {uses_allowed: 1, expiry_time: at + 1000},
        {disabled: {uses_allowed: 5, expiry_time: null, at, done: false}},
      );
    }

    it('is kept, for it can be enabled again, unless disabled ones are to go too', async () => {
      await addCutShort('half', 60 * DAY);
      await addCutShort('half-young', DAY);
      assert.deepEqual(await chosen(), []);
      assert.deepEqual(await chosen({disabled: true}), ['half', 'half-young']);
      assert.deepEqual(await chosen({disabled: true, olderThan}), ['half']);
    });

    it('is kept in any case while that may be under way', async () => {
      await addCutShort('under-way', 5000);
      assert.deepEqual(await chosen({disabled: true, pending: true}), []);
    });

    it('is not one that expired long before by itself', async () => {
      await add(
        'expired',
        {expiry_time: ago(60)},
        {disabled: {...disabledAgo(1).disabled, expiry_time: ago(60), done: false}},
      );
      assert.deepEqual(await chosen(), ['expired']);
    });
  });

  it('takes those of a label only, where one is given', async () => {
    await add('spring', {expiry_time: T0 - 1}, {label: 'Spring fair'});
    await add('autumn', {expiry_time: T0 - 1}, {label: 'Autumn fair'});
    await add('none', {expiry_time: T0 - 1});
    await add('open', {}, {label: 'Spring fair'});
    assert.deepEqual(await chosen({filter: {label: 'spring*'}}), ['spring']);
  });
});
