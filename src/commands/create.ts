import {Flags} from '@oclif/core';

import {serverFlag} from '../lib/command.ts';
import {type BulkOptions, BulkCommand, bulkFlags, parseConcurrency} from '../lib/bulk-command.ts';
import type {Target} from '../lib/connection.ts';
import {usageError} from '../lib/errors.ts';
import {readInput} from '../lib/input-file.ts';
import {parseLabel, parseNote} from '../lib/label.ts';
import {checkNewTokenFlags, newTokenFlags, newTokenSettings} from '../lib/new-token-flags.ts';
import {createToken, createTokens, type NewToken} from '../lib/operations/create.ts';
import {type CompleteRow, createRows, planRows} from '../lib/operations/create-from.ts';
import {parseNewToken} from '../lib/registration-token.ts';
import {parseNumber} from '../lib/settings.ts';
import {MAX_TOKENS} from '../lib/token-file/rows.ts';
import {readWantedRows} from '../lib/token-file/wanted-rows.ts';

export default class Create extends BulkCommand {
  static override usage = 'create [FLAGS]';
  static override summary = 'Create registration tokens.';
  static override description =
    'Without --uses and --expiry, and without standing settings of the server, a token is good for any number of registrations, for ever. On a pipe the token alone is printed. --from reads CSV with a header, or NDJSON, with the columns token, uses_allowed, expiry, label and note; what a row leaves out, the flags fill. Running it again makes no token of a row with a token twice: one that is there as its row wants it counts as done, one that is there otherwise is a conflict. Rows without a token stand for new ones at each run; only a run that was cut short is continued, by the next one over the same file.';

  static override examples = [
    {
      description: 'Five uses within a week',
      command: '<%= config.bin %> create --uses 5 --expiry 7d --label "spring workshop"',
    },
    {
      description: 'For one person, easy to say aloud',
      command: '<%= config.bin %> create --uses 1 --expiry 24h --words 4',
    },
    {description: 'In a script', command: 'TOKEN=$(<%= config.bin %> create --uses 1 --expiry 24h)'},
    {
      description: 'A thousand for an event, as a spreadsheet',
      command: '<%= config.bin %> create --count 1000 --uses 1 --expiry 2w --label fair --output csv',
    },
    {
      description: 'One for each row of a file',
      command: '<%= config.bin %> create --from guests.csv --uses 1 --expiry 2w',
    },
  ];

  static override flags = {
    ...serverFlag,
    token: Flags.string({
      summary: 'The token itself: 1 to 64 of A-Z a-z 0-9 . _ ~ -',
      helpValue: 'STRING',
      exclusive: ['length', 'words'],
    }),
    ...newTokenFlags,
    label: Flags.string({summary: 'A name for it, kept on this machine.', helpValue: 'TEXT'}),
    note: Flags.string({summary: 'More about it, kept on this machine.', helpValue: 'TEXT'}),
    count: Flags.string({
      summary: `Make so many, up to ${MAX_TOKENS}; each is printed as soon as it exists.`,
      helpValue: 'N',
      exclusive: ['token'],
    }),
    from: Flags.string({
      summary: 'Make one for each row of this file (CSV or NDJSON; "-" is standard input).',
      helpValue: 'FILE',
      exclusive: ['token', 'count'],
    }),
    ...bulkFlags,
  };

  async run(): Promise<void> {
    const {flags} = await this.parseInput(Create);
    checkNewTokenFlags(flags);
    const token = flags.token === undefined ? undefined : parseNewToken(flags.token);
    const count = flags.count === undefined ? undefined : parseNumber(flags.count, '--count', 1, MAX_TOKENS);
    const bulk = {concurrency: parseConcurrency(flags.concurrency)};
    const text = {
      label: flags.label === undefined ? undefined : parseLabel(flags.label),
      note: flags.note === undefined ? undefined : parseNote(flags.note),
    };
    if (count === undefined && flags.from === undefined && flags.concurrency !== undefined)
      throw usageError('--concurrency is for --count and --from', 'See --help.');
    const source = flags.from === '-' ? 'standard input' : (flags.from ?? '');
    const file = flags.from === undefined ? undefined : {source, text: await readInput(flags.from)};
    const rows = file && (await readWantedRows(file.text, source));
    const target = await this.target(flags.server);
    const {generate, ...limits} = await newTokenSettings(flags, target);
    const settings = {...limits, ...text};
    if (file && rows) {
      const complete = rows.map((row): CompleteRow => ({...settings, ...row}));
      await this.createFrom(target, complete, file, generate, bulk);
    } else if (count !== undefined) {
      const names = new Set<string>();
      while (names.size < count) names.add(generate());
      const wanted = Array.from(names, (name) => ({token: name, ...settings}));
      const connection = await this.connectBulk(target, bulk);
      await this.createMany(count, (options) => createTokens(connection, wanted, options), bulk);
    } else {
      await this.createOne(target, {token: token ?? generate(), ...settings});
    }
  }

  private async createOne(target: Target, wanted: NewToken): Promise<void> {
    const connection = await this.connect(target, true);
    const record = await createToken(connection, wanted);
    const bare = this.globals.output === undefined && this.format === 'tsv';
    if (bare) await this.write(`${record.token}\n`);
    else await this.writeRecord(connection, record);
  }

  private async createFrom(
    target: Target,
    rows: readonly CompleteRow[],
    file: {source: string; text: string},
    generate: () => string,
    bulk: BulkOptions,
  ): Promise<void> {
    if (rows.length === 0) this.note('There is no row, so there is nothing to do.');
    const connection = await this.connectBulk(target, bulk);
    const plan = await planRows(connection, rows, generate, file);
    const {wanted, existing} = plan;
    if (existing.length > 0 && this.format !== 'json' && this.format !== 'ndjson')
      this.note(`${existing.length} of ${rows.length} tokens are there already.`);
    await this.createMany(wanted.length, (options) => createRows(connection, plan, options), bulk, plan);
  }
}
