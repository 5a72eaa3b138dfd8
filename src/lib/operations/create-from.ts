/** Tokens from the rows of a file, so that running it once more makes none twice. */
import {createHash} from 'node:crypto';

import type {Connection} from '../connection.ts';
import {meetsAll, MxtokError, toMxtokError} from '../errors.ts';
import {quote} from '../quote.ts';
import {fingerprint, type RegistrationToken} from '../registration-token.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {assertNone, type RowProblem} from '../token-file/rows.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {addDuration, formatIso, resolveExpiry, type When} from '../when.ts';
import {findOperations} from './audit.ts';
import {recordOf, type TokenOutcome} from './batch.ts';
import {type CreateOptions, createTokens, type NewToken} from './create.ts';

/** A row whose gaps have been filled; without a token one is to be generated. */
export type CompleteRow = Omit<NewToken, 'token'> & {line: number; token?: string | undefined};

export interface RowsPlan {
  /** Still to be made. */
  wanted: NewToken[];
  /** There already, as their rows want them. */
  existing: TokenRecord[];
  /** There already, but other than their rows want them. */
  conflicts: TokenOutcome<never>[];
  /** Of those that are still to be made, the names that nobody has asked for before. */
  generated: ReadonlySet<string>;
  /** What is marked as made for a row of this file by a run that was cut short. */
  marked: readonly string[];
  /** When the homeserver was asked, by its clock, Unix ms. */
  at: number;
}

/**
 * Two runs over the same file at the same time have begun no further apart than this, milliseconds: the tokens of the
 * one are those that the other wants, although their time counts from another moment.
 */
const SAME_TIME = 3_600_000;

/**
 * Find out which rows are done already. A row with a token is, where the homeserver has it with the same limits. One
 * without is, where an earlier run over the same file was cut short after it had made one: once a run has come to its
 * end, its rows stand for new tokens again.
 * @param generate makes a token's name.
 * @param file its name, for messages, and all that is in it.
 * @throws {MxtokError} `usage`, where an expiry has passed by the homeserver's clock.
 */
export async function planRows(
  connection: Connection,
  rows: readonly CompleteRow[],
  generate: () => string,
  file: {source: string; text: string},
): Promise<RowsPlan> {
  const {homeserver} = connection;
  const known = connection.metadata.read();
  const hash = hashOf(file.text);
  const marks = marksOf(known.values(), hash);
  const marked = [...marks.values()].flat();
  const names = new Set(rows.flatMap(({token}) => token ?? []));
  const there = await homeserver.getMany([...new Set([...names, ...marked])]);
  const at = homeserver.clock.now();

  /** One that was made for that very row, or was about to be. */
  const resumed = (row: Omit<NewToken, 'token'>): string | undefined => {
    const candidates = (marks.get(row.row ?? '') ?? []).filter((name) => !names.has(name));
    const made = candidates.find((name) => {
      const token = there.get(name);
      return (
        token && homeserver.accepts(token, at) && limitDifferences(row, token, known.get(name)).length === 0
      );
    });
    return made ?? candidates.find((name) => !there.has(name));
  };
  const mark = rowMarker(hash);
  const named = rows.map(({line, token, ...row}) => {
    const wanted = token === undefined ? {...row, row: mark(row)} : row;
    return {line, wanted, token: token ?? resumed(wanted)};
  });
  const open = named.filter(({token}) => token === undefined).length;
  const fresh = await freshNames(connection, generate, open, new Set([...names, ...marked]));
  const generated = new Set(fresh);

  const plan: RowsPlan = {wanted: [], existing: [], conflicts: [], generated, marked, at};
  const problems: RowProblem[] = [];
  for (const {line, wanted: row, token: name = fresh.shift() ?? ''} of named) {
    const wanted = {...row, token: name};
    const token = there.get(name);
    if (!token) {
      const problem = problemWith(wanted.expiry, at);
      if (problem === undefined) plan.wanted.push(wanted);
      else problems.push({line, message: problem});
      continue;
    }

    const metadata = known.get(name);
    // Of one that was made for this very row, the label is whatever somebody has made of it since.
    const differences = wanted.row === undefined ? differencesOf(wanted, token, metadata) : [];
    if (differences.length === 0) plan.existing.push(recordOf(connection, token, metadata, at));
    else plan.conflicts.push({token: name, outcome: {ok: false, error: conflict(token, differences)}});
  }

  assertNone(problems, file.source, 'nothing was created');
  return plan;
}

