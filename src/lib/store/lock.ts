/** One lock a file, across processes: for the moment of a read-modify-write, never for that of a request. */
import {lock} from 'proper-lockfile';

import {MxtokError} from '../errors.ts';
import {describeFileError} from './files.ts';

/**
 * Run `work` while no other mxtok process holds the lock of `path`. The file need not exist; its directory must.
 * A lock left by a killed process is taken over after five seconds.
 * @throws {MxtokError} `store`
 */
export async function withLock<T>(path: string, work: () => T | Promise<T>): Promise<T> {
  const held = {lost: false};
  let release: () => Promise<void>;
  try {
    release = await lock(path, {
      realpath: false,
      stale: 5000,
      retries: {retries: 400, factor: 1.2, minTimeout: 10, maxTimeout: 100, randomize: true},
      onCompromised: () => {
        held.lost = true;
      },
    });
  } catch (error) {
    if ((error as {code?: string}).code !== 'ELOCKED') throw describeFileError(error, `${path}.lock`);
    throw new MxtokError('store', `another mxtok has been busy with ${path} for a long time`, {
      hint: `If none is running, remove ${path}.lock and try again.`,
    });
  }

  try {
    return await work();
  } finally {
    // A lock that was taken over is no longer ours to release.
    if (!held.lost) await release().catch(() => undefined);
  }
}
