/** Closing tokens, and remembering how they were; see enable.ts. */
import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {Confirmation, DisableOptions, Outcome} from '../homeserver/homeserver.ts';
import type {RegistrationToken} from '../registration-token.ts';
import type {LimitsBeforeDisabling, TokenMetadata} from '../store/metadata.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {settleEach} from '../settle.ts';
import {
  about,
  allUnnoted,
  finishAll,
  finishOperation,
  type FoundToken,
  foundOf,
  mergeOutcomes,
  type PlannedChange,
  recordOf,
  type TokenOutcome,
} from './batch.ts';

export type DisabledRecord = TokenRecord & {
  /** False where it was disabled, and refused, already. */
  changed: boolean;
  confirmed_by: Confirmation;
};

/**
 * How long after its beginning a disabling can have set an expiry, milliseconds. It does within seconds; with many
 * tokens and a slow homeserver it may take longer.
 */
const CLOSING_WINDOW = 600_000;

/** What {@link disableTokens} would do, as far as the homeserver's `Date` tells. */
export function planDisable(connection: Connection, found: readonly FoundToken[]): PlannedChange[] {
  return found.map(({token, metadata}) => ({
    record: recordOf(connection, token, metadata),
    action: token.disabled && !connection.homeserver.accepts(token) ? 'none' : 'disable',
    changes: {},
  }));
}

/**
 * Disable tokens, and remember the limits that each had. Those are saved before the homeserver is asked for the
 * first change: a crash at any moment leaves a token that `enable` can restore.
 */
export async function disableTokens(
  connection: Connection,
  asked: readonly TokenOutcome<FoundToken>[],
  options: DisableOptions = {},
): Promise<TokenOutcome<DisabledRecord>[]> {
  const {homeserver, audit, auditContext, metadata} = connection;
  const done = new Map<string, Outcome<DisabledRecord>>();
  const open: FoundToken[] = [];
  const finished: string[] = [];
  const found = foundOf(asked);
  // That it is over is what the homeserver has to say: by a proxy's Date it may be so a few seconds too early.
  const proofs = await settleEach(found, async ({token}) =>
    token.disabled && !homeserver.accepts(token) ? homeserver.isPast(token) : false,
  );
  for (const [index, one] of found.entries()) {
    const {token} = one.token;
    const proof = proofs[index];
    if (proof?.ok === false) {
      done.set(token, about(token, proof));
    } else if (proof?.value) {
      const record = recordOf(connection, one.token, one.metadata);
      done.set(token, {ok: true, value: {...record, changed: false, confirmed_by: 'expiry_time'}});
      finished.push(token);
    } else {
      open.push(one);
    }
  }

  const closed = new Set(finished);
  const unsettled = await settleLog(
    connection,
    found.filter(({token}) => closed.has(token.token)),
  );
  const at = homeserver.clock.now();
  const tokens = new Map(open.map(({token}) => [token.token, token]));
  const before = new Map<string, LimitsBeforeDisabling>();
  // By what is in the file now: another disable of the same token may have got there first.
  await metadata.update([...tokens.keys()], (entry) => {
    const token = tokens.get(entry.token);
    if (!token) return entry;
    const disabled = rememberLimits(token, entry, at);
    before.set(entry.token, disabled);
    return {...entry, disabled};
  });
  const operations = await audit.start(
    auditContext,
    open.map((found) => ({
      operation: 'disable',
      token: found.token.token,
      before: toAuditState({...found.token, ...before.get(found.token.token)}, found.metadata),
    })),
  );

  let outcomes: Awaited<ReturnType<typeof homeserver.disable>>;
  try {
    outcomes = await homeserver.disable(
      open.map(({token}) => token),
      options,
    );
  } catch (error) {
    const problem = toMxtokError(error);
    await Promise.all(operations.map((operation) => operation.failed(problem)));
    if (problem.code !== 'interrupted') throw problem;
    throw new MxtokError(
      'interrupted',
      'interrupted before it was done; what was begun is closed, or will be in a second',
      {
        hint: 'Run disable again to finish, or enable to go back.',
      },
    );
  }

  for (const [index, {token, metadata: entry}] of open.entries()) {
    const outcome = outcomes[index];
    if (!outcome) continue;
    if (outcome.ok) {
      const {token: closed, confirmed_by} = outcome.value;
      done.set(token.token, {
        ok: true,
        value: {...recordOf(connection, closed, entry), changed: true, confirmed_by},
      });
      finished.push(token.token);
    } else {
      done.set(token.token, about(token.token, outcome));
    }
  }

  const unsaved = await metadata
    .update(finished, (entry) =>
      entry.disabled && !entry.disabled.done ? {...entry, disabled: {...entry.disabled, done: true}} : entry,
    )
    .then(() => undefined, toMxtokError);
  const unlogged = await finishAll(
    operations.map((operation, index) =>
      finishOperation(operation, outcomes[index], ({token}) => toAuditState(token, open[index]?.metadata)),
    ),
  );
  const problem = unsaved ?? unlogged ?? unsettled;
  return mergeOutcomes(asked, problem ? allUnnoted(done, 'disabled', problem) : done);
}

/** Of tokens that are disabled: what a run that was killed right after it had done so could not log any more. */
async function settleLog(
  {audit, auditContext}: Connection,
  disabled: readonly FoundToken[],
): Promise<MxtokError | undefined> {
  const unsettled = disabled.filter(({metadata}) => metadata?.disabled?.done === false);
  const changes = unsettled.map(({token, metadata}) => {
    const state = toAuditState(token, metadata);
    return {operation: 'disable', token: token.token, before: state, after: state};
  });
  const operations = await audit.start(auditContext, changes);
  return finishAll(operations.map((operation, index) => operation.succeeded(changes[index]?.after)));
}

/** What `enable` is to restore. */
function rememberLimits(token: RegistrationToken, entry: TokenMetadata, at: number): LimitsBeforeDisabling {
  const known = entry.disabled;
  // The limits now are not the operator's but those of a disabling that was cut short, or of somebody who has put
  // a disabled token's expiry off: the ones remembered then are still right.
  if (known && token.disabled) return {...known, at, done: false};
  // The expiry of an expired token is not set anew, so it stays with the time at which that disabling began.
  if (known && isClosing(token, known)) return known;
  return {uses_allowed: token.uses_allowed, expiry_time: token.expiry_time, at, done: false};
}

/** Whether a disabling has closed the token and not come to its end: it was killed between its steps, or is at it. */
export function isCutShort(token: RegistrationToken, metadata: TokenMetadata | undefined): boolean {
  const known = metadata?.disabled;
  return known !== undefined && !known.done && isClosing(token, known);
}

/** Whether a token is switched off, or half-way to it, and refused. */
export function isClosed({homeserver}: Connection, {token, metadata}: FoundToken): boolean {
  return !homeserver.accepts(token) && (token.disabled || isCutShort(token, metadata));
}

/** Whether a disabling that has not come to its end may be at it still. @param now the homeserver's time, Unix ms. */
export function isBeingDisabled({token, metadata}: FoundToken, now: number): boolean {
  return isCutShort(token, metadata) && (metadata?.disabled?.at ?? 0) > now - CLOSING_WINDOW;
}

/** Whether the token's expiry is of a disabling's making. */
function isClosing({expiry_time}: RegistrationToken, known: LimitsBeforeDisabling): boolean {
  if (expiry_time === null || expiry_time === known.expiry_time) return false;
  return expiry_time >= known.at && expiry_time <= known.at + CLOSING_WINDOW;
}
