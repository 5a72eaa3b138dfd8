/** What the commands on chosen tokens share: the filters of `list`, --dry-run, and the question before a change. */
import {Args, Flags} from '@oclif/core';

import type {Connection} from './connection.ts';
import {MxtokError, usageError} from './errors.ts';
import type {Outcome} from './homeserver/homeserver.ts';
import {findAgain, type FoundToken, type PlannedChange, type TokenOutcome} from './operations/batch.ts';
import type {Selection, TokenFilter} from './operations/list.ts';
import type {Prompter} from './prompts.ts';
import {quote} from './quote.ts';
import {parseToken, TOKEN_STATUSES, type TokenStatus} from './registration-token.ts';
import {parseNumber} from './settings.ts';
import {type ServerOutcomes, TokenCommand} from './token-command.ts';
import {parseDuration} from './when.ts';

const FILTER = 'FILTER';

/** All that are given must hold. */
export const filterFlags = {
  status: Flags.string({
    summary: `Of this status; several with commas: ${TOKEN_STATUSES.join(', ')}.`,
    helpGroup: FILTER,
    helpValue: 'STATUS',
    multiple: true,
    multipleNonGreedy: true,
    delimiter: ',',
  }),
  accepted: Flags.boolean({
    summary: 'Those that the homeserver accepts now; --no-accepted: the others.',
    helpGroup: FILTER,
    allowNo: true,
  }),
  search: Flags.string({
    summary: 'With this text in token, label or note.',
    helpGroup: FILTER,
    helpValue: 'TEXT',
  }),
  'expiring-within': Flags.string({
    summary: 'Accepted now, and over within this time (3d).',
    helpGroup: FILTER,
    helpValue: 'DURATION',
  }),
  'uses-left': Flags.string({
    summary: 'Accepted now, and good for at most N registrations more.',
    helpGroup: FILTER,
    helpValue: 'N',
  }),
  unused: Flags.boolean({
    summary: 'That nobody has registered with, or is about to.',
    helpGroup: FILTER,
  }),
};

/** Not for `update`, whose --label is another; --with-label is the same everywhere. */
export const labelFilter = {
  label: Flags.string({
    summary: 'With this label; * stands for anything (also: --with-label).',
    helpGroup: FILTER,
    helpValue: 'GLOB',
    aliases: ['with-label'],
  }),
};

export const withLabelFilter = {
  'with-label': Flags.string({
    summary: 'With this label so far; * stands for anything.',
    helpGroup: FILTER,
    helpValue: 'GLOB',
  }),
};

export const selectAllFlag = {
  all: Flags.boolean({summary: 'All tokens of the homeserver.', helpGroup: FILTER}),
};

/** Of the commands that take the tokens of a filter in place of named ones. */
export const selectionFlags = {...filterFlags, ...labelFilter, ...selectAllFlag};

/** Of the commands that change what is chosen. */
export const changeFlags = {
  'dry-run': Flags.boolean({summary: 'Show what would be done, and do nothing.'}),
  yes: Flags.boolean({char: 'y', summary: 'Do not ask.'}),
};

/** `[TOKEN…]`: named, or chosen by the filters. */
export const chosenTokensArg = {
  token: Args.string({
    name: 'token',
    description: 'Registration token; "-" reads them from standard input, one a line. Or choose by filters.',
    multiple: true,
    ignoreStdin: true,
  }),
};

export interface FilterFlags {
  status?: string[] | undefined;
  accepted?: boolean | undefined;
  label?: string | undefined;
  'with-label'?: string | undefined;
  search?: string | undefined;
  'expiring-within'?: string | undefined;
  'uses-left'?: string | undefined;
  unused?: boolean | undefined;
}

/** @param label the glob, by whatever flag it was given. @throws {MxtokError} `usage` */
export function parseFilter(flags: FilterFlags, label: string | undefined): TokenFilter {
  // What matches everything is more likely a variable that is not set.
  for (const [name, text] of Object.entries({search: flags.search, label}))
    if (text?.trim() === '')
      throw usageError(`--${name} is empty`, 'For all tokens of the homeserver: --all');
  return {
    status: flags.status?.map(parseStatus),
    accepted: flags.accepted,
    label,
    search: flags.search,
    expiringWithin:
      flags['expiring-within'] === undefined
        ? undefined
        : parseDuration(flags['expiring-within'], '--expiring-within'),
    usesLeft:
      flags['uses-left'] === undefined
        ? undefined
        : parseNumber(flags['uses-left'], '--uses-left', 0, 999_999_999),
    unused: flags.unused,
  };
}

/** Whether it keeps any token out. */
export function isFiltering({unused, ...filter}: TokenFilter): boolean {
  // Of the two that are true or false, `accepted: false` chooses too.
  return unused === true || Object.values(filter).some((value) => value !== undefined);
}

function parseStatus(input: string): TokenStatus {
  const status = TOKEN_STATUSES.find((known) => known === input.trim());
  if (status === undefined)
    throw usageError(`--status ${quote(input)} is none of ${TOKEN_STATUSES.join(', ')}`);
  return status;
}

