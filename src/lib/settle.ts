/** Work on several things at once, none of whose errors keeps the others from their end. */
import pMap from 'p-map';

import {meetsAll, MxtokError, toMxtokError} from './errors.ts';
import type {Outcome} from './homeserver/homeserver.ts';

/** Requests of one operation under way at once. */
export const CONCURRENCY = 8;

/** Run one token's work; an error is its outcome. */
export async function settle<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return {ok: true, value: await work()};
  } catch (error) {
    return {ok: false, error: toMxtokError(error)};
  }
}

/**
 * Work on each. After an error that would meet all others too (a homeserver that is gone, an interruption) no more are
 * begun: 500 time-outs one after the other tell nobody more than the first.
 * @returns an outcome each, in their order.
 */
export async function settleEach<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
  concurrency = CONCURRENCY,
): Promise<Outcome<R>[]> {
  let stopped: MxtokError | undefined;
  return pMap(
    items,
    async (item): Promise<Outcome<R>> => {
      if (stopped) return {ok: false, error: notBegunError(stopped), begun: false};
      const outcome = await settle(() => work(item));
      if (!outcome.ok && meetsAll(outcome.error)) stopped = outcome.error;
      return outcome;
    },
    {concurrency},
  );
}

function notBegunError({code, message, hint, status, errcode}: MxtokError): MxtokError {
  return new MxtokError(code, `not tried, after: ${message}`, {hint, status, errcode});
}
