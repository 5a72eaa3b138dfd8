import {serversFlags} from '../lib/command.ts';
import {type FoundToken, recordOf, type TokenOutcome} from '../lib/operations/batch.ts';
import {selectTokens} from '../lib/operations/list.ts';
import {chosenTokensArg, SelectionCommand, selectionFlags} from '../lib/selection-command.ts';

export default class Show extends SelectionCommand {
  static override usage = 'show [TOKEN...] [FLAGS]';
  static override summary = 'Show everything known of registration tokens.';
  static override description =
    'Of those that are named, or that the filters choose. On several servers, each token is shown where there is one.';

  static override examples = [
    '<%= config.bin %> show CrispOtterLampBravoStone',
    {
      description: 'How many have registered with it',
      command: '<%= config.bin %> show CrispOtterLampBravoStone --json | jq .completed',
    },
    {
      description: 'Which homeserver is it of?',
      command: '<%= config.bin %> show --all-servers CrispOtterLampBravoStone',
    },
    {description: 'A token that begins with a hyphen', command: '<%= config.bin %> show -- -aBcDeFgH'},
  ];

  static override args = chosenTokensArg;
  static override flags = {...serversFlags, ...selectionFlags};

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Show);
    const selection = await this.selection(args.token, flags);
    const servers = await this.connectServers(flags, false);
    const asked = await this.onServers(servers, (connection) => selectTokens(connection, selection), true);
    const results = await this.onServers(this.withoutElsewhere(selection, asked), (connection, found) =>
      found.map(({token, outcome}: TokenOutcome<FoundToken>): TokenOutcome => ({
        token,
        outcome: outcome.ok
          ? {ok: true, value: recordOf(connection, outcome.value.token, outcome.value.metadata)}
          : outcome,
      })),
    );
    await this.writeOutcomes(results, args.token ?? []);
    this.noteNone(selection, results);
  }
}
