import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome, TokenLimits} from '../homeserver/homeserver.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {resolveExpiry, type When} from '../when.ts';
import {isClosed} from './disable.ts';
import {CONCURRENCY, settleEach} from '../settle.ts';
import {
  about,
  changedError,
  finishAll,
  finishOperation,
  type FoundToken,
  foundOf,
  mergeOutcomes,
  type PlannedChange,
  recordOf,
  sameState,
  type TokenOutcome,
  unnoted,
} from './batch.ts';

/** What is absent stays as it is. */
export interface TokenChanges {
  /** `null` is no limit. */
  uses_allowed?: number | null;
  expiry?: When;
  /** Empty clears. */
  label?: string;
  note?: string;
}

export type UpdatedToken = TokenRecord & {
  /** False where everything was so already. */
  changed: boolean;
};

interface PlannedUpdate extends FoundToken {
  limits: Partial<TokenLimits>;
  entry: TokenMetadata;
}

interface UpdatePlan {
  wanted: Partial<TokenLimits>;
  planned: PlannedUpdate[];
  /** Those that are so already, and those that cannot be changed. */
  done: Map<string, Outcome<UpdatedToken>>;
}

function makePlan(connection: Connection, found: readonly FoundToken[], changes: TokenChanges): UpdatePlan {
  const expiry_time = changes.expiry && resolveExpiry(changes.expiry, connection.homeserver.clock.now());
  const wanted: Partial<TokenLimits> = {
    ...(changes.uses_allowed !== undefined && {uses_allowed: changes.uses_allowed}),
    ...(expiry_time !== undefined && {expiry_time}),
  };
  const done = new Map<string, Outcome<UpdatedToken>>();
  const planned: PlannedUpdate[] = [];
  for (const one of found) {
    const {token} = one.token;
    const limits = changedLimits(one, wanted);
    const entry = changedMetadata(one, changes);
    if (changesDisabled(connection, one, limits)) {
      done.set(token, {ok: false, error: disabledError(token)});
    } else if (Object.keys(limits).length === 0 && sameText(entry, one.metadata)) {
      done.set(token, {
        ok: true,
        value: {...recordOf(connection, one.token, one.metadata), changed: false},
      });
    } else {
      planned.push({...one, limits, entry});
    }
  }

  return {wanted, planned, done};
}

/** What {@link updateTokens} would do. @throws {MxtokError} `usage`, where the expiry has passed. */
export function planUpdate(
  connection: Connection,
  asked: readonly TokenOutcome<FoundToken>[],
  changes: TokenChanges,
): TokenOutcome<PlannedChange>[] {
  const {planned, done} = makePlan(connection, foundOf(asked), changes);
  const plans = new Map<string, Outcome<PlannedChange>>();
  for (const [token, outcome] of done) {
    const {changed: _changed, ...record} = outcome.ok ? outcome.value : {changed: false};
    plans.set(
      token,
      outcome.ok ? {ok: true, value: {record: record as TokenRecord, action: 'none', changes: {}}} : outcome,
    );
  }

  for (const {token, metadata, limits, entry} of planned) {
    const record = recordOf(connection, token, metadata);
    const after = recordOf(connection, {...token, ...limits}, entry);
    const fields = ['uses_allowed', 'expiry_time', 'expires_at', 'label', 'note'] as const;
    const different = fields.filter((field) => record[field] !== after[field]);
    const change = Object.fromEntries(different.map((field) => [field, after[field]]));
    plans.set(token.token, {ok: true, value: {record, action: 'update', changes: change}});
  }

  return mergeOutcomes(asked, plans);
}

