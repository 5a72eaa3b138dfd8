import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome} from '../homeserver/homeserver.ts';
import type {RegistrationToken} from '../registration-token.ts';
import {settle} from '../settle.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import type {ExportedToken} from '../token-file/exported-tokens.ts';
import {toAuditState} from '../token-record.ts';
import type {When} from '../when.ts';
import {finishOperation, type TokenOutcome} from './batch.ts';
import {type CreateOptions, createTokens, type NewToken} from './create.ts';
import {limitDifferences} from './create-from.ts';

export interface ImportedToken {
  server: string;
  token: string;
  /** `label`: it is there already, and its label or note is taken over. */
  action: 'create' | 'label' | 'unchanged' | 'skip';
  /** Why it is left out: nobody could register with it. */
  reason: 'expired' | 'exhausted' | 'disabled' | null;
  /** What it has left. */
  uses_allowed: number | null;
  /** Unix ms. */
  expiry_time: number | null;
}

export interface ImportPlan {
  /** One for each token, in the order of the file. */
  outcomes: TokenOutcome<ImportedToken>[];
  wanted: NewToken[];
  /** When the homeserver was asked, by its clock, Unix ms. */
  at: number;
  labels: {
    token: RegistrationToken;
    metadata: TokenMetadata | undefined;
    changes: Pick<TokenMetadata, 'label' | 'note'>;
  }[];
}

/**
 * What an import would do: each token is made with the uses that it has left and the expiry it had. One that is there
 * already with as many uses left, or as it was imported, stays as it is; a label or note that is missing is taken over.
 */
export async function planImport(
  connection: Connection,
  tokens: readonly ExportedToken[],
): Promise<ImportPlan> {
  const known = connection.metadata.read();
  const there = new Map((await connection.homeserver.list()).map((token) => [token.token, token]));
  const {clock} = connection.homeserver;
  const now = clock.latest();
  const plan: ImportPlan = {outcomes: [], wanted: [], at: clock.now(), labels: []};
  for (const one of tokens) {
    const {token, expiry_time} = one;
    const uses_allowed = one.uses_allowed === null ? null : Math.max(0, one.uses_allowed - one.completed);
    const report = (action: ImportedToken['action'], reason: ImportedToken['reason'] = null): void => {
      const value = {server: connection.server, token, action, reason, uses_allowed, expiry_time};
      plan.outcomes.push({token, outcome: {ok: true, value}});
    };
    const reason = whySkipped(one, uses_allowed, now);
    const wanted = {uses_allowed, expiry: expiryOf(expiry_time)};
    const existing = there.get(token);
    if (existing) {
      const metadata = known.get(token);
      const changes = missingText(one, metadata);
      const same = reason !== null || isSame(one, uses_allowed, existing);
      if (!same) {
        plan.outcomes.push({token, outcome: {ok: false, error: conflict(existing, wanted)}});
      } else if (Object.keys(changes).length > 0) {
        plan.labels.push({token: existing, metadata, changes});
        report('label');
      } else {
        report('unchanged');
      }
    } else if (reason !== null) {
      report('skip', reason);
    } else {
      plan.wanted.push({token, ...wanted, label: one.label, note: one.note});
      report('create');
    }
  }

  return plan;
}

/** @returns what became of each token that was come to, in the order of the file. */
export async function importTokens(
  connection: Connection,
  plan: ImportPlan,
  options: CreateOptions,
): Promise<TokenOutcome<ImportedToken>[]> {
  // They are for this machine alone, so they are saved even where the homeserver is gone in the middle.
  const unsaved = await saveLabels(connection, plan.labels).then(() => undefined, toMxtokError);
  // Somebody else, perhaps another run of this import, has made it since.
  const adopted = new Set<string>();
  const adopt = (wanted: NewToken, existing: RegistrationToken, entry: TokenMetadata): TokenMetadata => {
    if (!isAsWanted(wanted, existing)) throw conflict(existing, wanted);
    adopted.add(existing.token);
    return entry;
  };
  const lookedUp = {at: plan.at, adopt};
  const created = await createTokens(connection, plan.wanted, {...options, lookedUp});
  const results = new Map<string, Outcome<unknown>>(created.map(({token, outcome}) => [token, outcome]));
  if (unsaved) for (const {token} of plan.labels) results.set(token.token, {ok: false, error: unsaved});
  const latest = connection.homeserver.clock.latest();

  return plan.outcomes.flatMap((planned): TokenOutcome<ImportedToken>[] => {
    const {token, outcome} = planned;
    const result = results.get(token);
    const value = outcome.ok && outcome.value.action === 'create' ? outcome.value : undefined;
    const becomes = (action: ImportedToken['action'], reason: ImportedToken['reason']) =>
      value ? [{token, outcome: {ok: true as const, value: {...value, action, reason}}}] : [planned];
    if (adopted.has(token) && result?.ok) return becomes('unchanged', null);
    if (result?.ok === false)
      return isLate(value, result.error, latest) ? becomes('skip', 'expired') : [{token, outcome: result}];
    return value && !result ? [] : [planned];
  });
}

