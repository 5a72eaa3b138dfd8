/** The local files: who may read them, and what is wrong when they cannot be. */
import {
  accessSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs';
import {dirname} from 'node:path';

import {MxtokError} from '../errors.ts';

const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;
const POSIX = process.platform !== 'win32';
/** On a directory like /tmp: only the owner of a file may replace it. */
const STICKY = 0o1000;

/** Told about something that was put right or passes: one line. */
export type Warn = (message: string) => void;

/** Make a directory, readable by its owner only, where it is missing. */
export function ensurePrivateDirectory(path: string): void {
  try {
    mkdirSync(path, {recursive: true, mode: PRIVATE_DIRECTORY});
  } catch (error) {
    throw describeFileError(error, path);
  }
}

/**
 * That files in a directory can be changed, found out before anything depends on it.
 * @throws {MxtokError} `store`
 */
export function assertWritable(directory: string): void {
  ensurePrivateDirectory(directory);
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw describeFileError(error, directory);
  }
}

/**
 * Read a file that may hold secrets. One that others may read is made private, with a warning.
 * @returns its text; `undefined` where there is none.
 * @throws {MxtokError} `store`, where it belongs to another user or cannot be read.
 */
export function readPrivateFile(path: string, warn: Warn): string | undefined {
  return inspect(path, warn, (fd) => readFileSync(fd, 'utf8'));
}

/** The checks of {@link readPrivateFile} without the reading, for files that are streamed or only added to. */
export function checkPrivateFile(path: string, warn: Warn): void {
  inspect(path, warn, () => undefined);
}

/**
 * Where a symbolic link leads, so that what is written is the file, and the link stays; any other path as it is.
 * @throws {MxtokError} `store`, where the link leads nowhere: what it stands for is elsewhere, not absent.
 */
export function followLink(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as {code?: string}).code !== 'ENOENT') throw describeFileError(error, path);
    // No link: it is not there, or another process has made it in this very moment.
    if (!lstatSync(path, {throwIfNoEntry: false})?.isSymbolicLink()) return path;
    throw new MxtokError('store', `${path} is a link to a file that is not there`, {
      hint: 'Bring back the file (is its disk mounted?), or remove the link.',
    });
  }
}

function inspect<T>(path: string, warn: Warn, read: (fd: number) => T): T | undefined {
  let fd: number;
  try {
    // Not blocking, so that a pipe laid in its place cannot hang us.
    fd = openSync(path, constants.O_RDONLY | (POSIX ? constants.O_NONBLOCK : 0));
  } catch (error) {
    if ((error as {code?: string}).code !== 'ENOENT') throw describeFileError(error, path);
    followLink(path);
    return undefined;
  }

  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new MxtokError('store', `${path} is not a file`);
    checkOwner(path, stats);
    makePrivate(path, fd, stats, warn);
    checkDirectory(dirname(path), warn);
    return read(fd);
  } catch (error) {
    throw describeFileError(error, path);
  } finally {
    closeSync(fd);
  }
}

/**
 * A file of somebody else's could name a command to run, or an address to send an access token to; and to write it
 * would take it away from them.
 */
function checkOwner(path: string, stats: Stats): void {
  const uid = process.getuid?.();
  if (uid === undefined || stats.uid === uid) return;
  throw new MxtokError('store', `${path} belongs to another user (uid ${stats.uid}; this is uid ${uid})`, {
    hint: 'Run mxtok as that user, or set MXTOK_CONFIG_DIR and MXTOK_DATA_DIR to directories of your own.',
  });
}

function makePrivate(path: string, fd: number, stats: Stats, warn: Warn): void {
  if (!POSIX || (stats.mode & 0o077) === 0) return;
  const had = (stats.mode & 0o777).toString(8);
  fchmodSync(fd, PRIVATE_FILE);
  warn(`${path} could be accessed by others (mode ${had}); it is private now (${PRIVATE_FILE.toString(8)})`);
}

/** Only told, not mended: the directory may be one that was chosen for more than our files. */
function checkDirectory(path: string, warn: Warn): void {
  const {mode} = statSync(path);
  if (!POSIX || (mode & 0o022) === 0 || (mode & STICKY) !== 0) return;
  warn(`others can replace files in ${path}; run: chmod ${PRIVATE_DIRECTORY.toString(8)} ${path}`);
}

const REASONS: Record<string, [string, string]> = {
  EACCES: [
    'permission denied',
    'Run mxtok as the user whom it belongs to, or set MXTOK_CONFIG_DIR and MXTOK_DATA_DIR.',
  ],
  EPERM: [
    'permission denied',
    'Run mxtok as the user whom it belongs to, or set MXTOK_CONFIG_DIR and MXTOK_DATA_DIR.',
  ],
  ENOSPC: ['the disk is full', 'Nothing that was there is lost. Make room and run again.'],
  EDQUOT: ['the disk quota is used up', 'Nothing that was there is lost. Make room and run again.'],
  EROFS: [
    'the file system is read-only',
    'Set MXTOK_CONFIG_DIR and MXTOK_DATA_DIR to directories that can be written.',
  ],
  ENOTDIR: ['a part of the path is not a directory', 'Check MXTOK_CONFIG_DIR and MXTOK_DATA_DIR.'],
  EEXIST: ['it is a file, not a directory', 'Check MXTOK_CONFIG_DIR and MXTOK_DATA_DIR.'],
  EISDIR: ['it is a directory', 'Check MXTOK_CONFIG_DIR and MXTOK_DATA_DIR.'],
};

/** An error of the file system as one for the operator. */
export function describeFileError(error: unknown, path: string): MxtokError {
  if (error instanceof MxtokError) return error;
  const {code = '', message = String(error)} = error as {code?: string; message?: string};
  const [reason, hint] = REASONS[code] ?? [message, undefined];
  return new MxtokError('store', `${path}: ${reason}`, {hint, cause: error});
}
