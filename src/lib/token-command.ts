/** What the token verbs share: homeservers to talk to, records to write, and what became of each token. */
import {MxtokCommand} from './command.ts';
import type {Connection, Target} from './connection.ts';
import {errorToJson, MxtokError} from './errors.ts';
import type {Outcome} from './homeserver/homeserver.ts';
import type {PlannedChange, TokenOutcome} from './operations/batch.ts';
import type {ServerOutcome} from './operations/each-server.ts';
import {jsonLine} from './output/json.ts';
import {sanitise} from './output/sanitise.ts';
import {renderRecordFields, renderRecords, renderRecordTable, type TableStyle} from './output/tokens.ts';
import {shorten} from './shorten.ts';
import type {TokenField, TokenRecord} from './token-record.ts';

/** What became of the tokens of each homeserver. */
export type ServerOutcomes<T> = readonly ServerOutcome<readonly TokenOutcome<T>[]>[];

/** One thing that was asked for: a token, or with an error a whole homeserver. */
interface Item<T> {
  server: string;
  token?: string;
  outcome: Outcome<T>;
}

export abstract class TokenCommand extends MxtokCommand {
  /** Several homeservers are asked for, even if it turns out to be one: what is written says which each row is of. */
  protected several = false;

  /**
   * Make ready to talk to the homeservers that are asked for. A single one throws what keeps it from that; of several,
   * it is the outcome of those that it concerns.
   * @param once a homeserver that several profiles lead to is taken once, as it has to be where it is to be changed.
   */
  protected async connectServers(
    flags: {server?: string | undefined; 'all-servers'?: boolean | undefined},
    forChange: boolean,
    once = forChange,
  ): Promise<ServerOutcome<Connection>[]> {
    const [{chooseTargets}, {connectEach}] = await Promise.all([
      import('./connection.ts'),
      import('./operations/each-server.ts'),
    ]);
    const environment = this.environment();
    const {targets, several} = chooseTargets(environment, flags);
    this.several = several;
    if (!several) return this.connectServer(targets[0], forChange);
    const noteSame = (server: string, other: string): void => {
      this.note(`${server} is the same homeserver as ${other}, so it is done once.`);
    };
    const servers = await connectEach(environment, targets, forChange, once ? noteSame : undefined);
    for (const {connection} of servers) if (connection) this.closeAtEnd(connection.http, connection.server);
    return servers;
  }

  /** As {@link connectServers}, for the commands that work on one. */
  protected async connectServer(
    server: string | Target | undefined,
    forChange: boolean,
  ): Promise<ServerOutcome<Connection>[]> {
    const connection = await this.connect(server, forChange);
    return [{server: connection.server, connection, outcome: {ok: true, value: connection}}];
  }

  /** Work on each homeserver. @param reading that nothing is changed, so that each can be given up after a time. */
  protected async onServers<T, R>(
    servers: readonly ServerOutcome<T>[],
    work: (connection: Connection, value: T) => Promise<R> | R,
    reading = false,
  ): Promise<ServerOutcome<R>[]> {
    const [only] = servers;
    if (!this.several && only?.connection && only.outcome.ok) {
      const value = await work(only.connection, only.outcome.value);
      return [{...only, outcome: {ok: true, value}}];
    }

    const {onEach} = await import('./operations/each-server.ts');
    return onEach(servers, async (connection, value) => work(connection, value), reading);
  }

  /** @param connection whose homeserver's time counts; without one, the time here. */
  protected tableStyle(connection?: Connection): TableStyle {
    return {
      width: this.tableWidth,
      now: connection?.homeserver.clock.now() ?? Date.now(),
      color: !this.globals['no-color'],
      several: this.several,
    };
  }

  /** Many records, in the form asked for. */
  protected async writeRecords(
    records: readonly TokenRecord[],
    connection?: Connection,
    columns?: readonly TokenField[],
  ): Promise<void> {
    const {format} = this;
    if (format !== 'table') await this.write(renderRecords(records, format, columns));
    else if (records.length > 0)
      await this.write(await renderRecordTable(records, this.tableStyle(connection), columns));
    this.warnStillAccepted(records);
  }

  /** Records of several homeservers; in JSON, one that failed is an element of its own. */
  protected async writeServerRecords(
    records: readonly TokenRecord[],
    servers: readonly ServerOutcome<unknown>[],
    columns?: readonly TokenField[],
  ): Promise<void> {
    const failed = servers.flatMap(({server, outcome}) => (outcome.ok ? [] : [{server, outcome}]));
    if (failed.length > 0 && (this.format === 'json' || this.format === 'ndjson')) {
      await this.writeJsonItems([...records, ...failed.map((item) => this.itemJson(item))]);
      this.warnStillAccepted(records);
    } else {
      await this.writeRecords(records, servers.length === 1 ? servers[0]?.connection : undefined, columns);
    }
  }

