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
  type FoundToken,
  foundOf,
  mergeOutcomes,
  recordOf,
  settle,
  type TokenOutcome,
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
    }),
    {concurrency: CONCURRENCY},
  );

  const entries = new Map(updated.filter(({outcome}) => outcome.ok).map(({token, entry}) => [token, entry]));
  const unsaved = await metadata
    .update([...entries.keys()], (before) => withText(before, entries.get(before.token) ?? before))
    .then(() => undefined, toMxtokError);
  await Promise.all(
    updated.map(async ({token, entry, operation, outcome}) => {
      if (!outcome.ok) await operation?.failed(outcome.error);
      else if (unsaved) await operation?.failed(unsaved);
      else await operation?.succeeded(toAuditState(outcome.value, entry));
      done.set(
        token,
        outcome.ok
          ? {ok: true, value: {...recordOf(connection, outcome.value, entry), changed: true}}
          : outcome,
      );
    }),
  );
  if (unsaved) throw unsaved;
  return mergeOutcomes(asked, done);
}

function changedLimits({token}: FoundToken, wanted: Partial<TokenLimits>): Partial<TokenLimits> {
  return {
    ...(wanted.uses_allowed !== undefined &&
      wanted.uses_allowed !== token.uses_allowed && {uses_allowed: wanted.uses_allowed}),
    ...(wanted.expiry_time !== undefined &&
      wanted.expiry_time !== token.expiry_time && {expiry_time: wanted.expiry_time}),
  };
}

function changedMetadata({token, metadata}: FoundToken, {label, note}: TokenChanges): TokenMetadata {
  return withText(metadata ?? {token: token.token}, {
    token: token.token,
    label: label ?? metadata?.label,
    note: note ?? metadata?.note,
  });
}

/** The entry with the label and the note of another; an empty one is none. */
function withText(
  entry: TokenMetadata,
  {label, note}: Pick<TokenMetadata, 'label' | 'note' | 'token'>,
): TokenMetadata {
  const {label: _label, note: _note, ...rest} = entry;
  return {...rest, ...(label && {label}), ...(note && {note})};
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
