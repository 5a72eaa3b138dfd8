/** Programs from PyPI, each at pinned releases in a virtual environment of its own under `.local/` (git-ignored). */
import {execFile} from 'node:child_process';
import {existsSync, readFileSync} from 'node:fs';
import {mkdir, rename, rm} from 'node:fs/promises';
import {join} from 'node:path';
import {promisify} from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');

/** Where there is no Python, no PyPI or no wheel for this machine. Its message is for people. */
export class PythonProgramUnavailable extends Error {
  override name = 'PythonProgramUnavailable';
}

export interface PythonProgram {
  /** For people. */
  name: string;
  /** Its name on PyPI. */
  distribution: string;
  /** The file that pins it and all that it needs. */
  requirements: string;
  /** How long installing takes, for people. */
  takes: string;
}

/** The release that the requirements pin, so that it stands in one place. */
export function pinnedVersion({distribution, requirements}: PythonProgram): string {
  const lines = readFileSync(requirements, 'utf8').split('\n');
  const pin = lines.find((line) => line.startsWith(`${distribution}==`));
  if (pin === undefined) throw new Error(`${requirements} does not pin ${distribution}`);
  return pin.slice(distribution.length + 2).trim();
}

async function findPython(name: string): Promise<string> {
  for (const command of ['python3', 'python']) {
    try {
      await run(command, ['-c', 'import sys, venv, ensurepip; assert sys.version_info >= (3, 10)']);
      return command;
    } catch {
      // The next name, or the message below.
    }
  }

  throw new PythonProgramUnavailable(
    `${name} needs Python 3.10 or newer with its venv module; none was found.`,
  );
}

/**
 * Install a program once.
 * @returns the Python of its virtual environment; run the program as `python -m`.
 * @throws {PythonProgramUnavailable} where it cannot be installed here.
 */
export async function installPythonProgram(
  program: PythonProgram,
  {onProgress, signal}: {onProgress?: (line: string) => void; signal?: AbortSignal} = {},
): Promise<string> {
  const {name, requirements, takes} = program;
  const version = pinnedVersion(program);
  const environment = join(root, '.local', `${name.toLowerCase()}-${version}`);
  const interpreter = join(environment, 'bin', 'python');
  if (existsSync(interpreter)) return interpreter;

  const command = await findPython(name);
  onProgress?.(`Installing ${name} ${version} (once; ${takes}) …`);
  await mkdir(join(root, '.local'), {recursive: true});
  // Renamed when it is whole, so that an install that was cut short is wiped and begun again. The scripts in its
  // bin/ keep the old path, which is why everything runs as `python -m`.
  const unfinished = `${environment}.unfinished`;
  await rm(unfinished, {recursive: true, force: true});
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements];
  const options = {maxBuffer: 64 * 1024 * 1024, ...(signal && {signal})};
  try {
    await run(command, ['-m', 'venv', unfinished], options);
    await run(join(unfinished, 'bin', 'python'), pip, options);
  } catch (error) {
    signal?.throwIfAborted();
    const detail = (error as {stderr?: string}).stderr?.trim().split('\n').at(-1) ?? String(error);
    throw new PythonProgramUnavailable(`${name} could not be installed from PyPI: ${detail}`);
  }

  await rename(unfinished, environment);
  return interpreter;
}
