/** A new token in place of an old one, for those who change theirs every week. */
import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {DisableOptions} from '../homeserver/homeserver.ts';
import {fingerprint, type RegistrationToken} from '../registration-token.ts';
import {type AssertHeld, type LockOptions, withLock} from '../store/lock.ts';
import type {TokenRecord} from '../token-record.ts';
import {resolveExpiry} from '../when.ts';
import {type FoundToken, type PlannedChange, recordOf, type TokenOutcome} from './batch.ts';
import {createToken, type NewToken} from './create.ts';
import {type DisabledRecord, disableTokens} from './disable.ts';
import {selectTokens} from './list.ts';

/** How long ago a run that was killed while it held us up may have made its token, milliseconds. */
const SAME_TIME = 120_000;

export type RotatedToken = NewToken & {label: string};

export interface RotateOptions {
  /** How many tokens of the label stay open, the new one among them. */
  keep: number;
  /** When this run began, by the clock here: Unix ms. One that another run has made or printed since then is its too. */
  startedAt: number;
  /** Ends the waiting, for another run and for the older tokens. */
  signal?: AbortSignal | undefined;
  /** Told once, where another run is under way. */
  onWait?: (() => void) | undefined;
}

export interface Rotation {
  token: TokenRecord;
  /** False where another run has just made it. */
  created: boolean;
  /** What became of the older ones. */
  disabled: TokenOutcome<DisabledRecord>[];
  /** Why nobody knows which older ones are open still. */
  unfinished?: MxtokError | undefined;
}

export interface RotationPlan {
  /** The newest first. */
  labelled: FoundToken[];
  /** Those that are to be disabled once the new one is there. */
  old: FoundToken[];
}

/**
 * What a rotation would disable.
 * @param own the new token, which stays; without one, it is yet to be made.
 */
export async function planRotation(
  connection: Connection,
  label: string,
  keep: number,
  own?: string,
): Promise<RotationPlan> {
  const all = await selectTokens(connection, {filter: {}});
  const labelled = all
    .flatMap(({outcome}) => (outcome.ok && outcome.value.metadata?.label === label ? [outcome.value] : []))
    .sort(byNewest);
  // One whose last uses are held by sign-ups under way opens again where they are given up.
  const open = labelled.filter(({token, metadata}) => {
    const {accepted, status} = recordOf(connection, token, metadata);
    return token.token !== own && (accepted || status === 'reserved');
  });
  // At 0, and accepted: anybody can register with it without a limit, which is nothing to be kept.
  const kept = new Set(open.filter(({token}) => !token.disabled).slice(0, keep - 1));
  return {labelled, old: open.filter((found) => !kept.has(found))};
}

/** The new token as it would be, of a name that nobody knows yet. @throws {MxtokError} `usage` */
export function planNewToken(connection: Connection, wanted: RotatedToken): PlannedChange {
  const token: RegistrationToken = {
    token: wanted.token,
    uses_allowed: wanted.uses_allowed,
    pending: 0,
    completed: 0,
    expiry_time: resolveExpiry(wanted.expiry, connection.homeserver.clock.now()),
    disabled: false,
  };
  const {label, note} = wanted;
  return {
    record: recordOf(connection, token, {token: wanted.token, label, ...(note && {note})}),
    action: 'create',
    changes: {},
  };
}

/**
 * Make a token, then disable the older ones of its label. Where anything fails before the new one is there, nothing is
 * disabled. Of several runs at once one makes it, and the others take that: all print the same, and one stays open.
 * @throws {MxtokError} what keeps the new token from being made.
 */
