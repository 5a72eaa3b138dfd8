import {Flags} from '@oclif/core';

import {serverFlag} from '../lib/command.ts';
import {usageError} from '../lib/errors.ts';
import {listTokens, type TokenFilter, type TokenOrder} from '../lib/operations/list.ts';
import {quote} from '../lib/quote.ts';
import {TOKEN_STATUSES, type TokenStatus} from '../lib/registration-token.ts';
import {TokenCommand} from '../lib/token-command.ts';
import {TOKEN_FIELDS, type TokenField} from '../lib/token-record.ts';
import {parseDuration} from '../lib/when.ts';

export default class List extends TokenCommand {
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
    {description: 'For a script', command: '<%= config.bin %> list --expiring-within 3d --json'},
  ];

  static override flags = {
    ...serverFlag,
    status: Flags.string({
      summary: `Of this status; several with commas: ${TOKEN_STATUSES.join(', ')}.`,
      helpValue: 'STATUS',
      multiple: true,
      multipleNonGreedy: true,
      delimiter: ',',
    }),
    accepted: Flags.boolean({
      summary: 'Those that the homeserver accepts now; --no-accepted: the others.',
      allowNo: true,
    }),
    label: Flags.string({summary: 'With this label; * stands for anything.', helpValue: 'GLOB'}),
    search: Flags.string({summary: 'With this text in token, label or note.', helpValue: 'TEXT'}),
    'expiring-within': Flags.string({
      summary: 'Accepted now, and over within this time (3d).',
      helpValue: 'DURATION',
    }),
    unused: Flags.boolean({summary: 'That nobody has registered with, or is about to.'}),
    sort: Flags.string({
      summary: 'Order by a column; -COLUMN: descending (default token).',
      helpValue: 'COLUMN',
    }),
    columns: Flags.string({
      summary: `Columns of table, tsv and csv, with commas: ${TOKEN_FIELDS.join(', ')}.`,
      helpValue: 'LIST',
    }),
    limit: Flags.string({summary: 'At most N tokens.', helpValue: 'N'}),
  };

  async run(): Promise<void> {
    const {flags} = await this.parseInput(List);
    const filter: TokenFilter = {
      status: flags.status?.map(parseStatus),
      accepted: flags.accepted,
      label: flags.label,
      search: flags.search,
      expiringWithin:
        flags['expiring-within'] === undefined
          ? undefined
          : parseDuration(flags['expiring-within'], '--expiring-within'),
      unused: flags.unused,
    };
    const order = parseOrder(flags.sort ?? 'token');
    const columns = flags.columns?.split(',').map((name) => parseField(name.trim(), '--columns'));
    const limit = flags.limit === undefined ? undefined : parseLimit(flags.limit);
    const connection = await this.connect(flags.server, false);
    const records = await listTokens(connection, {filter, order, limit});
    await this.writeRecords(connection, records, columns);
    if (records.length === 0 && this.format === 'table') {
      const filtered = Object.values(filter).some((value) => value !== undefined && value !== false);
      this.note(
        filtered
          ? 'No token matches.'
          : 'There are no registration tokens yet. Make one: mxtok create --uses 1',
      );
    }
  }
}

function parseStatus(input: string): TokenStatus {
  const status = TOKEN_STATUSES.find((known) => known === input.trim());
  if (status === undefined)
    throw usageError(`--status ${quote(input)} is none of ${TOKEN_STATUSES.join(', ')}`);
  return status;
}

function parseField(input: string, flag: string): TokenField {
  const field = TOKEN_FIELDS.find((known) => known === input);
  if (field === undefined)
    throw usageError(`${flag}: ${quote(input)} is no column; there are ${TOKEN_FIELDS.join(', ')}`);
  return field;
}

function parseOrder(input: string): TokenOrder {
  const descending = input.startsWith('-');
  return {descending, field: parseField(descending ? input.slice(1) : input, '--sort')};
}

function parseLimit(input: string): number {
  if (!/^[1-9]\d{0,8}$/.test(input)) throw usageError(`--limit ${quote(input)} is not a number from 1 on`);
  return Number(input);
}