/** Change several tokens; one that cannot be changed does not keep the others from it. */
export async function updateTokens(
  connection: Connection,
  asked: readonly TokenOutcome<FoundToken>[],
  changes: TokenChanges,
): Promise<TokenOutcome<UpdatedToken>[]> {
  const {homeserver, audit, auditContext, metadata} = connection;
  const {wanted, planned, done} = makePlan(connection, foundOf(asked), changes);

  const operations = await audit.start(
    auditContext,
    planned.map(({token, metadata: before, limits, entry}) => ({
      operation: 'update',
      token: token.token,
      before: toAuditState(token, before),
      after: toAuditState({...token, ...limits}, entry),
    })),
  );
  // Of many, the last are come to long after they were read: had a disable got there meanwhile, a new expiry with the
  // uses of before would open the token again.
  const mayBeStale = planned.length > CONCURRENCY;
  const outcomes = await settleEach(planned, async ({token, limits}) => {
    if (Object.keys(limits).length === 0) return token;
    if (mayBeStale && limits.expiry_time !== undefined) {
      const latest = await homeserver.get(token.token);
      if (!sameState(token, latest)) throw changedError(token.token);
    }

    return homeserver.update(token.token, limits);
  });
  const updated = planned.flatMap(({token: {token}, limits, entry}, index) => {
    const outcome = outcomes[index];
    const sent = Object.keys(limits).length > 0;
    return outcome
      ? [{token, entry, operation: operations[index], outcome: about(token, outcome), sent}]
      : [];
  });

  const reached = updated.filter(({outcome}) => outcome.ok).map(({token}) => token);
  // Only what is to change, in what the file holds now: another update may have got there first.
  const unsaved = await metadata
    .update(reached, (entry) => withText(dropUnfinished(entry, wanted), changes))
    .then(() => undefined, toMxtokError);
  const unlogged = await finishAll(
    updated.map(({operation, outcome, entry, sent}) =>
      finishOperation(
        operation,
        // A label alone that could not be saved is a change that has not been made.
        outcome.ok && unsaved && !sent ? {ok: false, error: unsaved} : outcome,
        (token) => toAuditState(token, entry),
      ),
    ),
  );
  const problem = unsaved ?? unlogged;
  for (const {token, entry, outcome, sent} of updated) {
    if (!outcome.ok) done.set(token, outcome);
    else if (problem)
      done.set(token, {ok: false, error: sent ? unnoted(token, 'updated', problem) : problem});
    else done.set(token, {ok: true, value: {...recordOf(connection, outcome.value, entry), changed: true}});
  }

  return mergeOutcomes(asked, done);
}

/** New limits are the operator's word, and nothing that a disabling has left: there is none to go back from any more. */
function dropUnfinished(entry: TokenMetadata, wanted: Partial<TokenLimits>): TokenMetadata {
  if (!entry.disabled || entry.disabled.done || Object.keys(wanted).length === 0) return entry;
  const {disabled: _disabled, ...rest} = entry;
  return rest;
}

/**
 * With a new expiry the uses go along, although they stay: had a disable in the meantime set them to 0, which Synapse
 * takes for unlimited, a later expiry alone would open the token to everybody.
 */
function changedLimits({token}: FoundToken, wanted: Partial<TokenLimits>): Partial<TokenLimits> {
  const {uses_allowed = token.uses_allowed, expiry_time = token.expiry_time} = wanted;
  if (expiry_time !== token.expiry_time) return {...(uses_allowed !== 0 && {uses_allowed}), expiry_time};
  return uses_allowed === token.uses_allowed ? {} : {uses_allowed};
}

function changedMetadata({token, metadata}: FoundToken, changes: TokenChanges): TokenMetadata {
  return withText(metadata ?? {token: token.token}, changes);
}

/** The entry with the label and the note as far as they change; an empty one is none. */
function withText(entry: TokenMetadata, {label, note}: TokenChanges): TokenMetadata {
  const {label: oldLabel, note: oldNote, ...rest} = entry;
  const [newLabel, newNote] = [label ?? oldLabel, note ?? oldNote];
  return {...rest, ...(newLabel && {label: newLabel}), ...(newNote && {note: newNote})};
}

function sameText(entry: TokenMetadata, before: TokenMetadata | undefined): boolean {
  return entry.label === before?.label && entry.note === before?.note;
}

/**
 * Whether limits are to be changed of a token that is switched off, or half-way to it. On Synapse a new expiry would
 * let people in while uses_allowed is 0, and other uses would make it look like one that has merely expired.
 */
function changesDisabled(connection: Connection, found: FoundToken, limits: Partial<TokenLimits>): boolean {
  return Object.keys(limits).length > 0 && isClosed(connection, found);
}

function disabledError(token: string): MxtokError {
  return new MxtokError('token_disabled', `${token} is disabled, so its limits stay as they are`, {
    token,
    hint: `To open it with other limits: mxtok enable --uses N --expiry WHEN -- ${token}`,
  });
}
