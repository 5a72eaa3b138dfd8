/** Where a run begins: hand over to oclif, and tell what it says of unknown commands like any other error. */
import {readFileSync} from 'node:fs';
import {join} from 'node:path';

import {Config, run} from '@oclif/core';

import {reportError, unexpectedArgument} from './lib/report.ts';
import {MxtokError, usageError} from './lib/errors.ts';
import {listenForInterrupts, onReaderGone} from './lib/interrupt.ts';
import {quote} from './lib/quote.ts';

/**
 * @param root the directory of package.json.
 * @param sources where the commands are, instead of the built ones that package.json names; for development.
 */
export async function main(root: string, argv: string[], sources?: string): Promise<void> {
  listenForInterrupts();
  // Before oclif's own listener, which throws. A reader that has seen enough (head) is no error.
  process.stdout.prependListener('error', ({code = 'unknown error'}: NodeJS.ErrnoException) => {
    if (code === 'EPIPE') {
      if (!onReaderGone()) process.exit(process.exitCode ?? 0);
      return;
    }

    const error = new MxtokError('unexpected', `standard output cannot be written (${code})`, {
      hint: 'What was asked for may be done all the same: see mxtok audit.',
    });
    process.exit(reportError(error, argv));
  });
  // Nobody is left to be told.
  process.stderr.on('error', () => undefined);
  try {
    const pjson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Config['pjson'];
    // No plugins from the user's directories: what runs with an access token is what was installed.
    if (sources !== undefined) pjson.oclif.commands = {strategy: 'pattern', target: sources};
    const ignoreManifest = sources !== undefined;
    const config = await Config.load({root, pjson, userPlugins: false, devPlugins: false, ignoreManifest});
    await checkCommand(config, argv);
    await run(argv, config);
  } catch (error) {
    process.exitCode = reportError(error, argv);
  }
}

const WITHOUT_COMMAND = new Set(['--help', '-h', '--version', '-v']);

/**
 * Of the words up to the command's name, what oclif would take for something else: it looks for a command named by
 * all of them.
 * @throws {MxtokError} `usage`
 */
async function checkCommand(config: Config, argv: readonly string[]): Promise<void> {
  const [first, second] = argv;
  if (first === undefined) return;
  if (first.startsWith('-')) {
    if (argv.some((word) => WITHOUT_COMMAND.has(word))) return;
    throw usageError(`${quote(first)} stands before any command`, 'Flags go after it: mxtok list --json');
  }

  const isTopic = !config.findCommand(first) && config.findTopic(first) !== undefined;
  if (isTopic && (second === undefined || second.startsWith('-'))) {
    if (second === undefined || WITHOUT_COMMAND.has(second)) return;
    throw usageError(
      `${quote(second)} stands before any command`,
      `See which there are: mxtok ${first} --help`,
    );
  }

  const words = isTopic && second !== undefined ? [first, second] : [first];
  const command = config.findCommand(words.join(':'));
  if (!command) throw await unknownCommandError(config, words.join(' '));
  const next = argv[words.length];
  if (next !== undefined && !next.startsWith('-') && Object.keys(command.args).length === 0) {
    throw unexpectedArgument(next);
  }
}

async function unknownCommandError(config: Config, words: string): Promise<Error> {
  // In the bundle, a CommonJS package has a default export only.
  const {
    default: {closest, distance},
  } = await import('fastest-levenshtein');
  const names = config.commandIDs.map((id) => id.replaceAll(':', ' '));
  const near = closest(words, names);
  const hint =
    distance(words, near) <= Math.min(3, words.length / 2)
      ? `Did you mean: mxtok ${near}`
      : 'See which there are: mxtok --help';
  return usageError(`there is no command ${quote(words)}`, hint);
}
