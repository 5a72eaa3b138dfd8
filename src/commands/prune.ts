import {Flags} from '@oclif/core';

import {serversFlags} from '../lib/command.ts';
import type {Outcome} from '../lib/homeserver/homeserver.ts';
import {type FoundToken, foundOf, type TokenOutcome} from '../lib/operations/batch.ts';
import {deleteTokens, planDelete} from '../lib/operations/delete.ts';
import {choosePrunable, provenOver, type PruneChoice} from '../lib/operations/prune.ts';
import {changeFlags, labelFilter, SelectionCommand} from '../lib/selection-command.ts';
import {parseDuration} from '../lib/when.ts';
import {shorten} from '../lib/shorten.ts';
import type {ServerOutcomes} from '../lib/token-command.ts';

export default class Prune extends SelectionCommand {
  static override usage = 'prune [FLAGS]';
  static override summary = 'Delete registration tokens that are of no use any more.';
  static override description =
    'Those that have expired or are used up; never one that the homeserver accepts, nor, unless told to, one with sign-ups under way. --older-than counts from the expiry, or from when a token was disabled; one that is used up is judged by when it was created, and kept where that is not known here.';

  static override examples = [
    {description: 'See what would go', command: '<%= config.bin %> prune --dry-run'},
    {
      description: 'Every month, from cron',
      command: '<%= config.bin %> prune --older-than 30d --all-servers --yes --quiet',
    },
    {
      description: 'Disabled ones too',
      command: '<%= config.bin %> prune --include-disabled --older-than 1y',
    },
  ];

  static override flags = {
    ...serversFlags,
    'older-than': Flags.string({
      summary: 'Only what has been of no use for so long (30d).',
      helpValue: 'DURATION',
    }),
    'include-disabled': Flags.boolean({summary: 'Also disabled ones, as long as they are refused.'}),
    'include-pending': Flags.boolean({
      summary: 'Also those with sign-ups under way, which will end in an error.',
    }),
    ...labelFilter,
    ...changeFlags,
  };

  async run(): Promise<void> {
    const {flags} = await this.parseInput(Prune);
    const olderThan =
      flags['older-than'] === undefined ? undefined : parseDuration(flags['older-than'], '--older-than');
    const query = {
      olderThan,
      disabled: flags['include-disabled'],
      pending: flags['include-pending'],
      filter: {label: flags.label},
    };
    const prompter = await this.asker({filter: query.filter}, flags);
    const servers = await this.connectServers(flags, !flags['dry-run'], true);
    const chosen = await this.onServers(servers, (connection) => choosePrunable(connection, query));
    for (const {server, outcome} of chosen) if (outcome.ok) this.noteKept(server, outcome.value);
    let asked: ServerOutcomes<FoundToken> = await this.onServers(chosen, (_, {found}) =>
      found.map(asOutcome),
    );
    if (flags['dry-run'] || prompter) {
      const plans = await this.planned(asked, (connection, found) => planDelete(connection, foundOf(found)));
      if (flags['dry-run']) return this.writePlan(plans, [], 'deleted');
      if (prompter) asked = await this.confirmPlans(prompter, asked, plans, 'Delete WHAT for good?');
    }

    const results = await this.onServers(asked, async (connection, found) =>
      deleteTokens(connection, await provenOver(connection, found)),
    );
    await this.writeItems(results, [], ['server', 'token'], ({token}) => `${token} is deleted.`);
    if (results.every(({outcome}) => outcome.ok && outcome.value.length === 0))
      this.note('There is nothing to prune.');
  }

  private noteKept(server: string, {pending, ageless}: PruneChoice): void {
    const where = this.several ? `${server}: ` : '';
    if (pending.length > 0) {
      this.note(
        `${where}kept for sign-ups under way (--include-pending takes them): ${shorten(pending, ' ')}`,
      );
    }

    if (ageless.length > 0) {
      this.note(`${where}kept, for it is not known here when they were created: ${shorten(ageless, ' ')}`);
    }
  }
}

function asOutcome(found: FoundToken): TokenOutcome<FoundToken> {
  const outcome: Outcome<FoundToken> = {ok: true, value: found};
  return {token: found.token.token, outcome};
}
