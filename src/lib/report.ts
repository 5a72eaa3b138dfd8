/** Telling an error: one message on stderr, as text or as JSON, and the exit code that goes with it. */
import {stripVTControlCharacters} from 'node:util';

import {Errors} from '@oclif/core';

import {errorToJson, type MxtokError, toMxtokError, usageError} from './errors.ts';
import {jsonObject} from './output/json.ts';
import {sanitise} from './output/sanitise.ts';
import {quote} from './quote.ts';

/**
 * Tell an error on stderr, as text or as JSON.
 * @param argv tells the form, for the flags may be what is wrong.
 * @param context the profile it is about, which takes the place of NAME in hints; and the command, whose help is meant.
 * @returns the exit code.
 */
export function reportError(
  thrown: unknown,
  argv: readonly string[],
  {server, command}: {server?: string | undefined; command?: string | undefined} = {},
): number {
  // oclif's way to end early, used by --help.
  if (thrown instanceof Errors.ExitError) return thrown.oclif.exit ?? 0;
  const error = thrown instanceof Errors.CLIError ? fromParser(thrown) : toMxtokError(thrown);
  if (error.code !== 'usage') error.server ??= server;
  const hint = error.hint
    ?.replace(/(mxtok server \w+) NAME\b/, error.server === undefined ? '$&' : `$1 ${error.server}`)
    .replace(
      'See --help.',
      `See mxtok ${command === undefined ? '' : `${command.replaceAll(':', ' ')} `}--help.`,
    );
  const flags = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  const output =
    flags.find((_, index) => flags[index - 1] === '--output') ??
    flags.find((flag) => flag.startsWith('--output='))?.slice(9);
  if (flags.includes('--json') || output === 'json' || output === 'ndjson') {
    process.stderr.write(jsonObject({error: {...errorToJson(error), ...(hint !== undefined && {hint})}}));
  } else if (error.code === 'interrupted' || error.code === 'declined') {
    process.stderr.write(`${sanitise(hint === undefined ? error.message : `${error.message}. ${hint}`)}\n`);
  } else {
    const where = error.server === undefined ? '' : `${error.server}: `;
    process.stderr.write(`error: ${sanitise(where + error.message)}\n`);
    for (const {line, message} of error.problems ?? [])
      process.stderr.write(`  line ${line}: ${sanitise(message)}\n`);
    if (hint !== undefined) process.stderr.write(`hint: ${sanitise(hint)}\n`);
  }

  if (flags.includes('--debug')) {
    const origin = error.cause instanceof Error ? error.cause : error;
    const stack = (origin.stack ?? String(origin)).split('\n').map(sanitise).join('\n');
    process.stderr.write(`debug: ${stack}\n`);
  }

  return error.exitCode;
}

/** The parser's complaints in our words, and with a way out for tokens that look like flags. */
function fromParser(error: Errors.CLIError): MxtokError {
  const {flags, args, parse} = error as {
    flags?: unknown[];
    args?: unknown[];
    parse?: {input?: {args?: object}};
  };
  if (error.constructor.name === 'NonExistentFlagsError' && typeof flags?.[0] === 'string')
    return unknownFlag(flags[0], 'token' in (parse?.input?.args ?? {}));
  if (error.constructor.name === 'RequiredArgsError' && args) {
    const missing = args as {name: string; options?: string[]}[];
    const names = missing.map(({name, options}) =>
      options ? `${name.toUpperCase()} (${options.join(', ')})` : name.toUpperCase(),
    );
    return usageError(`${names.join(' and ')} ${names.length === 1 ? 'is' : 'are'} missing`, 'See --help.');
  }

  if (error.constructor.name === 'UnexpectedArgsError' && typeof args?.[0] === 'string')
    return unexpectedArgument(args[0]);

  const lines = stripVTControlCharacters(error.message)
    .replace(/^The following errors? occurred:/, '')
    .replace(/See more help with --help$/, '')
    .split('\n')
    .map((line) => line.trim())
    .map((line) => line.replace(/^All of the following must be provided when using (\S+): /, '$1 needs '))
    .filter((line) => line !== '');
  return usageError(
    lines.map((line) => line.charAt(0).toLowerCase() + line.slice(1)).join('; '),
    'See --help.',
  );
}

export function unexpectedArgument(word: string): MxtokError {
  return usageError(`unexpected argument ${quote(word)}`, 'See --help.');
}

/** @param takesTokens whether it may be meant as a token. */
export function unknownFlag(flag: string, takesTokens: boolean): MxtokError {
  const advice = takesTokens ? ` A token that begins with "-" goes after "--": mxtok show -- -abc` : '';
  return usageError(`there is no flag ${quote(flag)}`, `See --help.${advice}`);
}
