/** Choosing and ordering tokens. */
import {isMatch} from 'matcher';

import type {Connection} from '../connection.ts';
import {TOKEN_STATUSES, type TokenStatus} from '../registration-token.ts';
import type {TokenField, TokenRecord} from '../token-record.ts';
import {addDuration, type Duration} from '../when.ts';
import {recordOf} from './batch.ts';

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
  const {status, accepted, label, unused} = filter;
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
    (!unused || (record.completed === 0 && record.pending === 0));
}

/** Nothing (no limit, no expiry, no label) comes last in either direction; equals are ordered by token. */
export function tokenComparator({field, descending}: TokenOrder): (a: TokenRecord, b: TokenRecord) => number {
  const sign = descending ? -1 : 1;
  if (field === 'token') return (a, b) => sign * compare(a.token, b.token);
  const key = (record: TokenRecord): string | number | boolean | null =>
    field === 'status' ? TOKEN_STATUSES.indexOf(record.status) : record[field];
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === y) return compare(a.token, b.token);
    if (x === null) return 1;
    if (y === null) return -1;
    return sign * (x < y ? -1 : 1);
  };
}

/** By code unit, the same everywhere; a locale's order takes twenty times as long. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
