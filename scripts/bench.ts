/**
 * `npm run bench [-- --rounds N]`: the budgets of time and memory, measured on the built binary.
 *
 * All contestants run in turn, round after round, so that whatever else the machine does meets all of them alike; what
 * is judged are ratios of their medians. Nothing here depends on how fast the machine is.
 */
import {type ChildProcess, fork, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {cpus, tmpdir} from 'node:os';
import {join} from 'node:path';
import {parseArgs} from 'node:util';

import {installPythonProgram, type PythonProgram, PythonProgramUnavailable} from './python.ts';
import {STUB_ACCESS_TOKEN, STUB_SERVER_NAME, stubToken} from './stub-homeserver.ts';

const root = join(import.meta.dirname, '..');
const binary = join(root, 'bin', 'run.js');

const SYNADM: PythonProgram = {
  name: 'synadm',
  distribution: 'synadm',
  requirements: join(import.meta.dirname, 'synadm-requirements.txt'),
  takes: 'some seconds',
};

/** The bulk work: so many tokens, so many requests at once, on a server that takes so many milliseconds for each. */
const BULK = {tokens: 1000, concurrency: 8, latency: 10};
const LABEL_WRITES = 200;
const DISABLED = 500;

/** Ends with this process, however that ends. */
const children: ChildProcess[] = [];
const dir = mkdtempSync(join(tmpdir(), 'mxtok-bench-'));
process.once('exit', () => {
  for (const child of children) child.kill();
  rmSync(dir, {recursive: true, force: true});
});
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => process.exit(code));
}

/** What cron gives, and nothing of the surroundings that would slow Node's start or change what is measured. */
const CLEAN = {PATH: process.env['PATH'] ?? '', HOME: dir};

interface Run {
  ms: number;
  stdout: string;
  stderr: string;
  /** What it wrote to descriptor 3. */
  extra: string;
}

interface RunOptions {
  env?: Record<string, string>;
  input?: string;
  /** Else stdout is read and dropped. */
  keepOutput?: boolean;
}

