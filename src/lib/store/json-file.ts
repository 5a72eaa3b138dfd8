/** A versioned JSON file that is checked when read, and changed under a lock, whole or not at all. */
import {closeSync, existsSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, statSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';

import * as z from 'zod/mini';

import {MxtokError} from '../errors.ts';
import {describeFileError, ensurePrivateDirectory, followLink, readPrivateFile, type Warn} from './files.ts';
import type {AssertHeld} from './lock.ts';

/** The version that this release writes, and the newest it can read. */
const VERSION = 1;

const Versioned = z.looseObject({version: z.int().check(z.minimum(1))});

export class JsonFile<T extends {version: number}> {
  readonly path: string;
  readonly #schema: z.ZodMiniType<T>;
  readonly #empty: () => T;
  readonly #warn: Warn;

  constructor(path: string, schema: z.ZodMiniType<T>, empty: () => T, warn: Warn) {
    this.path = path;
    this.#schema = schema;
    this.#empty = empty;
    this.#warn = warn;
  }

  /** @throws {MxtokError} `store`, where the file is broken; it is left as it is. */
  read(): T {
    const text = readPrivateFile(this.path, this.#warn);
    if (text === undefined) return this.#empty();
    let data: unknown;
    try {
      data = JSON.parse(text);
    } catch {
      throw this.#broken(text.trim() === '' ? 'it is empty' : 'it is not JSON (cut off, or edited by hand?)');
    }

    const versioned = Versioned.safeParse(data);
    if (!versioned.success) throw this.#broken('it is not one of mxtok’s files (it has no version)');
    if (versioned.data.version > VERSION) {
      throw new MxtokError(
        'store',
        `${this.path} was written by a newer mxtok (version ${versioned.data.version})`,
        {
          hint: 'Update mxtok. The file is left as it is.',
        },
      );
    }

    const parsed = this.#schema.safeParse(data);
    if (!parsed.success) {
      // The path only: the value may be an access token.
      const path = parsed.error.issues[0]?.path.map(String).join('.') ?? '';
      throw this.#broken(`${path || 'its content'} is not as it should be`);
    }

    return parsed.data;
  }

  /**
   * Read, change and write while no other process does. Call it once for many changes.
   * @param change alters the data in place; `false` leaves the file alone.
   */
  async update(change: (data: T) => false | undefined): Promise<T> {
    ensurePrivateDirectory(dirname(this.path));
    const path = followLink(this.path);
    const {withLock} = await import('./lock.ts');
    return withLock(path, async (assertHeld) => {
      const data = this.read();
      if (change(data) !== false) await this.#write(path, data, assertHeld);
      return data;
    });
  }

  /** Remove the file, broken or not. */
  async remove(): Promise<void> {
    if (!existsSync(this.path)) return;
    const path = followLink(this.path);
    const {withLock} = await import('./lock.ts');
    await withLock(path, () => {
      try {
        removeLeftovers(path);
        rmSync(path, {force: true});
        rmSync(this.path, {force: true});
      } catch (error) {
        throw describeFileError(error, this.path);
      }
    });
  }

  /**
   * Conf writes beside the file; what it wrote takes the file's place only when every byte of it is on the disk.
   * (Conf's own atomic write does not see when a full disk takes a part of the bytes and reports no error.)
   */
  async #write(path: string, data: T, assertHeld: AssertHeld): Promise<void> {
    const {default: Conf} = await import('conf');
    const directory = dirname(path);
    const staged = `${path}.new`;
    let text = '';
    try {
      removeLeftovers(path);
      const conf = new Conf<Record<string, unknown>>({
        cwd: directory,
        configName: basename(staged),
        fileExtension: '',
        configFileMode: 0o600,
        accessPropertiesByDotNotation: false,
        serialize: (value) => (text = `${JSON.stringify(value, undefined, 1)}\n`),
      });
      conf.store = data;
      if (statSync(staged).size !== Buffer.byteLength(text)) {
        throw Object.assign(new Error('short write'), {code: 'ENOSPC'});
      }

      assertHeld();
      renameSync(staged, path);
      flushDirectory(directory);
    } catch (error) {
      rmSync(staged, {force: true});
      throw describeFileError(error, this.path);
    }
  }

  #broken(what: string): MxtokError {
    return new MxtokError('store', `${this.path} is broken: ${what}`, {
      hint: 'It is left as it is. Repair it, restore it from a backup, or move it away: mxtok then starts with an empty one.',
    });
  }
}

/** What processes that were killed while writing have left. The lock is ours, so nobody is writing now. */
function removeLeftovers(path: string): void {
  const directory = dirname(path);
  const staged = `${basename(path)}.new`;
  for (const name of readdirSync(directory)) {
    // The second is what conf writes before it renames it. No file of the store has such a name: all end in .json.
    const left = name === staged || (name.startsWith(`${staged}.tmp-`) && !name.endsWith('.json'));
    if (left) rmSync(join(directory, name), {force: true});
  }
}

/** Make a rename last through a power cut (fsync(2)); not every file system lets directories be opened. */
function flushDirectory(directory: string): void {
  try {
    const fd = openSync(directory, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // Windows, some network file systems.
  }
}
