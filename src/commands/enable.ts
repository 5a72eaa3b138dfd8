import {Flags} from '@oclif/core';

import {serverFlag} from '../lib/command.ts';
import {usageError} from '../lib/errors.ts';
import type {FoundToken} from '../lib/operations/batch.ts';
import {
  describeEnable,
  type EnablePlan,
  enableTokens,
  missingLimits,
  ofThese,
  planEnable,
} from '../lib/operations/enable.ts';
import {selectTokens} from '../lib/operations/list.ts';
import {complaint} from '../lib/prompts.ts';
import {parseUses} from '../lib/registration-token.ts';
import {changeFlags, chosenTokensArg, SelectionCommand, selectionFlags} from '../lib/selection-command.ts';
import type {ServerOutcomes} from '../lib/token-command.ts';
import {parseExpiry, resolveExpiry} from '../lib/when.ts';

export default class Enable extends SelectionCommand {
  static override usage = 'enable [TOKEN...] [FLAGS]';
  static override summary = 'Open disabled registration tokens again, with the limits they had.';
  static override description =
    'The limits come from this machine, where disable has left them. What it does not know, or what has passed meanwhile, is asked for, or taken from --uses and --expiry.';

  static override examples = [
    '<%= config.bin %> enable CrispOtterLampBravoStone',
    {
      description: 'Its old expiry has passed',
      command: '<%= config.bin %> enable CrispOtterLampBravoStone --expiry 7d',
    },
    {
      description: 'All of an event again',
      command: "<%= config.bin %> enable --label 'spring*' --status disabled --expiry 7d --yes",
    },
  ];

  static override args = chosenTokensArg;
  static override flags = {
    ...serverFlag,
    ...selectionFlags,
    ...changeFlags,
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
    const words = args.token ?? [];
    const selection = await this.selection(words, flags);
    const prompter = await this.asker(selection, flags);
    const connection = await this.connect(flags.server, !flags['dry-run']);
    const asked = await selectTokens(connection, selection);
    let plan = planEnable(connection, asked, given);
    const [open] = plan.open;
    if (open && 'names' in selection && Object.keys(given).length > 0) {
      const {token} = open.token;
      throw usageError(
        `${token} is not disabled; nothing was changed`,
        `To change its limits: mxtok update -- ${token}`,
      );
    }

    const here = {server: connection.server, connection};
    const shown: ServerOutcomes<FoundToken> = [{...here, outcome: {ok: true, value: asked}}];
    await this.complete(plan.plans, connection.homeserver.clock.now(), flags['dry-run']);
    if (flags['dry-run'] || prompter) {
      const described = await this.planned(shown, () => describeEnable(connection, plan));
      if (flags['dry-run']) return this.writePlan(described, words, 'enabled');
      if (prompter) {
        const [again] = await this.confirmPlans(prompter, shown, described, 'Enable WHAT?');
        if (again?.outcome.ok) plan = ofThese(plan, again.outcome.value);
      }
    }

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

    const results = [{...here, outcome: {ok: true as const, value: outcomes}}];
    await this.writeChanges(results, words);
    this.noteNone(selection, results);
  }

  /** Ask, once for all of them, for the limits that nobody here knows; or name all that are missing. */
  private async complete(plans: readonly EnablePlan[], now: number, dryRun: boolean): Promise<void> {
    const problem = missingLimits(plans);
    if (!problem) return;
    const prompter = dryRun ? undefined : await this.prompter();
    if (!prompter) throw problem;
    const lacking = (name: 'uses' | 'expiry'): EnablePlan[] =>
      plans.filter(({missing}) => missing.includes(name));
    const these = (some: readonly EnablePlan[]): string =>
      some.length === 1 ? (some[0]?.token.token ?? '') : `these ${some.length} tokens`;
    const [withoutUses, withoutExpiry] = [lacking('uses'), lacking('expiry')];
    if (withoutUses.length > 0) {
      const question = `Uses for ${these(withoutUses)} in all (a number, or unlimited):`;
      const uses = parseUses(await prompter.input(question, complaint(parseUses)));
      for (const {limits} of withoutUses) limits.uses_allowed = uses;
    }

    if (withoutExpiry.length > 0) {
      const question = `New expiry for ${these(withoutExpiry)} (7d, a date, or never):`;
      const expiry = parseExpiry(await prompter.input(question, complaint(parseExpiry)));
      for (const {limits} of withoutExpiry) limits.expiry_time = resolveExpiry(expiry, now);
    }
  }
}
