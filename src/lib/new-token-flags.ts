/** How new tokens are to be: what `create` and `rotate` take, with the standing settings in place of what is not given. */
import {Flags} from '@oclif/core';

import type {Target} from './connection.ts';
import {
  DEFAULT_TOKEN_LENGTH,
  DEFAULT_WORDS,
  generateToken,
  generateWords,
  parseUses,
} from './registration-token.ts';
import {checkForm, parseLength, parseWords, readSetting, resolveSettings} from './settings.ts';
import {parseExpiry, type When} from './when.ts';
import {loadWords} from './word-list.ts';

export const newTokenFlags = {
  length: Flags.string({
    summary: `Characters of a generated token, 8 to 64 (default ${DEFAULT_TOKEN_LENGTH}).`,
    helpValue: 'N',
    exclusive: ['words'],
  }),
  words: Flags.string({
    summary: `Generate from words instead, 3 to 8 of them (${DEFAULT_WORDS} are good).`,
    helpValue: 'N',
  }),
  uses: Flags.string({
    summary: 'Registrations it is good for: 1 to 2147483647, or "unlimited" (the default).',
    helpValue: 'N',
  }),
  expiry: Flags.string({
    summary:
      'When it ends: 12h, 7d, 3mo, a date or date-time (local unless it has a zone), or "never" (the default).',
    helpValue: 'WHEN',
  }),
};

export interface NewTokenFlags {
  length?: string | undefined;
  words?: string | undefined;
  uses?: string | undefined;
  expiry?: string | undefined;
}

/** Refuse what is wrong with flags, before anything else is looked at. @throws {MxtokError} `usage` */
export function checkNewTokenFlags({length, words, uses, expiry}: NewTokenFlags): void {
  if (uses !== undefined) parseUses(uses);
  if (expiry !== undefined) parseExpiry(expiry);
  if (length !== undefined) parseLength(length);
  if (words !== undefined) parseWords(words);
}

export interface NewTokenSettings {
  /** `null` is no limit. */
  uses_allowed: number | null;
  expiry: When;
  /** Makes another token at each call. */
  generate: () => string;
}

/**
 * The limits and the form of new tokens on a server: by flag, else environment, else profile, else what is built in.
 * @throws {MxtokError} `usage`
 */
export async function newTokenSettings(
  {length, words, uses, expiry}: NewTokenFlags,
  {server, profile}: Target,
): Promise<NewTokenSettings> {
  const settings = resolveSettings({
    flags: {length, words, uses, expiry},
    env: process.env,
    defaults: profile.defaults,
  });
  checkForm(settings, server);
  const wordCount = readSetting('words', settings.words, parseWords, server);
  const characters = readSetting('length', settings.length, parseLength, server);
  return {
    uses_allowed: readSetting('uses', settings.uses, parseUses, server) ?? null,
    expiry: readSetting('expiry', settings.expiry, parseExpiry, server) ?? {kind: 'never'},
    generate: wordCount === undefined ? () => generateToken(characters) : await wordGenerator(wordCount),
  };
}

async function wordGenerator(count: number): Promise<() => string> {
  const known = await loadWords();
  return () => generateWords(count, known);
}
