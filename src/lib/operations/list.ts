/** Choosing and ordering tokens. */
import {isMatch} from 'matcher';

import type {Connection} from '../connection.ts';
import {TOKEN_STATUSES, type TokenStatus} from '../registration-token.ts';
import type {TokenField, TokenRecord} from '../token-record.ts';
import {addDuration, type Duration} from '../when.ts';
import {findTokens, type FoundToken, recordOf, type TokenOutcome} from './batch.ts';

/** All that are given must hold. */
export interface TokenFilter {
  /** One of these. */
  status?: readonly TokenStatus[] | undefined;
  accepted?: boolean | undefined;
  /** `*` stands for anything; upper and lower case count for nothing. */
  label?: string | undefined;
  /** A part of token, label or note, in any case. */
  search?: string | undefined;
  /** Still accepted, and over within this time by the homeserver's clock. */
  expiringWithin?: Duration | undefined;
  /** Nobody has registered with it, and nobody is about to. */
  unused?: boolean | undefined;
  /** Still accepted, and good for so many registrations at most. */
  usesLeft?: number | undefined;
}

export interface TokenOrder {
  field: TokenField;
  descending: boolean;
}

export interface TokenQuery {
  filter: TokenFilter;
  order: TokenOrder;
  /** At most so many. */
  limit?: number | undefined;
}

/** Which tokens a command is about: those that are named, or all that a filter lets through. */
export type Selection = {names: readonly string[]} | {filter: TokenFilter};

/** @returns those that are named, in their order; those that are chosen, by token. */
export async function selectTokens(
  connection: Connection,
  selection: Selection,
): Promise<TokenOutcome<FoundToken>[]> {
  if ('names' in selection) return findTokens(connection, selection.names);
  const known = connection.metadata.read();
  const tokens = await connection.homeserver.list();
  const now = connection.homeserver.clock.now();
  const matches = tokenMatcher(selection.filter, now);
  return tokens
    .map((token): FoundToken => ({token, metadata: known.get(token.token)}))
    .filter(({token, metadata}) => matches(recordOf(connection, token, metadata, now)))
    .sort((a, b) => compare(a.token.token, b.token.token))
    .map((found) => ({token: found.token.token, outcome: {ok: true, value: found}}));
}

/** @returns the homeserver's tokens as chosen, in order. */
export async function listTokens(connection: Connection, query: TokenQuery): Promise<TokenRecord[]> {
  const metadata = connection.metadata.read();
  const tokens = await connection.homeserver.list();
  const now = connection.homeserver.clock.now();
  const matches = tokenMatcher(query.filter, now);
  const records: TokenRecord[] = [];
  for (const token of tokens) {
    const record = recordOf(connection, token, metadata.get(token.token), now);
    if (matches(record)) records.push(record);
  }

  records.sort(tokenComparator(query.order));
  return query.limit === undefined ? records : records.slice(0, query.limit);
}

/** @param now the homeserver's time, Unix ms. */
export function tokenMatcher(filter: TokenFilter, now: number): (record: TokenRecord) => boolean {
  const {status, accepted, label, unused, usesLeft} = filter;
  const search = filter.search?.toLowerCase();
  const until = filter.expiringWithin && addDuration(now, filter.expiringWithin);
  // A leading "!" would negate (matcher): here it is a character like any other.
  const glob = label?.replace(/^!/, '\\!');
  return (record) =>
    (status === undefined || status.includes(record.status)) &&
    (accepted === undefined || record.accepted === accepted) &&
    (glob === undefined || (record.label !== null && isMatch(record.label, glob))) &&
    (search === undefined ||
      [record.token, record.label, record.note].some((text) => text?.toLowerCase().includes(search))) &&
    (until === undefined ||
      (record.accepted && record.expiry_time !== null && record.expiry_time <= until)) &&
    (!unused || (record.completed === 0 && record.pending === 0)) &&
    (usesLeft === undefined || (record.accepted && leftOf(record) <= usesLeft));
}

/** How many more registrations it is good for. */
function leftOf({status, uses_allowed, completed, pending}: TokenRecord): number {
  // 0 that is still accepted is taken for unlimited.
  if (uses_allowed === null || status === 'disabled') return Number.POSITIVE_INFINITY;
  return uses_allowed - completed - pending;
}

/** Nothing (no limit, no expiry, no label) comes last in either direction; equals are ordered by token. */
export function tokenComparator({field, descending}: TokenOrder): (a: TokenRecord, b: TokenRecord) => number {
  const sign = descending ? -1 : 1;
  if (field === 'token') return (a, b) => sign * compare(a.token, b.token) || compare(a.server, b.server);
  const key = (record: TokenRecord): string | number | boolean | null =>
    field === 'status' ? TOKEN_STATUSES.indexOf(record.status) : record[field];
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === y) return compare(a.token, b.token) || compare(a.server, b.server);
    if (x === null) return 1;
    if (y === null) return -1;
    return sign * (x < y ? -1 : 1);
  };
}

/** By code unit, the same everywhere; a locale's order takes twenty times as long. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
