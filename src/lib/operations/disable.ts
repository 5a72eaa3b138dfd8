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
  type FoundToken,
  foundOf,
  mergeOutcomes,
  recordOf,
  settle,
  type TokenOutcome,
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
const CLOSING_WINDOW = 3_600_000;

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
  const before = new Map(open.map((found) => [found.token.token, rememberLimits(found, at)]));
  await metadata.update([...before.keys()], (entry) => ({...entry, disabled: before.get(entry.token)}));
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
  await Promise.all(
    operations.map(async (operation, index) => {
      const outcome = outcomes[index];
      if (outcome?.ok) await operation.succeeded(toAuditState(outcome.value.token, open[index]?.metadata));
      else if (outcome) await operation.failed(outcome.error);
    }),
  );
  if (unsaved) throw unsaved;
  return mergeOutcomes(asked, done);
}

/** What `enable` is to restore. */
function rememberLimits({token, metadata}: FoundToken, at: number): LimitsBeforeDisabling {
  const known = metadata?.disabled;
  // The limits now are not the operator's but those of a disabling that was cut short, or of somebody who has put
  // a disabled token's expiry off: the ones remembered then are still right.
  if (known && token.disabled) return {...known, at, done: false};
  // The expiry of an expired token is not set anew, so it stays with the time at which that disabling began.
  if (known && isCutShort(token, metadata)) return known;
  return {uses_allowed: token.uses_allowed, expiry_time: token.expiry_time, at, done: false};
}

/** Whether the token is as a disabling leaves it that was killed between its steps: its expiry is of our making. */
export function isCutShort(token: RegistrationToken, metadata: TokenMetadata | undefined): boolean {
  const known = metadata?.disabled;
  if (!known || known.done || token.expiry_time === null || token.expiry_time === known.expiry_time)
    return false;
  return token.expiry_time >= known.at && token.expiry_time <= known.at + CLOSING_WINDOW;
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
    else if (before === null || before > now) limits.expiry_time = before;

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
  await Promise.all(
    plans.map(async ({token, metadata: entry}, index) => {
      const outcome = enabled[index];
      if (!outcome) return;
      await (outcome.ok
        ? operations[index]?.succeeded(toAuditState(outcome.value, entry))
        : operations[index]?.failed(outcome.error));
      done.set(
        token.token,
        outcome.ok
          ? {ok: true, value: {...recordOf(connection, outcome.value, entry), changed: true}}
          : outcome,
      );
    }),
  );
  if (unsaved) throw unsaved;
  return mergeOutcomes(asked, done);
}

function forgetLimits(entry: TokenMetadata): TokenMetadata {
  const {disabled: _disabled, ...rest} = entry;
  return rest;
}
