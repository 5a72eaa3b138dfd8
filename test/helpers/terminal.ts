/** Run the real binary on a pseudo terminal, and answer what it asks there, as a person does. */
import {execFile} from 'node:child_process';
import {promisify} from 'node:util';

import {BINARY, type Operator} from './binary.ts';
import {assertNoSecret} from './secrets.ts';

const run = promisify(execFile);

/** What to wait for (a regular expression of Python's), and what to type then. */
export type TerminalStep = readonly [awaited: string, typed: string];

export const CTRL_C = '\u0003';

export interface TerminalResult {
  /** All that the terminal has shown: standard error. */
  shown: string;
  /** A pipe, so that it can be told apart. */
  stdout: string;
  code: number;
}

const SCRIPT = `
import fcntl, json, os, pty, re, struct, sys, tempfile, termios

job = json.loads(sys.argv[1])
steps = job["steps"]
stdout = tempfile.TemporaryFile()
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, job["columns"], 0, 0))
    if not job["together"]:
        os.dup2(stdout.fileno(), 1)
    os.execvpe(job["argv"][0], job["argv"], job["env"])

shown = b""
seen = 0
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    shown += data
    while steps and re.search(steps[0][0].encode(), shown[seen:]):
        seen = len(shown)
        os.write(terminal, steps.pop(0)[1].encode())

status = os.waitpid(pid, 0)[1]
stdout.seek(0)
print(json.dumps({
    "shown": shown.decode(),
    "stdout": stdout.read().decode(),
    "code": os.waitstatus_to_exitcode(status),
    "unasked": [awaited for awaited, _ in steps],
}))
`;

export interface TerminalOptions {
  /** Its width; default 80. */
  columns?: number;
  /** Standard output is the terminal, too. */
  together?: boolean;
  env?: Record<string, string>;
}

/** Every step must come; the run ends by itself. */
export async function onTerminal(
  operator: Operator,
  argv: readonly string[],
  steps: readonly TerminalStep[] = [],
  {columns = 80, together = false, env: others = {}}: TerminalOptions = {},
): Promise<TerminalResult> {
  const env = {...operator.env, TERM: 'xterm', NO_COLOR: '1', ...others};
  const job = JSON.stringify({argv: [process.execPath, BINARY, ...argv], env, steps, columns, together});
  const {stdout} = await run('python3', ['-c', SCRIPT, job], {timeout: 100_000});
  const {unasked, ...result} = JSON.parse(stdout) as TerminalResult & {unasked: string[]};
  assertNoSecret(result.shown + result.stdout, `the terminal of mxtok ${argv.join(' ')}`);
  if (unasked.length > 0) throw new Error(`never shown: ${unasked.join(', ')}\n${result.shown}`);
  return result;
}
