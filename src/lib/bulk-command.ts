/** What `create` and `import` share: very many tokens, each told as soon as it exists, and a clean end at any moment. */
import {setMaxListeners} from 'node:events';

import {Flags} from '@oclif/core';

import type {Connection, Target} from './connection.ts';
import {MxtokError, toMxtokError} from './errors.ts';
import {endWithoutReader, interruptSignal, isReaderGone} from './interrupt.ts';
import type {TokenOutcome} from './operations/batch.ts';
import type {CreateOptions} from './operations/create.ts';
import {Progress} from './output/progress.ts';
import {CONCURRENCY} from './settle.ts';
import {parseNumber} from './settings.ts';
import {TokenCommand} from './token-command.ts';
import type {TokenRecord} from './token-record.ts';

export const bulkFlags = {
  concurrency: Flags.string({
    summary: `Requests under way at once, where there are many: 1 to 32 (default ${CONCURRENCY}).`,
    helpValue: 'N',
  }),
};

export interface BulkOptions {
  concurrency: number;
}

/** Of the rows of a file: what is there already, and what cannot be made. */
export interface Found {
  existing: readonly TokenRecord[];
  conflicts: readonly TokenOutcome<never>[];
}

/** `--concurrency`. @throws {MxtokError} `usage` */
export function parseConcurrency(input: string | undefined): number {
  return input === undefined ? CONCURRENCY : parseNumber(input, '--concurrency', 1, 32);
}

export abstract class BulkCommand extends TokenCommand {
  #progress: Progress | undefined;
  /** Until the tokens are made, Ctrl-C ends what is under way. */
  readonly #planning = new AbortController();
  readonly #stopPlanning = (): void => {
    this.#planning.abort();
  };

  /** @returns a connection whose requests end at Ctrl-C, up to {@link runBulk}. */
  protected connectBulk(target: Target, {concurrency}: BulkOptions): Promise<Connection> {
    const {signal} = this.#planning;
    // Every request under way listens to it.
    setMaxListeners(0, signal);
    interruptSignal.addEventListener('abort', this.#stopPlanning);
    if (interruptSignal.aborted) this.#stopPlanning();
    return this.connect(target, true, {connections: concurrency, signal});
  }

  /** Where the work comes to its end by itself, what nobody reads any more is not written. */
  protected override async write(text: string | Iterable<string>): Promise<void> {
    if (isReaderGone()) return;
    try {
      await super.write(text);
    } catch (error) {
      if (!isReaderGone()) throw error;
    }
  }

  protected override note(message: string): void {
    this.#progress?.clear();
    super.note(message);
  }

  protected override warning(message: string): void {
    this.#progress?.clear();
    super.warning(message);
  }

  /**
   * Create tokens. From here on, what is under way at Ctrl-C comes to its end, for nobody would know which of them
   * exist. A bar tells on a terminal how far it has come.
   * @param work is given the signal that ends it.
   * @param each told of every token.
   */
  protected async runBulk<T>(
    total: number,
    {concurrency}: BulkOptions,
    work: (options: CreateOptions) => Promise<T>,
    each: (record: TokenRecord) => Promise<void> = () => Promise.resolve(),
  ): Promise<T> {
    interruptSignal.removeEventListener('abort', this.#stopPlanning);
    endWithoutReader();
    const shows = process.stderr.isTTY && process.env['TERM'] !== 'dumb' && !this.globals.quiet;
    this.#progress = shows && total > 1 ? new Progress(total, 'tokens') : undefined;
    const onInterrupt = (): void => {
      // With --json, an error is all that is on stderr.
      if (isReaderGone() || this.format === 'json' || this.format === 'ndjson') return;
      this.note('Stopping once the requests under way are answered; a second signal ends at once.');
    };
    interruptSignal.addEventListener('abort', onInterrupt, {once: true});
    const onCreated = async (record: TokenRecord): Promise<void> => {
      // Also where it is a pipe, which may end on the same terminal (tee).
      this.#progress?.clear();
      await each(record);
      if (!interruptSignal.aborted) this.#progress?.tick();
    };
    try {
      return await work({concurrency, signal: interruptSignal, onCreated});
    } finally {
      interruptSignal.removeEventListener('abort', onInterrupt);
      this.#progress?.clear();
      this.#progress = undefined;
    }
  }

  /**
   * Make tokens, each written as soon as it exists.
   * @param count of those that are to be made.
   * @param make makes them.
   * @param found given where the tokens are those of a file.
   * @throws {MxtokError} `interrupted`, `some_failed`, or what has met the only one, or all.
   */
  protected async createMany(
    count: number,
    make: (options: CreateOptions) => Promise<TokenOutcome[]>,
    bulk: BulkOptions,
    found?: Found,
  ): Promise<void> {
    const {existing, conflicts} = found ?? {existing: [], conflicts: []};
    const total = count + existing.length + conflicts.length;
    const summarise = (done: number): string =>
      `${done} of ${total} tokens ${existing.length > 0 ? 'are there' : 'were created'}`;
    const stream = this.recordStream();
    endWithoutReader();
    for (const record of existing) await stream.write(record);
    let written = existing.length;
    const write = async (record: TokenRecord): Promise<void> => {
      written++;
      await stream.write(record);
    };
    let outcomes: TokenOutcome[];
    try {
      outcomes = await this.runBulk(count, bulk, make, write);
    } catch (error) {
      const {code, message, hint} = toMxtokError(error);
      if (written === 0) throw error;
      // What has been written is to be whole.
      await stream.end();
      throw new MxtokError(code, `${summarise(written)}; ${message}`, {hint});
    }

    const unmade = [...conflicts, ...outcomes.filter(({outcome}) => !outcome.ok)];
    const failed = unmade.flatMap(({token, outcome}) => (outcome.ok ? [] : [{token, error: outcome.error}]));
    await stream.end(failed);
    const done = existing.length + outcomes.filter(({outcome}) => outcome.ok).length;
    const [first] = failed;
    // Where somebody has chosen the tokens, it matters which of them there are not.
    if (found && (total > 1 || interruptSignal.aborted)) this.tellErrors(unmade);
    if (isReaderGone() && done + failed.length < total) {
      throw new MxtokError('interrupted', `nobody reads what is written any more: ${summarise(done)}`, {
        hint: 'See which: mxtok audit --operation create',
      });
    }

    if (interruptSignal.aborted && done + failed.length < total)
      throw new MxtokError('interrupted', `interrupted: ${summarise(done)}`);
    if (!first) return;
    if (total === 1 || (done === 0 && !found)) throw first.error;
    const summary = found ? summarise(done) : `${summarise(done)}; ${first.error.message}`;
    throw new MxtokError('some_failed', summary, {hint: first.error.hint});
  }
}
