import {strict as assert} from 'node:assert';

import type {Connection} from '../../../src/lib/connection.ts';
import {
  listTokens,
  selectTokens,
  type TokenFilter,
  tokenComparator,
} from '../../../src/lib/operations/list.ts';
import type {TokenField, TokenRecord} from '../../../src/lib/token-record.ts';
import {parseDuration} from '../../../src/lib/when.ts';
import {FakeHomeserver, fakeConnection, outcomeSummary} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';

const T0 = Date.UTC(2035, 0, 1, 12);
const HOUR = 3_600_000;

describe('listTokens', () => {
  let time: FrozenTime;
  let homeserver: FakeHomeserver;
  let connection: Connection;

  beforeEach(async () => {
    time = new FrozenTime();
    homeserver = new FakeHomeserver(T0);
    connection = fakeConnection(homeserver);
    // In no order, as homeservers answer.
    homeserver.add('unlimited', {completed: 12});
    homeserver.add('exhausted', {uses_allowed: 2, completed: 2, expiry_time: T0 + HOUR});
    homeserver.add('disabled', {uses_allowed: 0, expiry_time: T0 - HOUR});
    homeserver.add('Valid', {uses_allowed: 10, completed: 9, expiry_time: T0 + 2 * HOUR});
    homeserver.add('expired', {uses_allowed: 3, expiry_time: T0 - 1});
    homeserver.add('at-zero', {uses_allowed: 0, pending: 1});
    homeserver.add('reserved', {uses_allowed: 1, pending: 1});
    const labels: Record<string, string> = {
      Valid: 'Spring workshop',
      expired: 'spring cleaning',
      disabled: '!urgent',
      exhausted: '[a.b] (50%)',
      reserved: 'Öffentlich',
    };
    await connection.metadata.update(Object.keys(labels), (entry) => ({
      ...entry,
      label: labels[entry.token] ?? '',
      ...(entry.token === 'reserved' && {note: 'for the Autumn fair'}),
    }));
  });

  afterEach(() => {
    time.restore();
  });

  async function list(
    filter: TokenFilter,
    field: TokenField = 'token',
    descending = false,
    limit?: number,
  ): Promise<string[]> {
    const records = await listTokens(connection, {filter, order: {field, descending}, limit});
    return records.map(({token}) => token);
  }

  const all = ['Valid', 'at-zero', 'disabled', 'exhausted', 'expired', 'reserved', 'unlimited'];

  it('lists all, ordered, with their labels, and judged by the homeserver’s clock', async () => {
    const records = await listTokens(connection, {filter: {}, order: {field: 'token', descending: false}});
    assert.deepEqual(
      records.map(({token, status, accepted, label}) => [token, status, accepted, label]),
      [
        ['Valid', 'valid', true, 'Spring workshop'],
        ['at-zero', 'disabled', true, null],
        ['disabled', 'disabled', false, '!urgent'],
        ['exhausted', 'exhausted', false, '[a.b] (50%)'],
        ['expired', 'expired', false, 'spring cleaning'],
        ['reserved', 'reserved', false, 'Öffentlich'],
        ['unlimited', 'valid', true, null],
      ],
    );
    assert.deepEqual(Object.keys(records[0] ?? {}), [
      'server',
      'token',
      'status',
      'accepted',
      'uses_allowed',
      'pending',
      'completed',
      'expiry_time',
      'expires_at',
      'label',
      'note',
      'link',
    ]);
  });

  it('does not list tokens that are known here only', async () => {
    await connection.metadata.update(['gone'], (entry) => ({...entry, label: 'x'}));
    assert.deepEqual(await list({}), all);
  });

  describe('filters', () => {
    const cases: [string, TokenFilter, string[]][] = [
      ['one status', {status: ['expired']}, ['expired']],
      ['one of several', {status: ['disabled', 'reserved']}, ['at-zero', 'disabled', 'reserved']],
      ['accepted', {accepted: true}, ['Valid', 'at-zero', 'unlimited']],
      ['not accepted', {accepted: false}, ['disabled', 'exhausted', 'expired', 'reserved']],
      [
        'disabled, and accepted all the same: all must hold',
        {status: ['disabled'], accepted: true},
        ['at-zero'],
      ],
      ['a label, in any case', {label: 'SPRING workshop'}, ['Valid']],
      ['a part of a label only with *', {label: 'spring'}, []],
      ['a label’s beginning', {label: 'spring*'}, ['Valid', 'expired']],
      ['a label’s middle', {label: '*ing*'}, ['Valid', 'expired']],
      ['any label', {label: '*'}, ['Valid', 'disabled', 'exhausted', 'expired', 'reserved']],
      ['a leading ! as itself', {label: '!urgent'}, ['disabled']],
      ['a leading ! before a *', {label: '!u*'}, ['disabled']],
      ['characters that mean something in patterns as themselves', {label: '[a.b] (50%)'}, ['exhausted']],
      ['a dot as no other character', {label: '[axb]*'}, []],
      ['other languages', {label: 'öffent*'}, ['reserved']],
      ['a part of the token', {search: 'ALI'}, ['Valid']],
      ['a part of a label', {search: 'workshop'}, ['Valid']],
      ['a part of a note', {search: 'autumn'}, ['reserved']],
      ['nothing that is there', {search: 'winter'}, []],
      ['a * in a search as itself', {search: '*'}, []],
      ['what ends soon and is accepted still', {expiringWithin: parseDuration('3h', '-')}, ['Valid']],
      ['what ends at the last moment', {expiringWithin: parseDuration('2h', '-')}, ['Valid']],
      ['nothing that ends so soon', {expiringWithin: parseDuration('119m', '-')}, []],
      ['never used, nor about to be', {unused: true}, ['disabled', 'expired']],
      ['used or not', {unused: false}, all],
      ['what has one use left', {usesLeft: 1}, ['Valid']],
      ['nothing that is used up: nobody could register with it', {usesLeft: 0}, []],
      ['no unlimited one, nor one at 0 that is taken for unlimited', {usesLeft: 999_999_999}, ['Valid']],
      [
        'what is about to run out, and about to end',
        {usesLeft: 5, expiringWithin: parseDuration('1h', '-')},
        [],
      ],
    ];
    for (const [name, filter, expected] of cases) {
      it(`finds ${name}`, async () => {
        assert.deepEqual(await list(filter), expected);
      });
    }
  });

  describe('order', () => {
    const cases: [TokenField, boolean, string[]][] = [
      ['token', true, [...all].reverse()],
      ['completed', true, ['unlimited', 'Valid', 'exhausted', 'at-zero', 'disabled', 'expired', 'reserved']],
      ['status', false, ['at-zero', 'disabled', 'expired', 'exhausted', 'reserved', 'Valid', 'unlimited']],
      [
        'uses_allowed',
        false,
        ['at-zero', 'disabled', 'reserved', 'exhausted', 'expired', 'Valid', 'unlimited'],
      ],
      // Nothing comes last in either direction.
      [
        'expiry_time',
        false,
        ['disabled', 'expired', 'exhausted', 'Valid', 'at-zero', 'reserved', 'unlimited'],
      ],
      [
        'expiry_time',
        true,
        ['Valid', 'exhausted', 'expired', 'disabled', 'at-zero', 'reserved', 'unlimited'],
      ],
      ['expires_at', true, ['Valid', 'exhausted', 'expired', 'disabled', 'at-zero', 'reserved', 'unlimited']],
      ['accepted', false, ['disabled', 'exhausted', 'expired', 'reserved', 'Valid', 'at-zero', 'unlimited']],
      ['link', true, all],
    ];
    for (const [field, descending, expected] of cases) {
      it(`is by ${field}, ${descending ? 'last first' : 'first first'}, and then by token`, async () => {
        assert.deepEqual(await list({}, field, descending), expected);
      });
    }

    it('puts tokens without a label last', async () => {
      assert.deepEqual((await list({}, 'label')).slice(-2), ['at-zero', 'unlimited']);
      assert.deepEqual((await list({}, 'label', true)).slice(-2), ['at-zero', 'unlimited']);
    });
  });

  it('counts sign-ups under way as uses that are taken', async () => {
    homeserver.add('held', {uses_allowed: 10, completed: 3, pending: 5});
    assert.deepEqual(await list({usesLeft: 1}), ['Valid']);
    assert.deepEqual(await list({usesLeft: 2}), ['Valid', 'held']);
  });

  it('takes the first so many after ordering', async () => {
    assert.deepEqual(await list({}, 'token', false, 2), ['Valid', 'at-zero']);
    assert.deepEqual(await list({accepted: true}, 'completed', true, 1), ['unlimited']);
    assert.deepEqual(await list({}, 'token', false, 100), all);
  });
});