function problemWith(expiry: When, now: number): string | undefined {
  try {
    resolveExpiry(expiry, now);
    return undefined;
  } catch (error) {
    return toMxtokError(error).message.replace('--expiry', 'expiry');
  }
}

/** @param taken names that will not do, besides those that the homeserver has. */
async function freshNames(
  {homeserver}: Connection,
  generate: () => string,
  count: number,
  taken: ReadonlySet<string>,
): Promise<string[]> {
  const fresh = new Set<string>();
  const tried = new Set(taken);
  while (fresh.size < count) {
    const names: string[] = [];
    while (fresh.size + names.length < count) {
      const name = generate();
      if (tried.has(name)) continue;
      tried.add(name);
      names.push(name);
    }

    const there = await homeserver.getMany(names);
    for (const name of names) if (!there.has(name)) fresh.add(name);
  }

  return [...fresh];
}

/**
 * Make what a plan wants. What somebody else has made since it was planned counts, where it is as its row wants it.
 * @returns as {@link createTokens}.
 * @throws {MxtokError} `store`
 */
export async function createRows(
  connection: Connection,
  plan: RowsPlan,
  options: CreateOptions,
): Promise<TokenOutcome[]> {
  const {wanted, generated, at} = plan;
  const done = new Map<string, RegistrationToken>(
    plan.existing.map((record) => [record.token, {...record, disabled: record.status === 'disabled'}]),
  );
  const adopt = (row: NewToken, existing: RegistrationToken, entry: TokenMetadata): TokenMetadata => {
    const created_at = createdMeanwhile(row.expiry, existing, at) ?? entry.created_at;
    const adopted =
      created_at === undefined || created_at === entry.created_at ? entry : {...entry, created_at};
    const differences = differencesOf(row, existing, adopted);
    // Nobody else knew of that name.
    if (generated.has(row.token) || differences.length > 0) throw conflict(existing, differences);
    done.set(row.token, existing);
    return adopted;
  };
  const outcomes = await createTokens(connection, wanted, {...options, lookedUp: {at, adopt}});
  const stays = ({outcome}: TokenOutcome): boolean => outcome.ok || !meetsAll(outcome.error);
  if (outcomes.length === wanted.length && outcomes.every(stays)) await finishRows(connection, plan, done);
  return outcomes;
}

/**
 * Every row has come to an end that stays: from now on they stand for new tokens, and the log tells how those ended that
 * were cut short.
 * @param done those that were not made by this run.
 */
async function finishRows(
  {audit, auditContext, metadata}: Connection,
  {wanted, marked}: RowsPlan,
  done: ReadonlyMap<string, RegistrationToken>,
): Promise<void> {
  const own = wanted.flatMap(({token, row}) => (row === undefined ? [] : [token]));
  await metadata.update([...new Set([...marked, ...own])], ({row: _row, ...entry}) => entry);
  if (done.size === 0) return;
  const query = {server: auditContext.server_name, operation: 'create', unfinished: true};
  // Of several attempts, the last is the one that can have made it.
  const unfinished = new Map(
    (await findOperations(audit, query)).map((operation) => [operation.fingerprint, operation]),
  );
  const known = metadata.read();
  await Promise.all(
    [...done].map(async ([name, token]) => {
      const operation = unfinished.get(fingerprint(name));
      if (operation) await audit.resume(operation).succeeded(toAuditState(token, known.get(name)));
    }),
  );
}

