/**
 * Profiles and labels for completion, from the local files as they are: no lock, no warning, no change (not of a mode
 * either), and no schema, which would take longer to set up than all the rest. What is wrong there reads as nothing;
 * the commands themselves tell of it.
 */
import {closeSync, constants, fstatSync, openSync, readFileSync} from 'node:fs';

import {metadataPath, profilesPath} from '../store/paths.ts';
import type {Lookups} from './complete.ts';

type Json = Record<string, unknown>;

interface KnownProfile {
  name: string;
  url: string;
  serverName: string | undefined;
}

export function localLookups(configDir: string, env: NodeJS.ProcessEnv): Lookups {
  const config = readJson(profilesPath(configDir));
  const profiles = Object.entries(isObject(config['servers']) ? config['servers'] : {})
    .flatMap(([name, profile]): KnownProfile[] =>
      isObject(profile)
        ? [{name, url: text(profile['url']) ?? '', serverName: text(profile['server_name'])}]
        : [],
    )
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const usual = text(config['default_server']);
  return {
    profiles: () =>
      profiles.map(({name, url}) => ({name, description: name === usual ? `${url} (default)` : url})),
    labels: (servers) => {
      const chosen =
        servers === 'all' || servers.length > 0 ? servers : [defaultProfile(profiles, usual, env)];
      const homeservers = new Set(
        profiles.flatMap(({name, serverName}) =>
          chosen === 'all' || chosen.includes(name) ? (serverName ?? []) : [],
        ),
      );
      return [...new Set([...homeservers].flatMap((name) => labelsIn(metadataPath(configDir, name))))].sort();
    },
  };
}

/** As a run without --server chooses; `undefined` where it would fail, or has only an address. */
function defaultProfile(
  profiles: readonly KnownProfile[],
  usual: string | undefined,
  {MXTOK_URL, MXTOK_SERVER}: NodeJS.ProcessEnv,
): string | undefined {
  if (MXTOK_URL) return undefined;
  return MXTOK_SERVER || (usual ?? (profiles.length === 1 ? profiles[0]?.name : undefined));
}

function labelsIn(path: string): string[] {
  const {tokens} = readJson(path);
  if (!Array.isArray(tokens)) return [];
  return tokens.flatMap((entry: unknown) => (isObject(entry) ? (text(entry['label']) ?? []) : []));
}

/** @returns the object in a file of one's own; an empty one where there is none that can be used. */
function readJson(path: string): Json {
  let fd: number | undefined;
  try {
    // Not blocking, so that a pipe laid in its place cannot hang the shell.
    fd = openSync(path, constants.O_RDONLY | (process.platform === 'win32' ? 0 : constants.O_NONBLOCK));
    const stats = fstatSync(fd);
    const uid = process.getuid?.();
    if (!stats.isFile() || (uid !== undefined && stats.uid !== uid)) return {};
    const data: unknown = JSON.parse(readFileSync(fd, 'utf8'));
    return isObject(data) && data['version'] === 1 ? data : {};
  } catch {
    return {};
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
