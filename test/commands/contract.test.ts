/** What scripts and people lean on: names of commands, flags and arguments, exit codes, and the text that tells of them. */
import {strict as assert} from 'node:assert';
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

import {type Command, type Config, Parser} from '@oclif/core';
import {globSync} from 'tinyglobby';

import {makeManifest} from '../../scripts/manifest.ts';
import type {MxtokCommand} from '../../src/lib/command.ts';
import {EXIT_CODES} from '../../src/lib/errors.ts';
import {runCommand} from '../helpers/run.ts';
import {tempDir} from '../helpers/temp.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** How tokens are chosen; of `list` and of the commands on chosen tokens. */
const FILTERS = [
  ...['--[no-]accepted', '--expiring-within=', '--search=', '--status=…', '--unused', '--uses-left='],
];
const LABEL_FILTER = '--label=|--with-label';
/** Of the commands that take tokens by name or by filter. */
const CHOICE = ['--all', ...FILTERS, '-s --server='];
const CHANGE = ['--dry-run', '-y --yes'];
const DEFAULTS = [
  ...['--default-columns=', '--default-expiry=', '--default-length=', '--default-timeout='],
  ...['--default-uses=', '--default-words='],
];

/**
 * Flags as `-c --name`, with `=` where they take a value, `…` where they may be given more than once, and their other
 * names behind `|`. What is here stays: a name is only ever added.
 */
const CONTRACT: Record<string, {args: string; flags: string[]}> = {
  __complete: {args: '[SHELL]', flags: []},
  audit: {
    args: '',
    flags: ['--limit=', '--operation=', '--since=', '--token=', '--unfinished', '--until=', '-s --server='],
  },
  check: {args: 'TOKEN…', flags: ['--allow-http', '--ca-file=', '--url=', '-s --server=']},
  completion: {args: 'SHELL', flags: []},
  create: {
    args: '',
    flags: [
      ...[
        '--concurrency=',
        '--count=',
        '--expiry=',
        '--from=',
        '--label=',
        '--length=',
        '--note=',
        '--token=',
      ],
      ...['--uses=', '--words=', '-s --server='],
    ],
  },
  delete: {args: '[TOKEN…]', flags: [...CHOICE, LABEL_FILTER, ...CHANGE]},
  disable: {args: '[TOKEN…]', flags: [...CHOICE, LABEL_FILTER, '--all-servers', ...CHANGE]},
  enable: {args: '[TOKEN…]', flags: [...CHOICE, LABEL_FILTER, ...CHANGE, '--expiry=', '--uses=']},
  export: {args: '', flags: ['-s --server=']},
  help: {args: '[COMMAND]', flags: ['-n --nested-commands']},
  import: {args: 'FILE', flags: ['--concurrency=', '--dry-run', '-s --server=']},
  list: {
    args: '',
    flags: [
      ...[...FILTERS, LABEL_FILTER, '--all-servers', '--columns=', '--exit-code', '--limit=', '--sort='],
      '-s --server=',
    ],
  },
  prune: {
    args: '',
    flags: [
      ...['--all-servers', '--include-disabled', '--include-pending', '--older-than=', '-s --server='],
      ...[LABEL_FILTER, ...CHANGE],
    ],
  },
  rotate: {
    args: '',
    flags: [
      ...[
        '--all-servers',
        '--dry-run',
        '--expiry=',
        '--keep=',
        '--label=',
        '--length=',
        '--note=',
        '--uses=',
      ],
      ...['--words=', '-s --server='],
    ],
  },
  show: {args: '[TOKEN…]', flags: [...CHOICE, LABEL_FILTER, '--all-servers']},
  update: {
    args: '[TOKEN…]',
    flags: [
      // Its --label is what is to be, so the filter has one name only.
      ...[...CHOICE, ...CHANGE, '--all-servers', '--with-label='],
      ...['--expiry=', '--label=', '--note=', '--uses='],
    ],
  },
  'server add': {
    args: '[NAME]',
    flags: [
      ...['--[no-]allow-http', '--access-token-command=', '--access-token-file=', '--access-token-stdin'],
      ...['--ca-file=', '--no-verify', '--password-stdin', '--url=', '-u --user=', ...DEFAULTS],
    ],
  },
  'server default': {args: '[NAME]', flags: []},
  'server doctor': {
    args: '[NAME]',
    flags: ['--all-servers', '--allow-http', '--ca-file=', '--url=', '-s --server='],
  },
  'server list': {args: '', flags: []},
  'server login': {args: 'NAME', flags: ['--password-stdin', '-u --user=']},
  'server logout': {args: 'NAME', flags: ['--local']},
  'server remove': {args: 'NAME', flags: ['--purge', '-y --yes']},
  'server show': {args: 'NAME', flags: []},
  'server update': {
    args: 'NAME',
    flags: [
      ...['--[no-]allow-http', '--access-token-command=', '--access-token-file=', '--access-token-stdin'],
      ...['--ca-file=', '--keep-access-token', '--no-verify', '--url=', ...DEFAULTS],
    ],
  },
};

