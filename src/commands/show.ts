import {serverFlag, tokensArg} from '../lib/command.ts';
import {type FoundToken, findTokens, recordOf, type TokenOutcome} from '../lib/operations/batch.ts';
import {parseToken} from '../lib/registration-token.ts';
import {TokenCommand} from '../lib/token-command.ts';

export default class Show extends TokenCommand {
  static override usage = 'show TOKEN... [FLAGS]';
  static override summary = 'Show everything known of registration tokens.';
  static override examples = [
    '<%= config.bin %> show CrispOtterLampBravoStone',
    {
      description: 'Uses left',
      command: "<%= config.bin %> show CrispOtterLampBravoStone --json | jq '.uses_allowed - .completed'",
    },
    {description: 'A token that begins with a hyphen', command: '<%= config.bin %> show -- -aBcDeFgH'},
  ];

  static override args = tokensArg;
  static override flags = serverFlag;

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Show);
    const tokens = await this.tokens(args.token, parseToken);
    const connection = await this.connect(flags.server, false);
    const found = await findTokens(connection, tokens);
    const outcomes = found.map(({token, outcome}: TokenOutcome<FoundToken>): TokenOutcome => ({
      token,
      outcome: outcome.ok
        ? {ok: true, value: recordOf(connection, outcome.value.token, outcome.value.metadata)}
        : outcome,
    }));
    await this.writeOutcomes(connection, outcomes, args.token);
  }
}
