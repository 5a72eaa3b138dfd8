/** A token as it is shown: what the homeserver keeps, what it means now, and what is known of it here. */
import {usageError} from './errors.ts';
import type {Homeserver} from './homeserver/homeserver.ts';
import {quote} from './quote.ts';
import {type RegistrationToken, type TokenStatus, tokenStatus} from './registration-token.ts';
import type {AuditState} from './store/audit.ts';
import type {TokenMetadata} from './store/metadata.ts';
import {formatIso} from './when.ts';

/** The names and their order are those of JSON, TSV and CSV, and stay. */
export interface TokenRecord {
  /** The profile's name; without a profile, the homeserver's own name. */
  server: string;
  token: string;
  status: TokenStatus;
  /** Whether the homeserver would let somebody register with it now. */
  accepted: boolean;
  uses_allowed: number | null;
  pending: number;
  completed: number;
  /** Unix milliseconds. */
  expiry_time: number | null;
  /** ISO 8601, UTC. */
  expires_at: string | null;
  label: string | null;
  note: string | null;
  /** `null` until a server has a link template. */
  link: string | null;
}

export const TOKEN_FIELDS = [
  'server',
  'token',
  'status',
  'accepted',
  'uses_allowed',
  'pending',
  'completed',
  'expiry_time',
  'expires_at',
  'label',
  'note',
  'link',
] as const satisfies readonly (keyof TokenRecord)[];

export type TokenField = (typeof TOKEN_FIELDS)[number];

/** @param flag to be named in the error. @throws {MxtokError} `usage` */
export function parseField(input: string, flag: string): TokenField {
  const field = TOKEN_FIELDS.find((known) => known === input);
  if (field === undefined)
    throw usageError(`${flag}: ${quote(input)} is no column; there are ${TOKEN_FIELDS.join(', ')}`);
  return field;
}

/** `--columns`: names with commas between. @throws {MxtokError} `usage` */
export function parseColumns(input: string): TokenField[] {
  return input.split(',').map((name) => parseField(name.trim(), '--columns'));
}

/** @param now the homeserver's time, Unix ms; given where many tokens are judged at once. */
export function toRecord(
  server: string,
  homeserver: Homeserver,
  token: RegistrationToken,
  metadata: TokenMetadata | undefined,
  now: number = homeserver.clock.now(),
): TokenRecord {
  return {
    server,
    token: token.token,
    status: tokenStatus(token, now),
    accepted: homeserver.accepts(token, now),
    uses_allowed: token.uses_allowed,
    pending: token.pending,
    completed: token.completed,
    expiry_time: token.expiry_time,
    expires_at: token.expiry_time === null ? null : formatIso(token.expiry_time),
    label: metadata?.label ?? null,
    note: metadata?.note ?? null,
    link: null,
  };
}

/** A token's state for the audit log, which does not keep the token itself. */
export function toAuditState(token: RegistrationToken, metadata: TokenMetadata | undefined): AuditState {
  return {
    uses_allowed: token.uses_allowed,
    pending: token.pending,
    completed: token.completed,
    expiry_time: token.expiry_time,
    ...(metadata?.label !== undefined && {label: metadata.label}),
    ...(metadata?.note !== undefined && {note: metadata.note}),
  };
}