/** All commands but help have these. */
const EVERYWHERE = ['--debug', '--json', '--no-color', '--no-input', '--output=', '--timeout=', '-q --quiet'];

/** Error codes by the exit code that goes with them (README, "Exit codes"). */
const CODES: Record<number, string[]> = {
  1: ['changed_meanwhile', 'refused', 'still_accepted', 'store', 'unexpected', 'unsupported'],
  2: ['token_disabled', 'usage'],
  3: ['declined'],
  4: ['no_credential', 'not_admin', 'unauthorized'],
  5: ['no_such_server', 'no_such_token'],
  6: ['already_exists'],
  7: ['not_matrix', 'rate_limited', 'server_error', 'timeout', 'tls', 'unreachable'],
  8: ['some_failed'],
  9: ['fault_found', 'not_accepted', 'tokens_found'],
  130: ['interrupted'],
};

type CommandClass = typeof Command & (new (argv: string[], config: Config) => MxtokCommand);

const commands = new Map<string, CommandClass>();

before(async function (this: Mocha.Context) {
  this.timeout(60_000);
  for (const file of globSync('src/commands/**/*.ts', {cwd: root}).sort()) {
    const name = file.replace('src/commands/', '').replace(/\.ts$/, '').replaceAll('/', ' ');
    commands.set(name, ((await import(`../../${file}`)) as {default: CommandClass}).default);
  }
});

/** The command of a name that the contract has. */
function commandOf(name: string): CommandClass {
  const command = commands.get(name);
  assert(command, `mxtok ${name} is gone`);
  return command;
}

function allFlags(command: CommandClass): [name: string, flag: Command.Flag.Any][] {
  return Object.entries({...command.baseFlags, ...command.flags});
}

function describeFlag([name, flag]: [string, Command.Flag.Any]): string {
  const short = flag.char ? `-${flag.char} ` : '';
  const value = flag.type === 'option' ? '=' : '';
  const negated = flag.type === 'boolean' && flag.allowNo ? '[no-]' : '';
  const others = flag.aliases?.map((alias) => `|--${alias}`).join('') ?? '';
  return `${short}--${negated}${name}${value}${flag.type === 'option' && flag.multiple ? '…' : ''}${others}`;
}

function describeArgs(command: CommandClass): string {
  return Object.entries(command.args)
    .map(([name, arg]) => {
      const shown = `${name.toUpperCase()}${(arg as {multiple?: boolean}).multiple ? '…' : ''}`;
      return arg.required ? shown : `[${shown}]`;
    })
    .join(' ');
}

/** A run of mxtok inside a line of shell. */
interface Invocation {
  command: string;
  argv: string[];
}

/**
 * All runs of mxtok in a line of shell: in pipelines, in `$(…)`, behind `if`. A variable stands for itself without
 * its `$`, which makes it a token like any other.
 */
