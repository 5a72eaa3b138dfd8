import pMap from 'p-map';

import type {Connection} from '../connection.ts';
import {type ErrorCode, interruptedError, leavesOpen, MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome} from '../homeserver/homeserver.ts';
import type {RegistrationToken} from '../registration-token.ts';
import type {AuditedOperation} from '../store/audit.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {resolveExpiry, type When} from '../when.ts';
import {CONCURRENCY, recordOf, settle, type TokenOutcome} from './batch.ts';

export interface NewToken {
  token: string;
  /** `null` is no limit. */
  uses_allowed: number | null;
  expiry: When;
  label?: string | undefined;
  note?: string | undefined;
}

export interface CreateOptions {
  /** Requests under way at once. */
  concurrency?: number | undefined;
  /** Aborted: no more are begun, and those under way come to their end. */
  signal?: AbortSignal | undefined;
  /** Told of each token as soon as the homeserver has it. */
  onCreated?: ((record: TokenRecord) => void | Promise<void>) | undefined;
}

/**
 * So many are logged ahead and saved together. Killed outright, a run loses the labels of two batches at most; larger
 * ones would save time only with very many labels in the store.
 */
const BATCH = 500;

/** What would happen to every further token as well. */
const FATAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unauthorized',
  'not_admin',
  'unsupported',
  'unreachable',
  'tls',
  'timeout',
  'not_matrix',
  'rate_limited',
  'server_error',
  'store',
  'unexpected',
]);

/**
 * Create tokens. The log is written before and after, the labels once the homeserver has the tokens of a batch.
 * @returns what became of each that was begun, in their order: after an interruption, or an error that would meet all
 * others too, the rest is missing.
 * @throws {MxtokError} `usage`, `store`: before anything was sent.
 */
export async function createTokens(
  connection: Connection,
  wanted: readonly NewToken[],
  {concurrency = CONCURRENCY, signal, onCreated}: CreateOptions = {},
): Promise<TokenOutcome[]> {
  // A store that cannot be read is known before anything is sent.
  connection.metadata.read();
  const now = connection.homeserver.clock.now();
  const planned = wanted.map((one) => plan(connection, one, now));
  const outcomes: TokenOutcome[] = [];
  let stop = false;
  const stopped = (): boolean => stop || signal?.aborted === true;
  // While the requests of one batch are under way, the next is logged ahead and the one before is saved.
  let saving = Promise.resolve();
  let next = begin(connection, planned.slice(0, BATCH));
  for (let start = 0; start < planned.length && !stopped(); start += BATCH) {
    const batch = await next.catch(async (error: unknown) => {
      await saving;
      throw error;
    });
    next = begin(connection, planned.slice(start + BATCH, start + 2 * BATCH));
    // Its error is met where it is awaited.
    next.catch(() => undefined);
    const results = await pMap(
      batch,
      async ({token, limits, entry}) => {
        if (stopped()) return undefined;
        const outcome = await settle(token, () => connection.homeserver.create(token, limits));
        if (!outcome.ok) stop ||= FATAL.has(outcome.error.code);
        else await onCreated?.(recordOf(connection, outcome.value, entry, now));
        return outcome;
      },
      {concurrency},
    );
    await saving;
    saving = save(connection, batch, results, now).then((saved) => {
      outcomes.push(...saved);
      stop ||= saved.some(({outcome}) => !outcome.ok && outcome.error.code === 'store');
    });
  }

  await saving;
  // After a stop, the batch that was logged ahead; where it could not be, there is nothing to take back.
  const ahead = await next.catch(() => []);
  await Promise.all(ahead.map(async ({operation}) => operation?.notBegun()));
  return outcomes;
}

interface BegunToken extends PlannedToken {
  operation: AuditedOperation | undefined;
}

/** Log what is about to be made. */
async function begin(connection: Connection, batch: readonly PlannedToken[]): Promise<BegunToken[]> {
  const operations = await connection.audit.start(
    connection.auditContext,
    batch.map(({token, limits, entry}) => ({
      operation: 'create',
      token,
      after: toAuditState({token, pending: 0, completed: 0, disabled: false, ...limits}, entry),
    })),
  );
  return batch.map((one, index) => ({...one, operation: operations[index]}));
}

/** Save the labels of a batch and log what became of it. */
async function save(
  connection: Connection,
  batch: readonly BegunToken[],
  results: readonly (Outcome<RegistrationToken> | undefined)[],
  now: number,
): Promise<TokenOutcome[]> {
  const unsaved = await saveEntries(
    connection,
    // Where nobody knows whether it was made, its label is kept for when it turns up.
    batch.filter((_, index) => mayExist(results[index])),
  );
  const outcomes = await Promise.all(
    batch.map(async ({token, entry, operation}, index): Promise<TokenOutcome | undefined> => {
      const outcome = results[index];
      const unfinished = await finish(operation, outcome, entry);
      const unnoted = unsaved ?? unfinished;
      if (!outcome?.ok) return outcome && {token, outcome};
      if (unnoted) return {token, outcome: {ok: false, error: unnotedError(token, unnoted)}};
      return {token, outcome: {ok: true, value: recordOf(connection, outcome.value, entry, now)}};
    }),
  );
  return outcomes.filter((outcome) => outcome !== undefined);
}

/** As {@link createTokens}, for one. @throws {MxtokError} what became of it, where it was not created and noted. */
export async function createToken(connection: Connection, wanted: NewToken): Promise<TokenRecord> {
  const [only] = await createTokens(connection, [wanted]);
  if (!only) throw interruptedError();
  if (!only.outcome.ok) throw only.outcome.error;
  return only.outcome.value;
}

interface PlannedToken {
  token: string;
  limits: {uses_allowed: number | null; expiry_time: number | null};
  entry: TokenMetadata;
}

function plan({auditContext}: Connection, wanted: NewToken, now: number): PlannedToken {
  return {
    token: wanted.token,
    limits: {uses_allowed: wanted.uses_allowed, expiry_time: resolveExpiry(wanted.expiry, now)},
    entry: {
      token: wanted.token,
      ...(wanted.label && {label: wanted.label}),
      ...(wanted.note && {note: wanted.note}),
      created_at: new Date().toISOString(),
      ...(auditContext.actor !== null && {created_by: auditContext.actor}),
    },
  };
}

function mayExist(outcome: Outcome<RegistrationToken> | undefined): boolean {
  return outcome !== undefined && (outcome.ok || leavesOpen(outcome.error));
}

/** @returns what went wrong. */
async function saveEntries(
  {metadata}: Connection,
  created: readonly PlannedToken[],
): Promise<MxtokError | undefined> {
  const entries = new Map(created.map(({token, entry}) => [token, entry]));
  try {
    // Whatever was known of an earlier token of that name is not about this one.
    await metadata.update([...entries.keys()], ({token}) => entries.get(token));
    return undefined;
  } catch (error) {
    return toMxtokError(error);
  }
}

/** @returns what went wrong. */
async function finish(
  operation: AuditedOperation | undefined,
  outcome: Outcome<RegistrationToken> | undefined,
  entry: TokenMetadata,
): Promise<MxtokError | undefined> {
  try {
    if (!outcome) await operation?.notBegun();
    else if (outcome.ok) await operation?.succeeded(toAuditState(outcome.value, entry));
    else await operation?.failed(outcome.error);
    return undefined;
  } catch (error) {
    return toMxtokError(error);
  }
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
