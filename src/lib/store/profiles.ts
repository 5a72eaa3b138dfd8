/** Server profiles: which homeservers there are, where they are, and where the access token comes from. */
import * as z from 'zod/mini';

import {MxtokError, usageError} from '../errors.ts';
import {quote} from '../quote.ts';
import {JsonFile} from './json-file.ts';
import type {Warn} from './files.ts';
import {profilesPath} from './paths.ts';

/** Standing settings, as they are typed on the command line; each stands in for a flag that is not given. */
const DefaultsSchema = z.looseObject({
  uses: z.optional(z.string()),
  expiry: z.optional(z.string()),
  length: z.optional(z.string()),
  words: z.optional(z.string()),
  columns: z.optional(z.string()),
  timeout: z.optional(z.string()),
});

export type ProfileDefaults = z.output<typeof DefaultsSchema>;

/** Standing settings that are given anew; `''` takes one away. */
export type DefaultsChange = Readonly<Record<string, string>>;

const ProfileSchema = z.looseObject({
  /** Base URL, or `unix:PATH`. */
  url: z.string(),
  /** The homeserver's own name, the domain of its users: the key of all local data. Unknown until verified. */
  server_name: z.optional(z.string()),
  software: z.optional(z.literal('synapse')),
  /** Whom the access token belonged to when it was last verified. */
  user_id: z.optional(z.string()),
  /** One of the three, or none (not logged in). */
  access_token: z.optional(z.string()),
  access_token_file: z.optional(z.string()),
  access_token_command: z.optional(z.string()),
  ca_file: z.optional(z.string()),
  allow_http: z.optional(z.boolean()),
  defaults: z.optional(DefaultsSchema),
});

export type Profile = z.output<typeof ProfileSchema>;

const ConfigSchema = z.looseObject({
  version: z.literal(1),
  default_server: z.optional(z.string()),
  servers: z.record(z.string(), ProfileSchema),
});

type Config = z.output<typeof ConfigSchema>;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** @throws {MxtokError} `usage` */
export function parseProfileName(input: string): string {
  // What every object has already cannot be told from a profile of that name.
  if (NAME.test(input) && !(input in Object.prototype)) return input;
  throw usageError(
    `${quote(input)} cannot be the name of a server profile`,
    'Up to 64 letters, digits, dots, hyphens and underscores, the first a letter or digit.',
  );
}

export class ProfileStore {
  readonly #file: JsonFile<Config>;

  /** @param configDir where `config.json` is, or will be. */
  constructor(configDir: string, warn: Warn) {
    this.#file = new JsonFile(profilesPath(configDir), ConfigSchema, () => ({version: 1, servers: {}}), warn);
  }

  get path(): string {
    return this.#file.path;
  }

  /** By name, in alphabetical order. */
  list(): {name: string; profile: Profile; isDefault: boolean}[] {
    const config = this.#file.read();
    return Object.entries(config.servers)
      .map(([name, profile]) => ({name, profile, isDefault: name === config.default_server}))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @throws {MxtokError} `no_such_server` */
  get(name: string): Profile {
    const {servers} = this.#file.read();
    return find(servers, name);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#file.read().servers, name);
  }

  /**
   * The profile to use where none is named: the default, or the only one.
   * @throws {MxtokError} `no_such_server` where there is none, `usage` where there are several.
   */
  getDefault(): {name: string; profile: Profile} {
    const {servers, default_server} = this.#file.read();
    const names = Object.keys(servers);
    if (names.length === 0) throw noServerYet();

    const name = default_server ?? (names.length === 1 ? names[0] : undefined);
    if (name === undefined) {
      throw usageError(
        `several homeservers are known, and none is the default: ${names.sort().join(', ')}`,
        'Name one with --server NAME or MXTOK_SERVER, or choose a default: mxtok server default NAME',
      );
    }

    return {name, profile: find(servers, name)};
  }

  /** Save a new profile; the first one becomes the default. @throws {MxtokError} `already_exists` */
  async add(name: string, profile: Profile): Promise<{isDefault: boolean}> {
    let isDefault = false;
    await this.#file.update((config) => {
      if (Object.hasOwn(config.servers, name)) throw profileExists(name);
      isDefault = Object.keys(config.servers).length === 0;
      config.servers[name] = profile;
      if (isDefault) config.default_server = name;
      return undefined;
    });
    return {isDefault};
  }

  /** Change a profile in place. @throws {MxtokError} `no_such_server` */
  async update(name: string, change: (profile: Profile) => Profile): Promise<Profile> {
    let changed: Profile | undefined;
    await this.#file.update((config) => {
      changed = change(find(config.servers, name));
      config.servers[name] = changed;
      return undefined;
    });
    return changed as unknown as Profile;
  }

  /**
   * Save what has changed from `before` to `after`, and leave alone what another process has changed meanwhile.
   * @param defaults the standing settings that change.
   * @throws {MxtokError} `no_such_server`
   */
  async change(name: string, before: Profile, after: Profile, defaults?: DefaultsChange): Promise<void> {
    const keys = Object.keys({...before, ...after}).filter((key) => before[key] !== after[key]);
    await this.update(name, (current) => {
      const kept = Object.entries(current).filter(([key]) => !keys.includes(key));
      const changed = keys.filter((key) => after[key] !== undefined).map((key) => [key, after[key]]);
      const profile = Object.fromEntries([...kept, ...changed]) as Profile;
      return defaults ? {...profile, defaults: applyDefaults(profile.defaults, defaults)} : profile;
    });
  }

  /** @returns the profile that was removed. @throws {MxtokError} `no_such_server` */
  async remove(name: string): Promise<Profile> {
    let removed: Profile | undefined;
    await this.#file.update((config) => {
      removed = find(config.servers, name);
      config.servers = Object.fromEntries(Object.entries(config.servers).filter(([other]) => other !== name));
      if (config.default_server === name) delete config.default_server;
      return undefined;
    });
    return removed as unknown as Profile;
  }

  /** @throws {MxtokError} `no_such_server` */
  async setDefault(name: string): Promise<void> {
    await this.#file.update((config) => {
      find(config.servers, name);
      config.default_server = name;
      return undefined;
    });
  }
}

/** Standing settings with what is given anew. `length` and `words` exclude each other: the one given counts. */
export function applyDefaults(
  defaults: ProfileDefaults | undefined,
  change: DefaultsChange,
): ProfileDefaults {
  const changed: ProfileDefaults = {...defaults};
  if (change['words']) delete changed.length;
  if (change['length']) delete changed.words;
  return Object.fromEntries(Object.entries({...changed, ...change}).filter(([, value]) => value !== ''));
}

export function noServerYet(): MxtokError {
  return new MxtokError('no_such_server', 'no homeserver is known yet', {
    hint: 'Add one: mxtok server add NAME --url https://matrix.example.org',
  });
}

export function profileExists(name: string): MxtokError {
  return new MxtokError('already_exists', 'this server profile exists already', {
    server: name,
    hint: `Change it with mxtok server update ${name}, or remove it: mxtok server remove ${name}`,
  });
}

/** What every object has (`constructor`) is no profile. @throws {MxtokError} `no_such_server` */
function find(servers: Record<string, Profile>, name: string): Profile {
  const profile = Object.hasOwn(servers, name) ? servers[name] : undefined;
  if (profile) return profile;
  const known = Object.keys(servers);
  throw new MxtokError('no_such_server', `there is no server profile ${quote(name)}`, {
    hint: known.length > 0 ? `Known: ${known.sort().join(', ')}` : 'Add one: mxtok server add NAME --url URL',
  });
}
