/** What all commands share: flags, output, prompts, errors and exit codes. */
import {once} from 'node:events';

import {Args, Command, Flags, type Interfaces} from '@oclif/core';

import type {Connection, Environment, Target} from './connection.ts';
import {interruptSignal} from './interrupt.ts';
import {type Cell, csvLine, tsvLine} from './output/delimited.ts';
import {jsonArray, jsonLine, jsonObject} from './output/json.ts';
import {sanitise} from './output/sanitise.ts';
import type {Prompter} from './prompts.ts';
import {reportError, unknownFlag} from './report.ts';
import {parseTimeout} from './when.ts';

export const OUTPUT_FORMATS = ['table', 'tsv', 'csv', 'json', 'ndjson'] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** A local clock that is further off than this is told, milliseconds. */
const SKEW_TOLD = 60_000;

const GLOBAL = 'GLOBAL';

/** For the commands that talk to one homeserver. */
export const serverFlag = {
  server: Flags.string({
    char: 's',
    summary: 'Server profile to use (else MXTOK_SERVER, else the default).',
    helpGroup: GLOBAL,
    helpValue: 'NAME',
  }),
};

/** For the commands that can talk to several homeservers at once. */
export const serversFlags = {
  server: Flags.string({
    char: 's',
    summary: 'Server profile to use (else MXTOK_SERVER, else the default); several with commas.',
    helpGroup: GLOBAL,
    helpValue: 'NAME',
  }),
  'all-servers': Flags.boolean({
    summary: 'All server profiles, at the same time.',
    helpGroup: GLOBAL,
    exclusive: ['server'],
  }),
};

/** `TOKEN…`: see {@link MxtokCommand.tokens}. */
export const tokensArg = {
  token: Args.string({
    name: 'token',
    description: 'Registration token; "-" reads them from standard input, one a line.',
    multiple: true,
    required: true,
    ignoreStdin: true,
  }),
};

export type GlobalFlags = Interfaces.InferredFlags<(typeof MxtokCommand)['baseFlags']>;

export abstract class MxtokCommand extends Command {
  static override baseFlags = {
    json: Flags.boolean({
      summary: 'Print JSON (short for --output json).',
      helpGroup: GLOBAL,
      exclusive: ['output'],
    }),
    output: Flags.option({
      options: OUTPUT_FORMATS,
      summary: 'Form of the output (default: table on a terminal, tsv on a pipe).',
      helpGroup: GLOBAL,
    })(),
    quiet: Flags.boolean({
      char: 'q',
      summary: 'No notes or warnings, only data and errors.',
      helpGroup: GLOBAL,
    }),
    'no-input': Flags.boolean({summary: 'Never ask; fail where something is missing.', helpGroup: GLOBAL}),
    'no-color': Flags.boolean({summary: 'No colours (also: NO_COLOR).', helpGroup: GLOBAL}),
    timeout: Flags.string({
      summary: 'Time for one request, in seconds or like 2m (else MXTOK_TIMEOUT, the profile’s, 30s).',
      helpGroup: GLOBAL,
      helpValue: 'TIME',
    }),
    debug: Flags.boolean({
      summary: 'Show requests, and the stack of an error, on stderr.',
      helpGroup: GLOBAL,
    }),
  };

  protected globals: Partial<GlobalFlags> = {};
  /** The profile that errors are about. */
  protected server: string | undefined;
  #clients: {http: Connection['http']; server: string | undefined}[] = [];
  #warned = new Set<string>();

  /** The form that data is written in. */
  protected get format(): OutputFormat {
    if (this.globals.json) return 'json';
    return this.globals.output ?? (process.stdout.isTTY ? 'table' : 'tsv');
  }

  /** Whether success is to end without a word on stdout: nobody asked for data. */
  protected get silent(): boolean {
    return this.globals.quiet === true && !this.globals.json && this.globals.output === undefined;
  }

  /** Of the terminal, in characters; a table on a pipe (--output table) is as wide as it needs to be. */
  protected get tableWidth(): number {
    return process.stdout.isTTY ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY;
  }

  /** Parse, and take note of the flags that all commands have. */
  protected async parseInput<
    F extends Interfaces.OutputFlags<Interfaces.FlagInput>,
    B extends Interfaces.OutputFlags<Interfaces.FlagInput>,
    A extends Interfaces.OutputArgs<Interfaces.ArgInput>,
  >(command: Interfaces.Input<F, B, A>): Promise<Interfaces.ParserOutput<F, B, A>> {
    this.rejectMisplacedFlags();
    const parsed = await this.parse<F, B, A>(command);
    this.globals = parsed.flags as Partial<GlobalFlags>;
    return parsed;
  }

