/** A thousand homeservers at once, a tenth of them ill: bounded in time and memory, and none in the way of another. */
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import {STUB_ACCESS_TOKEN, stubExhausted, stubFault, stubServerName} from '../stub-homeserver.ts';
import {
  dir,
  mxtok,
  node,
  type Operator,
  run,
  type Run,
  startStubs,
  surroundings,
  TELL_MEMORY,
} from './run.ts';
import {milliseconds, progress, type Row} from './table.ts';

const SERVERS = 1000;
const TOKENS = 20;
/** They share the open files that a process may have. */
const PROCESSES = 4;
/** Of one request, seconds. */
const TIMEOUT = 2;
/** Homeservers that mxtok talks to at once. */
const AT_ONCE = 64;
const MEMORY = 250;

const faulty = Array.from({length: SERVERS}, (_, index) => index).filter((index) => stubFault(index));
const stalled = faulty.filter((index) => stubFault(index) === 'stall');

/** The configuration of somebody who knows some of them, as `server add` would have written it. */
function profiles(name: string, urls: readonly string[], indices: readonly number[]): Operator {
  const env = surroundings(name);
  const servers = Object.fromEntries(
    indices.map((index) => [
      `s${String(index).padStart(4, '0')}`,
      {
        url: urls[index],
        server_name: stubServerName(index),
        software: 'synapse',
        user_id: `@admin:${stubServerName(index)}`,
        access_token: STUB_ACCESS_TOKEN,
      },
    ]),
  );
  mkdirSync(env.MXTOK_CONFIG_DIR, {recursive: true, mode: 0o700});
  const text = JSON.stringify({version: 1, servers}, undefined, 1);
  writeFileSync(join(env.MXTOK_CONFIG_DIR, 'config.json'), `${text}\n`, {mode: 0o600});
  return env;
}

/** The least that any program has to do to list the tokens of them all, those that are ill included. */
function bareLists(urlsFile: string): string {
  return `const http = require('node:http');
    const urls = JSON.parse(require('node:fs').readFileSync(${JSON.stringify(urlsFile)}, 'utf8'));
    const tokens = [];
    let failed = 0, next = 0;
    const list = (url) => new Promise((resolve, reject) => {
      const path = '/_synapse/admin/v1/registration_tokens';
      const headers = {authorization: 'Bearer ${STUB_ACCESS_TOKEN}'};
      http.get(url + path, {headers, agent: false, signal: AbortSignal.timeout(${TIMEOUT * 1000})}, (response) => {
        const chunks = [];
        response.on('error', reject).on('data', (chunk) => chunks.push(chunk)).on('end', () => {
          try { resolve(JSON.parse(Buffer.concat(chunks).toString()).registration_tokens.length); }
          catch (error) { reject(error); }
        });
      }).on('error', reject);
    }).then((count) => tokens.push(count), () => failed++);
    const work = async () => { while (next < urls.length) await list(urls[next++]); };
    Promise.all(Array.from({length: ${AT_ONCE}}, work)).then(() => console.log(failed));`;
}

/** @returns how many servers failed, by its own account, and what it gave of the others. */
type Judge = (result: Run) => {failed: number; right: boolean};

export async function serverRows(): Promise<Row[]> {
  progress('servers');
  const share = SERVERS / PROCESSES;
  const urls = (
    await Promise.all(
      Array.from({length: PROCESSES}, (_, process) =>
        startStubs([
          ...['--servers', String(share), '--first', String(process * share)],
          ...['--tokens', String(TOKENS), '--faults'],
        ]),
      ),
    )
  ).flat();
  const all = profiles('servers', urls, [...urls.keys()]);
  const well = profiles(
    'well-servers',
    urls,
    [...urls.keys()].filter((index) => stubFault(index) === undefined),
  );
  const urlsFile = join(dir, 'urls.json');
  writeFileSync(urlsFile, JSON.stringify(urls));

  const bare = await run(node('-e', bareLists(urlsFile)), {keepOutput: true});
  if (Number(bare.stdout) !== faulty.length)
    throw new Error(`${bare.stdout.trim()} servers failed a bare client`);
  // Each works on its share of those that never answer, and one more may have been the last to be begun.
  const stalling = (Math.ceil(stalled.length / AT_ONCE) + 1) * TIMEOUT * 1000;

  const row = async (name: string, argv: string[], codes: [number, number], judge: Judge): Promise<Row[]> => {
    const timed = async (env: Operator, code: number): Promise<Run> => {
      const [command, ...rest] = mxtok(...argv, '--all-servers', '--json', '--timeout', String(TIMEOUT));
      return run([command, TELL_MEMORY, ...rest], {env, code, keepOutput: true});
    };
    progress(`${name} of ${SERVERS} servers`);
    const healthy = await timed(well, codes[0]);
    const result = await timed(all, codes[1]);
    // Node's own, as of too many listeners: on stderr, cron would mail it.
    if (/\(node:\d+\)/.test(result.stderr)) throw new Error(result.stderr);
    const {failed, right} = judge(result);
    const most = 1.5 * healthy.ms + stalling;
    const megabytes = Number(result.extra) / 1e6;
    const work = `${name} --all-servers, ${SERVERS} servers, ${faulty.length} of them ill (${stalled.length} stalled)`;
    return [
      {
        work,
        budget: `≤ ${(most / 1000).toFixed(1)} s`,
        measured: `${(result.ms / 1000).toFixed(1)} s (the ${SERVERS - faulty.length} others alone ${(healthy.ms / 1000).toFixed(1)} s); ${failed} failed, exit ${codes[1]}; 1 round`,
        within: result.ms <= most && failed === faulty.length && right,
      },
      {
        work: '  its memory',
        budget: `≤ ${MEMORY} MB`,
        measured: `${Math.round(megabytes)} MB`,
        within: megabytes <= MEMORY,
      },
    ];
  };

  const tokensAndErrors =
    (tokens: number): Judge =>
    ({stdout}) => {
      const items = JSON.parse(stdout) as {error?: unknown}[];
      const failed = items.filter(({error}) => error !== undefined).length;
      return {failed, right: items.length - failed === tokens * (SERVERS - faulty.length)};
    };
  const rows = [
    ...(await row('list', ['list'], [0, 8], tokensAndErrors(TOKENS))),
    ...(await row('prune --dry-run', ['prune', '--dry-run'], [0, 8], tokensAndErrors(stubExhausted(TOKENS)))),
    ...(await row('server doctor', ['server', 'doctor'], [0, 9], ({stdout}) => {
      const servers = JSON.parse(stdout) as {findings: {result: string}[]}[];
      const failed = servers.filter(({findings}) => findings.some(({result}) => result === 'fault')).length;
      return {failed, right: servers.length === SERVERS};
    })),
  ];
  const [first] = rows;
  if (first) first.measured += `; a bare client ${milliseconds(bare.ms)}`;
  return rows;
}
