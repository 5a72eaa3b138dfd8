/** What all parts of the benchmark share: stub homeservers, operators who have a profile for one, and runs that are timed. */
import {type ChildProcess, fork, spawn} from 'node:child_process';
import {once} from 'node:events';
import {cpSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

import {installPythonProgram, type PythonProgram, PythonProgramUnavailable} from '../python.ts';
import {STUB_ACCESS_TOKEN, STUB_SERVER_NAME} from '../stub-homeserver.ts';
import {progress} from './table.ts';

export const root = join(import.meta.dirname, '..', '..');
const binary = join(root, 'bin', 'run.js');

const SYNADM: PythonProgram = {
  name: 'synadm',
  distribution: 'synadm',
  requirements: join(root, 'scripts', 'synadm-requirements.txt'),
  takes: 'some seconds',
};

/** End with this process, however that ends. */
const children = new Set<ChildProcess>();

/** All that the benchmark writes. */
export const dir = mkdtempSync(join(tmpdir(), 'mxtok-bench-'));

process.once('exit', () => {
  endChildren();
  rmSync(dir, {recursive: true, force: true});
});
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => process.exit(code));
}

/** What cron gives, and nothing of the surroundings that would slow Node's start or change what is measured. */
export const CLEAN = {PATH: process.env['PATH'] ?? '', HOME: dir};

