/** `--default-…` of `server add` and `server update`: the standing settings of a profile. */
import {Flags} from '@oclif/core';

import {usageError} from './errors.ts';
import {checkSetting, type SettingName, SETTINGS} from './settings.ts';
import type {DefaultsChange} from './store/profiles.ts';

const STANDING = 'STANDING SETTINGS';

/** Each takes the place of a flag that is not given; `''` takes it away. */
export const defaultsFlags = {
  'default-uses': Flags.string({
    summary: 'Of new tokens where --uses is not given.',
    helpGroup: STANDING,
    helpValue: 'N',
  }),
  'default-expiry': Flags.string({
    summary: 'Of new tokens where --expiry is not given, like 7d.',
    helpGroup: STANDING,
    helpValue: 'WHEN',
  }),
  'default-length': Flags.string({
    summary: 'Characters of generated tokens.',
    helpGroup: STANDING,
    helpValue: 'N',
  }),
  'default-words': Flags.string({
    summary: 'Words of generated tokens.',
    helpGroup: STANDING,
    helpValue: 'N',
  }),
  'default-columns': Flags.string({
    summary: 'Columns of the table of list.',
    helpGroup: STANDING,
    helpValue: 'LIST',
  }),
  'default-timeout': Flags.string({
    summary: 'Time for one request where --timeout is not given.',
    helpGroup: STANDING,
    helpValue: 'TIME',
  }),
};

type DefaultsFlags = Partial<Record<`default-${SettingName}`, string | undefined>>;

/**
 * The standing settings that are given, checked before anything is sent.
 * @returns `undefined` where none is.
 * @throws {MxtokError} `usage`
 */
export function changedDefaults(flags: DefaultsFlags): DefaultsChange | undefined {
  const given = SETTINGS.flatMap((name) => {
    const value = flags[`default-${name}`];
    return value === undefined ? [] : [[name, value.trim()] as const];
  });
  for (const [name, value] of given) checkSetting(name, value);
  // '' takes away, and both may be taken away at once.
  if (flags['default-length']?.trim() && flags['default-words']?.trim())
    throw usageError('--default-length and --default-words exclude each other');
  return given.length === 0 ? undefined : Object.fromEntries(given);
}
