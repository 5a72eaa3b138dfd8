import {serverFlag} from '../lib/command.ts';
import {type FoundToken, foundOf} from '../lib/operations/batch.ts';
import {deleteTokens, planDelete} from '../lib/operations/delete.ts';
import {selectTokens} from '../lib/operations/list.ts';
import {changeFlags, chosenTokensArg, SelectionCommand, selectionFlags} from '../lib/selection-command.ts';
import type {ServerOutcomes} from '../lib/token-command.ts';

export default class Delete extends SelectionCommand {
  static override usage = 'delete [TOKEN...] [FLAGS]';
  static override summary = 'Delete registration tokens for good.';
  static override description =
    'Somebody in the middle of a registration with one gets an error. The audit log keeps what it was; disable is the gentler way.';

  static override examples = [
    '<%= config.bin %> delete CrispOtterLampBravoStone',
    {
      description: 'Without a question, for scripts',
      command: '<%= config.bin %> delete --yes CrispOtterLampBravoStone',
    },
    {
      description: 'What nobody has used of an event that is over; first see which',
      command: "<%= config.bin %> delete --label 'spring*' --unused --dry-run",
    },
  ];

  static override args = chosenTokensArg;
  static override flags = {
    ...serverFlag,
    ...selectionFlags,
    ...changeFlags,
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Delete);
    const words = args.token ?? [];
    const selection = await this.selection(words, flags);
    const prompter = await this.asker(selection, flags, true);
    const servers = await this.connectServer(flags.server, !flags['dry-run']);
    let asked: ServerOutcomes<FoundToken> = await this.onServers(servers, (connection) =>
      selectTokens(connection, selection),
    );
    for (const {outcome} of asked) if (outcome.ok) this.warnPending(foundOf(outcome.value));
    const plans = await this.planned(asked, (connection, found) => planDelete(connection, foundOf(found)));
    if (flags['dry-run']) return this.writePlan(plans, words, 'deleted');
    if (prompter) {
      for (const {outcome} of asked)
        for (const one of outcome.ok ? outcome.value : [])
          if (!one.outcome.ok) this.note(`There is no token ${one.token}.`);
      asked = await this.confirmPlans(prompter, asked, plans, 'Delete WHAT for good?');
    }

    const results = await this.onServers(asked, deleteTokens);
    await this.writeItems(results, words, ['token'], ({token}) => `${token} is deleted.`);
    this.noteNone(selection, results);
  }

  private warnPending(found: readonly FoundToken[]): void {
    for (const {token} of found.filter(({token: {pending}}) => pending > 0)) {
      this.warning(
        `${token.token}: ${token.pending} sign-up${token.pending === 1 ? ' is' : 's are'} under way with it and will end in an error`,
      );
    }
  }
}
