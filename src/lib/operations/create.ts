import pMap from 'p-map';

import type {Connection} from '../connection.ts';
import {interruptedError, leavesOpen, meetsAll, MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome} from '../homeserver/homeserver.ts';
import type {RegistrationToken} from '../registration-token.ts';
import {CONCURRENCY, settle} from '../settle.ts';
import type {AuditedOperation} from '../store/audit.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {resolveExpiry, type When} from '../when.ts';
import {about, finishOperation, recordOf, type TokenOutcome} from './batch.ts';

export interface NewToken {
  token: string;
  /** `null` is no limit. */
  uses_allowed: number | null;
  expiry: When;
  label?: string | undefined;
  note?: string | undefined;
  /** Which row of a file it was made for; kept until the run has come to its end. */
  row?: string | undefined;
  /** When a rotation has set out to make it: ISO 8601, by the clock here. */
  rotated_at?: string | undefined;
}

export interface CreateOptions {
  /** Requests under way at once. */
  concurrency?: number | undefined;
  /** Aborted: no more are begun, and those under way come to their end. */
  signal?: AbortSignal | undefined;
  /** Told of each token as soon as the homeserver has it. */
  onCreated?: ((record: TokenRecord) => void | Promise<void>) | undefined;
  /** Given where the homeserver was asked before, and had none of them. */
  lookedUp?: LookedUp | undefined;
}

/**
 * Tokens that were looked for, and not found. What is known here of any of them is left over, from a run that was killed
 * or a token that is gone, so that what is to be noted of the new one takes its place at once.
 */
export interface LookedUp {
  /** When, by the homeserver's clock, Unix ms: expiries are judged by that, and count from then. */
  at: number;
  /**
   * There is one of that name all the same by now.
   * @param entry what was known of it here, or is to be noted.
   * @returns what is to be noted of it, where it does in place of the wanted one.
   * @throws {MxtokError} where it does not.
   */
  adopt(wanted: NewToken, existing: RegistrationToken, entry: TokenMetadata): TokenMetadata;
}

/**
 * So many are logged and labelled ahead together, then twice as many, and so on: with a hundred thousand labels in the
 * store, each write of it takes as long as forty requests.
 */
const FIRST_BATCH = 500;
const LARGEST_BATCH = 2000;

/**
 * Create tokens. Before the first of a batch is sent, the log and the labels of all of it are on the disk: a run that is
 * killed at any moment leaves no token on the homeserver that the log does not know, and none without its label.
 * @returns what became of each that was begun, in their order: after an interruption, or an error that would meet all
 * others too, the rest is missing.
 * @throws {MxtokError} `usage`, `store`: before anything was sent.
 */
export async function createTokens(
  connection: Connection,
  wanted: readonly NewToken[],
  {concurrency = CONCURRENCY, signal, onCreated, lookedUp}: CreateOptions = {},
): Promise<TokenOutcome[]> {
  const now = lookedUp?.at ?? connection.homeserver.clock.now();
  const batches = inBatches(wanted.map((one) => plan(connection, one, now)));
  const outcomes: TokenOutcome[] = [];
  let stop = false;
  const stopped = (): boolean => stop || signal?.aborted === true;
  // While the requests of one batch are under way, the next is made ready and the one before is brought to its end.
  let finishing = Promise.resolve();
  const makeReady = (index: number): Promise<BegunToken[]> =>
    begin(connection, stopped() ? [] : (batches[index] ?? []), lookedUp !== undefined);
  let next = makeReady(0);
  for (let index = 0; index < batches.length && !stopped(); index++) {
    const batch = await next.catch(async (error: unknown) => {
      await finishing;
      throw error;
    });
    next = makeReady(index + 1);
    // Its error is met where it is awaited.
    next.catch(() => undefined);
    const results = await pMap(
      batch,
      async (one) => {
        if (stopped()) return undefined;
        const result = await make(connection, one, lookedUp);
        const {outcome, entry} = result;
        if (!outcome.ok) stop ||= meetsAll(outcome.error);
        else await onCreated?.(recordOf(connection, outcome.value, entry, now));
        return result;
      },
      {concurrency},
    );
    await finishing;
    finishing = finish(connection, batch, results, now).then((finished) => {
      outcomes.push(...finished);
      stop ||= finished.some(({outcome}) => !outcome.ok && outcome.error.code === 'store');
    });
  }

  await finishing;
  // After a stop, the batch that was made ready; where it could not be, there is nothing to take back.
  const ahead = await next.catch(() => []);
  if (ahead.length > 0) {
    await finish(
      connection,
      ahead,
      ahead.map(() => undefined),
      now,
    );
  }

  return outcomes;
}

/** Create one token. @throws {MxtokError} what keeps it from being there, or from being noted here. */
export async function createToken(connection: Connection, wanted: NewToken): Promise<TokenRecord> {
  const [only] = await createTokens(connection, [wanted]);
  if (!only) throw interruptedError();
  if (!only.outcome.ok) throw only.outcome.error;
  return only.outcome.value;
}

interface PlannedToken {
  token: string;
  wanted: NewToken;
  limits: {uses_allowed: number | null; expiry_time: number | null};
  entry: TokenMetadata;
}

function plan({auditContext}: Connection, wanted: NewToken, now: number): PlannedToken {
  return {
    token: wanted.token,
    wanted,
    limits: {uses_allowed: wanted.uses_allowed, expiry_time: resolveExpiry(wanted.expiry, now)},
    entry: {
      token: wanted.token,
      ...(wanted.label && {label: wanted.label}),
      ...(wanted.note && {note: wanted.note}),
      ...(wanted.row !== undefined && {row: wanted.row}),
      // By the homeserver's clock, as its expiry is: a duration can be told from the two of them later on.
      created_at: new Date(now).toISOString(),
      ...(auditContext.actor !== null && {created_by: auditContext.actor}),
      ...(wanted.rotated_at !== undefined && {rotated_at: wanted.rotated_at}),
    },
  };
}

