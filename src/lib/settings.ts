/**
 * Standing settings: what a flag is where it is not given. The environment comes before the profile, and that before
 * what is built in.
 */
import {MxtokError, usageError} from './errors.ts';
import {quote} from './quote.ts';
import {DEFAULT_TOKEN_LENGTH, parseUses} from './registration-token.ts';
import type {ProfileDefaults} from './store/profiles.ts';
import {parseColumns} from './token-record.ts';
import {parseExpiry, parseTimeout} from './when.ts';

export const SETTINGS = ['uses', 'expiry', 'length', 'words', 'columns', 'timeout'] as const;
export type SettingName = (typeof SETTINGS)[number];

export type SettingSource = 'flag' | 'environment' | 'profile' | 'built-in';

/** A setting as it is typed, and who has typed it. */
export interface Setting {
  /** `null` for none. */
  value: string | null;
  source: SettingSource;
}

export const BUILT_IN = {
  uses: 'unlimited',
  expiry: 'never',
  length: String(DEFAULT_TOKEN_LENGTH),
  words: null,
  columns: null,
  timeout: '30s',
} as const satisfies Record<SettingName, string | null>;

/** Of each setting: what is wrong with a value is told before it is kept, and again when it is used. */
const CHECKS: Record<SettingName, (value: string) => unknown> = {
  uses: parseUses,
  expiry: parseExpiry,
  length: parseLength,
  words: parseWords,
  columns: parseColumns,
  timeout: parseTimeout,
};

export function environmentVariable(name: SettingName): string {
  return `MXTOK_${name.toUpperCase()}`;
}

/** Where settings come from; what is absent is not given. */
export interface SettingSources {
  flags: Partial<Record<SettingName, string | undefined>>;
  env: NodeJS.ProcessEnv;
  /** Of the profile. */
  defaults: ProfileDefaults | undefined;
}

/** The values that count, and where each comes from. `length` and `words` exclude each other: the nearer one counts. */
export function resolveSettings({flags, env, defaults}: SettingSources): Record<SettingName, Setting> {
  const layers: [SettingSource, (name: SettingName) => string | null | undefined][] = [
    ['flag', (name) => flags[name]],
    ['environment', (name) => env[environmentVariable(name)] || undefined],
    ['profile', (name) => defaults?.[name]],
    ['built-in', (name) => BUILT_IN[name]],
  ];
  const resolve = (name: SettingName, rival?: SettingName): Setting => {
    for (const [source, valueOf] of layers) {
      const value = valueOf(name);
      if (value !== undefined && value !== null) return {value, source};
      if (rival !== undefined && source !== 'built-in' && valueOf(rival) !== undefined)
        return {value: null, source};
    }

    return {value: null, source: 'built-in'};
  };
  return {
    uses: resolve('uses'),
    expiry: resolve('expiry'),
    length: resolve('length', 'words'),
    words: resolve('words', 'length'),
    columns: resolve('columns'),
    timeout: resolve('timeout'),
  };
}

/**
 * Refuse `length` beside `words` where one place has both; the flags exclude each other by themselves.
 * @param server the profile's name.
 * @throws {MxtokError} `usage`
 */
export function checkForm({length, words}: Record<SettingName, Setting>, server: string | null): void {
  if (length.value === null || words.value === null) return;
  throw words.source === 'environment'
    ? usageError(
        `${environmentVariable('length')} and ${environmentVariable('words')} cannot both be set`,
        'Unset one of them.',
      )
    : usageError(
        `the standing --length and --words of the profile${server === null ? '' : ` ${server}`} cannot both be set`,
        `Take one of them away: mxtok server update ${server ?? 'NAME'} --default-length ''`,
      );
}

/**
 * Read a setting's value. A mistake in one that nobody has typed just now is told with the place where it stands.
 * @param server the profile's name.
 * @throws {MxtokError} `usage`
 */
export function readSetting<T>(
  name: SettingName,
  {value, source}: Setting,
  parse: (value: string) => T,
  server: string | null,
): T | undefined {
  if (value === null) return undefined;
  try {
    return parse(value);
  } catch (error) {
    if (!(error instanceof MxtokError) || source === 'flag' || source === 'built-in') throw error;
    const message = error.message.replace(/^--[a-z-]+:? /, '');
    throw source === 'environment'
      ? usageError(`${environmentVariable(name)}: ${message}`)
      : usageError(
          `the standing --${name} of the profile${server === null ? '' : ` ${server}`}: ${message}`,
          `Change it: mxtok server update ${server ?? 'NAME'} --default-${name} …`,
        );
  }
}

/** For `--default-NAME`; empty takes it away. @throws {MxtokError} `usage` */
export function checkSetting(name: SettingName, value: string): void {
  if (value === '') return;
  try {
    CHECKS[name](value);
  } catch (error) {
    if (!(error instanceof MxtokError)) throw error;
    throw usageError(`--default-${name}: ${error.message.replace(/^--[a-z-]+:? /, '')}`, error.hint);
  }

  if (name === 'expiry' && /^\d{4}-/.test(value)) {
    throw usageError(
      `--default-expiry ${quote(value)} would be past one day, and every create would fail then`,
      'Give a duration like 7d, or "never".',
    );
  }
}

/** `--length`: of a generated token. @throws {MxtokError} `usage` */
export function parseLength(input: string): number {
  return parseNumber(input, '--length', 8, 64);
}

/** `--words`: of a generated token. @throws {MxtokError} `usage` */
export function parseWords(input: string): number {
  return parseNumber(input, '--words', 3, 8);
}

/** @throws {MxtokError} `usage` */
export function parseNumber(input: string, flag: string, least: number, most: number): number {
  const value = /^\d{1,9}$/.test(input) ? Number(input) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw usageError(`${flag} takes a number from ${least} to ${most}, not ${quote(input)}`);
}
