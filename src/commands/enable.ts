import {Flags} from '@oclif/core';

import {serverFlag, tokensArg} from '../lib/command.ts';
import {usageError} from '../lib/errors.ts';
import {type EnablePlan, enableTokens, planEnable} from '../lib/operations/disable.ts';
import {complaint} from '../lib/prompts.ts';
import {parseToken, parseUses} from '../lib/registration-token.ts';
import {TokenCommand} from '../lib/token-command.ts';
import {parseExpiry, resolveExpiry} from '../lib/when.ts';

export default class Enable extends TokenCommand {
  static override usage = 'enable TOKEN... [FLAGS]';
  static override summary = 'Open disabled registration tokens again, with the limits they had.';
  static override description =
    'The limits come from this machine, where disable has left them. What it does not know, or what has passed meanwhile, is asked for, or taken from --uses and --expiry.';

  static override examples = [
    '<%= config.bin %> enable CrispOtterLampBravoStone',
    {
      description: 'Its old expiry has passed',
      command: '<%= config.bin %> enable CrispOtterLampBravoStone --expiry 7d',
    },
  ];

  static override args = tokensArg;
  static override flags = {
    ...serverFlag,
    uses: Flags.string({
      summary: 'Uses in all, in place of the remembered: 1 to 2147483647, or "unlimited".',
      helpValue: 'N',
    }),
    expiry: Flags.string({
      summary: 'End, in place of the remembered: 7d, a date or date-time, or "never".',
      helpValue: 'WHEN',
    }),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Enable);
    const given = {
      ...(flags.uses !== undefined && {uses_allowed: parseUses(flags.uses)}),
      ...(flags.expiry !== undefined && {expiry: parseExpiry(flags.expiry)}),
    };
    const tokens = await this.tokens(args.token, parseToken);
    const connection = await this.connect(flags.server, true);
    const plan = await planEnable(connection, tokens, given);
    const [open] = plan.open;
    if (open && Object.keys(given).length > 0) {
      const {token} = open.token;
      throw usageError(
        `${token} is not disabled; nothing was changed`,
        `To change its limits: mxtok update -- ${token}`,
      );
    }

    await this.complete(plan.plans, connection.homeserver.clock.now());
    const outcomes = await enableTokens(connection, plan);
    for (const {token, outcome} of outcomes) {
      if (!outcome.ok) continue;
      const {changed, accepted, status} = outcome.value;
      if (!changed) this.note(`${token} is not disabled (it is ${status}); nothing was changed.`);
      else if (!accepted)
        this.warning(
          `${token} has its limits back, but by them nobody can register with it now: it is ${status}`,
        );
    }

    await this.writeChanges(connection, outcomes, args.token);
  }

  /** Ask for the limits that nobody here knows, or name all that are missing. */
  private async complete(plans: readonly EnablePlan[], now: number): Promise<void> {
    const incomplete = plans.filter(({missing}) => missing.length > 0);
    if (incomplete.length === 0) return;
    const prompter = await this.prompter();
    if (!prompter) {
      const missing = new Set(incomplete.flatMap((plan) => plan.missing));
      const names = incomplete.slice(0, 5).map(({token}) => token.token);
      const of = names.join(' ') + (incomplete.length > 5 ? ' …' : '');
      const reasons = [
        ...(missing.has('uses') ? ['how many uses are allowed is not known here'] : []),
        ...(missing.has('expiry') ? ['the old expiry has passed, or is not known here'] : []),
      ];
      throw usageError(
        `${of}: ${reasons.join(', and ')}; nothing was changed`,
        `Give ${[...missing].map((name) => `--${name}`).join(' and ')}.`,
      );
    }

    for (const {token, limits, missing} of incomplete) {
      if (missing.includes('uses')) {
        limits.uses_allowed = parseUses(
          await prompter.input(
            `Uses for ${token.token} in all (a number, or unlimited):`,
            complaint(parseUses),
          ),
        );
      }

      if (missing.includes('expiry')) {
        const answer = await prompter.input(
          `New expiry for ${token.token} (7d, a date, or never):`,
          complaint(parseExpiry),
        );
        limits.expiry_time = resolveExpiry(parseExpiry(answer), now);
      }
    }
  }
}