describe('tokenComparator', () => {
  /** Of two homeservers, in the order in which they have answered. */
  const records = (
    [
      ['west', 'b', 5, 'x'],
      ['west', 'a', null, null],
      ['east', 'b', 5, 'x'],
      ['east', 'c', 1, 'y'],
      ['east', 'a', 5, null],
    ] as const
  ).map(([server, token, uses_allowed, label]) => ({server, token, uses_allowed, label}) as TokenRecord);

  function ordered(field: TokenField, descending = false): string[] {
    return records
      .toSorted(tokenComparator({field, descending}))
      .map(({server, token}) => `${token}@${server}`);
  }

  it('mixes what several homeservers have, and orders equals by token and then by server', () => {
    assert.deepEqual(ordered('token'), ['a@east', 'a@west', 'b@east', 'b@west', 'c@east']);
    assert.deepEqual(ordered('token', true), ['c@east', 'b@east', 'b@west', 'a@east', 'a@west']);
    assert.deepEqual(ordered('uses_allowed'), ['c@east', 'a@east', 'b@east', 'b@west', 'a@west']);
    assert.deepEqual(ordered('label', true), ['c@east', 'b@east', 'b@west', 'a@east', 'a@west']);
  });

  it('orders by server, and then by token', () => {
    assert.deepEqual(ordered('server'), ['a@east', 'b@east', 'c@east', 'a@west', 'b@west']);
    assert.deepEqual(ordered('server', true), ['a@west', 'b@west', 'a@east', 'b@east', 'c@east']);
  });

  it('is the same whichever answers first', () => {
    for (const field of ['token', 'server', 'uses_allowed', 'label', 'link'] as const) {
      const compare = tokenComparator({field, descending: false});
      assert.deepEqual(records.toReversed().sort(compare), records.toSorted(compare), field);
    }
  });
});