/** How far the time that a reverse proxy tells may be from the homeserver's own, milliseconds. */
const PROXY_SKEW = 60_000;

/** Whether the homeserver has refused a token because its expiry has passed while the others were made. */
function isLate(planned: ImportedToken | undefined, {code}: MxtokError, latest: number): boolean {
  const expiry = planned?.expiry_time ?? null;
  return code === 'refused' && expiry !== null && expiry <= latest + PROXY_SKEW;
}

/** Whether one that was made meanwhile does; some of it may have been used since. */
function isAsWanted(wanted: NewToken, {uses_allowed, expiry_time}: RegistrationToken): boolean {
  const {expiry} = wanted;
  return (
    uses_allowed === wanted.uses_allowed && expiry_time === (expiry.kind === 'instant' ? expiry.time : null)
  );
}

/** Labels and notes of tokens that are there, in one write. */
async function saveLabels(
  {audit, auditContext, metadata}: Connection,
  labels: ImportPlan['labels'],
): Promise<void> {
  const operations = await audit.start(
    auditContext,
    labels.map(({token, metadata: before, changes}) => ({
      operation: 'update',
      token: token.token,
      before: toAuditState(token, before),
      after: toAuditState(token, {token: token.token, ...changes, ...before}),
    })),
  );
  const texts = new Map(labels.map(({token, changes}) => [token.token, changes]));
  const outcome = await settle(() =>
    // What somebody has noted in the meantime stays.
    metadata.update([...texts.keys()], (entry) => ({...texts.get(entry.token), ...entry})),
  );
  await Promise.all(operations.map((operation) => finishOperation(operation, outcome)));
  if (!outcome.ok) throw outcome.error;
}

function whySkipped(
  {disabled, expiry_time}: ExportedToken,
  left: number | null,
  now: number,
): ImportedToken['reason'] {
  // 0 uses would be unlimited.
  if (disabled) return 'disabled';
  if (expiry_time !== null && expiry_time <= now) return 'expired';
  return left === 0 ? 'exhausted' : null;
}

/**
 * Whether a token is the one of the file: the very same, or as an import has made it; either may have been used since.
 */
function isSame(one: ExportedToken, left: number | null, existing: RegistrationToken): boolean {
  if (existing.expiry_time !== one.expiry_time) return false;
  if (existing.uses_allowed === null || left === null) return existing.uses_allowed === left;
  if (existing.uses_allowed === left || existing.uses_allowed - existing.completed === left) return true;
  return existing.uses_allowed === one.uses_allowed && existing.completed >= one.completed;
}

/** What is noted here is never replaced. */
function missingText(
  {label, note}: ExportedToken,
  metadata: TokenMetadata | undefined,
): Pick<TokenMetadata, 'label' | 'note'> {
  return {
    ...(label && metadata?.label === undefined && {label}),
    ...(note && metadata?.note === undefined && {note}),
  };
}

function expiryOf(expiry_time: number | null): When {
  return expiry_time === null ? {kind: 'never'} : {kind: 'instant', time: expiry_time};
}

function conflict(
  existing: RegistrationToken,
  wanted: Pick<NewToken, 'uses_allowed' | 'expiry'>,
): MxtokError {
  const {token} = existing;
  const differences = limitDifferences(wanted, existing, undefined).join(', ');
  return new MxtokError('already_exists', `there is a token ${token} already: ${differences}`, {
    token,
    hint: `See what it is: mxtok show -- ${token}`,
  });
}
