/** Run a command's class in this process, as the unit tests do; nock stands in for the homeserver. */
import {Readable} from 'node:stream';

import {Config} from '@oclif/core';

import type {MxtokCommand} from '../../src/lib/command.ts';
import {assertNoSecret} from './secrets.ts';
import {tempDir} from './temp.ts';

export interface RunResult {
  stdout: string;
  stderr: string;
  code: number;
  /** Where its files are. */
  configDir: string;
  dataDir: string;
}

export interface RunOptions {
  /** Environment variables on top of the surroundings. */
  env?: Record<string, string>;
  /** Standard input; default: empty, as under cron. */
  input?: string;
  /** Keep the files of an earlier run. */
  dir?: string;
}

const root = new URL('../..', import.meta.url).pathname;
let config: Config | undefined;

type CommandClass = new (argv: string[], config: Config) => MxtokCommand;

/** @param dir `config` and `data` below it are the run's directories; a new one where none is given. */
export async function runCommand(
  command: CommandClass,
  argv: string[],
  options: RunOptions = {},
): Promise<RunResult> {
  config ??= await Config.load({root, userPlugins: false, devPlugins: false});
  const dir = options.dir ?? tempDir();
  const [configDir, dataDir] = [`${dir}/config`, `${dir}/data`];
  const env: Record<string, string> = {MXTOK_CONFIG_DIR: configDir, MXTOK_DATA_DIR: dataDir, ...options.env};
  const before = {...process.env};
  const {stdin} = process;
  const written = {stdout: '', stderr: ''};
  const writeOut = process.stdout.write.bind(process.stdout);
  const writeErr = process.stderr.write.bind(process.stderr);
  Object.assign(process.env, env);
  Object.defineProperty(process, 'stdin', {
    value: Readable.from([Buffer.from(options.input ?? '')]),
    configurable: true,
  });
  process.stdout.write = (text: string) => ((written.stdout += text), true);
  process.stderr.write = (text: string) => ((written.stderr += text), true);
  try {
    process.exitCode = undefined;
    await (new command(argv, config) as unknown as {_run(): Promise<void>})._run();
  } finally {
    process.stdout.write = writeOut;
    process.stderr.write = writeErr;
    Object.defineProperty(process, 'stdin', {value: stdin, configurable: true});
    for (const name of Object.keys(env)) {
      if (before[name] === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = before[name];
    }
  }

  const code = exitCodeNow();
  process.exitCode = undefined;
  assertNoSecret(written.stdout + written.stderr, `the output of ${argv.join(' ')}`);
  return {...written, code, configDir, dataDir};
}

/** Read anew, past what the compiler believes it to be still. */
function exitCodeNow(): number {
  return Number(process.exitCode ?? 0);
}
