/** The same on several homeservers at once: bounded, and none of them in the way of another. */
import pMap from 'p-map';

import type {Connection, Environment, Target} from '../connection.ts';
import {connect} from '../connection.ts';
import {interruptedError, MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome} from '../homeserver/homeserver.ts';
import {AuditLog} from '../store/audit.ts';

/** Homeservers that are talked to at once. More would gain little: what takes time is those that do not answer. */
export const SERVERS_AT_ONCE = 64;

/** For reading, a homeserver has so many times the limit of one request in all. */
const REQUESTS_ALLOWED = 4;

/** What became of the work on one homeserver. */
export interface ServerOutcome<T> {
  /** The profile's name; without one, the homeserver's own. */
  server: string;
  /** Absent where there never was one. */
  connection: Connection | undefined;
  outcome: Outcome<T>;
}

/**
 * Make ready to talk to each of several homeservers; see {@link connect}.
 * @param onSame for changes: one that two profiles lead to is taken once, for what the first has done would meet the
 * second as somebody else's work. It is told of each profile that is left out, and of the one that stands for it.
 */
export async function connectEach(
  environment: Environment,
  targets: readonly Target[],
  forChange: boolean,
  onSame?: (server: string, other: string) => void,
): Promise<ServerOutcome<Connection>[]> {
  // One log for all, so that what they write at the same time goes together into one write.
  const audit = new AuditLog(environment.dataDir, environment.warn);
  const connected = await pMap(
    targets,
    async (target): Promise<ServerOutcome<Connection>> => {
      const server = target.server ?? '';
      const {http} = environment;
      const onWait = (ms: number, why: string): void => http.onWait?.(ms, `${server}: ${why}`);
      try {
        const connection = await connect({...environment, http: {...http, onWait}}, target, forChange, audit);
        // Hundreds of them would be more open connections than a process may have.
        connection.http.close();
        return {server, connection, outcome: {ok: true, value: connection}};
      } catch (error) {
        return {server, connection: undefined, outcome: failure(server, error)};
      }
    },
    {concurrency: SERVERS_AT_ONCE},
  );
  if (!onSame) return connected;
  const first = new Map<string, string>();
  return connected.filter(({server, connection}) => {
    if (!connection) return true;
    const name = connection.auditContext.server_name;
    const other = first.get(name);
    if (other === undefined) first.set(name, server);
    else onSame(server, other);
    return other === undefined;
  });
}

/**
 * Work on each homeserver that nothing has gone wrong with so far.
 * @param reading that nothing is changed, so that each is given up after a time of its own and left to itself.
 */
export async function onEach<T, R>(
  servers: readonly ServerOutcome<T>[],
  work: (connection: Connection, value: T) => Promise<R>,
  reading = false,
): Promise<ServerOutcome<R>[]> {
  return pMap(
    servers,
    async ({server, connection, outcome}): Promise<ServerOutcome<R>> => {
      if (!outcome.ok) return {server, connection, outcome};
      if (!connection) return {server, connection, outcome: failure(server, interruptedError())};
      try {
        const working = work(connection, outcome.value);
        const {http} = connection;
        const giveUp = (): void => {
          http.abandon();
        };
        const value = await (reading ? withTimeLimit(working, readingLimit(http.timeout), giveUp) : working);
        return {server, connection, outcome: {ok: true, value}};
      } catch (error) {
        return {server, connection, outcome: failure(server, error)};
      } finally {
        connection.http.close();
      }
    },
    {concurrency: SERVERS_AT_ONCE},
  );
}

/** @param timeout of one request, and @returns of all the reading from one homeserver: milliseconds. */
export function readingLimit(timeout: number): number {
  return REQUESTS_ALLOWED * timeout;
}

/**
 * @param giveUp called once the time is over; to end the work, which nobody waits for any more.
 * @throws {MxtokError} `timeout`
 */
export async function withTimeLimit<T>(
  work: Promise<T>,
  limit: number,
  giveUp: () => void = () => undefined,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  // What it is left with is nobody's business any more.
  work.catch(() => undefined);
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          reject(
            new MxtokError('timeout', `the homeserver was not done after ${Math.ceil(limit / 1000)} s`, {
              hint: 'Try again later, or with a longer --timeout.',
            }),
          );
          // Afterwards: what the work says about that is not what went wrong.
          giveUp();
        }, limit);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}

function failure(server: string, error: unknown): {ok: false; error: MxtokError} {
  const problem = toMxtokError(error);
  problem.server ??= server;
  return {ok: false, error: problem};
}
