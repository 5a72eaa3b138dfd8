/** Access tokens and passwords of the tests, and the watch that none of them ever comes to light. */
import {strict as assert} from 'node:assert';
import {readdirSync, readFileSync, statSync} from 'node:fs';
import {join} from 'node:path';

const secrets = new Set<string>();

/** Make a secret known to the watch. @returns it. */
export function secret(value: string): string {
  secrets.add(value);
  return value;
}

/** Fail where a text holds a secret. */
export function assertNoSecret(text: string, where: string): void {
  for (const value of secrets) {
    assert(!text.includes(value), `${where} holds a secret (${value.slice(0, 6)}…)`);
    assert(!text.includes(Buffer.from(value).toString('base64')), `${where} holds a secret in base64`);
  }
}

/** The one place that may hold an access token: the profiles, of mode 600. */
const ALLOWED = /(?:^|\/)config\.json$/;

/** Fail where a file below a directory holds a secret, apart from the configuration. */
export function assertNoSecretInFiles(directory: string): void {
  for (const entry of readdirSync(directory, {recursive: true, encoding: 'utf8'})) {
    const path = join(directory, entry);
    const stats = statSync(path, {throwIfNoEntry: false});
    if (!stats?.isFile() || ALLOWED.test(path) || /secret/.test(entry)) continue;
    if (stats.size > 64 * 1024 * 1024) continue;
    assertNoSecret(readFileSync(path, 'latin1'), path);
  }
}
