/** Where a run begins: hand over to oclif, and tell what it says of unknown commands like any other error. */
import {readFileSync} from 'node:fs';
import {join} from 'node:path';

import {Config, run} from '@oclif/core';

import {reportError} from './lib/command.ts';
import {usageError} from './lib/errors.ts';
import {listenForInterrupts} from './lib/interrupt.ts';
import {quote} from './lib/registration-token.ts';

/**
 * @param root the directory of package.json.
 * @param sources where the commands are, instead of the built ones that package.json names; for development.
 */
export async function main(root: string, argv: string[], sources?: string): Promise<void> {
  listenForInterrupts();
  // A reader that has seen enough (head) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
  try {
    const pjson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Config['pjson'];
    // No plugins from the user's directories: what runs with an access token is what was installed.
    if (sources !== undefined) pjson.oclif.commands = {strategy: 'pattern', target: sources};
    const ignoreManifest = sources !== undefined;
    const config = await Config.load({root, pjson, userPlugins: false, devPlugins: false, ignoreManifest});
    const unknown = unknownCommand(config, argv);
    if (unknown !== undefined) throw await unknownCommandError(config, unknown);
    await run(argv, config);
  } catch (error) {
    process.exitCode = reportError(error, argv);
  }
}

/** @returns the words that name no command and no topic; `undefined` where they do. */
function unknownCommand(config: Config, argv: readonly string[]): string | undefined {
  const [first, second] = argv;
  if (first === undefined || first.startsWith('-')) return undefined;
  if (config.findCommand(first)) return undefined;
  if (!config.findTopic(first)) return first;
  if (second === undefined || second.startsWith('-') || config.findCommand(`${first}:${second}`))
    return undefined;
  return `${first} ${second}`;
}

async function unknownCommandError(config: Config, words: string): Promise<Error> {
  const {closest, distance} = await import('fastest-levenshtein');
  const names = config.commandIDs.map((id) => id.replaceAll(':', ' '));
  const near = closest(words, names);
  const hint =
    distance(words, near) <= 3 ? `Did you mean: mxtok ${near}` : 'See which there are: mxtok --help';
  return usageError(`there is no command ${quote(words)}`, hint);
}