/** Run a program to its end, its stdout a pipe. @throws where it fails. */
async function run([command, ...args]: Command, options: RunOptions = {}): Promise<Run> {
  const begun = performance.now();
  const child = spawn(command, args, {
    env: {...CLEAN, ...options.env},
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
  });
  const [stdin, stdout, stderr, extra] = child.stdio;
  stdin.on('error', () => undefined).end(options.input ?? '');
  const texts = {stdout: '', stderr: '', extra: ''};
  const keep = (name: keyof typeof texts) => (chunk: Buffer) => (texts[name] += chunk.toString('utf8'));
  if (options.keepOutput) stdout.on('data', keep('stdout'));
  else stdout.resume();
  stderr.on('data', keep('stderr'));
  extra?.on('data', keep('extra'));
  const [code] = (await once(child, 'close')) as [number | null];
  const ms = performance.now() - begun;
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${texts.stderr}`);
  return {ms, ...texts};
}

type Command = [string, ...string[]];

function node(...args: string[]): Command {
  return [process.execPath, ...args];
}

function mxtok(...argv: string[]): Command {
  return node(binary, ...argv);
}

/** Start a stub homeserver. @returns its URL. */
async function startStub(tokens: number, latency = 0): Promise<string> {
  const args = ['--tokens', String(tokens), '--latency', String(latency)];
  const child = fork(join(import.meta.dirname, 'stub-homeserver.ts'), args, {env: CLEAN});
  children.push(child);
  const [url] = (await once(child, 'message')) as [string];
  return url;
}

/** The surroundings of an operator who has a profile for that homeserver. */
async function operator(name: string, url: string): Promise<Record<string, string>> {
  const env = {MXTOK_CONFIG_DIR: join(dir, name, 'config'), MXTOK_DATA_DIR: join(dir, name, 'data')};
  const add = mxtok('server', 'add', name, '--url', url, '--access-token-stdin');
  await run(add, {env, input: STUB_ACCESS_TOKEN});
  return env;
}

/** The least that any program has to do to print the tokens of a homeserver. */
function floorScript(url: string): string {
  return `require('node:http').get(${JSON.stringify(`${url}/_synapse/admin/v1/registration_tokens`)},
    {headers: {authorization: 'Bearer ${STUB_ACCESS_TOKEN}'}}, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
        const {registration_tokens} = JSON.parse(Buffer.concat(chunks).toString());
        process.stdout.write(JSON.stringify(registration_tokens));
      });
    })`;
}

/** The least that any program has to do to change many tokens: what `BULK` allows for, Node's own start included. */
function bulkFloorScript(url: string): string {
  return `const http = require('node:http');
    const agent = new http.Agent({keepAlive: true, maxSockets: ${BULK.concurrency}});
    let next = 0;
    const put = () => new Promise((resolve, reject) => {
      const path = '/_synapse/admin/v1/registration_tokens/bench-' + String(next++).padStart(6, '0');
      const headers = {authorization: 'Bearer ${STUB_ACCESS_TOKEN}'};
      const request = http.request(${JSON.stringify(url)} + path, {method: 'PUT', agent, headers}, (response) => {
        response.resume().on('end', resolve);
      });
      request.on('error', reject).end(JSON.stringify({uses_allowed: 50}));
    });
    const work = async () => { while (next < ${BULK.tokens}) await put(); };
    Promise.all(Array.from({length: ${BULK.concurrency}}, work)).then(() => agent.destroy());`;
}

/** Have a run of Node tell the most memory that it had, in bytes, on descriptor 3. */
function rssHook(): string {
  // The kernel's own figure where there is one: resourceUsage() counts in what the process was before exec.
  const code = `import fs from 'node:fs';
    process.on('exit', () => {
      let kib = process.resourceUsage().maxRSS;
      try { kib = /VmHWM:\\s*(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]; } catch {}
      fs.writeSync(3, String(kib * 1024));
    });`;
  return `--import=data:text/javascript,${encodeURIComponent(code)}`;
}

interface Contestant {
  command: Command | ((round: number) => Command);
  env?: Record<string, string>;
  input?: string;
  /** Must be in its output, else it did not do its work. */
  prints: string;
}

/** Let all run in turn. @returns the median of each, in milliseconds. */
async function race<Name extends string>(
  contestants: Record<Name, Contestant>,
  rounds: number,
): Promise<Record<Name, number>> {
  const names = Object.keys(contestants) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, number[]>;
  // Round 0 fills the caches, and is looked at instead of counted.
  for (let round = 0; round <= rounds; round++) {
    if (round > 0) progress(`round ${round} of ${rounds}`);
    for (const name of names) {
      const {command, env, input, prints} = contestants[name];
      const {ms, stdout} = await run(typeof command === 'function' ? command(round) : command, {
        keepOutput: round === 0,
        ...(env && {env}),
        ...(input !== undefined && {input}),
      });
      if (round > 0) times[name].push(ms);
      else if (!stdout.includes(prints)) throw new Error(`${name} did not print ${prints}`);
    }
  }

  return Object.fromEntries(names.map((name) => [name, median(times[name])])) as Record<Name, number>;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  return ((sorted[Math.ceil(half) - 1] ?? NaN) + (sorted[Math.floor(half)] ?? NaN)) / 2;
}

interface Row {
  work: string;
  budget: string;
  measured: string;
  /** `undefined`: not measured. */
  within: boolean | undefined;
}

/** @param slow what is judged, and @param fast what it is held against: milliseconds. */
function ratioRow(work: string, most: number, slow: number, fast: number): Row {
  const ratio = slow / fast;
  return {
    work,
    budget: `≤ ${most}×`,
    measured: `${ratio.toFixed(2)}× (${Math.round(slow)} / ${Math.round(fast)} ms)`,
    within: ratio <= most,
  };
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

function printTable(rows: readonly Row[]): void {
  const lines = [
    ['WORK', 'BUDGET', 'MEASURED', 'VERDICT'],
    ...rows.map(({work, budget, measured, within}) => [
      work,
      budget,
      measured,
      within === undefined ? '-' : within ? 'ok' : 'OVER',
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  progress('');
  console.log();
  for (const line of lines) {
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
}

/** The start of Python and the reading of the configuration are part of it, as Node's are of ours. */
async function synadmCommand(url: string): Promise<Command> {
  const python = await installPythonProgram(SYNADM, {onProgress: console.error});
  const config = join(dir, 'synadm.yaml');
  const settings = {
    base_url: url,
    admin_path: '/_synapse/admin',
    matrix_path: '/_matrix',
    format: 'human',
    timeout: 30,
    token: STUB_ACCESS_TOKEN,
    user: 'admin',
    homeserver: STUB_SERVER_NAME,
    ssl_verify: true,
    server_discovery: 'well-known',
  };
  // JSON is YAML.
  writeFileSync(config, JSON.stringify(settings), {mode: 0o600});
  return [python, '-m', 'synadm', '-c', config, 'regtok', 'list'];
}

/** Whether the built `create` makes several at once. */
function canCreateMany(): boolean {
  const manifest = JSON.parse(readFileSync(join(root, 'oclif.manifest.json'), 'utf8')) as {
    commands: Record<string, {flags: Record<string, unknown>} | undefined>;
  };
  return 'count' in (manifest.commands['create']?.flags ?? {});
}

async function raceRows(
  rounds: number,
  urls: Record<'100' | '10k' | '100k' | 'slow', string>,
): Promise<Row[]> {
  const [few, many, most, slow] = await Promise.all([
    operator('few', urls['100']),
    operator('many', urls['10k']),
    operator('most', urls['100k']),
    operator('slow', urls.slow),
  ]);
  let synadm: Command | undefined;
  let reason = '';
  try {
    synadm = await synadmCommand(urls['100']);
  } catch (error) {
    if (!(error instanceof PythonProgramUnavailable)) throw error;
    reason = error.message;
    console.error(`\n  !!! NO SYNADM: the row that is held against it is SKIPPED.\n  !!! ${reason}\n`);
  }

  const createMany = canCreateMany();
  const names = Array.from({length: BULK.tokens}, (_, index) => stubToken(index));
  const median = await race(
    {
      node: {command: node('-e', '0'), prints: ''},
      version: {command: mxtok('--version'), prints: 'mxtok/'},
      help: {command: mxtok('list', '--help'), prints: 'USAGE'},
      list: {command: mxtok('list'), env: few, prints: stubToken(99)},
      // Where there is none, something else that nobody looks at.
      synadm: synadm ? {command: synadm, prints: stubToken(99)} : {command: node('-e', '0'), prints: ''},
      list10k: {command: mxtok('list', '--json'), env: many, prints: stubToken(9999)},
      floor: {command: node('-e', floorScript(urls['100k'])), prints: stubToken(99_999)},
      list100k: {command: mxtok('list', '--json'), env: most, prints: stubToken(99_999)},
      bulkFloor: {command: node('-e', bulkFloorScript(urls.slow)), prints: ''},
      bulk: createMany
        ? {command: mxtok('create', '--count', String(BULK.tokens), '--json'), env: slow, prints: '"token"'}
        : {
            // Another limit each time, for one that is so already is left alone.
            command: (round) => mxtok('update', '-', '--uses', String(100 + round)),
            env: slow,
            input: names.join('\n'),
            prints: stubToken(BULK.tokens - 1),
          },
    },
    rounds,
  );

  progress('memory');
  const list100k = [rssHook(), binary, 'list', '--json'];
  const memory: number[] = [];
  for (let time = 0; time < 3; time++) memory.push(Number((await run(node(...list100k), {env: most})).extra));
  const megabytes = Math.max(...memory) / 1e6;

  const ideal = (BULK.tokens / BULK.concurrency) * BULK.latency;
  const creates = '1,000 creates, 8 at once, 10 ms each / ideal';
  const bulk = ratioRow(creates, 1.2, median.bulk, ideal);
  bulk.measured += `; node:http takes ${(median.bulkFloor / ideal).toFixed(2)}×`;
  return [
    ratioRow('--version / node -e 0', 1.5, median.version, median.node),
    ratioRow('list --help / node -e 0', 4.5, median.help, median.node),
    synadm
      ? ratioRow('list, 100 tokens / synadm regtok list', 0.5, median.list, median.synadm)
      : {
          work: 'list, 100 tokens / synadm regtok list',
          budget: '≤ 0.5×',
          measured: `SKIPPED: ${reason}`,
          within: undefined,
        },
    ratioRow('list --json, 100,000 tokens / node:http + parse + print', 2, median.list100k, median.floor),
    {
      work: 'list --json, 100,000 tokens: memory',
      budget: '≤ 200 MB',
      measured: `${Math.round(megabytes)} MB`,
      within: megabytes <= 200,
    },
    ratioRow('list --json, 100,000 tokens / 10,000 tokens', 4, median.list100k, median.list10k),
    ...(createMany
      ? [bulk]
      : [
          {work: creates, budget: '≤ 1.2×', measured: 'not yet: needs create --count', within: undefined},
          {...bulk, work: '  in its stead: update - of 1,000 tokens / ideal'},
        ]),
  ];
}

/** Two processes at the store at once; then the binary is asked what is left. */
async function labelRow(url: string): Promise<Row> {
  progress('label writes');
  const env = {MXTOK_CONFIG_DIR: join(dir, 'labels'), MXTOK_DATA_DIR: join(dir, 'labels')};
  mkdirSync(env.MXTOK_CONFIG_DIR);
  const begun = [0, LABEL_WRITES].map((first) => {
    const args = ['--write-labels', String(first)];
    return fork(import.meta.filename, args, {env: {...CLEAN, ...env}});
  });
  children.push(...begun);
  await Promise.all(begun.map((child) => once(child, 'message')));
  const start = performance.now();
  const ended = begun.map((child) => once(child, 'exit'));
  for (const child of begun) child.send('go');
  await Promise.all(ended);
  const seconds = (performance.now() - start) / 1000;
  const {stdout} = await run(mxtok('list', '--label', 'label*', '--json'), {
    env: {...env, MXTOK_URL: url, MXTOK_ACCESS_TOKEN: STUB_ACCESS_TOKEN},
    keepOutput: true,
  });
  const kept = (JSON.parse(stdout) as unknown[]).length;
  return {
    work: `2 processes × ${LABEL_WRITES} label writes`,
    budget: `${2 * LABEL_WRITES} kept`,
    measured: `${kept} kept (${seconds.toFixed(1)} s)`,
    within: kept === 2 * LABEL_WRITES,
  };
}

/** One of the two: says that it is ready, and writes when it is told to, one label a write. */
async function writeLabels(first: number): Promise<void> {
  const {MetadataStore} = await import('../src/lib/store/metadata.ts');
  const store = new MetadataStore(process.env['MXTOK_CONFIG_DIR'] ?? '', STUB_SERVER_NAME, console.error);
  process.send?.('ready');
  await once(process, 'message');
  for (let index = first; index < first + LABEL_WRITES; index++) {
    await store.update([stubToken(index)], (entry) => ({...entry, label: `label ${index}`}));
  }

  process.disconnect();
}

async function disableRow(url: string): Promise<Row> {
  progress('disable');
  const env = await operator('disable', url);
  const input = Array.from({length: DISABLED}, (_, index) => stubToken(index)).join('\n');
  const {ms, stderr, stdout} = await run(mxtok('disable', '-', '--json'), {env, input, keepOutput: true});
  const refused = (JSON.parse(stdout) as {accepted?: boolean}[]).filter(
    ({accepted}) => accepted === false,
  ).length;
  if (refused !== DISABLED) throw new Error(`${refused} of ${DISABLED} tokens were disabled`);
  const waits = stderr.match(/\bwaiting \d+ s/gi)?.length ?? 0;
  return {
    work: `disable of ${DISABLED} tokens`,
    budget: '1 wait',
    measured: `${waits} wait${waits === 1 ? '' : 's'} (${(ms / 1000).toFixed(1)} s in all)`,
    within: waits <= 1,
  };
}

async function bench(rounds: number): Promise<number> {
  await import('./build.ts');
  const {version} = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {version: string};
  const machine = `${process.platform} ${process.arch}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}`;
  console.log(`mxtok ${version}, Node ${process.version}, ${machine}; medians of ${rounds} rounds`);
  const [few, many, most, slow] = await Promise.all([
    startStub(100),
    startStub(10_000),
    startStub(100_000),
    startStub(BULK.tokens, BULK.latency),
  ]);
  const rows = await raceRows(rounds, {'100': few, '10k': many, '100k': most, slow});
  rows.push(await labelRow(many), await disableRow(many));
  printTable(rows);
  return rows.some(({within}) => within === false) ? 1 : 0;
}

const {rounds, 'write-labels': first} = parseArgs({
  options: {rounds: {type: 'string', default: '10'}, 'write-labels': {type: 'string'}},
}).values;
if (first !== undefined) {
  await writeLabels(Number(first));
} else if (/^[1-9]\d{0,3}$/.test(rounds)) {
  process.exit(await bench(Number(rounds)));
} else {
  console.error(`--rounds takes a number from 1 on, not ${rounds}`);
  process.exit(2);
}