  /** The parser takes `-5…` for a number and so for an argument; here it is an unknown flag like any other. */
  private rejectMisplacedFlags(): void {
    const end = this.argv.indexOf('--');
    const flags = Object.entries({...this.ctor.baseFlags, ...this.ctor.flags});
    const takesValue = (word: string | undefined): boolean =>
      flags.some(
        ([name, {char, type}]) => type === 'option' && (word === `--${name}` || word === `-${char}`),
      );
    const numeric = this.argv
      .slice(0, end === -1 ? undefined : end)
      .find((word, index) => /^-\d/.test(word) && !takesValue(this.argv[index - 1]));
    if (numeric !== undefined) throw unknownFlag(numeric, 'token' in this.ctor.args);
  }

  /**
   * Registration tokens from the command line; `-` stands for those on standard input. Each is checked, and taken
   * once.
   */
  protected async tokens(words: readonly string[], parse: (word: string) => string): Promise<string[]> {
    const tokens: string[] = [];
    for (const word of words) {
      if (word !== '-') {
        tokens.push(parse(word));
        continue;
      }

      if (process.stdin.isTTY) this.note('Reading tokens, one a line; end with Ctrl-D.');
      const {readStdin} = await import('./stdin.ts');
      const lines = (await readStdin()).split('\n').map((line) => line.trim());
      tokens.push(...lines.filter((line) => line !== '').map(parse));
    }

    // As a filter that found nothing: what is to be done to none is done.
    if (tokens.length === 0) this.note('There is no token on standard input, so there is nothing to do.');
    return [...new Set(tokens)];
  }

  /** Surroundings for the library. @throws {MxtokError} `usage` */
  protected environment(): Environment {
    const {debug, timeout: given} = this.globals;
    const timeout = given ?? (process.env['MXTOK_TIMEOUT'] || undefined);
    const variable = given === undefined ? 'MXTOK_TIMEOUT' : undefined;
    return {
      configDir: process.env['MXTOK_CONFIG_DIR'] || this.config.configDir,
      dataDir: process.env['MXTOK_DATA_DIR'] || this.config.dataDir,
      env: process.env,
      warn: (message) => {
        this.warning(message);
      },
      http: {
        ...(timeout !== undefined && {timeout: parseTimeout(timeout, variable)}),
        userAgent: `mxtok/${this.config.version}`,
        signal: interruptSignal,
        onWait: (ms, why) => {
          this.note(`${why}; waiting ${Math.ceil(ms / 1000)} s …`);
        },
        ...(debug && {
          onDebug: (line: string) => {
            process.stderr.write(`debug: ${sanitise(line)}\n`);
          },
        }),
      },
    };
  }

  /** The server that is asked for, and its profile. Nothing is sent. */
  protected async target(server: string | undefined): Promise<Target> {
    const {chooseTarget} = await import('./connection.ts');
    const target = chooseTarget(this.environment(), server);
    this.server = target.server ?? undefined;
    return target;
  }

  /** Make ready to talk to a server. @param http overrides, for bulk work. */
  protected async connect(
    server: string | Target | undefined,
    forChange: boolean,
    http: Partial<Environment['http']> = {},
  ): Promise<Connection> {
    // The HTTP client and what it takes along are loaded once they are needed: not for help, nor for wrong flags.
    const {connect} = await import('./connection.ts');
    const surroundings = this.environment();
    const environment = {...surroundings, http: {...surroundings.http, ...http}};
    const target = typeof server === 'object' ? server : await this.target(server);
    this.server = target.server ?? undefined;
    const connection = await connect(environment, target, forChange);
    this.closeAtEnd(connection.http);
    return connection;
  }

  /** Open connections would keep the process alive; and the homeserver's clock is compared when all is done. */
  protected closeAtEnd(http: Connection['http'], server?: string): void {
    this.#clients.push({http, server});
  }

