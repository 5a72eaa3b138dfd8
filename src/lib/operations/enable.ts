/** Opening disabled tokens again as they were. */
import type {Connection} from '../connection.ts';
import {type MxtokError, toMxtokError, usageError} from '../errors.ts';
import type {Outcome, TokenLimits} from '../homeserver/homeserver.ts';
import {settleEach} from '../settle.ts';
import {shorten} from '../shorten.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {resolveExpiry, type When} from '../when.ts';
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
import {isCutShort} from './disable.ts';

export type EnabledRecord = TokenRecord & {
  /** False where it was not disabled. */
  changed: boolean;
};

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

/** Find what `enable` would restore. */
export function planEnable(
  connection: Connection,
  asked: TokenOutcome<FoundToken>[],
  given: {uses_allowed?: number | null; expiry?: When},
): EnablePlans {
  const {homeserver} = connection;
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

/** @returns what of them nobody here knows, and how to give it; `undefined` where nothing is missing. */
export function missingLimits(plans: readonly EnablePlan[]): MxtokError | undefined {
  const incomplete = plans.filter(({missing}) => missing.length > 0);
  if (incomplete.length === 0) return undefined;
  const missing = new Set(incomplete.flatMap((plan) => plan.missing));
  const names = incomplete.map(({token}) => token.token);
  const reasons = [
    ...(missing.has('uses') ? ['how many uses are allowed is not known here'] : []),
    ...(missing.has('expiry') ? ['the old expiry has passed, or is not known here'] : []),
  ];
  return usageError(
    `${shorten(names, ' ')}: ${reasons.join(', and ')}; nothing was changed`,
    `Give ${[...missing].map((name) => `--${name}`).join(' and ')}.`,
  );
}

/** The plans with the tokens as they were found again; those that were not are errors in their place. */
export function ofThese(plans: EnablePlans, asked: readonly TokenOutcome<FoundToken>[]): EnablePlans {
  const found = new Set(asked.flatMap(({token, outcome}) => (outcome.ok ? [token] : [])));
  const isFound = ({token}: FoundToken): boolean => found.has(token.token);
  return {asked: [...asked], plans: plans.plans.filter(isFound), open: plans.open.filter(isFound)};
}

/** What {@link enableTokens} would do with complete plans. */
export function describeEnable(connection: Connection, {plans, open}: EnablePlans): PlannedChange[] {
  const changing = plans.map(({token, metadata, limits}): PlannedChange => {
    const {uses_allowed, expiry_time, expires_at} = recordOf(connection, {...token, ...limits}, metadata);
    return {
      record: recordOf(connection, token, metadata),
      action: 'enable',
      changes: {uses_allowed, expiry_time, expires_at},
    };
  });
  const unchanged = open.map(({token, metadata}): PlannedChange => ({
    record: recordOf(connection, token, metadata),
    action: 'none',
    changes: {},
  }));
  return [...changing, ...unchanged];
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
  const enabled = await settleEach(plans, ({token, limits}) => homeserver.update(token.token, limits));
  const restored = plans.filter((_, index) => enabled[index]?.ok).map(({token}) => token.token);
  const unsaved = await metadata.update(restored, forgetLimits).then(() => undefined, toMxtokError);
  for (const [index, {token, metadata: entry}] of plans.entries()) {
    const outcome = enabled[index];
    if (!outcome) continue;
    done.set(
      token.token,
      outcome.ok
        ? {ok: true, value: {...recordOf(connection, outcome.value, entry), changed: true}}
        : about(token.token, outcome),
    );
  }

  const unlogged = await finishAll(
    operations.map((operation, index) =>
      finishOperation(operation, enabled[index], (token) => toAuditState(token, plans[index]?.metadata)),
    ),
  );
  const problem = unsaved ?? unlogged;
  return mergeOutcomes(asked, problem ? allUnnoted(done, 'enabled', problem) : done);
}

function forgetLimits(entry: TokenMetadata): TokenMetadata {
  const {disabled: _disabled, ...rest} = entry;
  return rest;
}
