/** What the token verbs share: writing records and the outcomes of a batch. */
import {MxtokCommand} from './command.ts';
import type {Connection} from './connection.ts';
import {errorToJson, MxtokError} from './errors.ts';
import type {TokenOutcome} from './operations/batch.ts';
import {jsonLine} from './output/json.ts';
import {sanitise} from './output/sanitise.ts';
import {renderRecordFields, renderRecords, renderRecordTable, type TableStyle} from './output/tokens.ts';
import type {TokenField, TokenRecord} from './token-record.ts';

export abstract class TokenCommand extends MxtokCommand {
  protected tableStyle(connection: Connection): TableStyle {
    return {
      width: this.tableWidth,
      now: connection.homeserver.clock.now(),
      color: !this.globals['no-color'],
    };
  }

  /** Many records, in the form asked for. */
  protected async writeRecords(
    connection: Connection,
    records: readonly TokenRecord[],
    columns?: readonly TokenField[],
  ): Promise<void> {
    const {format} = this;
    if (format !== 'table') await this.write(renderRecords(records, format, columns));
    else if (records.length > 0)
      await this.write(await renderRecordTable(records, this.tableStyle(connection), columns));
    this.warnStillAccepted(records);
  }

  /** One record. */
  protected async writeRecord(connection: Connection, record: TokenRecord): Promise<void> {
    const {format} = this;
    if (format === 'json') await this.writeJson(record);
    else if (format === 'table')
      await this.write(await renderRecordFields(record, this.tableStyle(connection)));
    else await this.write(renderRecords([record], format));
    this.warnStillAccepted([record]);
  }

  /**
   * Records that are written one by one as they come. On a terminal, and on a pipe unless another form is asked for, a
   * line with the token alone.
   */
  protected recordStream(): {write(record: TokenRecord): Promise<void>; end(): Promise<void>} {
    const {format} = this;
    const bare = format === 'table' || (format === 'tsv' && this.globals.output === undefined);
    let count = 0;
    const text = (record: TokenRecord): string => {
      if (bare) return `${record.token}\n`;
      if (format === 'json') return `${count === 0 ? '[' : ','}\n${jsonLine(record)}`;
      const lines = [...renderRecords([record], format)];
      // CSV has its header first, and once.
      return (count === 0 ? lines : lines.slice(-1)).join('');
    };
    return {
      write: async (record) => {
        const line = text(record);
        count++;
        await this.write(line);
      },
      end: async () => {
        if (format === 'json') await this.write(count === 0 ? '[]\n' : '\n]\n');
      },
    };
  }

  /**
   * What became of each token: an object where one was asked for, else all in their order, each failure in its
   * place.
   * @throws {MxtokError} the one error, or `some_failed`.
   */
  protected async writeOutcomes<T extends TokenRecord>(
    connection: Connection,
    outcomes: readonly TokenOutcome<T>[],
    words: readonly string[],
  ): Promise<void> {
    const [only] = outcomes;
    if (isSingle(words) && only) {
      if (!only.outcome.ok) throw only.outcome.error;
      await this.writeRecord(connection, only.outcome.value);
      return;
    }

    const records = outcomes.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
    if (this.format === 'json' || this.format === 'ndjson') {
      await this.writeBatchJson(outcomes);
      this.warnStillAccepted(records);
    } else {
      await this.writeRecords(connection, records);
    }

    this.throwFailures(outcomes, words);
  }

  /** As {@link writeOutcomes}, for changes: where nobody asked for data, --quiet leaves it out. */
  protected async writeChanges<T extends TokenRecord>(
    connection: Connection,
    outcomes: readonly TokenOutcome<T>[],
    words: readonly string[],
  ): Promise<void> {
    if (this.silent) this.throwFailures(outcomes, words);
    else await this.writeOutcomes(connection, outcomes, words);
  }

  /**
   * As {@link writeOutcomes}, for what is no token record: one object or an array in JSON, else a line each.
   * @param fields the columns of TSV and CSV.
   * @param line what a person is told of one; without a line break.
   */
  protected async writeItems<T extends object>(
    outcomes: readonly TokenOutcome<T>[],
    words: readonly string[],
    fields: readonly (keyof T & string)[],
    line: (item: T) => string,
  ): Promise<void> {
    const items = outcomes.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
    if (this.format === 'json' && isSingle(words)) {
      if (items.length > 0) await this.writeJson(items[0]);
    } else if (this.format === 'json' || this.format === 'ndjson') {
      await this.writeBatchJson(outcomes);
    } else if (this.silent) {
      // Nobody asked for data.
    } else if (this.format === 'table') {
      await this.write(items.map((item) => `${line(item)}\n`));
    } else {
      await this.writeRows(fields, items);
    }

    this.throwFailures(outcomes, words);
  }

  private async writeBatchJson(outcomes: readonly TokenOutcome<unknown>[]): Promise<void> {
    const items = outcomes.map(({token, outcome}) =>
      outcome.ok ? outcome.value : {token, error: errorToJson(outcome.error)},
    );
    if (this.format === 'json') await this.writeJson(items);
    else await this.write(items.map((item) => `${jsonLine(item)}\n`));
  }

  /** @throws {MxtokError} the error of the only token, or `some_failed` after each failure has been told. */
  private throwFailures(outcomes: readonly TokenOutcome<unknown>[], words: readonly string[]): void {
    const errors = outcomes.flatMap(({outcome}) => (outcome.ok ? [] : [outcome.error]));
    const [first] = errors;
    if (!first) return;
    if (isSingle(words)) throw first;
    const summary = `${errors.length} of ${outcomes.length} tokens failed`;
    const interrupted = errors.find(({code}) => code === 'interrupted');
    if (interrupted) throw new MxtokError('interrupted', `interrupted; ${summary}`);
    if (this.format !== 'json' && this.format !== 'ndjson') {
      for (const {token = '', message} of errors) {
        const about = message.includes(token) ? '' : `${token}: `;
        process.stderr.write(`error: ${sanitise(about + message)}\n`);
      }
    }

    const hints = [...new Set(errors.flatMap(({hint}) => hint ?? []))];
    throw new MxtokError('some_failed', summary, {hint: hints.length === 1 ? hints[0] : undefined});
  }

  /** Whether a change is to end without a word on stdout: nobody asked for data. */
  protected get silent(): boolean {
    return this.globals.quiet === true && !this.globals.json && this.globals.output === undefined;
  }

  private warnStillAccepted(records: readonly TokenRecord[]): void {
    const open = records
      .filter(({status, accepted}) => status === 'disabled' && accepted)
      .map(({token}) => token);
    if (open.length === 0) return;
    const [is, it] = open.length === 1 ? ['token is', 'it'] : ['tokens are', 'them'];
    const names = open.slice(0, 5).join(' ') + (open.length > 5 ? ' …' : '');
    this.warning(
      `${open.length} ${is} at 0 uses, which the homeserver takes for unlimited: it still accepts ${it}. Close ${it}: mxtok disable -- ${names}`,
    );
  }
}

/** Whether one token was named; `-` may stand for any number. */
function isSingle(words: readonly string[]): boolean {
  return words.length === 1 && words[0] !== '-';
}