describe('selectTokens', () => {
  let time: FrozenTime;
  let homeserver: FakeHomeserver;
  let connection: Connection;

  beforeEach(async () => {
    time = new FrozenTime();
    homeserver = new FakeHomeserver(T0);
    connection = fakeConnection(homeserver);
    homeserver.add('zzz', {uses_allowed: 3});
    homeserver.add('off', {uses_allowed: 0, expiry_time: T0 - 1});
    homeserver.add('Aaa', {uses_allowed: 3, expiry_time: T0 + HOUR});
    homeserver.add('old', {expiry_time: T0});
    await connection.metadata.update(['zzz', 'old', 'gone'], (entry) => ({...entry, label: 'Spring fair'}));
  });

  afterEach(() => {
    time.restore();
  });

  it('finds those that are named, in their order, and says in its place which there is not', async () => {
    const found = await selectTokens(connection, {names: ['zzz', 'gone', 'off']});
    assert.deepEqual(outcomeSummary(found), ['zzz: ok', 'gone: no_such_token', 'off: ok']);
    const [zzz, gone] = found;
    assert(zzz?.outcome.ok);
    assert.equal(zzz.outcome.value.token.uses_allowed, 3);
    assert.equal(zzz.outcome.value.metadata?.label, 'Spring fair');
    assert(gone?.outcome.ok === false && gone.outcome.error.token === 'gone');
  });

  it('finds none where none is named', async () => {
    assert.deepEqual(await selectTokens(connection, {names: []}), []);
  });

  const cases: [string, TokenFilter, string[]][] = [
    ['all that there are, by token', {}, ['Aaa', 'off', 'old', 'zzz']],
    ['those of a label, of any status', {label: 'spring*'}, ['old', 'zzz']],
    ['those of a label and a status', {label: 'spring*', status: ['valid']}, ['zzz']],
    ['those that are over by the homeserver’s clock', {status: ['expired']}, ['old']],
    ['none', {label: 'winter'}, []],
  ];
  for (const [name, filter, expected] of cases) {
    it(`lets a filter choose ${name}`, async () => {
      const found = await selectTokens(connection, {filter});
      assert.deepEqual(
        outcomeSummary(found),
        expected.map((token) => `${token}: ok`),
      );
      for (const {token, outcome} of found) assert(outcome.ok && outcome.value.token.token === token);
    });
  }

  it('chooses as list does', async () => {
    for (const filter of [
      {accepted: true},
      {unused: true},
      {search: 'A'},
      {usesLeft: 3},
      {expiringWithin: parseDuration('2h', '-')},
    ]) {
      const listed = await listTokens(connection, {filter, order: {field: 'token', descending: false}});
      assert(listed.length > 0);
      assert.deepEqual(
        (await selectTokens(connection, {filter})).map(({token}) => token),
        listed.map(({token}) => token),
      );
    }
  });
});
