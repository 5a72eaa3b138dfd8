/** One lock a file, across processes: for the moment of a read-modify-write, never for that of a request. */
import {rmdirSync, statSync} from 'node:fs';
import {setTimeout as wait} from 'node:timers/promises';

import {lock} from 'proper-lockfile';

import {MxtokError} from '../errors.ts';
import {describeFileError} from './files.ts';

/** After this long without a sign of life its holder is taken to be dead, milliseconds. */
const STALE = 5000;
/** How often it is tried, 55 ms apart on the average. */
const ATTEMPTS = 700;

/** Throws where the lock has been lost; to be called right before what was read is replaced. */
export type AssertHeld = () => void;

/**
 * Run `work` while no other mxtok process holds the lock of `path`. The file need not exist; its directory must.
 * A lock left by a killed process is taken over after five seconds.
 * @throws {MxtokError} `store`
 */
export async function withLock<T>(
  path: string,
  work: (assertHeld: AssertHeld) => T | Promise<T>,
): Promise<T> {
  const held = {lost: false};
  const release = await acquire(path, () => {
    held.lost = true;
  });
  const since = Date.now();
  const touched = lastTouched(path);
  const isLost = (): boolean =>
    // Somebody who was held up for so long (a suspended machine, a stuck disk) may have been taken for dead.
    held.lost || (Date.now() - since >= STALE && lastTouched(path) !== touched);
  try {
    return await work(() => {
      if (!isLost()) return;
      throw new MxtokError('store', `another mxtok took over ${path} meanwhile; nothing was written`, {
        hint: 'Run again.',
      });
    });
  } finally {
    // A lock that was taken over is no longer ours to release.
    if (!isLost()) await release().catch(() => undefined);
  }
}

async function acquire(path: string, onCompromised: () => void): Promise<() => Promise<void>> {
  for (let attempt = 1; ; attempt++) {
    try {
      // Never stale by its own judgement: see takeOver.
      return await lock(path, {realpath: false, stale: Infinity, update: STALE / 2, onCompromised});
    } catch (error) {
      if ((error as {code?: string}).code !== 'ELOCKED') throw describeFileError(error, `${path}.lock`);
    }

    if (attempt === ATTEMPTS) {
      throw new MxtokError('store', `another mxtok has been busy with ${path} for a long time`, {
        hint: `If none is running, remove ${path}.lock and try again.`,
      });
    }

    await takeOver(path);
    await wait(10 + Math.random() * 90);
  }
}

/**
 * Remove the lock of a dead process. Of several that find it dead at once only one may: the others would remove the
 * lock that the first of them has got by then, as proper-lockfile does when it is left to judge by itself.
 */
async function takeOver(path: string): Promise<void> {
  if (!isStale(path)) return;
  let release: () => Promise<void>;
  try {
    release = await lock(`${path}.takeover`, {realpath: false, stale: STALE, onCompromised: () => undefined});
  } catch {
    // Somebody else is at it.
    return;
  }

  try {
    if (isStale(path)) rmdirSync(`${path}.lock`);
  } catch (error) {
    if ((error as {code?: string}).code !== 'ENOENT') throw describeFileError(error, `${path}.lock`);
  } finally {
    await release().catch(() => undefined);
  }
}

function isStale(path: string): boolean {
  return lastTouched(path) < Date.now() - STALE;
}

/** Unix ms; `Infinity` where there is no lock. */
function lastTouched(path: string): number {
  return statSync(`${path}.lock`, {throwIfNoEntry: false})?.mtimeMs ?? Infinity;
}
