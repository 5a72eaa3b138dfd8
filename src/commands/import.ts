import {Args, Flags} from '@oclif/core';

import {BulkCommand, bulkFlags, parseConcurrency} from '../lib/bulk-command.ts';
import {serverFlag} from '../lib/command.ts';
import {MxtokError} from '../lib/errors.ts';
import {readInput} from '../lib/input-file.ts';
import {interruptSignal} from '../lib/interrupt.ts';
import type {TokenOutcome} from '../lib/operations/batch.ts';
import {type ImportedToken, importTokens, planImport} from '../lib/operations/import.ts';
import {formatLocal} from '../lib/when.ts';
import {readExportedTokens} from '../lib/token-file/exported-tokens.ts';

export default class Import extends BulkCommand {
  static override usage = 'import FILE [FLAGS]';
  static override summary = 'Bring tokens that were exported to this homeserver.';
  static override description =
    'The same strings, each with the uses that it has left and the expiry it had, and its label and note. What is expired, used up or disabled is left out; a token that is there already stays as it is, so that a second run changes nothing. Reads what export writes (NDJSON or CSV), list --json, the answer of Synapse’s admin API, and the list of tokens of matrix-registration (GET /api/token), whose dates are taken for local time.';

  static override examples = [
    {description: 'See what would be done', command: '<%= config.bin %> import tokens.ndjson --dry-run'},
    '<%= config.bin %> import tokens.ndjson --server new',
    {
      description: 'From matrix-registration (GET /api/token), whose host has its clock in Berlin',
      command: 'cat api-token.json | TZ=Europe/Berlin <%= config.bin %> import -',
    },
  ];

  static override args = {
    file: Args.string({
      description: 'The file; "-" is standard input.',
      required: true,
      ignoreStdin: true,
    }),
  };

  static override flags = {
    ...serverFlag,
    'dry-run': Flags.boolean({summary: 'Show what would be done, and do nothing.'}),
    ...bulkFlags,
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Import);
    const bulk = {concurrency: parseConcurrency(flags.concurrency)};
    const source = args.file === '-' ? 'standard input' : args.file;
    const tokens = await readExportedTokens(await readInput(args.file), source);
    const target = await this.target(flags.server);
    const connection = flags['dry-run']
      ? await this.connect(target, false)
      : await this.connectBulk(target, bulk);
    const plan = await planImport(connection, tokens);
    if (flags['dry-run']) {
      await this.writeImported(plan.outcomes, tokens.length, true);
      return;
    }

    const outcomes = await this.runBulk(plan.wanted.length, bulk, (options) =>
      importTokens(connection, plan, options),
    );
    if (outcomes.length === tokens.length) {
      await this.writeImported(outcomes, tokens.length, false);
      return;
    }

    // An error that would meet all others is among them, and is told; after Ctrl-C nothing else is wrong.
    await this.writeImported(outcomes, tokens.length, false).catch((error: unknown) => {
      if (!interruptSignal.aborted) throw error;
    });
    throw new MxtokError(
      'interrupted',
      `interrupted: ${outcomes.length} of ${tokens.length} tokens were come to`,
    );
  }

  private async writeImported(
    outcomes: readonly TokenOutcome<ImportedToken>[],
    total: number,
    dryRun: boolean,
  ): Promise<void> {
    const values = outcomes.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
    const count = (action: ImportedToken['action'], reason?: string): number =>
      values.filter((value) => value.action === action && (reason === undefined || value.reason === reason))
        .length;
    const reasons = (['expired', 'exhausted', 'disabled'] as const).flatMap((reason) =>
      count('skip', reason) > 0 ? [`${count('skip', reason)} ${reason}`] : [],
    );
    const failed = outcomes.length - values.length;
    const summary = [
      `${count('create')} ${dryRun ? 'would be ' : ''}created`,
      ...(count('label') > 0 ? [`${count('label')} ${dryRun ? 'would be ' : ''}labelled`] : []),
      `${count('unchanged')} there already`,
      `${count('skip')} left out${reasons.length > 0 ? ` (${reasons.join(', ')})` : ''}`,
      ...(failed > 0 ? [`${failed} failed`] : []),
    ].join(', ');
    const note = `Of ${total} tokens: ${summary}${dryRun ? '; nothing was changed' : ''}.`;
    const shown = dryRun
      ? outcomes.map(({token, outcome}) => ({
          token,
          outcome: outcome.ok ? {ok: true as const, value: {...outcome.value, dry_run: true}} : outcome,
        }))
      : outcomes;
    await this.writeItems(
      [{server: this.server ?? '', connection: undefined, outcome: {ok: true, value: shown}}],
      [],
      ['server', 'token', 'action', 'reason', 'uses_allowed', 'expiry_time'],
      (item) => describe(item),
    ).finally(() => {
      this.note(note);
    });
  }
}

function describe({token, action, reason, uses_allowed, expiry_time}: ImportedToken): string {
  if (reason !== null) return `${token}: ${action} (${reason})`;
  const uses = `${uses_allowed ?? 'unlimited'} use${uses_allowed === 1 ? '' : 's'}`;
  const until = expiry_time === null ? 'never expires' : `until ${formatLocal(expiry_time)}`;
  return action === 'create' ? `${token}: create, ${uses}, ${until}` : `${token}: ${action}`;
}
