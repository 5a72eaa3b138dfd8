import {serversFlags} from '../lib/command.ts';
import {interruptSignal} from '../lib/interrupt.ts';
import {foundOf} from '../lib/operations/batch.ts';
import {type DisabledRecord, disableTokens, planDisable} from '../lib/operations/disable.ts';
import {selectTokens} from '../lib/operations/list.ts';
import {changeFlags, chosenTokensArg, SelectionCommand, selectionFlags} from '../lib/selection-command.ts';
import type {ServerOutcomes} from '../lib/token-command.ts';

export default class Disable extends SelectionCommand {
  static override usage = 'disable [TOKEN...] [FLAGS]';
  static override summary = 'Close registration tokens, so that the homeserver refuses them.';
  static override description =
    'Setting the uses of a token to 0 does not close it: Synapse takes 0 for unlimited. This lets it expire first, which takes a second or two for any number of tokens, then marks it, and asks the homeserver whether it is refused. Its limits are remembered for enable.';

  static override examples = [
    '<%= config.bin %> disable CrispOtterLampBravoStone',
    {
      description: 'All of an event; first see which',
      command: "<%= config.bin %> disable --label 'spring*' --dry-run",
    },
    {
      description: 'All that other tools have "disabled", on every server, from cron',
      command: '<%= config.bin %> disable --status disabled --accepted --all-servers --yes --quiet',
    },
  ];

  static override args = chosenTokensArg;
  static override flags = {
    ...serversFlags,
    ...selectionFlags,
    ...changeFlags,
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Disable);
    const words = args.token ?? [];
    const selection = await this.selection(words, flags);
    const prompter = await this.asker(selection, flags);
    const servers = await this.connectServers(flags, !flags['dry-run'], true);
    let asked = this.withoutElsewhere(
      selection,
      await this.onServers(servers, (connection) => selectTokens(connection, selection)),
    );
    if (flags['dry-run'] || prompter) {
      const plans = await this.planned(asked, (connection, found) => planDisable(connection, foundOf(found)));
      if (flags['dry-run']) return this.writePlan(plans, words, 'disabled');
      if (prompter) asked = await this.confirmPlans(prompter, asked, plans, 'Disable WHAT?', true);
    }

    const results = await this.onServers(asked, (connection, found) =>
      disableTokens(connection, found, {
        signal: interruptSignal,
        onWait: (ms) => {
          const where = this.several ? `${connection.server}: w` : 'W';
          this.note(`${where}aiting ${Math.ceil(ms / 1000)} s for the homeserver's clock …`);
        },
      }),
    );
    this.noteOutcomes(results);
    await this.writeChanges(results, words);
    this.noteNone(selection, results);
  }

  private noteOutcomes(results: ServerOutcomes<DisabledRecord>): void {
    for (const {outcome: server} of results) {
      for (const {token, outcome} of server.ok ? server.value : []) {
        if (!outcome.ok) continue;
        const {changed, confirmed_by} = outcome.value;
        if (!changed) this.note(`${token} was disabled already; it is refused.`);
        else if (confirmed_by === 'validity')
          this.note(`${token} is disabled: the homeserver was asked, and refuses it.`);
        else this.note(`${token} is disabled: by the homeserver's own clock it has expired.`);
      }
    }
  }
}
