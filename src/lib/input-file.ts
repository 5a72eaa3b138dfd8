/** A file named on the command line, or standard input in its place. */
import {closeSync, constants, fstatSync, openSync, readSync} from 'node:fs';
import {Socket} from 'node:net';

import {MxtokError, usageError} from './errors.ts';
import {quote} from './quote.ts';
import {readStdinBytes, readStream} from './stdin.ts';

/** More than any list of tokens, bytes. */
const MAX_FILE = 256 * 1024 * 1024;
const CHUNK = 1024 * 1024;

const REASONS: Record<string, string> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
};

/**
 * @param path `-` is standard input.
 * @returns its text.
 * @throws {MxtokError} `usage`, `interrupted`
 */
export async function readInput(path: string): Promise<string> {
  return path === '-'
    ? decode(await readStdinBytes(), 'standard input')
    : decode(await readBytes(path), path);
}

async function readBytes(path: string): Promise<Buffer> {
  try {
    // Without O_NONBLOCK, a pipe that nobody writes to yet would stop us here, and Ctrl-C would not be heard.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = fstatSync(fd);
    if (stats.isFIFO()) return await readStream(new Socket({fd, readable: true, writable: false}), MAX_FILE);
    try {
      return readSynchronously(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof MxtokError) throw error;
    const {code = 'unknown error'} = error as {code?: string};
    throw usageError(`${quote(path)} cannot be read: ${REASONS[code] ?? code}`);
  }
}

/** A device may have no end, and tells no size. */
function readSynchronously(fd: number): Buffer {
  const chunks: Buffer[] = [];
  for (let size = 0; ;) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    const length = readSync(fd, chunk);
    if (length === 0) return Buffer.concat(chunks);
    size += length;
    if (size > MAX_FILE) throw Object.assign(new Error(), {code: 'it is too large'});
    chunks.push(chunk.subarray(0, length));
  }
}

/** Spreadsheets write UTF-16, too, with a mark at the beginning. What is neither would be taken for other letters. */
function decode(bytes: Buffer, source: string): string {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return bytes.toString('utf16le', 2);
  try {
    return new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes);
  } catch {
    throw usageError(
      `${source} is not text in UTF-8 (line ${firstInvalidLine(bytes)})`,
      'Save it as UTF-8: spreadsheets ask for it, or call it "CSV UTF-8".',
    );
  }
}

function firstInvalidLine(bytes: Buffer): number {
  const before = bytes.toString('utf8').split('\ufffd', 1)[0] ?? '';
  return before.split('\n').length;
}
