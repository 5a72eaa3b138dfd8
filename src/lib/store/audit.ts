/**
 * The audit log: one JSON object a line, written before and after each change to a homeserver. An operation that was
 * started and never finished is one that was under way when the process ended.
 */
import {randomUUID} from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import {userInfo} from 'node:os';
import {dirname, join} from 'node:path';
import {createInterface} from 'node:readline';

import * as z from 'zod/mini';

import {leavesOpen, type MxtokError} from '../errors.ts';
import {escapeControls} from '../output/sanitise.ts';
import {fingerprint, maskToken} from '../registration-token.ts';
import {shorten} from '../shorten.ts';
import {
  checkPrivateFile,
  describeFileError,
  ensurePrivateDirectory,
  followLink,
  readPrivateFile,
  type Warn,
} from './files.ts';

/** Limits, counts, label and note of a token, without the token itself. */
export type AuditState = Record<string, string | number | boolean | null>;

// Made when a line is first read: most runs read none.
const makeEntrySchema = () =>
  z.looseObject({
    version: z.literal(1),
    /** ISO 8601, UTC, by the local clock. */
    time: z.string(),
    /** The same for `started` and `finished`. */
    id: z.string(),
    phase: z.enum(['started', 'finished']),
    /** The profile's name; `null` without one. */
    server: z.nullable(z.string()),
    server_name: z.string(),
    /** The Matrix user whose access token was used. */
    actor: z.nullable(z.string()),
    os_user: z.string(),
    operation: z.string(),
    /** Masked. */
    token: z.nullable(z.string()),
    /** SHA-256 of the token, hex. */
    fingerprint: z.nullable(z.string()),
    before: z.optional(z.record(z.string(), z.unknown())),
    after: z.optional(z.record(z.string(), z.unknown())),
    /** `unknown`: the homeserver may or may not have done it. */
    outcome: z.optional(z.enum(['ok', 'failed', 'unknown'])),
    /** Codes only: a message may name the token. */
    error: z.optional(
      z.object({code: z.string(), errcode: z.optional(z.string()), status: z.optional(z.number())}),
    ),
  });

let entrySchema: ReturnType<typeof makeEntrySchema> | undefined;

export type AuditEntry = z.output<ReturnType<typeof makeEntrySchema>>;

/** What the lines of one operation have in common. */
const KEPT = [
  'id',
  'server',
  'server_name',
  'actor',
  'os_user',
  'operation',
  'token',
  'fingerprint',
] as const;

/** Who does what where; the same for all entries of a run. */
export interface AuditContext {
  server: string | null;
  server_name: string;
  actor: string | null;
}

/** What is to be done to one token, or to a session (`token` absent). */
export interface AuditedChange {
  operation: string;
  token?: string;
  before?: AuditState;
  after?: AuditState;
}

/** One operation under way. */
export class AuditedOperation {
  readonly #log: AuditLog;
  readonly #started: AuditEntry;

  constructor(log: AuditLog, started: AuditEntry) {
    this.#log = log;
    this.#started = started;
  }

  /**
   * It was done.
   * @param after how the token is now.
   * @param server_name of the homeserver, where it was not known before.
   */
  async succeeded(after?: AuditState, server_name?: string): Promise<void> {
    await this.#finish({
      outcome: 'ok',
      ...(after && {after}),
      ...(server_name !== undefined && {server_name}),
    });
  }

  /** Nothing was sent after all. */
  async notBegun(): Promise<void> {
    await this.#finish({outcome: 'failed', error: {code: 'interrupted'}});
  }

  /** It was not done, or nobody knows, or only a part of it. */
  async failed(error: MxtokError, partly = false): Promise<void> {
    await this.#finish({
      outcome: partly || leavesOpen(error) ? 'unknown' : 'failed',
      error: {
        code: error.code,
        ...(error.errcode !== undefined && {errcode: error.errcode}),
        ...(error.status !== undefined && {status: error.status}),
      },
    });
  }

  async #finish(result: Partial<AuditEntry>): Promise<void> {
    const {before: _before, after: _after, ...who} = this.#started;
    await this.#log.append([{...who, time: new Date().toISOString(), phase: 'finished', ...result}]);
  }
}

export class AuditLog {
  readonly path: string;
  readonly #warn: Warn;
  #queue: AuditEntry[] = [];
  /** The next write, not begun yet, and the last one, begun or not. */
  #scheduled: Promise<void> | undefined;
  #last: Promise<void> = Promise.resolve();

  /** @param dataDir where `audit.jsonl` is, or will be. */
  constructor(dataDir: string, warn: Warn) {
    this.path = join(dataDir, 'audit.jsonl');
    this.#warn = warn;
  }

