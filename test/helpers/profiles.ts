/** Server profiles as `server add` leaves them, without asking a homeserver. */
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import type {Profile} from '../../src/lib/store/profiles.ts';
import type {Operator} from './binary.ts';

/** Give an operator these profiles; there is no default unless one is named. */
export function giveProfiles(
  operator: Operator,
  servers: Record<string, Profile>,
  defaultServer?: string,
): void {
  const directory = join(operator.dir, 'config');
  mkdirSync(directory, {recursive: true, mode: 0o700});
  const config = {version: 1, servers, ...(defaultServer !== undefined && {default_server: defaultServer})};
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config), {mode: 0o600});
}
