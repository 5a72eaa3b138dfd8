import {Flags} from '@oclif/core';

import {serversFlags} from '../lib/command.ts';
import {chooseTargets, type Connection} from '../lib/connection.ts';
import {MxtokError, usageError} from '../lib/errors.ts';
import {interruptSignal} from '../lib/interrupt.ts';
import {parseLabel, parseNote} from '../lib/label.ts';
import {
  checkNewTokenFlags,
  newTokenFlags,
  type NewTokenSettings,
  newTokenSettings,
} from '../lib/new-token-flags.ts';
import type {PlannedChange, TokenOutcome} from '../lib/operations/batch.ts';
import {planDisable} from '../lib/operations/disable.ts';
import type {ServerOutcome} from '../lib/operations/each-server.ts';
import {
  planNewToken,
  planRotation,
  rotate,
  type RotatedToken,
  type Rotation,
} from '../lib/operations/rotate.ts';
import {failuresOf, toRotatedRecord} from '../lib/output/rotations.ts';
import {parseNumber} from '../lib/settings.ts';
import {type ServerOutcomes, TokenCommand} from '../lib/token-command.ts';

/** What a table has in place of the name of a token that is yet to be made; no token can be called so. */
const UNNAMED = '(new)';

/**
 * `--dry-run` writes a row for the token that would be made, and behind it one for each that would be disabled, as the
 * dry runs of other commands do. The first has the action `create`, and limits, expiry, label and status as they would be;
 * its name is drawn when it is made, so until then it is empty (in a table: `(new)`), and whoever pipes the names
 * of a dry run into another command passes on none that does not exist.
 */
export default class Rotate extends TokenCommand {
  static override usage = 'rotate --label LABEL [FLAGS]';
  static override summary = 'Make a new token of a label, and disable the older ones.';
  static override description =
    'The new one is made first; where that fails, nothing is disabled. Of those that are open, --keep stay so, the new one among them. Two runs at the same time make one token, and both print it.';

  static override examples = [
    {
      description: 'Every week, with a day in which both are good',
      command: '<%= config.bin %> rotate --label weekly --uses 20 --expiry 8d --keep 2',
    },
    {
      description: 'What would be made and disabled',
      command: '<%= config.bin %> rotate --label weekly --uses 20 --expiry 8d --dry-run',
    },
  ];

  static override flags = {
    ...serversFlags,
    label: Flags.string({summary: 'The label, in full.', helpValue: 'TEXT', required: true}),
    ...newTokenFlags,
    note: Flags.string({summary: 'More about the new one, kept on this machine.', helpValue: 'TEXT'}),
    keep: Flags.string({
      summary: 'How many of the label stay open, the new one among them.',
      helpValue: 'N',
      default: '1',
    }),
    'dry-run': Flags.boolean({summary: 'Show what would be made and disabled, and do nothing.'}),
  };

  async run(): Promise<void> {
    const {flags} = await this.parseInput(Rotate);
    checkNewTokenFlags(flags);
    const label = parseLabel(flags.label);
    if (label === '') throw usageError('--label cannot be empty');
    const note = flags.note === undefined ? undefined : parseNote(flags.note);
    const keep = parseNumber(flags.keep, '--keep', 1, 1000);
    // The standing settings of each are looked at before anything is sent to any.
    const {targets} = chooseTargets(this.environment(), flags);
    const settings = new Map<string, NewTokenSettings>();
    for (const target of targets) settings.set(target.server ?? '', await newTokenSettings(flags, target));

    const wantedFor = (connection: Connection, token?: string): RotatedToken => {
      const given = settings.get(connection.auditContext.server ?? '');
      if (!given) throw new MxtokError('unexpected', `there are no settings for ${connection.server}`);
      const {generate, ...limits} = given;
      return {token: token ?? generate(), ...limits, label, note};
    };

    const servers = await this.connectServers(flags, !flags['dry-run'], true);
    if (flags['dry-run']) {
      const unnamed = this.format === 'table' ? UNNAMED : '';
      const plans = await this.onServers(servers, async (connection) => {
        const {old} = await planRotation(connection, label, keep);
        const planned = planNewToken(connection, wantedFor(connection, unnamed));
        return [planned, ...planDisable(connection, old)].map((value): TokenOutcome<PlannedChange> => ({
          token: value.record.token,
          outcome: {ok: true, value},
        }));
      });
      return this.writePlan(plans, [], 'created or disabled, the new one first');
    }

    const rotations = await this.onServers(servers, async (connection) => {
      const on = this.several ? ` on ${connection.server}` : '';
      return rotate(connection, wantedFor(connection), {
        keep,
        startedAt: performance.timeOrigin,
        signal: interruptSignal,
        onWait: () => {
          this.note(`Another rotation of "${label}" is running${on}; waiting for it to end …`);
        },
      });
    });
    await this.writeRotations(rotations);
  }

  private async writeRotations(rotations: readonly ServerOutcome<Rotation>[]): Promise<void> {
    for (const {outcome} of rotations) {
      if (!outcome.ok) continue;
      const {token, created, disabled} = outcome.value;
      const closed = disabled.filter((old) => old.outcome.ok).map((old) => old.token);
      if (!created)
        this.note(`${token.token} was made by another run at the same time; this one leaves it at that.`);
      else if (closed.length > 0) this.note(`Disabled in its place: ${closed.join(' ')}`);
    }

    const rotated = rotations.map(toRotatedRecord);
    const records = rotated.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
    const [only] = records;
    if (this.several && (this.format === 'json' || this.format === 'ndjson')) {
      await this.writeJsonItems(rotated.map((one) => this.itemJson(one)));
    } else if (this.several) {
      await this.writeServerRecords(records, rotated, this.bareTokens ? ['server', 'token'] : undefined);
    } else if (only) {
      if (this.bareTokens) await this.write(`${only.token}\n`);
      else await this.writeRecord(rotated[0]?.connection, only);
    }

    // What could not be disabled is told when the new token is out.
    const rest: ServerOutcomes<unknown> = rotations.map(({outcome, ...one}) => ({
      ...one,
      outcome: outcome.ok ? {ok: true, value: failuresOf(outcome.value)} : outcome,
    }));
    this.throwFailures(rest, []);
  }
}
