import {strict as assert} from 'node:assert';

import type {Connection} from '../../../src/lib/connection.ts';
import {MxtokError} from '../../../src/lib/errors.ts';
import {findOperations} from '../../../src/lib/operations/audit.ts';
import type {TokenOutcome} from '../../../src/lib/operations/batch.ts';
import {
  type CompleteRow,
  createRows,
  planRows,
  type RowsPlan,
} from '../../../src/lib/operations/create-from.ts';
import {fingerprint} from '../../../src/lib/registration-token.ts';
import {formatLocal, parseExpiry} from '../../../src/lib/when.ts';
import {
  auditEnds,
  auditSummary,
  FakeHomeserver,
  fakeConnection,
  known,
  outcomeSummary,
} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {Gate} from '../../helpers/gate.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {tempDir} from '../../helpers/temp.ts';

const T0 = Date.UTC(2435, 0, 1, 12);
const NEVER = {kind: 'never'} as const;

describe('creating from the rows of a file', () => {
  let time: FrozenTime;
  let homeserver: FakeHomeserver;
  let connection: Connection;
  let made: number;
  let dir: string;

  beforeEach(() => {
    time = new FrozenTime();
    homeserver = new FakeHomeserver(T0);
    dir = tempDir();
    connection = fakeConnection(homeserver, dir);
    made = 0;
  });

  afterEach(() => {
    time.restore();
  });

  const row = (fields: Partial<CompleteRow> = {}): CompleteRow => ({
    line: 2,
    uses_allowed: 1,
    expiry: NEVER,
    ...fields,
  });
  /** @param text of the file. */
  const plan = (rows: readonly CompleteRow[], text = 'a file'): Promise<RowsPlan> =>
    planRows(connection, rows, () => `made-${++made}`, {source: 'guests.csv', text});
  const namesOf = (records: readonly {token: string}[]): string[] => records.map(({token}) => token);
  const conflictsOf = ({conflicts}: RowsPlan): string[] =>
    conflicts.map(({outcome}) => (outcome.ok ? '' : `${outcome.error.code}: ${outcome.error.message}`));

  /** One run over the rows. @returns what it printed. */
  async function run(rows: readonly CompleteRow[], stopAfter = Infinity, text?: string): Promise<string[]> {
    const controller = new AbortController();
    const planned = await plan(rows, text);
    const printed = namesOf(planned.existing);
    await createRows(connection, planned, {
      concurrency: 1,
      signal: controller.signal,
      onCreated: ({token}) => {
        if (printed.push(token) >= stopAfter) controller.abort();
      },
    });
    return printed;
  }

  /** A run that is killed before the request with this number; nothing of that process happens any more. */
  async function runKilled(rows: readonly CompleteRow[], at: number): Promise<void> {
    const asked = homeserver.changes.length;
    homeserver.before = () =>
      homeserver.changes.length - asked >= at ? new Promise(() => undefined) : undefined;
    void createRows(connection, await plan(rows), {concurrency: 1});
    while (homeserver.changes.length < asked + at) await new Promise(setImmediate);
    homeserver.before = () => undefined;
    connection = fakeConnection(homeserver, dir);
  }

  describe('with a token of its own', () => {
    it('is made where there is none, with all that its row says', async () => {
      const rows = [row({token: 'a', uses_allowed: 5, expiry: parseExpiry('7d'), label: 'x', note: 'y'})];
      const {wanted, existing, conflicts} = await plan(rows);
      assert.deepEqual(
        [wanted, existing, conflicts],
        [[{token: 'a', uses_allowed: 5, expiry: rows[0]?.expiry, label: 'x', note: 'y'}], [], []],
      );
    });

    it('is done where it is there as its row wants it, also long after it was made', async () => {
      const rows = [
        row({token: 'a', uses_allowed: 5, expiry: parseExpiry('7d'), label: 'x', note: 'y'}),
        row({token: 'b', uses_allowed: null, expiry: parseExpiry('1mo')}),
        row({token: 'c', expiry: {kind: 'instant', time: T0 + 1000}}),
      ];
      assert.deepEqual(await run(rows), ['a', 'b', 'c']);
      homeserver.pass(3_600_000);
      const changes = [...homeserver.changes];
      const planned = await plan(rows);
      assert.deepEqual(
        [namesOf(planned.existing), planned.wanted, planned.conflicts],
        [['a', 'b', 'c'], [], []],
      );
      assert.deepEqual(homeserver.changes, changes);
      assert.equal(planned.existing[0]?.label, 'x');
    });

    it('is done where somebody has registered with it meanwhile, or labelled it though the row does not', async () => {
      homeserver.add('a', {uses_allowed: 5, completed: 3, pending: 1});
      await connection.metadata.update(['a'], (entry) => ({...entry, label: 'mine'}));
      const planned = await plan([row({token: 'a', uses_allowed: 5})]);
      assert.deepEqual(namesOf(planned.existing), ['a']);
    });

    const differences: [string, Partial<CompleteRow>, string][] = [
      ['uses', {uses_allowed: 5}, 'its uses are 1, not 5'],
      ['no limit', {uses_allowed: null}, 'its uses are 1, not unlimited'],
      ['no expiry', {expiry: NEVER}, 'its expiry is 2435-01-08T12:00:00.000Z, not never'],
      [
        'another expiry',
        {expiry: {kind: 'instant', time: T0 + 1}},
        'its expiry is 2435-01-08T12:00:00.000Z, not 2435-01-01T12:00:00.001Z',
      ],
      [
        'another duration',
        {expiry: parseExpiry('8d')},
        'its expiry is 2435-01-08T12:00:00.000Z, not 2435-01-09T12:00:00.000Z',
      ],
      ['another label', {label: 'y'}, 'its label here is "x", not "y"'],
      ['a note', {note: 'y'}, 'its note here is none, not "y"'],
      ['all at once', {uses_allowed: 2, label: 'y'}, 'its uses are 1, not 2; its label here is "x", not "y"'],
    ];
    for (const [what, fields, message] of differences) {
      it(`is a conflict where the row wants ${what}, and says so`, async () => {
        const first = row({token: 'a', expiry: parseExpiry('7d'), label: 'x'});
        await run([first]);
        const planned = await plan([{...first, ...fields}]);
        assert.deepEqual(conflictsOf(planned), [`already_exists: there is a token a already: ${message}`]);
        assert.deepEqual([planned.wanted, planned.existing], [[], []]);
      });
    }

    it('is a conflict where its duration counts from a time that nobody here knows', async () => {
      homeserver.add('a', {uses_allowed: 1, expiry_time: T0 + 7 * 86_400_000});
      assert.deepEqual(conflictsOf(await plan([row({token: 'a', expiry: parseExpiry('7d')})])), [
        'already_exists: there is a token a already: its expiry is 2435-01-08T12:00:00.000Z, not one that counts from when it was made, which is not known here',
      ]);
    });
  });

  describe('without one', () => {
    const rows = [row({label: 'Ada'}), row({label: 'Bob'}), row(), row(), row()];

    it('is made anew by each run that comes after one that has come to its end', async () => {
      assert.deepEqual(await run(rows), ['made-1', 'made-2', 'made-3', 'made-4', 'made-5']);
      assert.deepEqual(await run(rows), ['made-6', 'made-7', 'made-8', 'made-9', 'made-10']);
      assert.equal(homeserver.tokens.size, 10);
      assert.equal(known(connection, 'made-1')?.row, undefined);
      assert.equal(known(connection, 'made-6')?.label, 'Ada');
    });

    for (const stop of [1, 2, 3, 4]) {
      it(`is made once, where a run is interrupted after ${stop} of 5 and then done again`, async () => {
        const first = await run(rows, stop);
        assert.equal(first.length, stop);
        const second = await run(rows);
        assert.deepEqual(second.slice(0, stop), first);
        assert.deepEqual([...homeserver.tokens.keys()].sort(), second.toSorted());
        const labels = second.map((token) => known(connection, token)?.label ?? '').sort();
        assert.deepEqual(labels, ['', '', '', 'Ada', 'Bob']);
        assert.equal(new Set([...(await run(rows)), ...second]).size, 10);
      });
    }

    it('is made once, where a run is killed with requests under way', async () => {
      await runKilled(rows, 3);
      assert.deepEqual([...homeserver.tokens.keys()], ['made-1', 'made-2']);
      assert.deepEqual(await run(rows), ['made-1', 'made-2', 'made-3', 'made-4', 'made-5']);
      assert.equal(homeserver.tokens.size, 5);
      assert.equal(known(connection, 'made-2')?.label, 'Bob');
      assert.deepEqual(await findOperations(connection.audit, {unfinished: true}), []);
      const log = auditSummary(connection);
      await run([row({token: 'made-1', label: 'Ada'})]);
      assert.deepEqual(auditSummary(connection), log, 'what the log knows is not logged again');
    });

    it('is done where somebody has labelled the token that was made for it', async () => {
      const [token = ''] = await run(rows, 1);
      await connection.metadata.update([token], (entry) => ({...entry, label: 'other'}));
      const planned = await plan(rows);
      assert.deepEqual([namesOf(planned.existing), planned.conflicts], [[token], []]);
    });

    const changes: [string, (token: string) => void][] = [
      ['is used up', (token) => homeserver.add(token, {uses_allowed: 1, completed: 1})],
      ['was disabled', (token) => homeserver.add(token, {uses_allowed: 0, expiry_time: T0})],
      ['was expired', (token) => homeserver.add(token, {uses_allowed: 1, expiry_time: T0})],
      ['has other uses', (token) => homeserver.add(token, {uses_allowed: 7})],
      ['has another expiry', (token) => homeserver.add(token, {uses_allowed: 1, expiry_time: T0 + 1e9})],
    ];
    for (const [what, change] of changes) {
      it(`gets another token where the one that was made for it ${what}, and is done then`, async () => {
        const [token = ''] = await run(rows, 1);
        change(token);
        const kept = {...homeserver.tokens.get(token)};
        const printed = await run(rows);
        assert.equal(printed.length, 5);
        assert(!printed.includes(token));
        assert.deepEqual(homeserver.tokens.get(token), kept);
        assert.equal(known(connection, token)?.row, undefined);
      });
    }

    it('takes up its token by the time at which that was made, where it ends after a while', async () => {
      const weeks = [
        row({label: 'Ada', expiry: parseExpiry('1w')}),
        row({label: 'Bob', expiry: parseExpiry('1w')}),
      ];
      const [token = ''] = await run(weeks, 1);
      homeserver.pass(3_600_000);
      assert.equal((await run(weeks))[0], token);
    });

    it('is made again where its token was deleted meanwhile', async () => {
      const [token = ''] = await run(rows, 1);
      homeserver.tokens.delete(token);
      assert.equal((await run(rows)).length, 5);
      assert.equal(homeserver.tokens.size, 5);
    });

    it('never gets the name that another row asks for', async () => {
      const planned = await plan([row(), row({token: 'made-1'}), row()]);
      assert.deepEqual(namesOf(planned.wanted), ['made-2', 'made-1', 'made-3']);
    });

    it('never gets a token that was there before, though a new name be the same', async () => {
      for (const token of ['made-1', 'made-3', 'made-4']) homeserver.add(token, {uses_allowed: 1});
      const before = structuredClone([...homeserver.tokens.values()]);
      assert.deepEqual(await run(rows), ['made-2', 'made-5', 'made-6', 'made-7', 'made-8']);
      assert.deepEqual([...homeserver.tokens.values()].slice(0, 3), before);
    });

    it('never takes for its own what somebody else has made of that new name meanwhile', async () => {
      const planned = await plan([row()]);
      homeserver.add('made-1', {uses_allowed: 1});
      assert.deepEqual(outcomeSummary(await createRows(connection, planned, {})), ['made-1: already_exists']);
    });

    it('never gets a token that was made for a row of another file', async () => {
      const [token = ''] = await run(rows, 1, 'label\nAda\nBob\n');
      const other = await run(rows, Infinity, 'label\nAda\nBob\nEve\n');
      assert(!other.includes(token));
      assert.equal(other.length, 5);
      assert.equal((await run(rows, Infinity, 'label\nAda\nBob\n'))[0], token, 'it is that file’s still');
    });

    it('is made anew after a run that has come to its end with conflicts, or refusals', async () => {
      homeserver.add('mine', {uses_allowed: 7});
      const mixed = [row({token: 'mine'}), row({label: 'Ada'}), row({label: 'Bob'})];
      const first = await run(mixed);
      const second = await run(mixed);
      assert.equal(new Set([...first, ...second]).size, 4);

      homeserver.before = (change) => {
        if (change.startsWith('create made-6')) throw new MxtokError('refused', 'no');
      };
      const third = await run(rows);
      assert.deepEqual(third, ['made-5', 'made-7', 'made-8', 'made-9']);
      homeserver.before = () => undefined;
      const fourth = await run(rows);
      assert.deepEqual(
        fourth.filter((token) => third.includes(token)),
        [],
      );
    });

    it('gets the one that a killed run had asked for, and that turns up only now', async () => {
      await runKilled(rows, 3);
      const planned = await plan(rows);
      homeserver.add('made-3', {uses_allowed: 1});
      const outcomes = await createRows(connection, planned, {concurrency: 1});
      assert.deepEqual(outcomeSummary(outcomes), ['made-3: ok', 'made-4: ok', 'made-5: ok']);
      assert.deepEqual(await findOperations(connection.audit, {unfinished: true}), []);
    });

    it('is another one where its content is', async () => {
      await run([row({label: 'Ada'}), row({label: 'Bob'})], 1);
      const planned = await plan([row({label: 'Ada', uses_allowed: 2}), row({label: 'Bob'})]);
      assert.deepEqual(namesOf(planned.existing), []);
      assert.equal(planned.wanted.length, 2);
    });

    for (const code of ['timeout', 'unauthorized', 'rate_limited', 'store'] as const) {
      it(`stays in mind where the run ended with ${code}, be it at the last row, so that the next does the rest`, async () => {
        homeserver.before = (change) => {
          if (change.startsWith('create made-5')) throw new MxtokError(code, 'no');
        };
        await run(rows);
        homeserver.before = () => undefined;
        const again = await plan(rows);
        assert.equal(again.existing.length, 4);
        assert.equal(again.wanted.length, 1);
      });
    }
  });

  describe('the same file twice at the same time', () => {
    const rows = [
      row({token: 'a', expiry: parseExpiry('7d'), label: 'x', note: 'y'}),
      row({token: 'b', expiry: parseExpiry('1mo'), label: 'x'}),
      row({token: 'c', expiry: {kind: 'instant', time: T0 + 1_000_000}}),
    ];

    /** Two processes, each of which has planned before the other has made anything. */
    async function twice(second: readonly CompleteRow[] = rows): Promise<TokenOutcome[][]> {
      const other = fakeConnection(homeserver, dir);
      const first = await plan(rows);
      homeserver.pass(3000);
      const then = await planRows(other, second, () => 'none', {source: 'guests.csv', text: 'a file'});
      const gate = new Gate();
      homeserver.before = () => gate.pass();
      const both = Promise.all([createRows(connection, first, {}), createRows(other, then, {})]);
      await gate.reached(6);
      gate.open();
      const outcomes = await both;
      homeserver.before = () => undefined;
      return outcomes;
    }

    it('makes each token once, and both runs count it', async () => {
      for (const outcomes of await twice())
        assert.deepEqual(outcomeSummary(outcomes), ['a: ok', 'b: ok', 'c: ok']);
      assert.equal(homeserver.tokens.size, 3);
      assert.deepEqual([known(connection, 'a')?.label, known(connection, 'a')?.note], ['x', 'y']);
      // Whichever has made it: the next run counts it, too, and the log tells of one that was made.
      homeserver.pass(60_000);
      const again = await plan(rows);
      assert.deepEqual([namesOf(again.existing), again.wanted, again.conflicts], [['a', 'b', 'c'], [], []]);
      const creations = (await findOperations(connection.audit, {})).filter(({outcome}) => outcome === 'ok');
      assert.equal(creations.length, 3);
      assert.deepEqual(await findOperations(connection.audit, {unfinished: true}), []);
    });

    it('counts one that the other has made, also at the next run, were the other killed', async () => {
      const planned = await plan(rows.slice(0, 1));
      homeserver.add('a', {uses_allowed: 1, expiry_time: T0 - 60_000 + 7 * 86_400_000});
      assert.deepEqual(outcomeSummary(await createRows(connection, planned, {})), ['a: ok']);
      const again = await plan(rows.slice(0, 1));
      assert.deepEqual([namesOf(again.existing), conflictsOf(again)], [['a'], []]);
      assert.equal(again.existing[0]?.label, 'x');
    });

    it('is a conflict where the other file wants it in another way', async () => {
      const outcomes = await twice(rows.map((one) => ({...one, uses_allowed: 2})));
      const summaries = outcomes.map((one) => outcomeSummary(one).map((line) => line.slice(3)));
      const each = summaries[0]?.map((first, index) => [first, summaries[1]?.[index]].sort());
      assert.deepEqual(each, Array(3).fill(['already_exists', 'ok']));
    });

    it('says of one that was made meanwhile what is other than the row wants it', async () => {
      const planned = await plan(rows.slice(0, 1));
      homeserver.add('a', {uses_allowed: 2, expiry_time: T0 + 86_400_000});
      const [only] = await createRows(connection, planned, {});
      assert(only && !only.outcome.ok);
      assert.equal(
        only.outcome.error.message,
        'there is a token a already: its uses are 2, not 1; its expiry is 2435-01-02T12:00:00.000Z, not 2435-01-08T12:00:00.000Z',
      );
      assert.equal(known(connection, 'a'), undefined);
    });
  });

  describe('after two runs that were killed', () => {
    it('counts a token that the second has made, by when that one made it', async () => {
      const rows = [
        row({token: 'a', expiry: parseExpiry('7d')}),
        row({token: 'b', expiry: parseExpiry('7d')}),
      ];
      await runKilled(rows, 1);
      homeserver.pass(3_600_000);
      await runKilled(rows, 2);
      assert.deepEqual([...homeserver.tokens.keys()], ['a']);
      homeserver.pass(3_600_000);
      const planned = await plan(rows);
      assert.deepEqual([namesOf(planned.existing), conflictsOf(planned)], [['a'], []]);
    });

    it('has what is known of an earlier token of that name again, where none was made after all', async () => {
      await connection.metadata.update(['a'], (entry) => ({...entry, label: 'old'}));
      homeserver.before = () => {
        throw new MxtokError('refused', 'no');
      };
      await run([row({token: 'a', label: 'x'})]);
      assert.deepEqual(known(connection, 'a'), {token: 'a', label: 'old'});
    });

    it('has one creation of each token in the log, and no open end', async () => {
      const rows = [row({token: 'guest-a'}), row(), row()];
      await runKilled(rows, 3);
      assert.deepEqual([...homeserver.tokens.keys()], ['guest-a', 'made-1']);
      await run(rows);
      const log = await findOperations(connection.audit, {});
      for (const token of ['guest-a', 'made-1']) {
        const own = log.filter((one) => one.fingerprint === fingerprint(token));
        assert.deepEqual(
          own.map(({operation, outcome, actor}) => [operation, outcome, actor]),
          [['create', 'ok', '@admin:example.org']],
        );
        assert.equal(own[0]?.after?.['uses_allowed'], 1);
        assert(own[0].finished_at !== null && own[0].finished_at >= own[0].time);
      }

      assert.deepEqual(auditEnds(connection, ['guest-a', 'made-1', 'made-2']), ['ok', 'ok', 'ok']);
      assert.deepEqual(await findOperations(connection.audit, {unfinished: true}), []);
    });
  });

  it('makes the others where the expiry of one passes while the run goes on', async () => {
    const soon = {kind: 'instant', time: T0 + 1000} as const;
    const planned = await plan([row({token: 'a', expiry: soon}), row({token: 'b'})]);
    homeserver.pass(2000);
    homeserver.before = (change) => {
      if (change.startsWith('create a ')) throw new MxtokError('refused', 'it is past');
    };
    const outcomes = await createRows(connection, planned, {});
    assert.deepEqual(outcomeSummary(outcomes), ['a: refused', 'b: ok']);
  });

  it('names every row whose expiry has passed by the homeserver’s clock, before anything is made', async () => {
    const past = {kind: 'instant', time: T0} as const;
    homeserver.add('there', {uses_allowed: 1, expiry_time: T0});
    const error = await errorOf(
      plan([
        row({line: 2, expiry: past}),
        row({line: 4, token: 'a', expiry: past}),
        row({line: 5, token: 'there', expiry: past}),
        row({line: 6}),
      ]),
    );
    assert.equal(error.code, 'usage');
    assert.equal(error.message, 'guests.csv: 2 lines are wrong; nothing was created');
    const message = `expiry: ${formatLocal(Date.UTC(2435, 0, 1, 12))} has passed already`;
    assert.deepEqual(error.problems, [
      {line: 2, message},
      {line: 4, message},
    ]);
    assert.deepEqual(homeserver.changes, []);
  });
});