function inBatches<T>(items: readonly T[]): T[][] {
  const batches: T[][] = [];
  for (
    let start = 0, size = FIRST_BATCH;
    start < items.length;
    start += size, size = Math.min(2 * size, LARGEST_BATCH)
  )
    batches.push(items.slice(start, start + size));
  return batches;
}

interface BegunToken extends PlannedToken {
  operation: AuditedOperation | undefined;
  /** What was known here of a token of that name. */
  before: TokenMetadata | undefined;
  /** Whether it is noted already; else what was known stays until the new one is there. */
  noted: boolean;
}

/** Log what is about to be made, and note its labels. @param absent that the homeserver has none of them is known. */
async function begin(
  connection: Connection,
  batch: readonly PlannedToken[],
  absent: boolean,
): Promise<BegunToken[]> {
  if (batch.length === 0) return [];
  const operations = await connection.audit.start(
    connection.auditContext,
    batch.map(({token, limits, entry}) => ({
      operation: 'create',
      token,
      after: toAuditState({token, pending: 0, completed: 0, disabled: false, ...limits}, entry),
    })),
  );
  const planned = new Map(batch.map(({token, entry}) => [token, entry]));
  const known = new Map<string, TokenMetadata>();
  try {
    await connection.metadata.update([...planned.keys()], (before) => {
      if (Object.keys(before).length > 1) known.set(before.token, before);
      return absent || !known.has(before.token) ? planned.get(before.token) : before;
    });
  } catch (error) {
    await Promise.all(operations.map((operation) => operation.notBegun()));
    throw error;
  }

  return batch.map((one, index) => ({
    ...one,
    operation: operations[index],
    before: known.get(one.token),
    noted: absent || !known.has(one.token),
  }));
}

interface Result {
  /** What became of the request, for the log. */
  request: Outcome<RegistrationToken>;
  /** The same, or the token that is there in place of the wanted one. */
  outcome: Outcome<RegistrationToken>;
  /** What is to be noted of it. */
  entry: TokenMetadata;
}

async function make(
  {homeserver}: Connection,
  {token, wanted, limits, entry, before}: BegunToken,
  lookedUp: LookedUp | undefined,
): Promise<Result> {
  const request = about(token, await settle(() => homeserver.create(token, limits)));
  if (request.ok || request.error.code !== 'already_exists' || !lookedUp)
    return {request, outcome: request, entry};
  let adopted = entry;
  const outcome = await settle(async () => {
    const existing = await homeserver.get(token);
    adopted = lookedUp.adopt(wanted, existing, before ?? entry);
    return existing;
  });
  return {request, outcome: about(token, outcome), entry: adopted};
}

/** Log what became of a batch, and take back what was noted of tokens that were not made after all. */
async function finish(
  connection: Connection,
  batch: readonly BegunToken[],
  results: readonly (Result | undefined)[],
  now: number,
): Promise<TokenOutcome[]> {
  const unsaved = await correctEntries(connection, batch, results).then(() => undefined, toMxtokError);
  const finished = await Promise.all(
    batch.map(async ({token, operation}, index): Promise<TokenOutcome | undefined> => {
      const result = results[index];
      const unlogged = await finishOperation(operation, result?.request, (made) =>
        toAuditState(made, result?.entry),
      ).then(() => undefined, toMxtokError);
      if (!result) return undefined;
      const {outcome, entry} = result;
      if (!outcome.ok) return {token, outcome};
      const problem = unsaved ?? unlogged;
      return problem
        ? {token, outcome: {ok: false, error: unnotedError(token, problem)}}
        : {token, outcome: {ok: true, value: recordOf(connection, outcome.value, entry, now)}};
    }),
  );
  return finished.filter((outcome) => outcome !== undefined);
}

async function correctEntries(
  {metadata}: Connection,
  batch: readonly BegunToken[],
  results: readonly (Result | undefined)[],
): Promise<void> {
  const corrections = new Map<string, Correction>();
  for (const [index, one] of batch.entries()) {
    const correct = correction(one, results[index]);
    if (correct) corrections.set(one.token, correct);
  }

  await metadata.update([...corrections.keys()], (entry) => corrections.get(entry.token)?.(entry));
}

type Correction = (entry: TokenMetadata) => TokenMetadata | undefined;

/** What has to be done to what is noted of a token, now that it is known what became of it. */
function correction({entry, before, noted}: BegunToken, result: Result | undefined): Correction | undefined {
  // Somebody else may have made a token of that name in the meantime, and noted it.
  const ifOurs =
    (after: TokenMetadata | undefined): Correction =>
    (current) =>
      current.created_at === entry.created_at && current.label === entry.label ? after : current;
  if (result?.outcome.ok) {
    // Whatever was known of an earlier token of that name is not about this one.
    if (!noted) return () => result.entry;
    return result.entry === entry ? undefined : ifOurs(result.entry);
  }

  // What is known of an earlier token of that name, with the limits that enable restores, is kept for when that one is
  // there still; and where nobody knows whether the new one was made, its label is kept for when it turns up.
  const mayExist = result !== undefined && !result.outcome.ok && leavesOpen(result.outcome.error);
  return noted && !mayExist ? ifOurs(before) : undefined;
}

function unnotedError(token: string, cause: MxtokError): MxtokError {
  return new MxtokError(
    'store',
    `the token ${token} was created, but could not be noted here: ${cause.message}`,
    {
      token,
      hint: `The token works. To label it once this is solved: mxtok update --label TEXT -- ${token}`,
    },
  );
}
