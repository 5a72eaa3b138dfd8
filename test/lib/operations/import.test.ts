import {strict as assert} from 'node:assert';

import type {Connection} from '../../../src/lib/connection.ts';
import {MxtokError} from '../../../src/lib/errors.ts';
import type {TokenOutcome} from '../../../src/lib/operations/batch.ts';
import {type ImportedToken, importTokens, planImport} from '../../../src/lib/operations/import.ts';
import type {RegistrationToken} from '../../../src/lib/registration-token.ts';
import type {ExportedToken} from '../../../src/lib/token-file/exported-tokens.ts';
import {
  auditEntries,
  auditSummary,
  FakeHomeserver,
  fakeConnection,
  known,
} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';

const T0 = Date.UTC(2435, 0, 1, 12);
const LATER = T0 + 86_400_000;

function exported(token: string, fields: Partial<ExportedToken> = {}): ExportedToken {
  const limits = {uses_allowed: 5, completed: 0, expiry_time: LATER, ...fields};
  return {line: 2, token, ...limits, disabled: limits.uses_allowed === 0};
}

const soonRecord: ImportedToken = {
  server: 'main',
  token: 'soon',
  action: 'create',
  reason: null,
  uses_allowed: 5,
  expiry_time: T0 + 5000,
};

describe('an import', () => {
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

  /** `token: action, reason` or the error's code. @returns what the plan says, which is what is then done. */
  async function run(tokens: readonly ExportedToken[]): Promise<string[]> {
    const plan = await planImport(connection, tokens);
    const outcomes = await importTokens(connection, plan, {});
    assert.deepEqual(outcomes, plan.outcomes, 'what was planned is what was done');
    return outcomes.map(({token, outcome}) =>
      outcome.ok
        ? `${token}: ${outcome.value.action}${outcome.value.reason === null ? '' : `, ${outcome.value.reason}`}`
        : `${token}: ${outcome.error.code}`,
    );
  }

  async function runAll(tokens: readonly ExportedToken[]): Promise<TokenOutcome<ImportedToken>[]> {
    return importTokens(connection, await planImport(connection, tokens), {});
  }

  it('makes each token with what it has left, its expiry, its label and note', async () => {
    const tokens = [
      exported('a', {completed: 2, label: 'x', note: 'y'}),
      exported('b', {uses_allowed: null, completed: 7, expiry_time: null}),
    ];
    assert.deepEqual(await run(tokens), ['a: create', 'b: create']);
    assert.deepEqual(homeserver.changes.sort(), [
      `create a {"uses_allowed":3,"expiry_time":${LATER}}`,
      'create b {"uses_allowed":null,"expiry_time":null}',
    ]);
    assert.equal(known(connection, 'a')?.label, 'x');
    assert.equal(known(connection, 'a')?.note, 'y');
    assert.equal(known(connection, 'a')?.created_at, new Date(T0).toISOString());
  });

  it('leaves out what nobody could register with, and says why: none is opened by it', async () => {
    const tokens = [
      exported('expired', {expiry_time: T0}),
      exported('exhausted', {completed: 5}),
      exported('overdrawn', {completed: 6}),
      exported('disabled', {uses_allowed: 0}),
      exported('disabled-open', {uses_allowed: 0, expiry_time: null}),
      {...exported('switched-off'), disabled: true},
    ];
    assert.deepEqual(await run(tokens), [
      'expired: skip, expired',
      'exhausted: skip, exhausted',
      'overdrawn: skip, exhausted',
      'disabled: skip, disabled',
      'disabled-open: skip, disabled',
      'switched-off: skip, disabled',
    ]);
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
  });

  it('changes nothing the second time, whatever was used in between', async () => {
    const tokens = [
      exported('again-a', {completed: 2, label: 'x'}),
      exported('again-b', {uses_allowed: null}),
      exported('again-c', {expiry_time: T0}),
    ];
    await run(tokens);
    const {changes} = homeserver;
    const [done, log] = [[...changes], auditSummary(connection)];
    assert.deepEqual(await run(tokens), [
      'again-a: unchanged',
      'again-b: unchanged',
      'again-c: skip, expired',
    ]);
    Object.assign(homeserver.tokens.get('again-a') ?? {}, {completed: 3});
    assert.deepEqual(await run(tokens), [
      'again-a: unchanged',
      'again-b: unchanged',
      'again-c: skip, expired',
    ]);
    assert.deepEqual(changes, done);
    assert.deepEqual(auditSummary(connection), log);
  });

  const there: [string, Partial<ExportedToken>, Partial<RegistrationToken>, string][] = [
    ['the very same', {completed: 2}, {uses_allowed: 5, completed: 2, expiry_time: LATER}, 'unchanged'],
    [
      'the same, used since',
      {completed: 2},
      {uses_allowed: 5, completed: 4, expiry_time: LATER},
      'unchanged',
    ],
    [
      'one with as many left',
      {completed: 2},
      {uses_allowed: 9, completed: 6, expiry_time: LATER},
      'unchanged',
    ],
    ['one with more uses', {completed: 2}, {uses_allowed: 5, expiry_time: LATER}, 'already_exists'],
    ['one without a limit', {}, {expiry_time: LATER}, 'already_exists'],
    ['one with a limit', {uses_allowed: null}, {uses_allowed: 5, expiry_time: LATER}, 'already_exists'],
    ['one at 0', {}, {uses_allowed: 0, expiry_time: LATER}, 'already_exists'],
    ['one with another expiry', {}, {uses_allowed: 5}, 'already_exists'],
    ['any, of one that has expired', {expiry_time: T0}, {uses_allowed: 1}, 'unchanged'],
    ['any, of one that is disabled', {uses_allowed: 0}, {uses_allowed: 5}, 'unchanged'],
  ];
  for (const [what, fields, row, action] of there) {
    it(`leaves a token as it is where there is ${what}: ${action}`, async () => {
      homeserver.add('a', row);
      const before = {...homeserver.tokens.get('a')};
      assert.deepEqual(await run([exported('a', fields)]), [`a: ${action}`]);
      assert.deepEqual(homeserver.tokens.get('a'), before);
      assert.deepEqual(homeserver.changes, []);
    });
  }

  it('takes over labels and notes that are missing, replaces none, and logs that, in one go', async () => {
    const tokens = Array.from({length: 300}, (_, index) =>
      exported(`t${index}`, {label: `l${index}`, note: 'n'}),
    );
    for (const {token, uses_allowed, expiry_time} of tokens)
      homeserver.add(token, {uses_allowed, expiry_time});
    await connection.metadata.update(['t1'], (entry) => ({...entry, label: 'mine'}));
    let writes = 0;
    const update = connection.metadata.update.bind(connection.metadata);
    connection.metadata.update = (...args) => {
      if (args[0].length > 0) writes++;
      return update(...args);
    };
    const actions = await run(tokens);
    assert.deepEqual(new Set(actions.map((line) => line.split(': ')[1])), new Set(['label']));
    assert.equal(writes, 1);
    assert.equal(known(connection, 't0')?.label, 'l0');
    assert.equal(known(connection, 't1')?.label, 'mine');
    assert.equal(known(connection, 't1')?.note, 'n');
    assert.deepEqual(homeserver.changes, []);
    const entries = auditEntries(connection);
    assert.equal(entries.length, 600);
    assert.deepEqual(entries[0]?.after?.['label'], 'l0');
    assert.equal(entries.filter(({outcome}) => outcome === 'ok').length, 300);
    assert((await run(tokens)).every((line) => line.endsWith(': unchanged')));
  });

  it('leaves a label alone that somebody has given it in the meantime', async () => {
    homeserver.add('a', {uses_allowed: 5, expiry_time: LATER});
    const plan = await planImport(connection, [exported('a', {label: 'theirs', note: 'n'})]);
    await connection.metadata.update(['a'], (entry) => ({...entry, label: 'mine'}));
    await importTokens(connection, plan, {});
    assert.deepEqual([known(connection, 'a')?.label, known(connection, 'a')?.note], ['mine', 'n']);
  });

  it('tells of each what became of it, in the order of the file, where some fail', async () => {
    homeserver.before = (change) => {
      if (change.startsWith('create b')) throw new MxtokError('refused', 'no');
    };
    const plan = await planImport(connection, [
      exported('a'),
      exported('b'),
      exported('c', {expiry_time: T0}),
      exported('d'),
    ]);
    const outcomes = await importTokens(connection, plan, {});
    assert.deepEqual(
      outcomes.map(({token, outcome}) => [token, outcome.ok ? outcome.value.action : outcome.error.code]),
      [
        ['a', 'create'],
        ['b', 'refused'],
        ['c', 'skip'],
        ['d', 'create'],
      ],
    );
  });

  it('leaves out what expires while it runs, and brings the others', async () => {
    const soon = exported('soon', {expiry_time: T0 + 5000});
    const plan = await planImport(connection, [soon, exported('a'), exported('b', {expiry_time: T0 + 6000})]);
    homeserver.pass(7000);
    homeserver.before = (change) => {
      // As Synapse does.
      if (change.startsWith('create soon'))
        throw new MxtokError('refused', 'no', {errcode: 'M_INVALID_PARAM', status: 400});
      if (change.startsWith('create b')) throw new MxtokError('server_error', 'no', {status: 500});
    };
    const outcomes = await importTokens(connection, plan, {concurrency: 1});
    assert.deepEqual(
      outcomes.map(({token, outcome}) => [token, outcome.ok ? outcome.value : outcome.error.code]),
      [
        ['soon', {...soonRecord, action: 'skip', reason: 'expired'}],
        ['a', {...soonRecord, token: 'a', action: 'create', reason: null, expiry_time: LATER}],
        ['b', 'server_error'],
      ],
    );
    assert.equal(known(connection, 'soon'), undefined);
  });

  it('takes no other refusal for an expiry', async () => {
    homeserver.before = () => {
      throw new MxtokError('refused', 'no', {errcode: 'M_INVALID_PARAM', status: 400});
    };
    assert.deepEqual(
      (await runAll([exported('a'), exported('b', {expiry_time: null})])).map(({outcome}) => outcome.ok),
      [false, false],
    );
  });

  it('counts what another run of it has made meanwhile', async () => {
    const tokens = [exported('a', {completed: 2, label: 'x'}), exported('b'), exported('c', {label: 'x'})];
    const plan = await planImport(connection, tokens);
    homeserver.add('a', {uses_allowed: 3, expiry_time: LATER});
    homeserver.add('b', {uses_allowed: 5});
    const outcomes = await importTokens(connection, plan, {});
    assert.deepEqual(
      outcomes.map(({token, outcome}) => [token, outcome.ok ? outcome.value.action : outcome.error.code]),
      [
        ['a', 'unchanged'],
        ['b', 'already_exists'],
        ['c', 'create'],
      ],
    );
    assert.equal(known(connection, 'a')?.label, 'x');
    assert.equal(known(connection, 'b'), undefined);
  });

  it('says nothing of those that it did not come to', async () => {
    const controller = new AbortController();
    const tokens = Array.from({length: 20}, (_, index) => exported(`t${index}`));
    const plan = await planImport(connection, tokens);
    const outcomes = await importTokens(connection, plan, {
      concurrency: 1,
      signal: controller.signal,
      onCreated: ({token}) => {
        if (token === 't4') controller.abort();
      },
    });
    assert.deepEqual(
      outcomes.map(({token}) => token),
      ['t0', 't1', 't2', 't3', 't4'],
    );
    assert.equal(homeserver.tokens.size, 5);
  });

  it('plans without doing anything', async () => {
    homeserver.add('b', {uses_allowed: 5, expiry_time: LATER});
    const plan = await planImport(connection, [exported('a', {completed: 1}), exported('b', {label: 'x'})]);
    const shown = plan.outcomes.map(({outcome}): ImportedToken | undefined =>
      outcome.ok ? outcome.value : undefined,
    );
    const same = {server: 'main', reason: null, expiry_time: LATER};
    assert.deepEqual(shown, [
      {...same, token: 'a', action: 'create', uses_allowed: 4},
      {...same, token: 'b', action: 'label', uses_allowed: 5},
    ]);
    assert.deepEqual([homeserver.changes, auditEntries(connection)], [[], []]);
    assert.equal(known(connection, 'b'), undefined);
  });
});