export async function rotate(
  connection: Connection,
  wanted: RotatedToken,
  {keep, startedAt, signal, onWait}: RotateOptions,
): Promise<Rotation> {
  // One for each label, so that a run that had to wait has waited for one of the same.
  const lock = `${connection.metadata.path}.rotation-${fingerprint(wanted.label).slice(0, 16)}`;
  const work = async (assertHeld: AssertHeld, contended: boolean): Promise<Rotation> => {
    const {labelled} = await planRotation(connection, wanted.label, keep);
    const adopted = findJustMade(connection, labelled, wanted, {startedAt, contended});
    // After a long break, another run may have made one that this one does not know of.
    assertHeld();
    const token = adopted
      ? recordOf(connection, adopted.token, adopted.metadata)
      : await createToken(connection, {...wanted, rotated_at: new Date().toISOString()});
    // The new token is there, and whoever has asked for it has to be told, whatever becomes of the others.
    const others = await disableOthers(
      connection,
      token.token,
      wanted.label,
      {keep, signal},
      assertHeld,
    ).catch((error: unknown) => ({disabled: [], unfinished: toMxtokError(error)}));
    return {token, created: !adopted, ...others};
  };
  const options: LockOptions = {signal, onWait};
  return withLock(lock, work, options);
}

/** @throws {MxtokError} saying that it is not known which of them are open. */
async function disableOthers(
  connection: Connection,
  own: string,
  label: string,
  {keep, ...options}: DisableOptions & {keep: number},
  assertHeld: AssertHeld,
): Promise<Pick<Rotation, 'disabled'>> {
  const hint = 'Run again for another token in place of all of them, or close them: mxtok disable TOKEN';
  // As they are now: while the new one was made, others may have been, and closed.
  const {old} = await planRotation(connection, label, keep, own).catch((error: unknown) => {
    const {code, message} = toMxtokError(error);
    throw new MxtokError(
      code,
      `the new token ${own} exists, but older tokens of the label may be open still: ${message}`,
      {
        ...{token: own, hint, cause: error},
      },
    );
  });
  try {
    assertHeld();
  } catch (error) {
    throw new MxtokError(
      'store',
      `the new token ${own} exists, but this run was held up for so long that another one may have taken its place: older tokens of the label may be open still`,
      {token: own, hint, cause: error},
    );
  }

  const asked = old.map((found) => ({
    token: found.token.token,
    outcome: {ok: true as const, value: found},
  }));
  const disabled = await disableTokens(connection, asked, options).catch((error: unknown) =>
    asked.map((one) => ({...one, outcome: {ok: false as const, error: toMxtokError(error)}})),
  );
  // From here on, whoever begins comes after this run. Where it cannot be noted, the time of its making stands.
  const rotated_at = new Date().toISOString();
  await connection.metadata
    .update([own], (entry) => (entry.label === label ? {...entry, rotated_at} : entry))
    .catch(() => undefined);
  return {disabled};
}

/** What another run has made at the same time, and made as this one would. */
function findJustMade(
  connection: Connection,
  labelled: readonly FoundToken[],
  wanted: RotatedToken,
  {startedAt, contended}: {startedAt: number; contended: boolean},
): FoundToken | undefined {
  const here = Date.now();
  const there = connection.homeserver.clock.now();
  return labelled.find((found, index) => {
    const rotated = rotatedAt(found);
    // One that is ahead was noted before the clock was set back.
    const sinceThen = rotated > startedAt && rotated <= here;
    // By a run that was killed while this one waited for it.
    const left = contended && index === 0 && rotated > 0 && createdAt(found) > there - SAME_TIME;
    return (sinceThen || left) && isAsWanted(connection, found, wanted);
  });
}

function isAsWanted({homeserver}: Connection, found: FoundToken, wanted: RotatedToken): boolean {
  const {token} = found;
  return (
    homeserver.accepts(token) &&
    token.uses_allowed === wanted.uses_allowed &&
    token.expiry_time === resolveExpiry(wanted.expiry, createdAt(found))
  );
}

/** By the clock here where both know it: two runs can see the homeserver's whole seconds in another order. */
function byNewest(a: FoundToken, b: FoundToken): number {
  const here = rotatedAt(a) > 0 && rotatedAt(b) > 0;
  return here ? rotatedAt(b) - rotatedAt(a) : createdAt(b) - createdAt(a);
}

/** Unix ms, by the homeserver's clock; of one that was not created here, long ago. */
function createdAt({metadata}: FoundToken): number {
  return Date.parse(metadata?.created_at ?? '') || 0;
}

/** Unix ms, by the clock here; 0 where no rotation made it. */
function rotatedAt({metadata}: FoundToken): number {
  return Date.parse(metadata?.rotated_at ?? '') || 0;
}
