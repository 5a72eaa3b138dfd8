import {MxtokCommand, serverFlag} from '../lib/command.ts';
import {EXPORT_FIELDS, exportTokens} from '../lib/operations/export.ts';
import {jsonLine} from '../lib/output/json.ts';

export default class Export extends MxtokCommand {
  static override usage = 'export [FLAGS]';
  static override summary =
    'Write all tokens of a homeserver, with their labels and notes, for import or a backup.';
  static override description =
    'As NDJSON, the first line of which tells the version and how many tokens follow; or with --output csv. Whoever has the file can register with the tokens in it: keep it as you would keep a password.';

  static override examples = [
    '<%= config.bin %> export > tokens.ndjson',
    {description: 'For a spreadsheet', command: '<%= config.bin %> export --output csv > tokens.csv'},
    {
      description: 'Straight to another homeserver',
      command: '<%= config.bin %> export --server old | <%= config.bin %> import - --server new',
    },
  ];

  static override flags = serverFlag;

  async run(): Promise<void> {
    const {flags} = await this.parseInput(Export);
    const connection = await this.connect(flags.server, false);
    const {header, records} = await exportTokens(connection);
    const {output} = this.globals;
    if (this.globals.json || output === 'json') await this.writeJson(records);
    else if (output === 'csv' || output === 'tsv' || output === 'table')
      await this.writeRows(EXPORT_FIELDS, records);
    else await this.write(lines([header, ...records]));
    this.note(`${records.length} token${records.length === 1 ? '' : 's'} of ${header.server_name}`);
  }
}

function* lines(values: readonly object[]): Generator<string> {
  for (const value of values) yield `${jsonLine(value)}\n`;
}
