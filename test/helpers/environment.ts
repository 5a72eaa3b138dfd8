/** The surroundings of a run, for what needs profiles and no command. */
import {strict as assert} from 'node:assert';
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import type {Environment} from '../../src/lib/connection.ts';
import type {Profile} from '../../src/lib/store/profiles.ts';
import {tempDir} from './temp.ts';

/** Surroundings with these profiles. No warning is expected. */
export function surroundings(
  servers: Record<string, Profile> = {},
  env: Record<string, string> = {},
  default_server?: string,
): Environment {
  const dir = tempDir();
  const configDir = join(dir, 'config');
  mkdirSync(configDir, {mode: 0o700});
  writeFileSync(join(configDir, 'config.json'), JSON.stringify({version: 1, servers, default_server}), {
    mode: 0o600,
  });
  return {
    configDir,
    dataDir: join(dir, 'data'),
    env,
    http: {timeout: 30_000, userAgent: 'mxtok/test'},
    warn: (message) => {
      assert.fail(message);
    },
  };
}