/** What tells the file from all others, and a row from the other rows. */
const HASH_LENGTH = 22;

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, HASH_LENGTH);
}

/** @returns a function that marks a row by its file, its content, and how often that has come before. */
function rowMarker(file: string): (row: Omit<NewToken, 'token'>) => string {
  const seen = new Map<string, number>();
  return ({uses_allowed, expiry, label = '', note = ''}) => {
    const content = JSON.stringify([uses_allowed, expiry, label, note]);
    const count = (seen.get(content) ?? 0) + 1;
    seen.set(content, count);
    return file + hashOf(`${count} ${content}`);
  };
}

/** Which tokens are marked as made for each row of a file. */
function marksOf(entries: Iterable<TokenMetadata>, file: string): Map<string, string[]> {
  const marks = new Map<string, string[]>();
  for (const {token, row} of entries) {
    if (!row?.startsWith(file)) continue;
    marks.set(row, [...(marks.get(row) ?? []), token]);
  }

  return marks;
}

function differencesOf(
  wanted: NewToken,
  token: RegistrationToken,
  metadata: TokenMetadata | undefined,
): string[] {
  const differences = limitDifferences(wanted, token, metadata);
  const {label, note} = wanted;
  if (label && label !== metadata?.label)
    differences.push(`its label here is ${textOf(metadata?.label)}, not ${quote(label)}`);
  if (note && note !== metadata?.note)
    differences.push(`its note here is ${textOf(metadata?.note)}, not ${quote(note)}`);
  return differences;
}

/** In what a token's limits are other than wanted, for a message. */
export function limitDifferences(
  wanted: Pick<NewToken, 'uses_allowed' | 'expiry'>,
  token: RegistrationToken,
  metadata: TokenMetadata | undefined,
): string[] {
  const uses = [usesText(token.uses_allowed), usesText(wanted.uses_allowed)];
  const expiry = [expiryText(token.expiry_time), expiryText(expiryWanted(wanted.expiry, metadata))];
  return [
    ...(uses[0] === uses[1] ? [] : [`its uses are ${uses.join(', not ')}`]),
    ...(expiry[0] === expiry[1] ? [] : [`its expiry is ${expiry.join(', not ')}`]),
  ];
}

/** When a token was made, ISO 8601, told from its expiry; `undefined` where that is not about the time of this run. */
function createdMeanwhile(expiry: When, {expiry_time}: RegistrationToken, at: number): string | undefined {
  if (expiry.kind !== 'duration' || expiry_time === null) return undefined;
  const created = at + expiry_time - addDuration(at, expiry.duration);
  const fits = Math.abs(created - at) <= SAME_TIME && addDuration(created, expiry.duration) === expiry_time;
  return fits ? new Date(created).toISOString() : undefined;
}

function textOf(text: string | undefined): string {
  return text === undefined ? 'none' : quote(text);
}

function usesText(uses: number | null): string {
  return uses === null ? 'unlimited' : String(uses);
}

function expiryText(time: number | null | undefined): string {
  if (time === undefined) return 'one that counts from when it was made, which is not known here';
  return time === null ? 'never' : formatIso(time);
}

/** @returns Unix ms; `null` for never; `undefined` where it counts from a time that nobody here knows. */
function expiryWanted(expiry: When, metadata: TokenMetadata | undefined): number | null | undefined {
  if (expiry.kind === 'never') return null;
  if (expiry.kind === 'instant') return expiry.time;
  const created = metadata?.created_at === undefined ? Number.NaN : Date.parse(metadata.created_at);
  return Number.isNaN(created) ? undefined : addDuration(created, expiry.duration);
}

function conflict({token}: RegistrationToken, differences: readonly string[]): MxtokError {
  return new MxtokError(
    'already_exists',
    `there is a token ${token} already${differences.length > 0 ? `: ${differences.join('; ')}` : ''}`,
    {
      token,
      hint: `To change it: mxtok update -- ${token}`,
    },
  );
}