function invocations(line: string): Invocation[] {
  const words: string[] = [];
  for (const [, space, double, single, operator, bare = ''] of line.matchAll(
    /(\s+)|"([^"]*)"|'([^']*)'|([|;&()<>]|#.*$)|([^\s"'|;&()<>#]+)/g,
  )) {
    const text =
      double?.replaceAll(/\$\{?(\w+)\}?/g, '$1') ?? single ?? bare.replaceAll(/\$\{?(\w+)\}?/g, '$1');
    if (space !== undefined) words.push(' ');
    else if (operator !== undefined) words.push('\n');
    else if (words.length === 0 || [' ', '\n'].includes(words.at(-1) ?? '')) words.push(`_${text}`);
    else words.push(`${words.pop() ?? ''}${text}`);
  }

  const found: Invocation[] = [];
  for (const [start, word] of words.entries()) {
    const before = words.slice(0, start).findLast((one) => one !== ' ') ?? '\n';
    if (word !== '_mxtok' || !/^\n$|^_(?:\$|if|then|do|exec|[A-Z_]+=.*)$/.test(before)) continue;
    const end = words.indexOf('\n', start);
    const argv = words
      .slice(start + 1, end === -1 ? undefined : end)
      .filter((one) => one !== ' ')
      .map((one) => one.slice(1));
    const command = argv[0] === 'server' ? argv.slice(0, 2).join(' ') : (argv[0] ?? '');
    found.push({command, argv: argv.slice(command.split(' ').length)});
  }

  return found;
}

/** Fail where the command's own parser would not take it. */
async function assertParses({command, argv}: Invocation, where: string): Promise<void> {
  const known = commands.get(command);
  assert(known, `${where}: there is no command ${command}`);
  const {baseFlags, flags, args, strict} = known;
  const input = {flags: {...baseFlags, ...flags}, args, strict, '--': true};
  await assert.doesNotReject(Parser.parse(argv, input), `${where}: mxtok ${command} ${argv.join(' ')}`);
}

function examplesOf(command: CommandClass): string[] {
  return ((command.examples as Command.Example[] | undefined) ?? []).map((example) =>
    (typeof example === 'string' ? example : example.command).replaceAll('<%= config.bin %>', 'mxtok'),
  );
}

describe('the contract', () => {
  it('has a manifest that is current', async function () {
    this.timeout(60_000);
    assert(existsSync(join(root, 'dist', 'commands')), 'there is no dist/: run npm run build first');
    const committed = readFileSync(join(root, 'oclif.manifest.json'), 'utf8');
    const current = await makeManifest(root);
    assert(
      committed === current,
      'oclif.manifest.json is not that of dist/: run npm run build and commit it',
    );
    const built = Object.keys((JSON.parse(committed) as {commands: object}).commands).map((id) =>
      id.replaceAll(':', ' '),
    );
    assert.deepEqual(
      built.sort(),
      [...commands.keys()].sort(),
      'dist/ is not that of src/: run npm run build',
    );
  });

  it('has these commands', () => {
    assert.deepEqual([...commands.keys()].sort(), Object.keys(CONTRACT).sort());
  });

  for (const [name, {args, flags}] of Object.entries(CONTRACT)) {
    it(`has mxtok ${name} with these flags and arguments`, () => {
      const command = commandOf(name);
      assert.equal(describeArgs(command), args);
      const expected = name === 'help' ? flags : [...flags, ...EVERYWHERE];
      assert.deepEqual(allFlags(command).map(describeFlag).sort(), expected.sort());
    });
  }

  it('has no flag that takes an access token or a password', () => {
    for (const [name, command] of commands) {
      for (const [flag, {type}] of allFlags(command)) {
        if (!/access-token|password|secret/.test(flag) || type === 'boolean') continue;
        assert.match(flag, /-(?:file|command)$/, `mxtok ${name} --${flag}`);
      }
    }
  });

  it('has these error codes and exit codes', () => {
    const codes: Partial<Record<number, string[]>> = {};
    for (const [code, exit] of Object.entries(EXIT_CODES)) (codes[exit] ??= []).push(code);
    for (const list of Object.values(codes)) list?.sort();
    assert.deepEqual(codes, CODES);
  });
});

/** Files that examples read, as those who try them have them. */
const EXAMPLE_FILES: Record<string, string> = {
  'guests.csv': 'label\nAda\nGrace\n',
  'tokens.ndjson':
    '{"mxtok_export":1,"tokens":1}\n{"token":"abc","uses_allowed":1,"completed":0,"expiry_time":null}\n',
};

/** What examples read from a pipe, by command, where that is no token. */
const EXAMPLE_INPUT: Record<string, string> = {
  import:
    '[{"name":"abc","used":0,"expiration_date":null,"max_usage":1,"active":true,"disabled":false,"ips":[]}]',
};