  /** One record. */
  protected async writeRecord(connection: Connection | undefined, record: TokenRecord): Promise<void> {
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
  protected recordStream(): {
    write(record: TokenRecord): Promise<void>;
    end(failed?: readonly {token: string; error: MxtokError}[]): Promise<void>;
  } {
    const {format} = this;
    const bare = this.bareTokens;
    let count = 0;
    const element = (value: object): string => `${count === 0 ? '[' : ','}\n${jsonLine(value)}`;
    const text = (record: TokenRecord): string => {
      if (bare) return `${record.token}\n`;
      if (format === 'json') return element(record);
      const lines = [...renderRecords([record], format === 'table' ? 'tsv' : format)];
      // CSV has its header first, and once.
      return (count === 0 ? lines : lines.slice(-1)).join('');
    };
    return {
      write: async (record) => {
        const line = text(record);
        count++;
        await this.write(line);
      },
      end: async (failed = []) => {
        for (const {token, error} of format === 'json' || format === 'ndjson' ? failed : []) {
          const value = {token, error: errorToJson(error)};
          await this.write(format === 'json' ? element(value) : `${jsonLine(value)}\n`);
          count++;
        }

        if (format === 'json') await this.write(count === 0 ? '[]\n' : '\n]\n');
      },
    };
  }

  /** Whether of new tokens the names alone are written, for `TOKEN=$(mxtok create …)` and for people. */
  protected get bareTokens(): boolean {
    return this.format === 'table' || (this.format === 'tsv' && this.globals.output === undefined);
  }

  /**
   * What became of each token: an object where one was asked for, else all in their order, each failure in its
   * place.
   * @throws {MxtokError} the one error, or `some_failed`.
   */
  protected async writeOutcomes<T extends TokenRecord>(
    results: ServerOutcomes<T>,
    words: readonly string[],
  ): Promise<void> {
    throwOnly(results, words);
    const items = itemsOf(results);
    const [only] = items;
    const [server] = results;
    if (this.isSingle(words) && only?.outcome.ok) {
      await this.writeRecord(server?.connection, only.outcome.value);
      return;
    }

    const records = items.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
    if (this.format === 'json' || this.format === 'ndjson') {
      await this.writeJsonItems(items.map((item) => this.itemJson(item)));
      this.warnStillAccepted(records);
    } else {
      await this.writeRecords(records, results.length === 1 ? server?.connection : undefined);
    }

    this.throwFailures(results, words);
  }

  /** As {@link writeOutcomes}, for changes: where nobody asked for data, --quiet leaves it out. */
  protected async writeChanges<T extends TokenRecord>(
    results: ServerOutcomes<T>,
    words: readonly string[],
  ): Promise<void> {
    if (this.silent) this.throwFailures(results, words);
    else await this.writeOutcomes(results, words);
  }

  /**
   * As {@link writeOutcomes}, for what is no token record: one object or an array in JSON, else a line each.
   * @param fields the columns of TSV and CSV.
   * @param line what a person is told of one; without a line break.
   */
  protected async writeItems<T extends object>(
    results: ServerOutcomes<T>,
    words: readonly string[],
    fields: readonly (keyof T & string)[],
    line: (item: T) => string,
  ): Promise<void> {
    throwOnly(results, words);
    const items = itemsOf(results);
    const values = items.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
    if (this.format === 'json' && this.isSingle(words)) {
      await this.writeJson(values[0]);
    } else if (this.format === 'json' || this.format === 'ndjson') {
      await this.writeJsonItems(items.map((item) => this.itemJson(item)));
    } else if (this.silent) {
      // Nobody asked for data.
    } else if (this.format === 'table') {
      await this.write(values.map((value) => `${line(value)}\n`));
    } else {
      await this.writeRows(fields, values);
    }

    this.throwFailures(results, words);
  }

  /** What a change would do, token by token. @param what as in "3 tokens would be WHAT". */
  protected async writePlan(
    results: ServerOutcomes<PlannedChange>,
    words: readonly string[],
    what: string,
  ): Promise<void> {
    throwOnly(results, words);
    const {renderPlanTable, toPlanRow, PLAN_FIELDS} = await import('./output/plans.ts');
    const items = itemsOf(results);
    const plans = items.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
    if (this.format === 'json' || this.format === 'ndjson') {
      const rows = items.map((item) =>
        item.outcome.ok ? planJson(item.outcome.value) : this.itemJson(item),
      );
      if (this.isSingle(words) && this.format === 'json') await this.writeJson(rows[0]);
      else await this.writeJsonItems(rows);
    } else if (this.format === 'table') {
      if (plans.length > 0)
        await this.write(await renderPlanTable(plans, this.tableStyle(results[0]?.connection)));
    } else {
      await this.writeRows(PLAN_FIELDS, plans.map(toPlanRow));
    }

    const count = plans.filter(({action}) => action !== 'none').length;
    this.note(`${count} ${count === 1 ? 'token' : 'tokens'} would be ${what}; nothing was changed.`);
    this.throwFailures(results, words);
  }

  protected async writeJsonItems(items: readonly object[]): Promise<void> {
    if (this.format === 'json') await this.writeJson(items);
    else await this.write(items.map((item) => `${jsonLine(item)}\n`));
  }

  /** What was made, or with its server and its token what it has failed with. */
  protected itemJson({server, token, outcome}: Item<unknown>): object {
    if (outcome.ok) return outcome.value as object;
    const where = this.several || token === undefined ? {server} : {};
    return {...where, ...(token !== undefined && {token}), error: errorToJson(outcome.error)};
  }

  /**
   * Tell what failed.
   * @throws {MxtokError} the error of the only token, or `some_failed` after each failure has been told.
   */
  protected throwFailures(results: ServerOutcomes<unknown>, words: readonly string[]): void {
    const items = itemsOf(results);
    const tokens = items.filter(({token}) => token !== undefined);
    const failed = items.flatMap(({server, token, outcome}) =>
      outcome.ok ? [] : [{server, token, error: outcome.error}],
    );
    const [first] = failed;
    if (!first) return;
    throwOnly(results, words);
    const failedTokens = failed.filter(({token}) => token !== undefined).length;
    // Where data is JSON there is no line for each, so that all are named here.
    const most = this.format === 'json' || this.format === 'ndjson' ? failed.length : undefined;
    const failedServers = failed.flatMap(({server, token}) => (token === undefined ? [server] : []));
    const summary = [
      ...(failedTokens > 0 ? [`${failedTokens} of ${tokens.length} tokens failed`] : []),
      ...(failedServers.length > 0
        ? [
            `${failedServers.length} of ${results.length} servers failed: ${shorten(failedServers, ', ', most)}`,
          ]
        : []),
    ].join('; ');
    if (failed.some(({error}) => error.code === 'interrupted')) {
      const done = tokens.length - failedTokens;
      const servers =
        failedServers.length > 0 ? `; ${failedServers.length} of ${results.length} servers were not` : '';
      throw new MxtokError(
        'interrupted',
        `interrupted: ${done} of ${tokens.length} tokens were done${servers}`,
        {
          hint: 'Run again for the others; mxtok audit --unfinished shows what had no answer.',
        },
      );
    }

    this.tellErrors(items);
    const hints = [...new Set(failed.flatMap(({error}) => error.hint ?? []))];
    throw new MxtokError('some_failed', summary, {hint: hints.length === 1 ? hints[0] : undefined});
  }

  /** A line for each failure, where the data has no place for it. */
  protected tellErrors(items: readonly {server?: string; token?: string; outcome: Outcome<unknown>}[]): void {
    if (this.format === 'json' || this.format === 'ndjson') return;
    for (const {server, token = '', outcome} of items) {
      if (outcome.ok) continue;
      const {code, message} = outcome.error;
      const about = token === '' || message.includes(token) ? '' : `${token}: `;
      const where = this.several && server !== undefined && code !== 'no_such_token' ? `${server}: ` : '';
      process.stderr.write(`error: ${sanitise(where + about + message)}\n`);
    }
  }

  /** Whether one token was named, on one homeserver; `-` may stand for any number. */
  private isSingle(words: readonly string[]): boolean {
    return words.length === 1 && words[0] !== '-' && !this.several;
  }

  private warnStillAccepted(records: readonly TokenRecord[]): void {
    const open = records.filter(({status, accepted}) => status === 'disabled' && accepted);
    if (open.length === 0) return;
    const [is, it] = open.length === 1 ? ['token is', 'it'] : ['tokens are', 'them'];
    const servers = [...new Set(open.map(({server}) => server))];
    const where = this.several ? `--server ${servers.slice(0, 5).join(',')} ` : '';
    const names = shorten(
      open.map(({token}) => token),
      ' ',
    );
    this.warning(
      `${open.length} ${is} at 0 uses, which the homeserver takes for unlimited: it still accepts ${it}. Close ${it}: mxtok disable ${where}-- ${names}`,
    );
  }
}

function itemsOf<T>(results: ServerOutcomes<T>): Item<T>[] {
  return results.flatMap(({server, outcome}): Item<T>[] =>
    outcome.ok ? outcome.value.map((item) => ({server, ...item})) : [{server, outcome}],
  );
}

/**
 * Where one token was named, and is all that there is to tell of: stdout stays empty then.
 * @throws {MxtokError} what it has failed with.
 */
function throwOnly(results: ServerOutcomes<unknown>, words: readonly string[]): void {
  const [only, ...others] = itemsOf(results);
  const named = words.length === 1 && words[0] !== '-' && only?.token !== undefined;
  if (named && others.length === 0 && !only.outcome.ok) throw only.outcome.error;
}

function planJson({record, action, changes}: PlannedChange): object {
  return {...record, dry_run: true, action, changes};
}
