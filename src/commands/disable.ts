import {serverFlag, tokensArg} from '../lib/command.ts';
import {interruptSignal} from '../lib/interrupt.ts';
import {disableTokens} from '../lib/operations/disable.ts';
import {parseToken} from '../lib/registration-token.ts';
import {TokenCommand} from '../lib/token-command.ts';

export default class Disable extends TokenCommand {
  static override usage = 'disable TOKEN... [FLAGS]';
  static override summary = 'Close registration tokens, so that the homeserver refuses them.';
  static override description =
    'Setting the uses of a token to 0 does not close it: Synapse takes 0 for unlimited. This lets it expire first, which takes a second or two for any number of tokens, then marks it, and asks the homeserver whether it is refused. Its limits are remembered for enable.';

  static override examples = [
    '<%= config.bin %> disable CrispOtterLampBravoStone',
    {
      description: 'All that other tools have "disabled"',
      command:
        '<%= config.bin %> list --status disabled --accepted --columns token --output tsv | <%= config.bin %> disable -',
    },
  ];

  static override args = tokensArg;
  static override flags = serverFlag;

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Disable);
    const tokens = await this.tokens(args.token, parseToken);
    const connection = await this.connect(flags.server, true);
    const outcomes = await disableTokens(connection, tokens, {
      signal: interruptSignal,
      onWait: (ms) => {
        this.note(`Waiting ${Math.ceil(ms / 1000)} s for the homeserver's clock …`);
      },
    });
    for (const {token, outcome} of outcomes) {
      if (!outcome.ok) continue;
      const {changed, confirmed_by} = outcome.value;
      if (!changed) this.note(`${token} was disabled already; it is refused.`);
      else if (confirmed_by === 'validity')
        this.note(`${token} is disabled: the homeserver was asked, and refuses it.`);
      else this.note(`${token} is disabled: by the homeserver's own clock it has expired.`);
    }

    await this.writeChanges(connection, outcomes, args.token);
  }
}
