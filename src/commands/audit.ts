import {Flags} from '@oclif/core';

import {MxtokCommand} from '../lib/command.ts';
import {usageError} from '../lib/errors.ts';
import {AUDIT_FIELDS, AUDIT_OPERATIONS, findOperations} from '../lib/operations/audit.ts';
import {quote} from '../lib/quote.ts';
import {fingerprint, parseToken} from '../lib/registration-token.ts';
import {AuditLog} from '../lib/store/audit.ts';
import {parsePast} from '../lib/when.ts';

export default class Audit extends MxtokCommand {
  static override usage = 'audit [FLAGS]';
  static override summary = 'Show what was changed from here: when, by whom, on which homeserver.';
  static override description =
    'One line for each operation, oldest first. "unfinished": the process ended before it knew the outcome; "unknown": the homeserver gave none. The log holds a masked form and a fingerprint of each token, not the token; --token finds it by the whole of it.';

  static override examples = [
    '<%= config.bin %> audit --since 7d',
    {
      description: 'The history of one token',
      command: '<%= config.bin %> audit --token CrispOtterLampBravoStone',
    },
    {description: 'What was cut short', command: '<%= config.bin %> audit --unfinished --json'},
  ];

  static override flags = {
    server: Flags.string({
      char: 's',
      summary: 'Of this profile, or of the homeserver of this name.',
      helpValue: 'NAME',
    }),
    operation: Flags.string({
      summary: `Of this kind: ${AUDIT_OPERATIONS.join(', ')}.`,
      helpValue: 'OPERATION',
    }),
    token: Flags.string({summary: 'On this token.', helpValue: 'TOKEN'}),
    since: Flags.string({summary: 'From this time on: 7d (ago), a date or date-time.', helpValue: 'WHEN'}),
    until: Flags.string({summary: 'Up to this time.', helpValue: 'WHEN'}),
    unfinished: Flags.boolean({
      summary: 'Only what was cut short, or had no answer, and was not settled since.',
    }),
    limit: Flags.string({summary: 'At most N operations, the newest.', helpValue: 'N'}),
  };

  async run(): Promise<void> {
    const {flags} = await this.parseInput(Audit);
    if (flags.operation !== undefined && !AUDIT_OPERATIONS.includes(flags.operation)) {
      throw usageError(`--operation ${quote(flags.operation)} is none of ${AUDIT_OPERATIONS.join(', ')}`);
    }

    if (flags.limit !== undefined && !/^[1-9]\d{0,8}$/.test(flags.limit)) {
      throw usageError(`--limit ${quote(flags.limit)} is not a number from 1 on`);
    }

    const query = {
      server: flags.server,
      operation: flags.operation,
      fingerprint: flags.token === undefined ? undefined : fingerprint(parseToken(flags.token)),
      since: flags.since === undefined ? undefined : parsePast(flags.since, '--since'),
      until: flags.until === undefined ? undefined : parsePast(flags.until, '--until', true),
      unfinished: flags.unfinished,
      limit: flags.limit === undefined ? undefined : Number(flags.limit),
    };
    const {dataDir, warn} = this.environment();
    const operations = await findOperations(new AuditLog(dataDir, warn), query);
    await this.writeRows(AUDIT_FIELDS, operations);
    if (operations.length === 0 && this.format === 'table') this.note('No operation matches.');
  }
}
