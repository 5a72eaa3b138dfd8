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
  const matches = tokenMatcher(query.filter, connection.homeserver.clock.now());
  const records: TokenRecord[] = [];
  for (const token of tokens) {
    const record = recordOf(connection, token, metadata.get(token.token));
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
  const key = (record: TokenRecord): string | number | null => {
    const value = record[field];
    if (field === 'status') return TOKEN_STATUSES.indexOf(record.status);
    return typeof value === 'boolean' ? Number(value) : value;
  };
  const sign = descending ? -1 : 1;
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x !== y) {
      if (x === null) return 1;
      if (y === null) return -1;
      return x < y ? -sign : sign;
    }

    return a.token < b.token ? -1 : a.token > b.token ? 1 : 0;
  };
}
