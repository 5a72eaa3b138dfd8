/** What became of rotations, as it is written. */
import {type ErrorJson, errorToJson} from '../errors.ts';
import type {TokenOutcome} from '../operations/batch.ts';
import type {ServerOutcome} from '../operations/each-server.ts';
import type {Rotation} from '../operations/rotate.ts';
import type {TokenRecord} from '../token-record.ts';

/** The new token, the names of those that it has taken the place of, and those that should be closed and are not. */
export type RotatedRecord = TokenRecord & {
  /** False where another run has just made it. */
  created: boolean;
  disabled: string[];
  failed: {token: string; error: ErrorJson}[];
  /** Only where it is not known which should be closed and are not: why. */
  error?: ErrorJson;
};

export function toRotatedRecord(one: ServerOutcome<Rotation>): ServerOutcome<RotatedRecord> {
  if (!one.outcome.ok) return {...one, outcome: one.outcome};
  const {token, created, disabled, unfinished} = one.outcome.value;
  const closed = disabled.flatMap(({token: old, outcome}) => (outcome.ok ? [old] : []));
  const failed = disabled.flatMap(({token: old, outcome}) =>
    outcome.ok ? [] : [{token: old, error: errorToJson(outcome.error)}],
  );
  const error = unfinished && errorToJson(unfinished);
  const value = {...token, created, disabled: closed, failed, ...(error && {error})};
  return {...one, outcome: {ok: true, value}};
}

/** What is to be told of as failed: older tokens, and the new one where it has not taken their place for certain. */
export function failuresOf({token, disabled, unfinished}: Rotation): TokenOutcome<unknown>[] {
  if (!unfinished) return disabled;
  return [...disabled, {token: token.token, outcome: {ok: false, error: unfinished}}];
}
