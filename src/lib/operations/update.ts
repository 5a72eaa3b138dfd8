import pMap from 'p-map';

import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome, TokenLimits} from '../homeserver/homeserver.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {resolveExpiry, type When} from '../when.ts';
import {isCutShort} from './disable.ts';
import {
  CONCURRENCY,
  findTokens,
  finishAll,
  type FoundToken,
  foundOf,
  mergeOutcomes,
  recordOf,
  settle,
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

/** Change several tokens; one that cannot be changed does not keep the others from it. */
export async function updateTokens(
  connection: Connection,
  names: readonly string[],
  changes: TokenChanges,
): Promise<TokenOutcome<UpdatedToken>[]> {
  const {homeserver, audit, auditContext, metadata} = connection;
  const asked = await findTokens(connection, names);
  const expiry_time = changes.expiry && resolveExpiry(changes.expiry, homeserver.clock.now());
  const wanted: Partial<TokenLimits> = {
    ...(changes.uses_allowed !== undefined && {uses_allowed: changes.uses_allowed}),
    ...(expiry_time !== undefined && {expiry_time}),
  };
  const done = new Map<string, Outcome<UpdatedToken>>();
  const planned: PlannedUpdate[] = [];
  for (const found of foundOf(asked)) {
    const {token} = found.token;
    const limits = changedLimits(found, wanted);
    const entry = changedMetadata(found, changes);
    if (changesDisabled(connection, found, limits)) {
      done.set(token, {ok: false, error: disabledError(token)});
    } else if (Object.keys(limits).length === 0 && sameText(entry, found.metadata)) {
      done.set(token, {
        ok: true,
        value: {...recordOf(connection, found.token, found.metadata), changed: false},
      });
    } else {
      planned.push({...found, limits, entry});
    }
  }

  const operations = await audit.start(
    auditContext,
    planned.map(({token, metadata: before, limits, entry}) => ({
      operation: 'update',
      token: token.token,
      before: toAuditState(token, before),
      after: toAuditState({...token, ...limits}, entry),
    })),
  );
  const updated = await pMap(
    planned.map((plan, index) => ({...plan, operation: operations[index]})),
    async ({token, limits, entry, operation}) => ({
      entry,
      operation,
      outcome: await settle(token.token, async () =>
        Object.keys(limits).length > 0 ? homeserver.update(token.token, limits) : token,
      ),
      token: token.token,
      sent: Object.keys(limits).length > 0,
    }),
    {concurrency: CONCURRENCY},
  );

  const reached = updated.filter(({outcome}) => outcome.ok).map(({token}) => token);
  // Only what is to change, in what the file holds now: another update may have got there first.
  const unsaved = await metadata
    .update(reached, (entry) => withText(dropUnfinished(entry, wanted), changes))
    .then(() => undefined, toMxtokError);
  const unlogged = await finishAll(
    updated.map(({operation, outcome, entry, sent}) => {
      if (!outcome.ok) return operation?.failed(outcome.error);
      // A label alone that could not be saved is a change that has not been made.
      return unsaved && !sent
        ? operation?.failed(unsaved)
        : operation?.succeeded(toAuditState(outcome.value, entry));
    }),
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
function changesDisabled(
  {homeserver}: Connection,
  {token, metadata}: FoundToken,
  limits: Partial<TokenLimits>,
): boolean {
  if (Object.keys(limits).length === 0 || homeserver.accepts(token)) return false;
  return token.disabled || isCutShort(token, metadata);
}

function disabledError(token: string): MxtokError {
  return new MxtokError('token_disabled', `${token} is disabled, so its limits stay as they are`, {
    token,
    hint: `To open it with other limits: mxtok enable --uses N --expiry WHEN -- ${token}`,
  });
}
