/** Which tokens are of no use any more. */
import type {Connection} from '../connection.ts';
import {subtractDuration, type Duration} from '../when.ts';
import {MxtokError} from '../errors.ts';
import {settleEach} from '../settle.ts';
import {about, type FoundToken, recordOf, type TokenOutcome} from './batch.ts';
import {isBeingDisabled, isCutShort} from './disable.ts';
import {selectTokens, type TokenFilter} from './list.ts';

export interface PruneQuery {
  /** For at least so long; by the homeserver's clock. */
  olderThan?: Duration | undefined;
  /** Also those that were disabled. */
  disabled: boolean;
  /** Also those with sign-ups under way, which will end in an error. */
  pending: boolean;
  /** Of these only. */
  filter: Pick<TokenFilter, 'label'>;
}

export interface PruneChoice {
  found: FoundToken[];
  /** Of no use, but kept because of sign-ups under way. */
  pending: string[];
  /** Of no use, but kept because nobody here knows since when. */
  ageless: string[];
}

/**
 * Expired and exhausted tokens, and disabled ones where they are asked for; never one that the homeserver accepts.
 * Since when: an expired token by its expiry, a disabled one by when it was disabled, an exhausted one, of which no
 * homeserver tells when it was used, by when it was created here.
 */
export async function choosePrunable(
  connection: Connection,
  {olderThan, disabled, pending, filter}: PruneQuery,
): Promise<PruneChoice> {
  const status = ['expired', 'exhausted', ...(disabled ? ['disabled' as const] : [])] as const;
  const chosen = await selectTokens(connection, {filter: {...filter, status, accepted: false}});
  const now = connection.homeserver.clock.now();
  const before = olderThan && subtractDuration(now, olderThan);
  const choice: PruneChoice = {found: [], pending: [], ageless: []};
  for (const {token, outcome} of chosen) {
    if (!outcome.ok || isBeingDisabled(outcome.value, now)) continue;
    // One that a disabling has left half-way has expired, but it is to be disabled, and can be enabled again.
    if (!disabled && isCutShort(outcome.value.token, outcome.value.metadata)) continue;
    const since = before === undefined ? undefined : uselessSince(connection, outcome.value);
    if (before !== undefined && since !== undefined && since > before) continue;
    if (outcome.value.token.pending > 0 && !pending) choice.pending.push(token);
    else if (before !== undefined && since === undefined) choice.ageless.push(token);
    else choice.found.push(outcome.value);
  }

  return choice;
}

/**
 * Have the homeserver itself say, right before they are deleted, that tokens are over by their expiry: the Date by which
 * they were chosen may be a reverse proxy's, and ahead. One that is not over is an error in its place.
 */
export async function provenOver(
  {homeserver}: Connection,
  asked: readonly TokenOutcome<FoundToken>[],
): Promise<TokenOutcome<FoundToken>[]> {
  const proofs = await settleEach(asked, async ({outcome}) => {
    if (!outcome.ok) return true;
    const {token} = outcome.value;
    const usedUp = token.uses_allowed !== null && !token.disabled && token.completed >= token.uses_allowed;
    return usedUp || homeserver.isPast(token);
  });
  return asked.map((one, index) => {
    const proof = proofs[index];
    // One that is gone by now is what was wanted.
    if (proof?.ok === false && proof.error.code !== 'no_such_token')
      return {token: one.token, outcome: about(one.token, proof)};
    if (proof?.ok !== true || proof.value) return one;
    const error = new MxtokError(
      'still_accepted',
      `${one.token} is not over by the homeserver’s own clock, which is behind the Date of its answers`,
      {token: one.token, hint: 'Set the clocks by NTP, the reverse proxy’s too.'},
    );
    return {token: one.token, outcome: {ok: false, error}};
  });
}

/** @returns Unix ms; `undefined` where nobody here knows. */
function uselessSince(connection: Connection, {token, metadata}: FoundToken): number | undefined {
  const {status, expiry_time} = recordOf(connection, token, metadata);
  if (status === 'exhausted') {
    const created = Date.parse(metadata?.created_at ?? '');
    return Number.isNaN(created) ? undefined : created;
  }

  if (expiry_time === null) return undefined;
  // Disabling sets the expiry to the moment at which it was done, unless it had passed by then. A later one is of
  // somebody who has opened the token again, by other means.
  return status === 'disabled' ? Math.max(metadata?.disabled?.at ?? expiry_time, expiry_time) : expiry_time;
}
