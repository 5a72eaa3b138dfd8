/** Closing tokens, and opening them again as they were. */
import pMap from 'p-map';

import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {Confirmation, DisableOptions, Outcome, TokenLimits} from '../homeserver/homeserver.ts';
import type {RegistrationToken} from '../registration-token.ts';
import type {LimitsBeforeDisabling, TokenMetadata} from '../store/metadata.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {resolveExpiry, type When} from '../when.ts';
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
  allUnnoted,
} from './batch.ts';

export type DisabledRecord = TokenRecord & {
  /** False where it was disabled, and refused, already. */
  changed: boolean;
  confirmed_by: Confirmation;
};

export type EnabledRecord = TokenRecord & {
  /** False where it was not disabled. */
  changed: boolean;
};

/**
 * How long after its beginning a disabling can have set an expiry, milliseconds. It does within seconds; with many
 * tokens and a slow homeserver it may take longer.
 */
const CLOSING_WINDOW = 600_000;

/**
 * Disable tokens, and remember the limits that each had. Those are saved before the homeserver is asked for the
 * first change: a crash at any moment leaves a token that `enable` can restore.
 */
export async function disableTokens(
  connection: Connection,
  names: readonly string[],
  options: DisableOptions = {},
): Promise<TokenOutcome<DisabledRecord>[]> {
  const {homeserver, audit, auditContext, metadata} = connection;
  const asked = await findTokens(connection, names);
  const done = new Map<string, Outcome<DisabledRecord>>();
  const open: FoundToken[] = [];
  const finished: string[] = [];
  for (const found of foundOf(asked)) {
    if (found.token.disabled && !homeserver.accepts(found.token)) {
      const record = recordOf(connection, found.token, found.metadata);
      done.set(found.token.token, {
        ok: true,
        value: {...record, changed: false, confirmed_by: 'expiry_time'},
      });
      finished.push(found.token.token);
    } else {
      open.push(found);
    }
  }

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
      done.set(token.token, {ok: false, error: outcome.error.about(token.token)});
    }
  }

  const unsaved = await metadata
    .update(finished, (entry) =>
      entry.disabled && !entry.disabled.done ? {...entry, disabled: {...entry.disabled, done: true}} : entry,
    )
    .then(() => undefined, toMxtokError);
  const unlogged = await finishAll(
    operations.map((operation, index) => {
      const outcome = outcomes[index];
      if (!outcome) return undefined;
      return outcome.ok
        ? operation.succeeded(toAuditState(outcome.value.token, open[index]?.metadata))
        : operation.failed(outcome.error);
    }),
  );
  const problem = unsaved ?? unlogged;
  return mergeOutcomes(asked, problem ? allUnnoted(done, 'disabled', problem) : done);
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

/** Whether the token has been left by a disabling that was killed between its steps. */
export function isCutShort(token: RegistrationToken, metadata: TokenMetadata | undefined): boolean {
  const known = metadata?.disabled;
  return known !== undefined && !known.done && isClosing(token, known);
}

/** Whether the token's expiry is of a disabling's making. */
function isClosing({expiry_time}: RegistrationToken, known: LimitsBeforeDisabling): boolean {
  if (expiry_time === null || expiry_time === known.expiry_time) return false;
  return expiry_time >= known.at && expiry_time <= known.at + CLOSING_WINDOW;
}

/** A token to be enabled, with the limits it is to have as far as they are known. */
export interface EnablePlan extends FoundToken {
  limits: Partial<TokenLimits>;
  /** Why it has to be asked for: nobody here knows it, or it would be over at once. */
  missing: ('uses' | 'expiry')[];
}

export interface EnablePlans {
  asked: TokenOutcome<FoundToken>[];
  /** Disabled, and to be enabled. */
  plans: EnablePlan[];
  /** Not disabled. */
  open: FoundToken[];
}

/** Look the tokens up and find what `enable` would restore. Nothing is changed. */
export async function planEnable(
  connection: Connection,
  names: readonly string[],
  given: {uses_allowed?: number | null; expiry?: When},
): Promise<EnablePlans> {
  const {homeserver} = connection;
  const asked = await findTokens(connection, names);
  const now = homeserver.clock.now();
  const expiry_time = given.expiry && resolveExpiry(given.expiry, now);
  const plans: EnablePlan[] = [];
  const open: FoundToken[] = [];
  for (const found of foundOf(asked)) {
    const {token, metadata} = found;
    const known = metadata?.disabled;
    if (!token.disabled && !isCutShort(token, metadata)) {
      open.push(found);
      continue;
    }

    const limits: Partial<TokenLimits> = {};
    // 0 is what was found when it was disabled here, and no limit that anybody wants back.
    if (given.uses_allowed !== undefined) limits.uses_allowed = given.uses_allowed;
    else if (known && known.uses_allowed !== 0) limits.uses_allowed = known.uses_allowed;

    const before = known ? known.expiry_time : token.expiry_time;
    if (expiry_time !== undefined) limits.expiry_time = expiry_time;
    // One that may have passed by the fraction of a second that its clock does not tell, the homeserver refuses.
    else if (before === null || before > homeserver.clock.latest()) limits.expiry_time = before;

    const missing: EnablePlan['missing'] = [];
    if (limits.uses_allowed === undefined) missing.push('uses');
    if (limits.expiry_time === undefined) missing.push('expiry');
    plans.push({...found, limits, missing});
  }

  return {asked, plans, open};
}

/** Restore the limits of tokens that were disabled. Every plan must be complete. */
export async function enableTokens(
  connection: Connection,
  {asked, plans, open}: EnablePlans,
): Promise<TokenOutcome<EnabledRecord>[]> {
  const {homeserver, audit, auditContext, metadata} = connection;
  const done = new Map<string, Outcome<EnabledRecord>>(
    open.map((found) => [
      found.token.token,
      {ok: true, value: {...recordOf(connection, found.token, found.metadata), changed: false}},
    ]),
  );
  const operations = await audit.start(
    auditContext,
    plans.map(({token, metadata: entry, limits}) => ({
      operation: 'enable',
      token: token.token,
      before: toAuditState(token, entry),
      after: toAuditState({...token, ...limits}, entry),
    })),
  );
  const enabled = await pMap(
    plans,
    ({token, limits}) => settle(token.token, () => homeserver.update(token.token, limits)),
    {
      concurrency: CONCURRENCY,
    },
  );
  const restored = plans.filter((_, index) => enabled[index]?.ok).map(({token}) => token.token);
  const unsaved = await metadata.update(restored, forgetLimits).then(() => undefined, toMxtokError);
  for (const [index, {token, metadata: entry}] of plans.entries()) {
    const outcome = enabled[index];
    if (!outcome) continue;
    done.set(
      token.token,
      outcome.ok
        ? {ok: true, value: {...recordOf(connection, outcome.value, entry), changed: true}}
        : outcome,
    );
  }

  const unlogged = await finishAll(
    operations.map((operation, index) => {
      const outcome = enabled[index];
      if (!outcome) return undefined;
      return outcome.ok
        ? operation.succeeded(toAuditState(outcome.value, plans[index]?.metadata))
        : operation.failed(outcome.error);
    }),
  );
  const problem = unsaved ?? unlogged;
  return mergeOutcomes(asked, problem ? allUnnoted(done, 'enabled', problem) : done);
}

function forgetLimits(entry: TokenMetadata): TokenMetadata {
  const {disabled: _disabled, ...rest} = entry;
  return rest;
}