/** Fail where the command does not take the values: without any profile a run gets as far as its input is right. */
async function assertTaken({command: name, argv}: Invocation, example: string): Promise<void> {
  const command = commands.get(name);
  assert(command);
  const {code, stderr} = await runCommand(command, argv, {input: EXAMPLE_INPUT[name] ?? 'abc\n'});
  const asks = /nobody is there to ask|nobody can answer|^error: missing: /m.test(stderr);
  assert([0, 5, 7, 9].includes(code) || asks, `${example}: exit ${code}: ${stderr}`);
}

describe('the help', () => {
  for (const name of Object.keys(CONTRACT)) {
    it(`tells what mxtok ${name} does, what its flags do, and shows two examples`, () => {
      const command = commandOf(name);
      assert.match(command.summary ?? '', /^[A-Z].+\.$/, 'the summary is a sentence');
      for (const flag of allFlags(command))
        assert.match(flag[1].summary ?? '', /^[A-Z].+\.?$/, `a summary for ${describeFlag(flag)}`);
      for (const [arg, {description}] of Object.entries(command.args))
        assert(description, `a description of ${arg}`);
      assert(examplesOf(command).length >= 2, 'two examples or more');
      for (const example of examplesOf(command))
        assert(
          invocations(example).some((run) => run.command === name),
          `an example of mxtok ${name}: ${example}`,
        );
    });
  }

  it('gives examples that the commands take', async () => {
    for (const [name, command] of commands) {
      for (const example of examplesOf(command))
        for (const run of invocations(example)) await assertParses(run, `the help of ${name}`);
    }
  });

  it('gives examples whose values are taken too', async function () {
    this.timeout(60_000);
    const directory = process.cwd();
    process.chdir(tempDir());
    try {
      for (const [name, text] of Object.entries(EXAMPLE_FILES)) writeFileSync(name, text);
      for (const [name, command] of commands) {
        if (name === 'help') continue;
        for (const example of examplesOf(command))
          for (const run of invocations(example)) await assertTaken(run, example);
      }
    } finally {
      process.chdir(directory);
    }
  });
});

describe('the README', () => {
  const readme = existsSync(join(root, 'README.md')) ? readFileSync(join(root, 'README.md'), 'utf8') : '';

  it('is there', () => {
    assert.notEqual(readme, '');
  });

  for (const name of Object.keys(CONTRACT)) {
    it(`mentions ${name}`, () => {
      // Without the whole of it in the message.
      assert(new RegExp(`\`(?:mxtok )?${name}[\` ]`).test(readme), `there is no \`${name}\` in README.md`);
    });
  }

  it('lists every exit code, and no other', () => {
    const section = /### Exit codes\n([^]*?)\n#/.exec(readme)?.[1] ?? '';
    const listed = Array.from(section.matchAll(/^\| *(\d+) *\| *(\S.*?) *\|$/gm), ([, code]) => Number(code));
    assert.deepEqual(
      listed,
      [0, ...new Set(Object.values(EXIT_CODES))].sort((a, b) => a - b),
    );
  });

  it('shows no flag that there is not', () => {
    const flags = new Set(['help', 'version']);
    for (const command of commands.values()) {
      for (const [name, flag] of allFlags(command)) {
        flags.add(name);
        if (flag.type === 'boolean' && flag.allowNo) flags.add(`no-${name}`);
      }
    }

    const unknown = Array.from(
      readme.matchAll(/(?<![\w-])--([a-z][a-z-]*)/g),
      ([, name = '']) => name,
    ).filter((name) => !flags.has(name));
    assert.deepEqual(unknown, []);
  });

  it('shows nothing that the commands do not take', async () => {
    const blocks = Array.from(
      readme.matchAll(/^```[^\n]*\n([^]*?)^```|^(?: {4}.*\n)+/gm),
      ([block]) => block,
    );
    const lines = blocks.flatMap((block) => block.replaceAll(/\\\n/g, ' ').split('\n'));
    const runs = lines.flatMap((line) => invocations(line).map((run) => ({run, line})));
    assert(runs.length >= 10, `the README shows ${runs.length} runs`);
    for (const {run, line} of runs) {
      // What is printed by mxtok itself may name it too.
      if (/^(?:warning|error|hint):/.test(line)) continue;
      await assertParses(run, `README: ${line}`);
    }
  });
});