  /** Whoever could answer a question; `undefined` off a terminal, in CI, with --json or --no-input. */
  protected async prompter(): Promise<Prompter | undefined> {
    const {json, output, 'no-input': noInput} = this.globals;
    const data = json || output === 'json' || output === 'ndjson';
    // Tokens that are typed take all that comes from standard input.
    const readsTokens = this.argv.includes('-');
    const mute = !process.stdin.isTTY || !process.stderr.isTTY || Boolean(process.env['CI']);
    if (mute || data || noInput || readsTokens) return undefined;
    return (await import('./prompts.ts')).prompter;
  }

  /** Data, to stdout; waits where a pipe is full. */
  protected async write(text: string | Iterable<string>): Promise<void> {
    let buffer = '';
    for (const piece of typeof text === 'string' ? [text] : text) {
      buffer += piece;
      if (buffer.length < 65_536) continue;
      if (!process.stdout.write(buffer)) await once(process.stdout, 'drain');
      buffer = '';
    }

    if (buffer !== '' && !process.stdout.write(buffer)) await once(process.stdout, 'drain');
  }

  /** One object in JSON, or an array one element a line. */
  protected async writeJson(value: unknown): Promise<void> {
    await this.write(Array.isArray(value) ? jsonArray(value as object[]) : jsonObject(value));
  }

  /** Records of any kind: the named fields in table, TSV and CSV, the whole of each in JSON. */
  protected async writeRows<T extends object>(
    fields: readonly (keyof T & string)[],
    rows: readonly T[],
  ): Promise<void> {
    const {format} = this;
    const cellsOf = (row: T): Cell[] => fields.map((field) => (row[field] ?? null) as Cell);
    if (format === 'json') await this.writeJson(rows);
    else if (format === 'ndjson') await this.write(rows.map((row) => `${jsonLine(row)}\n`));
    else if (format === 'tsv') await this.write(rows.map((row) => `${tsvLine(cellsOf(row))}\n`));
    else if (format === 'csv')
      await this.write([fields, ...rows.map(cellsOf)].map((row) => `${csvLine(row)}\r\n`));
    else if (rows.length > 0) {
      const [{renderTable}, {coloursFor}] = await Promise.all([
        import('./output/table.ts'),
        import('./output/colour.ts'),
      ]);
      const columns = fields.map((field) => ({header: field.replaceAll('_', ' ').toUpperCase()}));
      const cells = rows.map((row) => cellsOf(row).map((cell) => ({text: tableText(cell)})));
      await this.write(
        renderTable(columns, cells, this.tableWidth, coloursFor('stdout', !this.globals['no-color'])),
      );
    }
  }

  /** One record of any kind. */
  protected async writeFields(record: Record<string, Cell>): Promise<void> {
    if (this.format !== 'table') {
      if (this.format === 'json') await this.writeJson(record);
      else await this.writeRows(Object.keys(record), [record]);
      return;
    }

    const [{renderFields}, {coloursFor}] = await Promise.all([
      import('./output/table.ts'),
      import('./output/colour.ts'),
    ]);
    const fields = Object.entries(record).filter(([, value]) => value !== null);
    await this.write(
      renderFields(
        fields.map(([name, value]) => [name.replaceAll('_', ' '), {text: tableText(value)}]),
        coloursFor('stdout', !this.globals['no-color']),
      ),
    );
  }

  /** Something worth knowing, to stderr. */
  protected note(message: string): void {
    if (!this.globals.quiet) process.stderr.write(`${sanitise(message)}\n`);
  }

  /** Something that should be seen to, to stderr; the same one is told once. */
  protected warning(message: string): void {
    if (this.globals.quiet || this.#warned.has(message)) return;
    this.#warned.add(message);
    process.stderr.write(`warning: ${sanitise(message)}\n`);
  }

  override finally(): Promise<void> {
    for (const {http, server} of this.#clients) {
      const skew = http.clock.skew();
      if (Math.abs(skew) > SKEW_TOLD) {
        this.warning(
          `${server === undefined ? '' : `${server}: `}the clock here is ${Math.round(Math.abs(skew) / 1000)} s ${skew > 0 ? 'ahead of' : 'behind'} the homeserver's; its clock decides when tokens expire`,
        );
      }

      http.close();
    }

    return Promise.resolve();
  }

  /** Every error ends here: one message on stderr, and the exit code that goes with it. */
  override catch(error: Error): Promise<void> {
    process.exitCode = reportError(error, this.argv, {server: this.server, command: this.id});
    return Promise.resolve();
  }
}

function tableText(cell: Cell): string {
  return typeof cell === 'boolean' ? (cell ? 'yes' : 'no') : String(cell ?? '');
}
