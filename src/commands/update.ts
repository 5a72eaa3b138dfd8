import {Flags} from '@oclif/core';

import {serversFlags} from '../lib/command.ts';
import {usageError} from '../lib/errors.ts';
import {parseLabel, parseNote} from '../lib/label.ts';
import type {FoundToken} from '../lib/operations/batch.ts';
import {isClosed} from '../lib/operations/disable.ts';
import {selectTokens} from '../lib/operations/list.ts';
import {planUpdate, type TokenChanges, type UpdatedToken, updateTokens} from '../lib/operations/update.ts';
import {parseUses} from '../lib/registration-token.ts';
import {
  changeFlags,
  chosenTokensArg,
  filterFlags,
  selectAllFlag,
  SelectionCommand,
  withLabelFilter,
} from '../lib/selection-command.ts';
import type {ServerOutcomes} from '../lib/token-command.ts';
import {parseExpiry} from '../lib/when.ts';

export default class Update extends SelectionCommand {
  static override usage = 'update [TOKEN...] [FLAGS]';
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
    {
      description: 'A week more for all of an event that are still open; first see which',
      command: "<%= config.bin %> update --with-label 'spring*' --accepted --expiry 7d --dry-run",
    },
  ];

  static override args = chosenTokensArg;
  static override flags = {
    ...serversFlags,
    ...filterFlags,
    ...withLabelFilter,
    ...selectAllFlag,
    ...changeFlags,
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

    const words = args.token ?? [];
    const {label: _label, ...filters} = flags;
    const selection = await this.selection(words, filters, flags['with-label']);
    const prompter = await this.asker(selection, flags);
    const servers = await this.connectServers(flags, !flags['dry-run'], true);
    let asked = this.withoutElsewhere(
      selection,
      await this.onServers(servers, (connection) => selectTokens(connection, selection)),
    );
    const selected = asked;
    if ('filter' in selection && (changes.uses_allowed !== undefined || changes.expiry))
      asked = await this.withoutClosed(asked);
    if (flags['dry-run'] || prompter) {
      const plans = await this.onServers(asked, (connection, found) =>
        planUpdate(connection, found, changes),
      );
      if (flags['dry-run']) return this.writePlan(plans, words, 'updated');
      if (prompter) asked = await this.confirmPlans(prompter, asked, plans, 'Update WHAT?');
    }

    const results = await this.onServers(asked, (connection, found) =>
      updateTokens(connection, found, changes),
    );
    this.noteOutcomes(results, changes);
    await this.writeChanges(results, words);
    this.noteNone(selection, selected);
  }

  /** A filter may let disabled ones through, whose limits stay; who names one is told that as an error. */
  private withoutClosed(asked: ServerOutcomes<FoundToken>): Promise<ServerOutcomes<FoundToken>> {
    return this.onServers(asked, (connection, found) => {
      const open = found.filter(({outcome}) => !outcome.ok || !isClosed(connection, outcome.value));
      const closed = found.length - open.length;
      if (closed > 0)
        this.note(
          closed === 1
            ? 'One disabled token that matches stays as it is.'
            : `${closed} disabled tokens that match stay as they are.`,
        );
      return open;
    });
  }

  private noteOutcomes(results: ServerOutcomes<UpdatedToken>, changes: TokenChanges): void {
    for (const {outcome: server} of results) {
      for (const {token, outcome} of server.ok ? server.value : []) {
        if (!outcome.ok) continue;
        const {changed, uses_allowed, completed, pending} = outcome.value;
        if (!changed) this.note(`${token} is so already; nothing was changed.`);
        else if (changes.uses_allowed && uses_allowed !== null && completed + pending >= uses_allowed) {
          this.warning(
            `${token} has had ${completed + pending} uses already, so nobody can register with it now`,
          );
        }
      }
    }
  }
}
