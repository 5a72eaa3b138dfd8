import {Flags} from '@oclif/core';

import {serverFlag, tokensArg} from '../lib/command.ts';
import {usageError} from '../lib/errors.ts';
import {parseLabel, parseNote} from '../lib/label.ts';
import {type TokenChanges, updateTokens} from '../lib/operations/update.ts';
import {parseToken, parseUses} from '../lib/registration-token.ts';
import {TokenCommand} from '../lib/token-command.ts';
import {parseExpiry} from '../lib/when.ts';

export default class Update extends TokenCommand {
  static override usage = 'update TOKEN... [FLAGS]';
  static override summary = 'Change limits, label or note of registration tokens.';
  static override description =
    'Only what is given changes. To close a token, use disable: --uses 0 would open it.';
  static override examples = [
    {
      description: 'Three more weeks',
      command: '<%= config.bin %> update CrispOtterLampBravoStone --expiry 3w',
    },
    {
      description: 'No limits any more',
      command: '<%= config.bin %> update CrispOtterLampBravoStone --uses unlimited --expiry never',
    },
    {
      description: 'Take the label away',
      command: "<%= config.bin %> update CrispOtterLampBravoStone --label ''",
    },
  ];

  static override args = tokensArg;
  static override flags = {
    ...serverFlag,
    uses: Flags.string({
      summary: 'Registrations it is good for in all: 1 to 2147483647, or "unlimited".',
      helpValue: 'N',
    }),
    expiry: Flags.string({
      summary: 'When it ends: 12h, 7d, 3mo, a date or date-time, or "never".',
      helpValue: 'WHEN',
    }),
    label: Flags.string({summary: "A name for it, kept on this machine; '' clears.", helpValue: 'TEXT'}),
    note: Flags.string({summary: "More about it, kept on this machine; '' clears.", helpValue: 'TEXT'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Update);
    const changes: TokenChanges = {
      ...(flags.uses !== undefined && {uses_allowed: parseUses(flags.uses)}),
      ...(flags.expiry !== undefined && {expiry: parseExpiry(flags.expiry)}),
      ...(flags.label !== undefined && {label: parseLabel(flags.label)}),
      ...(flags.note !== undefined && {note: parseNote(flags.note)}),
    };
    if (Object.keys(changes).length === 0) {
      throw usageError(
        'there is nothing to change',
        'Give at least one of --uses, --expiry, --label and --note.',
      );
    }

    const tokens = await this.tokens(args.token, parseToken);
    const connection = await this.connect(flags.server, true);
    const outcomes = await updateTokens(connection, tokens, changes);
    for (const {token, outcome} of outcomes) {
      if (!outcome.ok) continue;
      const {changed, uses_allowed, completed, pending} = outcome.value;
      if (!changed) this.note(`${token} is so already; nothing was changed.`);
      else if (changes.uses_allowed && uses_allowed !== null && completed + pending >= uses_allowed) {
        this.warning(
          `${token} has had ${completed + pending} uses already, so nobody can register with it now`,
        );
      }
    }

    await this.writeChanges(connection, outcomes, args.token);
  }
}
