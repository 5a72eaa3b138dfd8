/** What is wrong with a homeserver or with the way to it, and what to do about it. */
import pMap from 'p-map';

import {chooseTarget, type Environment, requestTimeout, resolveUrl, type Target} from '../connection.ts';
import {interruptedError, MxtokError, toMxtokError} from '../errors.ts';
import type {AuditRecord} from './audit.ts';
import {examineAudit, examineStore, readUnfinished} from './doctor-local.ts';
import {examineServer} from './doctor-server.ts';
import {readingLimit, SERVERS_AT_ONCE, withTimeLimit} from './each-server.ts';
import {fault, type Finding, type Seen} from './finding.ts';

/** What is to be looked at: a profile, or an address without one. */
export interface DoctorQuery {
  server?: string | undefined;
  url?: string | undefined;
  allowHttp: boolean;
  caFile?: string | undefined;
}

/**
 * Find the profile or the address.
 * @returns it, or the finding that already keeps it from being found.
 * @throws {MxtokError} `usage`, `no_such_server`
 */
export async function findSubject(
  environment: Environment,
  {server, url, allowHttp, caFile}: DoctorQuery,
): Promise<{target: Target; finding?: never} | {target?: never; finding: Finding}> {
  try {
    if (url === undefined) return {target: chooseTarget(environment, server)};
    const baseUrl = await resolveUrl(environment, url, allowHttp, caFile);
    return {
      target: {
        server: null,
        profile: {url: baseUrl, allow_http: allowHttp, ...(caFile !== undefined && {ca_file: caFile})},
      },
    };
  } catch (error) {
    const problem = toMxtokError(error);
    if (problem.code === 'no_such_server' && server === undefined) {
      throw new MxtokError('no_such_server', problem.message, {
        hint: 'To look at a homeserver before it is added: mxtok server doctor --url https://matrix.example.org',
      });
    }

    if (['usage', 'no_such_server', 'interrupted'].includes(problem.code)) throw problem;
    return {finding: fault(problem.code === 'store' ? 'store' : 'reachable', problem)};
  }
}

/**
 * {@link examine} several at once; one that takes too long has that among its findings.
 * @throws {MxtokError} `interrupted`
 */
export async function examineEach(
  environment: Environment,
  targets: readonly Target[],
): Promise<{target: Target; findings: Finding[]}[]> {
  let read: Promise<AuditRecord[]> | undefined;
  // The log is one for all, and read once.
  const unfinished = (): Promise<AuditRecord[]> => (read ??= readUnfinished(environment));
  const examined = await pMap(
    targets,
    async (target) => {
      const findings = [examineStore(environment, target.profile)];
      const seen: Seen = {};
      const givenUp = new AbortController();
      const work = async (): Promise<void> => {
        const until = endedBy(environment, givenUp.signal);
        for await (const finding of examineServer(until, target, seen)) findings.push(finding);
      };
      await withTimeLimit(work(), limitOf(environment, target)).catch((error: unknown) => {
        findings.push(fault('reachable', toMxtokError(error)));
      });
      // A copy, and then the end: what the work has to say about that is no finding.
      const found = [...findings];
      givenUp.abort();
      found.push(await examineAudit(environment, target.profile, seen, unfinished));
      return {target, findings: found.map((finding) => withName(finding, target.server))};
    },
    {concurrency: SERVERS_AT_ONCE},
  );
  throwIfInterrupted(environment);
  return examined;
}

/** What is found after Ctrl-C is no fault of the homeserver. @throws {MxtokError} `interrupted` */
function throwIfInterrupted({http}: Environment): void {
  if (http.signal?.aborted) throw interruptedError();
}

function endedBy(environment: Environment, signal: AbortSignal): Environment {
  const {http} = environment;
  const either = http.signal ? AbortSignal.any([http.signal, signal]) : signal;
  return {...environment, http: {...http, signal: either}};
}

function limitOf(environment: Environment, {server, profile}: Target): number {
  try {
    return readingLimit(requestTimeout(environment, profile, server));
  } catch {
    // Nothing is asked of one whose own time limit is wrong, which is found all the same.
    return readingLimit(requestTimeout(environment));
  }
}

/**
 * Look at one thing after the other, as far as each lets one come to the next. Nothing is changed.
 * @throws {MxtokError} `interrupted`
 */
export async function* examine(environment: Environment, target: Target): AsyncGenerator<Finding> {
  const {server, profile} = target;
  const seen: Seen = {};
  yield withName(examineStore(environment, profile), server);
  for await (const finding of examineServer(environment, target, seen)) {
    throwIfInterrupted(environment);
    yield withName(finding, server);
  }

  const audit = await examineAudit(environment, profile, seen, () => readUnfinished(environment));
  yield withName(audit, server);
}

/** The finding with the profile's name in its hint. */
function withName(finding: Finding, server: string | null): Finding {
  if (finding.hint === undefined || server === null) return finding;
  return {...finding, hint: finding.hint.replace(/ NAME\b/, ` ${server}`)};
}
