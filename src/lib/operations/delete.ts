import type {Connection} from '../connection.ts';
import {leavesOpen, MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome} from '../homeserver/homeserver.ts';
import {toAuditState} from '../token-record.ts';
import {settleEach} from '../settle.ts';
import {
  about,
  allUnnoted,
  finishAll,
  finishOperation,
  type FoundToken,
  foundOf,
  mergeOutcomes,
  type PlannedChange,
  recordOf,
  type TokenOutcome,
} from './batch.ts';

export interface DeletedToken {
  server: string;
  token: string;
  deleted: true;
}

/** What {@link deleteTokens} would do. */
export function planDelete(connection: Connection, found: readonly FoundToken[]): PlannedChange[] {
  return found.map(({token, metadata}) => ({
    record: recordOf(connection, token, metadata),
    action: 'delete',
    changes: {},
  }));
}

/** Delete tokens that were found; what was known of them here goes with them, and stays in the audit log. */
export async function deleteTokens(
  connection: Connection,
  asked: readonly TokenOutcome<FoundToken>[],
): Promise<TokenOutcome<DeletedToken>[]> {
  const {audit, auditContext, metadata, server} = connection;
  const found = foundOf(asked);
  const operations = await audit.start(
    auditContext,
    found.map(({token, metadata: entry}) => ({
      operation: 'delete',
      token: token.token,
      before: toAuditState(token, entry),
    })),
  );
  const outcomes = await settleEach(found, ({token}) => deleteOne(connection, token.token));
  const deleted = found.filter((_, index) => outcomes[index]?.ok).map(({token}) => token.token);
  const unsaved = await metadata.update(deleted, () => undefined).then(() => undefined, toMxtokError);
  const done = new Map<string, Outcome<DeletedToken>>();
  for (const [index, {token}] of found.entries()) {
    const outcome = outcomes[index];
    if (outcome) {
      const value: DeletedToken = {server, token: token.token, deleted: true};
      done.set(token.token, outcome.ok ? {ok: true, value} : about(token.token, outcome));
    }
  }

  const unlogged = await finishAll(
    operations.map((operation, index) => finishOperation(operation, outcomes[index])),
  );
  const problem = unsaved ?? unlogged;
  return mergeOutcomes(asked, problem ? allUnnoted(done, 'deleted', problem) : done);
}

async function deleteOne({homeserver}: Connection, token: string): Promise<void> {
  try {
    await homeserver.delete(token);
  } catch (error) {
    const problem = toMxtokError(error);
    // It was there a moment ago: an earlier attempt whose answer was lost has done it, or somebody else.
    if (problem.code === 'no_such_token') return;
    if (!leavesOpen(problem)) throw problem;
    const gone = await homeserver.get(token).then(
      () => false,
      (lookup: unknown) => lookup instanceof MxtokError && lookup.code === 'no_such_token',
    );
    if (!gone) throw problem;
  }
}