  /**
   * Write that changes are about to be made. Nothing may be sent before this has returned.
   * @throws {MxtokError} `store`
   */
  async start(context: AuditContext, changes: readonly AuditedChange[]): Promise<AuditedOperation[]> {
    const time = new Date().toISOString();
    const os_user = osUser();
    const entries = changes.map(({operation, token, before, after}): AuditEntry => ({
      version: 1,
      time,
      id: randomUUID(),
      phase: 'started',
      ...context,
      os_user,
      operation,
      token: token === undefined ? null : maskToken(token),
      fingerprint: token === undefined ? null : fingerprint(token),
      ...(before && {before}),
      ...(after && {after}),
    }));
    await this.append(entries);
    return entries.map((entry) => new AuditedOperation(this, entry));
  }

  /** An operation of an earlier run whose end was not known, to log the end that it has come to after all. */
  resume(operation: Pick<AuditEntry, (typeof KEPT)[number]>): AuditedOperation {
    const kept = Object.fromEntries(KEPT.map((field) => [field, operation[field]])) as typeof operation;
    return new AuditedOperation(this, {version: 1, time: '', phase: 'started', ...kept});
  }

  /** Add lines; those that come while a write is under way go together into the next one. */
  append(entries: readonly AuditEntry[]): Promise<void> {
    if (entries.length === 0) return Promise.resolve();
    // One by one: those of 100,000 tokens would be more arguments than a call can have.
    for (const entry of entries) this.#queue.push(entry);
    if (!this.#scheduled) {
      const flush = this.#last.then(() => {
        this.#scheduled = undefined;
        // Taken now, so that each of them shares the fate of the very write that its caller waits for.
        const queue = this.#queue;
        this.#queue = [];
        return this.#flush(queue);
      });
      this.#scheduled = flush;
      this.#last = flush.catch(() => undefined);
    }

    return this.#scheduled;
  }

  async #flush(entries: readonly AuditEntry[]): Promise<void> {
    ensurePrivateDirectory(dirname(this.path));
    const {withLock} = await import('./lock.ts');
    await withLock(followLink(this.path), () => {
      checkPrivateFile(this.path, this.#warn);
      try {
        appendWhole(this.path, entries.map((entry) => `${escapeControls(JSON.stringify(entry))}\n`).join(''));
      } catch (error) {
        throw describeFileError(error, this.path);
      }
    });
  }

  /** Remove the entries of one homeserver, for `server remove --purge`; lines that cannot be read stay. */
  async purge(serverName: string): Promise<void> {
    if (!existsSync(this.path)) return;
    const path = followLink(this.path);
    const {withLock} = await import('./lock.ts');
    await withLock(path, (assertHeld) => {
      const text = readPrivateFile(this.path, this.#warn) ?? '';
      const lines = text.split('\n').filter((line) => line !== '');
      const entries = lines.map((line) => parseLine(line));
      // The start of a log-in may not know the homeserver's name yet; its end does.
      const purged = new Set(
        entries.flatMap((entry) => (entry?.server_name === serverName ? [entry.id] : [])),
      );
      const kept = lines.filter((_, index) => !purged.has(entries[index]?.id ?? ''));
      const staged = `${path}.new`;
      try {
        rmSync(staged, {force: true});
        appendWhole(staged, kept.map((line) => `${line}\n`).join(''));
        assertHeld();
        renameSync(staged, path);
      } catch (error) {
        rmSync(staged, {force: true});
        throw describeFileError(error, this.path);
      }
    });
  }

  /** Every line that can be read, oldest first; the others are counted in a warning. */
  async *read(): AsyncGenerator<AuditEntry> {
    if (!existsSync(this.path)) return;
    checkPrivateFile(this.path, this.#warn);
    let number = 0;
    const broken: number[] = [];
    for await (const line of createInterface({
      input: createReadStream(this.path, 'utf8'),
      crlfDelay: Infinity,
    })) {
      number++;
      if (line.trim() === '') continue;
      const entry = parseLine(line);
      if (entry) yield entry;
      else broken.push(number);
    }

    if (broken.length > 0) {
      const where = `line${broken.length === 1 ? '' : 's'} ${shorten(broken, ', ')}`;
      this.#warn(
        `${this.path}: ${broken.length} of ${number} lines cannot be read (${where}); they are left as they are`,
      );
    }
  }
}

function parseLine(line: string): AuditEntry | undefined {
  try {
    entrySchema ??= makeEntrySchema();
    return entrySchema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

/** All of the text or none of it, on the disk before it returns. The lock is held. */
function appendWhole(path: string, text: string): void {
  const fd = openSync(path, 'a+', 0o600);
  try {
    const {size} = fstatSync(fd);
    // A line that a crash cut off must not swallow the next one.
    const last = Buffer.alloc(1);
    const torn = size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== 0x0a;
    const bytes = Buffer.from(torn ? `\n${text}` : text);
    try {
      for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
      fsyncSync(fd);
    } catch (error) {
      ftruncateSync(fd, size);
      throw error;
    }
  } finally {
    closeSync(fd);
  }
}

function osUser(): string {
  try {
    return userInfo().username;
  } catch {
    // A uid without an entry in the password database, as in containers.
    return String(process.getuid?.() ?? 'unknown');
  }
}
