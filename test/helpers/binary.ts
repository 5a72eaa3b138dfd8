/** Run the real binary, as the end-to-end tests do. */
import {type ChildProcessWithoutNullStreams, spawn} from 'node:child_process';
import type {Writable} from 'node:stream';
import {fileURLToPath} from 'node:url';

import {assertNoSecret} from './secrets.ts';
import {tempDir} from './temp.ts';

export const BINARY = fileURLToPath(new URL('../../bin/run.js', import.meta.url));

export interface BinaryResult {
  stdout: string;
  stderr: string;
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface BinaryOptions {
  /** On top of PATH and HOME, which is all that cron gives too. */
  env?: Record<string, string>;
  /** Standard input; default: closed at once. */
  input?: string;
  /** Write standard input in pieces, in place of `input`; it is closed when this is done. */
  feed?: (stdin: Writable) => Promise<void>;
  /** Called once it runs, to interrupt it. */
  onStart?: (child: ChildProcessWithoutNullStreams) => void;
}

/** One operator's surroundings: directories of their own, and the binary run in them. */
export class Operator {
  readonly dir: string;
  readonly env: Record<string, string>;

  constructor(env: Record<string, string> = {}, dir: string = tempDir()) {
    this.dir = dir;
    this.env = {
      PATH: process.env['PATH'] ?? '',
      HOME: dir,
      MXTOK_CONFIG_DIR: `${dir}/config`,
      MXTOK_DATA_DIR: `${dir}/data`,
      ...env,
    };
  }

  /** Run `mxtok ARGV` to its end; nothing is thrown for an exit code. */
  mxtok(argv: string[], options: BinaryOptions = {}): Promise<BinaryResult> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [BINARY, ...argv], {
        env: {...this.env, ...options.env},
        // One that hangs would keep the test runner from its end.
        timeout: 100_000,
        killSignal: 'SIGKILL',
      });
      const out = {stdout: '', stderr: ''};
      child.stdout.setEncoding('utf8').on('data', (text: string) => (out.stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => (out.stderr += text));
      child.stdin.on('error', () => undefined);
      if (options.feed) options.feed(child.stdin).then(() => child.stdin.end(), reject);
      else child.stdin.end(options.input ?? '');
      child.once('error', reject);
      child.once('close', (code, signal) => {
        try {
          assertNoSecret(out.stdout + out.stderr, `the output of mxtok ${argv.join(' ')}`);
          resolve({...out, code, signal});
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
      options.onStart?.(child);
    });
  }

  /** As {@link mxtok}, for what must succeed. @returns stdout. */
  async ok(argv: string[], options: BinaryOptions = {}): Promise<string> {
    const result = await this.mxtok(argv, options);
    if (result.code !== 0) {
      throw new Error(
        `mxtok ${argv.join(' ')} exited with ${result.code ?? result.signal ?? 'nothing'}:\n${result.stderr}`,
      );
    }

    return result.stdout;
  }

  /** The parsed stdout of a run with --json, which must succeed. */
  async json<T = Record<string, unknown>>(argv: string[], options: BinaryOptions = {}): Promise<T> {
    const end = argv.includes('--') ? argv.indexOf('--') : argv.length;
    return JSON.parse(await this.ok(argv.toSpliced(end, 0, '--json'), options)) as T;
  }
}
