/**
 * One lock a file, across processes: for the moment of a read-modify-write, never for that of a request. (A rotation
 * has a lock of its own, which no file's is waiting for.)
 */
import {mkdirSync, rmdirSync, stat, statSync, utimesSync} from 'node:fs';
import {resolve} from 'node:path';
import {setTimeout as wait} from 'node:timers/promises';

import {lock} from 'proper-lockfile';

import {interruptedError, MxtokError} from '../errors.ts';
import {describeFileError} from './files.ts';

/** After this long without a sign of life its holder is taken to be dead, milliseconds. */
const STALE = 5000;
/** How often a holder gives one; work that lets nothing else run for a few seconds does not look dead so soon. */
const SIGN_OF_LIFE = 1000;
/** How often it is tried, 55 ms apart on the average. */
const ATTEMPTS = 700;
/** After so many it is told that there is something to wait for. */
const ATTEMPTS_UNTOLD = 10;

/** Throws where the lock has been lost; to be called right before what was read is replaced. */
export type AssertHeld = () => void;

export interface LockOptions {
  /** Aborted: the lock is not waited for any longer. What has begun by then is not stopped. */
  signal?: AbortSignal | undefined;
  /** Told once, where somebody else has had the lock for a moment. */
  onWait?: (() => void) | undefined;
}

/**
 * Run `work` while no other mxtok process holds the lock of `path`. The file need not exist; its directory must.
 * A lock left by a killed process is taken over after five seconds.
 * @param work is told whether another process had the lock when it was first asked for.
 * @throws {MxtokError} `store`, `interrupted`
 */
export async function withLock<T>(
  path: string,
  work: (assertHeld: AssertHeld, contended: boolean) => T | Promise<T>,
  options: LockOptions = {},
): Promise<T> {
  const lockPath = resolve(`${path}.lock`);
  let compromised = false;
  const {release, contended} = await acquire(path, options, () => {
    compromised = true;
  });
  const made = held.get(lockPath);
  // Somebody who was held up for long (a suspended machine, a stuck disk) may have been taken for dead.
  const isLost = (): boolean => compromised || made === undefined || identify(lockPath) !== made;
  try {
    return await work(() => {
      if (!isLost()) return;
      throw new MxtokError('store', `another mxtok took over ${path} meanwhile; nothing was written`, {
        hint: 'Run again.',
      });
    }, contended);
  } finally {
    // A lock that was taken over is no longer ours to release.
    if (!isLost()) await release().catch(() => undefined);
    else if (held.get(lockPath) === made) held.delete(lockPath);
  }
}

async function acquire(
  path: string,
  {signal, onWait}: LockOptions,
  onCompromised: () => void,
): Promise<{release: () => Promise<void>; contended: boolean}> {
  const lockPath = resolve(`${path}.lock`);
  let silent: number | undefined;
  for (let attempt = 1; ; attempt++) {
    if (signal?.aborted) throw interruptedError();
    try {
      // Never stale by its own judgement: see takeOver.
      const release = await lock(path, {
        realpath: false,
        stale: Infinity,
        update: SIGN_OF_LIFE,
        fs: ownLocks,
        onCompromised,
      });
      return {release, contended: attempt > 1};
    } catch (error) {
      if ((error as {code?: string}).code !== 'ELOCKED') throw describeFileError(error, `${path}.lock`);
    }

    if (attempt === ATTEMPTS_UNTOLD) onWait?.();
    if (attempt === ATTEMPTS) {
      throw new MxtokError('store', `another mxtok has been busy with ${path} for a long time`, {
        hint: `If none is running, remove ${path}.lock and try again.`,
      });
    }

    // Seen twice without a sign of life in between: after a suspension of the whole machine all of them look dead, and
    // whoever is not shows it in a moment.
    const touched = touchedLongAgo(lockPath);
    if (touched !== undefined && touched === silent) await takeOver(path, touched);
    silent = touched;
    await wait(10 + Math.random() * 90);
  }
}

/**
 * Remove the lock of a dead process. Of several that find it dead at once only one may: the others would remove the
 * lock that the first of them has got by then, as proper-lockfile does when it is left to judge by itself.
 * @param touched when it was last, as it was found.
 */
async function takeOver(path: string, touched: number): Promise<void> {
  const lockPath = resolve(`${path}.lock`);
  let release: () => Promise<void>;
  try {
    release = await lock(`${path}.takeover`, {realpath: false, stale: STALE, onCompromised: () => undefined});
  } catch {
    // Somebody else is at it.
    return;
  }

  try {
    if (touchedLongAgo(lockPath) === touched) rmdirSync(lockPath);
  } catch (error) {
    if ((error as {code?: string}).code !== 'ENOENT') throw describeFileError(error, `${path}.lock`);
  } finally {
    await release().catch(() => undefined);
  }
}

/** Unix ms; `undefined` where there is no lock, or its holder is alive. */
function touchedLongAgo(lockPath: string): number | undefined {
  // This very process is not dead, however busy it is: what should have kept the lock fresh may be about to.
  if (held.has(lockPath)) return undefined;
  // Taken first: whatever holds this up until it has looked makes the lock no older.
  const longAgo = Date.now() - STALE;
  const touched = statSync(lockPath, {throwIfNoEntry: false})?.mtimeMs;
  return touched !== undefined && touched < longAgo ? touched : undefined;
}

/** The locks that this process has, each with what tells it from one that somebody else has made in its place. */
const held = new Map<string, string>();

/** Not by when it was touched: that changes as it is kept fresh. */
function identify(lockPath: string): string | undefined {
  const stats = statSync(lockPath, {throwIfNoEntry: false});
  return stats && `${stats.ino} ${stats.birthtimeMs}`;
}

function isOwn(lockPath: string): boolean {
  return held.has(lockPath) && held.get(lockPath) === identify(lockPath);
}

type Done = (error: unknown) => void;

function run(work: () => void, done: Done): void {
  let problem: unknown = null;
  try {
    work();
  } catch (error) {
    problem = error;
  }

  done(problem);
}

function removeOwn(lockPath: string): void {
  const own = isOwn(lockPath);
  held.delete(lockPath);
  if (own) rmdirSync(lockPath);
}

/**
 * The file system as proper-lockfile sees it, which goes by the path alone: a lock that somebody else has got by now it
 * would touch, and remove when the process ends. Each step is made at once, so that nothing comes between looking whose
 * it is and acting on that, and a lock is known from the moment it is made.
 */
const ownLocks = {
  stat,
  mkdir(lockPath: string, done: Done): void {
    run(() => {
      mkdirSync(lockPath);
      held.set(lockPath, identify(lockPath) ?? '');
    }, done);
  },
  utimes(lockPath: string, atime: Date, mtime: Date, done: Done): void {
    run(() => {
      if (!isOwn(lockPath)) throw Object.assign(new Error('the lock is gone'), {code: 'ENOENT'});
      utimesSync(lockPath, atime, mtime);
    }, done);
  },
  rmdir(lockPath: string, done: Done): void {
    run(() => {
      removeOwn(lockPath);
    }, done);
  },
  rmdirSync: removeOwn,
};
