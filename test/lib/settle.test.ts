import {strict as assert} from 'node:assert';
import {setImmediate as turn} from 'node:timers/promises';

import {type ErrorCode, EXIT_CODES, MxtokError} from '../../src/lib/errors.ts';
import {CONCURRENCY, settle, settleEach} from '../../src/lib/settle.ts';
import {Gate} from '../helpers/gate.ts';

/** What keeps any further token from being tried: it would meet all of them. */
const MEETS_ALL: ErrorCode[] = [
  ...([
    'interrupted',
    'not_admin',
    'not_matrix',
    'rate_limited',
    'server_error',
    'store',
    'timeout',
  ] as const),
  ...(['tls', 'unauthorized', 'unexpected', 'unreachable', 'unsupported'] as const),
];

describe('settle', () => {
  it('makes an outcome of what is returned, and of what is thrown', async () => {
    assert.deepEqual(await settle(() => Promise.resolve(5)), {ok: true, value: 5});
    const refused = new MxtokError('refused', 'no');
    assert.deepEqual(await settle(() => Promise.reject(refused)), {ok: false, error: refused});
    const odd = await settle(() => {
      throw new TypeError('odd');
    });
    assert(!odd.ok && odd.error.code === 'unexpected');
  });
});

describe('settleEach', () => {
  it('has an outcome for each in its place, whichever is done first', async () => {
    const gate = new Gate();
    const done: string[] = [];
    const working = settleEach(['a', 'b', 'c'], async (item) => {
      await gate.pass();
      done.push(item);
      return item.toUpperCase();
    });
    await gate.reached(3);
    gate.open();
    assert.deepEqual(
      (await working).map((outcome) => outcome.ok && outcome.value),
      ['A', 'B', 'C'],
    );
    assert.deepEqual(done, ['c', 'b', 'a']);
  });

  it('has no outcomes where there is nothing to do', async () => {
    assert.deepEqual(await settleEach([], () => Promise.reject(new Error('called'))), []);
  });

  for (const concurrency of [1, 3, CONCURRENCY]) {
    it(`has ${concurrency} under way at once, and never more`, async () => {
      let [now, most] = [0, 0];
      const items = Array.from({length: 40}, (_, index) => index);
      const outcomes = await settleEach(
        items,
        async (item) => {
          most = Math.max(most, ++now);
          await turn();
          now--;
          return item;
        },
        concurrency,
      );
      assert.equal(most, concurrency);
      assert.equal(outcomes.length, 40);
    });
  }

  /** Of ten, one at a time, the fourth fails. @returns which were begun. */
  async function failFourth(code: ErrorCode) {
    const begun: number[] = [];
    const outcomes = await settleEach(
      Array.from({length: 10}, (_, index) => index),
      (item) => {
        begun.push(item);
        return item === 3
          ? Promise.reject(new MxtokError(code, 'no', {hint: 'Wait.', status: 500, errcode: 'M_UNKNOWN'}))
          : Promise.resolve(item);
      },
      1,
    );
    return {begun, outcomes};
  }

  for (const code of Object.keys(EXIT_CODES) as ErrorCode[]) {
    if (MEETS_ALL.includes(code)) {
      it(`begins no more after ${code}, and says of each that it was not tried, and why`, async () => {
        const {begun, outcomes} = await failFourth(code);
        assert.deepEqual(begun, [0, 1, 2, 3]);
        assert.deepEqual(
          outcomes.map((outcome) => outcome.ok),
          [true, true, true, ...Array<boolean>(7).fill(false)],
        );
        const [failed, ...rest] = outcomes.slice(3);
        // The one that failed was begun: what became of it nobody may know.
        assert(failed?.ok === false && failed.begun === undefined && failed.error.message === 'no');
        for (const outcome of rest) {
          assert(!outcome.ok);
          assert.equal(outcome.begun, false);
          const {message, hint, status, errcode} = outcome.error;
          assert.deepEqual(
            {code: outcome.error.code, message, hint, status, errcode},
            {code, message: 'not tried, after: no', hint: 'Wait.', status: 500, errcode: 'M_UNKNOWN'},
          );
        }

        // Each is to be told of its own token.
        const errors = outcomes.flatMap((outcome) => (outcome.ok ? [] : [outcome.error]));
        assert.equal(new Set(errors).size, errors.length);
      });
    } else {
      it(`goes on after ${code}`, async () => {
        const {begun, outcomes} = await failFourth(code);
        assert.equal(begun.length, 10);
        assert.equal(outcomes.filter((outcome) => outcome.ok).length, 9);
      });
    }
  }

  it('lets those that are under way come to their end, and keeps what became of them', async () => {
    const gate = new Gate();
    const begun: number[] = [];
    const failed = new Gate();
    const working = settleEach(
      [0, 1, 2, 3, 4],
      async (item) => {
        begun.push(item);
        if (item === 1) {
          await failed.pass();
          throw new MxtokError('unreachable', 'gone');
        }

        await gate.pass();
        return item;
      },
      3,
    );
    await gate.reached(2);
    failed.open();
    // The error has been seen before the others go on.
    await turn();
    gate.open();
    const outcomes = await working;
    assert.deepEqual(begun, [0, 1, 2]);
    assert.deepEqual(
      outcomes.map((outcome) => (outcome.ok ? outcome.value : (outcome.begun ?? outcome.error.code))),
      [0, 'unreachable', 2, false, false],
    );
  });
});