/** Start a script of ours. */
export function start(
  script: string,
  args: readonly string[],
  env: Record<string, string> = {},
): ChildProcess {
  const child = fork(script, args, {env: {...CLEAN, ...env}});
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** End the stub homeservers, so that those of one part do not take memory and time from the next. */
export function endChildren(): void {
  for (const child of children) child.kill();
}

export type Command = [string, ...string[]];

export function node(...args: string[]): Command {
  return [process.execPath, ...args];
}

export function mxtok(...argv: string[]): Command {
  return node(binary, ...argv);
}

export interface Run {
  ms: number;
  stdout: string;
  stderr: string;
  /** What it wrote to descriptor 3. */
  extra: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  input?: string;
  /** Else stdout is read and dropped. */
  keepOutput?: boolean;
  /** What it is to end with, where that is not 0. */
  code?: number;
}

/** Run a program to its end, its stdout a pipe. @throws where it ends otherwise than it should. */
export async function run([command, ...args]: Command, options: RunOptions = {}): Promise<Run> {
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
  if (code !== (options.code ?? 0)) {
    throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${texts.stderr}`);
  }

  return {ms, ...texts};
}

/** Start a stub homeserver. @returns its URL. */
export async function startStub(tokens: number, latency = 0): Promise<string> {
  const [url = ''] = await startStubs(['--tokens', String(tokens), '--latency', String(latency)]);
  return url;
}

/** Start a process of stub homeservers. @returns their URLs. */
export async function startStubs(args: readonly string[]): Promise<string[]> {
  const child = start(join(root, 'scripts', 'stub-homeserver.ts'), args);
  const [urls] = (await once(child, 'message')) as [string[]];
  return urls;
}

/** The surroundings of an operator. */
export type Operator = Record<'MXTOK_CONFIG_DIR' | 'MXTOK_DATA_DIR', string>;

export function surroundings(name: string): Operator {
  return {MXTOK_CONFIG_DIR: join(dir, name, 'config'), MXTOK_DATA_DIR: join(dir, name, 'data')};
}

/** An operator who has a profile for that homeserver. */
export async function operator(
  name: string,
  url: string,
  accessToken = STUB_ACCESS_TOKEN,
): Promise<Operator> {
  const env = surroundings(name);
  const add = mxtok('server', 'add', name, '--url', url, '--access-token-stdin');
  await run(add, {env, input: accessToken});
  return env;
}

let copies = 0;

/** Another operator with the same profile and data, for a run that is to find nothing of what one before has left. */
export function copyOf({MXTOK_CONFIG_DIR}: Operator): Operator {
  const env = surroundings(`copy-${copies++}`);
  cpSync(MXTOK_CONFIG_DIR, env.MXTOK_CONFIG_DIR, {recursive: true});
  return env;
}

/** A run of Node that does this first. Whatever it has to tell goes to descriptor 3 when the run ends. */
function hooked(code: string): string {
  return `--import=data:text/javascript,${encodeURIComponent(code)}`;
}

/**
 * Has a run of Node tell the most memory that it had, in bytes. The kernel's own figure where there is one:
 * resourceUsage() counts in what the process was before exec.
 */
export const TELL_MEMORY = hooked(`import fs from 'node:fs';
  process.on('exit', () => {
    let kib = process.resourceUsage().maxRSS;
    try { kib = /VmHWM:\\s*(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]; } catch {}
    fs.writeSync(3, String(kib * 1024));
  });`);

/** Has a run of Node tell how often it has written files of that name: each is put in place by a rename. */
export function tellWrites(name: string): string {
  return hooked(`import fs from 'node:fs';
    const {renameSync, writeSync} = fs;
    let count = 0;
    for (const method of ['renameSync', 'rename', 'openSync', 'open', 'writeFileSync', 'writeFile', 'appendFileSync']) {
      const original = fs[method];
      fs[method] = (...args) => {
        const path = String(method.startsWith('rename') ? args[1] : args[0]);
        const written = !method.startsWith('open') || /[wa+]/.test(String(args[1] ?? 'r'));
        if (path.endsWith(${JSON.stringify(name)}) && written) count++;
        return original(...args);
      };
    }
    process.on('exit', () => writeSync(3, String(count)));`);
}

export interface Contestant {
  command: Command | ((round: number) => Command);
  env?: Record<string, string> | ((round: number) => Record<string, string>);
  input?: string;
  code?: number;
  /** Must be in its output, else it did not do its work. */
  prints: string;
}

/** The medians of several runs. */
export interface Figures {
  ms: number;
  /** Of the fastest: for differences, which would be mostly chance between medians on a machine that is busy. */
  leastMs: number;
  /** The most memory it had, bytes; NaN where it was not asked to tell ({@link TELL_MEMORY}). */
  bytes: number;
}

/**
 * Let all run in turn, round after round.
 * @param warmUp a round 0 that fills the caches and is not counted. The first round of all is looked at.
 */
export async function race<Name extends string>(
  contestants: Record<Name, Contestant>,
  rounds: number,
  warmUp = true,
): Promise<Record<Name, Figures>> {
  const names = Object.keys(contestants) as Name[];
  const figures = new Map<Name, {ms: number; bytes: number}[]>(names.map((name) => [name, []]));
  const first = warmUp ? 0 : 1;
  for (let round = first; round <= rounds; round++) {
    for (const name of names) {
      progress(`${name}, round ${round} of ${rounds}`);
      const {command, env, input, code, prints} = contestants[name];
      const {ms, stdout, extra} = await run(typeof command === 'function' ? command(round) : command, {
        keepOutput: round === first,
        ...(env && {env: typeof env === 'function' ? env(round) : env}),
        ...(input !== undefined && {input}),
        ...(code !== undefined && {code}),
      });
      if (round === first && !stdout.includes(prints)) throw new Error(`${name} did not print ${prints}`);
      if (round > 0) figures.get(name)?.push({ms, bytes: extra === '' ? NaN : Number(extra)});
    }
  }

  return Object.fromEntries(
    names.map((name) => {
      const all = figures.get(name) ?? [];
      const times = all.map(({ms}) => ms);
      const bytes = median(all.map(({bytes}) => bytes));
      return [name, {ms: median(times), leastMs: Math.min(...times), bytes}];
    }),
  ) as Record<Name, Figures>;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  return ((sorted[Math.ceil(half) - 1] ?? NaN) + (sorted[Math.floor(half)] ?? NaN)) / 2;
}

/**
 * How to run synadm for that homeserver, its arguments to follow. The start of Python and the reading of the
 * configuration are part of it, as Node's are of ours.
 * @returns or why it cannot be had.
 */
export async function synadm(url: string): Promise<Command | string> {
  let python: string;
  try {
    python = await installPythonProgram(SYNADM, {onProgress: console.error});
  } catch (error) {
    if (!(error instanceof PythonProgramUnavailable)) throw error;
    console.error(`\n  !!! NO SYNADM: what is held against it is SKIPPED.\n  !!! ${error.message}\n`);
    return error.message;
  }

  const config = join(dir, `synadm-${new URL(url).port}.yaml`);
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
  return [python, '-m', 'synadm', '-c', config, 'regtok'];
}
