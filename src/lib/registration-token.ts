/**
 * The registration token: its shape, status, validation and generation.
 *
 * The fields are named as in Synapse's admin API (docs/usage/administration/admin_api/registration_tokens.md), and
 * stay so in JSON, TSV and CSV.
 */
import {createHash, randomInt} from 'node:crypto';

import {usageError} from './errors.ts';
import {quote} from './quote.ts';

/** What a homeserver keeps about a token. */
export interface RegistrationToken {
  token: string;
  /** How many registrations it is good for in all; `null` is no limit. */
  uses_allowed: number | null;
  /** Sign-ups that presented it and have not finished. */
  pending: number;
  /** Accounts made with it. */
  completed: number;
  /** Unix time in milliseconds; `null` is never. */
  expiry_time: number | null;
  /** The homeserver means it to be switched off (Synapse: uses_allowed 0; MAS: revoked). */
  disabled: boolean;
}

/** In the order in which they are judged. */
export const TOKEN_STATUSES = ['disabled', 'expired', 'exhausted', 'reserved', 'valid'] as const;
export type TokenStatus = (typeof TOKEN_STATUSES)[number];

/** A PostgreSQL int4: Synapse answers 500 above it (synapse/storage/schema, registration_tokens.uses_allowed). */
export const MAX_USES = 2_147_483_647;

/** The last millisecond of year 9999. Synapse takes later times without a word; no date library does. */
export const MAX_EXPIRY_TIME = 253_402_300_799_999;

/** Longest token Synapse makes or takes (synapse/rest/admin/registration_tokens.py). */
export const MAX_TOKEN_LENGTH = 64;
const ALPHABET = /^[A-Za-z0-9._~-]+$/;

/**
 * Names that a client cannot address: URL parsers collapse `.` and `..` (WHATWG URL, "dot segments", also as
 * `%2e`), and `new` is the path of the create endpoint.
 */
export const UNADDRESSABLE = new Set(['.', '..', 'new']);

/** @param now the homeserver's time, Unix milliseconds. */
export function tokenStatus(token: RegistrationToken, now: number): TokenStatus {
  if (token.disabled) return 'disabled';
  if (token.expiry_time !== null && token.expiry_time <= now) return 'expired';
  if (token.uses_allowed !== null) {
    if (token.completed >= token.uses_allowed) return 'exhausted';
    if (token.completed + token.pending >= token.uses_allowed) return 'reserved';
  }

  return 'valid';
}

/**
 * Check a token that somebody typed.
 * @returns the token.
 * @throws {MxtokError} `usage`, where no homeserver can have such a token.
 */
export function parseToken(input: string): string {
  if (input === '') throw usageError('a registration token cannot be empty');
  if (!ALPHABET.test(input)) {
    throw usageError(
      `${quote(input)} is not a registration token: only A-Z a-z 0-9 . _ ~ - may be in one`,
      'Check for a space, a line break or a character that was pasted along.',
    );
  }

  if (input.length > MAX_TOKEN_LENGTH) {
    throw usageError(
      `that registration token has ${input.length} characters; homeservers take up to ${MAX_TOKEN_LENGTH}`,
    );
  }

  return input;
}

/** As {@link parseToken}, for a token that is to be made: names that nobody could manage later are refused. */
export function parseNewToken(input: string): string {
  const token = parseToken(input);
  if (UNADDRESSABLE.has(token)) {
    throw usageError(
      `a token named "${token}" cannot be managed afterwards: its name has a meaning of its own in the admin API's paths`,
      'Choose another string, or leave out --token to have one generated.',
    );
  }

  return token;
}

/** `--uses`: 1 to {@link MAX_USES}, or `null` for `unlimited`. */
export function parseUses(input: string): number | null {
  if (input === 'unlimited') return null;
  if (/^0+$/.test(input)) {
    throw usageError(
      '--uses 0 would not disable the token: Synapse takes 0 for "unlimited"',
      'To close a token: mxtok disable TOKEN',
    );
  }

  const uses = /^\d{1,16}$/.test(input) ? Number(input) : Number.NaN;
  if (!(uses >= 1 && uses <= MAX_USES)) {
    throw usageError(`--uses ${quote(input)} is not a number from 1 to ${MAX_USES}, nor "unlimited"`);
  }

  return uses;
}

/** Without the pairs that people mix up when they read them aloud or copy them by hand: 0 O o, 1 l I. */
const UNAMBIGUOUS = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789';

export const DEFAULT_TOKEN_LENGTH = 16;
export const DEFAULT_WORDS = 5;

/** @returns a random token of `length` letters and digits, 5.8 bits each, from the system's secure source. */
export function generateToken(length: number = DEFAULT_TOKEN_LENGTH): string {
  let token = '';
  for (let index = 0; index < length; index++) token += UNAMBIGUOUS[randomInt(UNAMBIGUOUS.length)] ?? '';
  return token;
}

/**
 * A token of Title-case words, 12.9 bits each, that can be said on the telephone: `CrispOtterLampBravoStone`.
 * @param words how many.
 * @param list the words to draw from, in lower case.
 */
export function generateWords(words: number, list: readonly string[]): string {
  for (;;) {
    let token = '';
    for (let index = 0; index < words; index++) {
      const word = list[randomInt(list.length)] ?? '';
      token += word.charAt(0).toUpperCase() + word.slice(1);
    }

    // Eight of the longest words would not fit; drawing again costs next to no entropy.
    if (token.length <= MAX_TOKEN_LENGTH) return token;
  }
}

/** A token as logs and debug output may show it: enough to recognise, not enough to use. */
export function maskToken(token: string): string {
  return `${token.slice(0, Math.min(4, Math.floor(token.length / 4)))}…`;
}

/** SHA-256 in hex: finds a token in the audit log without keeping it there. */
export function fingerprint(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
