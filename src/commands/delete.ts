import {Flags} from '@oclif/core';

import {serverFlag, tokensArg} from '../lib/command.ts';
import {usageError} from '../lib/errors.ts';
import {findTokens, foundOf} from '../lib/operations/batch.ts';
import {deleteTokens} from '../lib/operations/delete.ts';
import {parseToken} from '../lib/registration-token.ts';
import {TokenCommand} from '../lib/token-command.ts';

export default class Delete extends TokenCommand {
  static override usage = 'delete TOKEN... [FLAGS]';
  static override summary = 'Delete registration tokens for good.';
  static override description =
    'Somebody in the middle of a registration with one gets an error. The audit log keeps what it was; disable is the gentler way.';

  static override examples = [
    '<%= config.bin %> delete CrispOtterLampBravoStone',
    {
      description: 'Without a question, for scripts',
      command: '<%= config.bin %> delete --yes CrispOtterLampBravoStone',
    },
  ];

  static override args = tokensArg;
  static override flags = {
    ...serverFlag,
    yes: Flags.boolean({char: 'y', summary: 'Do not ask.'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Delete);
    const prompter = flags.yes ? undefined : await this.prompter();
    if (!flags.yes && !prompter) {
      throw usageError(
        'delete asks before it deletes, and nobody can answer here; nothing was deleted',
        'Add --yes.',
      );
    }

    const tokens = await this.tokens(args.token, parseToken);
    const connection = await this.connect(flags.server, true);
    const asked = await findTokens(connection, tokens);
    const found = foundOf(asked);
    for (const {token} of found.filter(({token: {pending}}) => pending > 0)) {
      this.warning(
        `${token.token}: ${token.pending} sign-up${token.pending === 1 ? ' is' : 's are'} under way with it and will end in an error`,
      );
    }

    if (prompter && found.length > 0) {
      for (const {token, outcome} of asked) if (!outcome.ok) this.note(`There is no token ${token}.`);
      const what = found.length === 1 ? (found[0]?.token.token ?? '') : `${found.length} tokens`;
      await prompter.confirm(`Delete ${what} from ${connection.server} for good?`);
    }

    const outcomes = await deleteTokens(connection, asked);
    await this.writeItems(outcomes, args.token, ['token'], ({token}) => `${token} is deleted.`);
  }
}
