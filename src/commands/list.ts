import {Flags} from '@oclif/core';

import {serversFlags} from '../lib/command.ts';
import {MxtokError, usageError} from '../lib/errors.ts';
import {listTokens, type TokenOrder, tokenComparator} from '../lib/operations/list.ts';
import {quote} from '../lib/quote.ts';
import {
  filterFlags,
  isFiltering,
  labelFilter,
  parseFilter,
  SelectionCommand,
} from '../lib/selection-command.ts';
import {readSetting, resolveSettings} from '../lib/settings.ts';
import {parseColumns, parseField, TOKEN_FIELDS, type TokenField} from '../lib/token-record.ts';

export default class List extends SelectionCommand {
  static override usage = 'list [FLAGS]';
  static override summary = 'List registration tokens with their status.';
  static override description =
    'Filters combine: all that are given must hold. On a pipe: tab-separated, all columns, no header, times in UTC. In the table, USES 2+1/5 is two registrations and one under way, of five.';

  static override examples = [
    '<%= config.bin %> list',
    {
      description: 'What still works, soonest end first',
      command: '<%= config.bin %> list --accepted --sort expires_at',
    },
    {
      description: 'Used up or over, of one event',
      command: "<%= config.bin %> list --status expired,exhausted --label 'spring*'",
    },
    {
      description: 'For cron: silent and 0 where nothing runs out, 9 where something does',
      command: '<%= config.bin %> list --expiring-within 3d --exit-code',
    },
    {description: 'Of all homeservers', command: '<%= config.bin %> list --all-servers --json'},
  ];

  static override flags = {
    ...serversFlags,
    ...filterFlags,
    ...labelFilter,
    sort: Flags.string({
      summary: 'Order by a column; -COLUMN: descending (default token).',
      helpValue: 'COLUMN',
    }),
    columns: Flags.string({
      summary: `Columns of table, tsv and csv, with commas: ${TOKEN_FIELDS.join(', ')}.`,
      helpValue: 'LIST',
    }),
    limit: Flags.string({summary: 'At most N tokens.', helpValue: 'N'}),
    'exit-code': Flags.boolean({summary: 'Exit with 9 where there is any such token.'}),
  };

  async run(): Promise<void> {
    const {flags} = await this.parseInput(List);
    const filter = parseFilter(flags, flags.label);
    // On several servers, a token of the same name is told by the server.
    const order = parseOrder(
      flags.sort ?? (flags['all-servers'] || flags.server?.includes(',') ? 'server' : 'token'),
    );
    const given = flags.columns === undefined ? undefined : parseColumns(flags.columns);
    const limit = flags.limit === undefined ? undefined : parseLimit(flags.limit);
    const columns = given ?? (await this.standingColumns(flags));
    const servers = await this.connectServers(flags, false);
    const results = await this.onServers(
      servers,
      (connection) => listTokens(connection, {filter, order, limit}),
      true,
    );
    let records = results.flatMap(({outcome}) => (outcome.ok ? outcome.value : []));
    // Of one, they are in order already.
    if (this.several) records = records.sort(tokenComparator(order)).slice(0, limit);
    await this.writeServerRecords(records, results, columns);
    const outcomes = results.map((result) =>
      result.outcome.ok
        ? {...result, outcome: {ok: true as const, value: []}}
        : {...result, outcome: result.outcome},
    );
    this.throwFailures(outcomes, []);
    if (records.length === 0 && this.format === 'table') {
      this.note(
        isFiltering(filter)
          ? 'No token matches.'
          : 'There are no registration tokens yet. Make one: mxtok create --uses 1',
      );
    }

    if (flags['exit-code'] && records.length > 0)
      process.exitCode = new MxtokError('tokens_found', '').exitCode;
  }

  /** The environment's or the profile's; those of data have all columns, for scripts count on them. */
  private async standingColumns(flags: {
    server?: string | undefined;
    'all-servers': boolean;
  }): Promise<TokenField[] | undefined> {
    if (this.format !== 'table') return undefined;
    const several = flags['all-servers'] || flags.server?.includes(',');
    const target = several ? undefined : await this.target(flags.server);
    const settings = resolveSettings({flags: {}, env: process.env, defaults: target?.profile.defaults});
    return readSetting('columns', settings.columns, parseColumns, target?.server ?? null);
  }
}

function parseOrder(input: string): TokenOrder {
  const descending = input.startsWith('-');
  return {descending, field: parseField(descending ? input.slice(1) : input, '--sort')};
}

function parseLimit(input: string): number {
  if (!/^[1-9]\d{0,8}$/.test(input)) throw usageError(`--limit ${quote(input)} is not a number from 1 on`);
  return Number(input);
}
