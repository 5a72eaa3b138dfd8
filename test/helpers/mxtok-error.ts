/** What a call throws, and that there is no secret anywhere in it. */
import {strict as assert} from 'node:assert';
import {inspect} from 'node:util';

import {MxtokError} from '../../src/lib/errors.ts';
import {assertNoSecret} from './secrets.ts';

/** @returns the error that a function throws; it fails where it throws none, or one with a secret in it. */
export function errorIn(work: () => unknown): MxtokError {
  try {
    work();
  } catch (error) {
    return checked(error);
  }

  assert.fail('nothing was thrown');
}

/** As {@link errorIn}, for a promise. */
export async function errorOf(work: Promise<unknown>): Promise<MxtokError> {
  try {
    await work;
  } catch (error) {
    return checked(error);
  }

  assert.fail('nothing was thrown');
}

function checked(error: unknown): MxtokError {
  assert(error instanceof MxtokError, `not an error of our own: ${inspect(error)}`);
  const all = inspect(error, {depth: null, showHidden: true, getters: true});
  assertNoSecret(all, 'the error');
  assert.doesNotMatch(all, /authorization|bearer/i, 'the error holds a header');
  return error;
}
