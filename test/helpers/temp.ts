/** Temporary directories, searched for secrets and removed after each test. */
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

import {assertNoSecretInFiles} from './secrets.ts';

const directories: string[] = [];

/** A new directory of mode 700. A file whose name has "secret" in it may hold one. */
export function tempDir(): string {
  const directory = mkdtempSync(join(tmpdir(), 'mxtok-test-'));
  directories.push(directory);
  return directory;
}

/** Called after each test. */
export function removeTempDirs(): void {
  const all = directories.splice(0);
  try {
    for (const directory of all) assertNoSecretInFiles(directory);
  } finally {
    for (const directory of all) rmSync(directory, {recursive: true, force: true});
  }
}