export abstract class SelectionCommand extends TokenCommand {
  /**
   * Which tokens are meant: those that are named, else what the filters let through.
   * @param label the glob that labels are filtered by.
   * @throws {MxtokError} `usage`, where it is both or neither.
   */
  protected async selection(
    words: readonly string[] | undefined,
    flags: FilterFlags & {all?: boolean | undefined},
    label = flags.label,
  ): Promise<Selection> {
    const filter = parseFilter(flags, label);
    const filtering = isFiltering(filter);
    const named = words !== undefined && words.length > 0;
    if (named && (filtering || flags.all)) {
      throw usageError('tokens are named and chosen by filters at the same time', 'Do one or the other.');
    }

    if (filtering && flags.all) throw usageError('--all leaves nothing for the filters to choose');
    if (named) return {names: await this.tokens(words, parseToken)};
    if (filtering || flags.all) return {filter};
    const byLabel = this.id === 'update' ? '--with-label' : '--label';
    throw usageError(
      'TOKEN is missing',
      `Name tokens, or choose them: by ${byLabel}, --status and the like, or --all. See --help.`,
    );
  }

  /**
   * Who is to be asked before a change; found out before anything is sent.
   * @param always whether named tokens are asked about too.
   * @throws {MxtokError} `usage`, where somebody should be asked and nobody can answer.
   */
  protected async asker(
    selection: Selection,
    flags: {yes: boolean; 'dry-run': boolean},
    always = false,
  ): Promise<Prompter | undefined> {
    if (flags.yes || flags['dry-run'] || ('names' in selection && !always)) return undefined;
    const prompter = await this.prompter();
    if (prompter) return prompter;
    const what = 'names' in selection ? 'asks before it does so' : 'asks before it changes all that match';
    throw usageError(
      `${this.id ?? ''} ${what}, and nobody can answer here; nothing was changed`,
      'names' in selection ? 'Add --yes.' : 'See what it would do with --dry-run, then add --yes.',
    );
  }

  /** What would be done to the tokens that were found; what was not found stays in its place. */
  protected planned(
    asked: ServerOutcomes<FoundToken>,
    plan: (connection: Connection, asked: readonly TokenOutcome<FoundToken>[]) => readonly PlannedChange[],
  ): Promise<ServerOutcomes<PlannedChange>> {
    return this.onServers(asked, (connection, found) => {
      const plans = new Map(plan(connection, found).map((value) => [value.record.token, value]));
      return found.map(({token, outcome}): TokenOutcome<PlannedChange> => {
        const value = plans.get(token);
        return {token, outcome: outcome.ok && value ? {ok: true, value} : (outcome as Outcome<never>)};
      });
    });
  }

  /**
   * Show how many they are and a few of them, and ask.
   * @param question as in "Disable WHAT?"
   * @param evenChanged also those that somebody has changed while the question stood, as they are by now.
   * @returns the tokens as they are after the answer, which may have taken long.
   * @throws {MxtokError} `declined`
   */
  protected async confirmPlans(
    prompter: Prompter,
    asked: ServerOutcomes<FoundToken>,
    results: ServerOutcomes<PlannedChange>,
    question: string,
    evenChanged = false,
  ): Promise<ServerOutcomes<FoundToken>> {
    const plans = results.flatMap(({outcome}) =>
      outcome.ok ? outcome.value.flatMap((one) => (one.outcome.ok ? [one.outcome.value] : [])) : [],
    );
    const changing = plans.filter(({action}) => action !== 'none');
    if (changing.length === 0) return asked;
    // What cannot be reached is to be known before the answer, not after it.
    this.tellErrors(results.flatMap(({server, outcome}) => (outcome.ok ? [] : [{server, outcome}])));
    const {renderPlanTable} = await import('./output/plans.ts');
    const style = {...this.tableStyle(results[0]?.connection), width: process.stderr.columns || 80};
    process.stderr.write([...(await renderPlanTable(changing.slice(0, SAMPLE), style))].join(''));
    if (changing.length > SAMPLE) this.note(`… and ${changing.length - SAMPLE} more`);
    const servers = [...new Set(changing.map(({record}) => record.server))];
    const where = servers.length > 3 ? `${servers.length} servers` : servers.join(', ');
    const [only] = changing;
    const what = changing.length === 1 ? (only?.record.token ?? '') : `${changing.length} tokens`;
    await prompter.confirm(question.replace('WHAT', `${what} on ${where}`));
    return this.onServers(asked, (connection, shown) => findAgain(connection, shown, evenChanged));
  }

  /**
   * A token that one of several homeservers has is not missed on the others; one that none has is told once.
   */
  protected withoutElsewhere(
    selection: Selection,
    results: ServerOutcomes<FoundToken>,
  ): ServerOutcomes<FoundToken> {
    if (!this.several || !('names' in selection)) return results;
    const outcomes = results.flatMap(({outcome}) => (outcome.ok ? outcome.value : []));
    const settled = new Set(outcomes.flatMap(({token, outcome}) => (outcome.ok ? [token] : [])));
    const where = results.every(({outcome}) => outcome.ok) ? 'on any server' : 'on any server that answered';
    const withoutMissed = ({token, outcome}: TokenOutcome<FoundToken>): TokenOutcome<FoundToken>[] => {
      if (outcome.ok) return [{token, outcome}];
      if (settled.has(token)) return [];
      settled.add(token);
      const {errcode, status, hint} = outcome.error;
      const message = `there is no registration token ${token} ${where}`;
      const error = new MxtokError('no_such_token', message, {token, errcode, status, hint});
      return [{token, outcome: {ok: false, error}}];
    };
    return results.map((result) =>
      result.outcome.ok
        ? {...result, outcome: {ok: true, value: result.outcome.value.flatMap(withoutMissed)}}
        : result,
    );
  }

  /** Where a filter has let nothing through, a person should not wonder. */
  protected noteNone(selection: Selection, results: ServerOutcomes<unknown>): void {
    const any = results.some(({outcome}) => !outcome.ok || outcome.value.length > 0);
    if (!any && 'filter' in selection) this.note('No token matches.');
  }
}

/** So many tokens are shown with the question. */
const SAMPLE = 5;
