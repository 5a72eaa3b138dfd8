import pMap from 'p-map';

import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome} from '../homeserver/homeserver.ts';
import {toAuditState} from '../token-record.ts';
import {CONCURRENCY, type FoundToken, foundOf, mergeOutcomes, settle, type TokenOutcome} from './batch.ts';

export interface DeletedToken {
  server: string;
  token: string;
  deleted: true;
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
  const outcomes = await pMap(
    found,
    ({token}) => settle(token.token, () => deleteOne(connection, token.token)),
    {
      concurrency: CONCURRENCY,
    },
  );
  const deleted = found.filter((_, index) => outcomes[index]?.ok).map(({token}) => token.token);
  const unsaved = await metadata.update(deleted, () => undefined).then(() => undefined, toMxtokError);
  const done = new Map<string, Outcome<DeletedToken>>();
  await Promise.all(
    found.map(async ({token: {token}}, index) => {
      const outcome = outcomes[index];
      if (!outcome) return;
      await (outcome.ok ? operations[index]?.succeeded() : operations[index]?.failed(outcome.error));
      done.set(token, outcome.ok ? {ok: true, value: {server, token, deleted: true}} : outcome);
    }),
  );
  if (unsaved) throw unsaved;
  return mergeOutcomes(asked, done);
}

async function deleteOne({homeserver}: Connection, token: string): Promise<void> {
  try {
    await homeserver.delete(token);
  } catch (error) {
    const problem = toMxtokError(error);
    // It was there a moment ago: an earlier attempt whose answer was lost has done it, or somebody else.
    if (problem.code === 'no_such_token') return;
    if (!['unreachable', 'timeout', 'server_error', 'not_matrix'].includes(problem.code)) throw problem;
    const gone = await homeserver.get(token).then(
      () => false,
      (lookup: unknown) => lookup instanceof MxtokError && lookup.code === 'no_such_token',
    );
    if (!gone) throw problem;
  }
}
