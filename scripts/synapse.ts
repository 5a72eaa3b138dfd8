/**
 * A real Synapse on this machine, for the demo, the end-to-end tests and whoever wants to look.
 *
 * It lives in a virtual environment under `.local/` (git-ignored), runs on SQLite, listens on a free loopback
 * port and on a Unix socket, and is thrown away with its data when it is stopped.
 */
import {execFile, spawn, type ChildProcess} from 'node:child_process';
import {createHmac, randomBytes} from 'node:crypto';
import {closeSync, openSync} from 'node:fs';
import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {promisify} from 'node:util';

import {installPythonProgram, pinnedVersion, type PythonProgram} from './python.ts';

const run = promisify(execFile);

/** Synapse adds the git branch of the directory that it is installed in to its version: that would be ours. */
const ENVIRONMENT = {...process.env, GIT_CEILING_DIRECTORIES: join(import.meta.dirname, '..')};

const SYNAPSE: PythonProgram = {
  name: 'Synapse',
  distribution: 'matrix-synapse',
  requirements: join(import.meta.dirname, 'synapse-requirements.txt'),
  takes: 'about a minute',
};

export const SYNAPSE_VERSION = pinnedVersion(SYNAPSE);

/** Where there is no Python, no PyPI or no wheel for this machine. Its message is for people. */
export {PythonProgramUnavailable as SynapseUnavailable} from './python.ts';

export interface SynapseOptions {
  /** `server_name`, the domain of its users. */
  serverName?: string;
  /** `true` lets anyone register without a token (`registration_requires_token: false`). */
  openRegistration?: boolean;
  /** `true` switches registration off altogether. */
  noRegistration?: boolean;
  /** `true` keeps Synapse's own rate limits; else they are out of the way. */
  rateLimits?: boolean;
  /** Called with a line about what is going on; installing takes a minute the first time. */
  onProgress?: (line: string) => void;
  /** Leave Synapse running after this process has ended. */
  detached?: boolean;
  /** Gives up on starting, and removes what was written; it has no effect on a Synapse that runs. */
  signal?: AbortSignal;
}

export interface LocalSynapse {
  readonly url: string;
  readonly socketPath: string;
  readonly serverName: string;
  readonly adminUser: string;
  readonly adminPassword: string;
  readonly accessToken: string;
  readonly pid: number;
  readonly dir: string;
  /** Make a user over the shared-secret endpoint and return an access token of theirs. */
  makeUser(name: string, password: string, admin: boolean): Promise<string>;
  /** End the process and remove all that it wrote. May be called twice. */
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      server.close(() => {
        resolve(port);
      });
    });
  });
}

function config(
  dir: string,
  port: number,
  socketPath: string,
  secret: string,
  options: SynapseOptions,
): string {
  const limits = options.rateLimits
    ? ''
    : ['rc_registration', 'rc_registration_token_validity']
        .map((name) => `${name}: {per_second: 10000, burst_count: 10000}\n`)
        .join('') +
      'rc_login: {address: {per_second: 10000, burst_count: 10000}, account: {per_second: 10000, burst_count: 10000}, failed_attempts: {per_second: 10000, burst_count: 10000}}\n';
  const resources = 'resources: [{names: [client, federation]}]';
  return `server_name: ${JSON.stringify(options.serverName ?? 'demo.test')}
pid_file: ${JSON.stringify(join(dir, 'synapse.pid'))}
listeners:
  - {port: ${port}, type: http, bind_addresses: ['127.0.0.1'], ${resources}}
  - {path: ${JSON.stringify(socketPath)}, type: http, ${resources}}
database: {name: sqlite3, args: {database: ${JSON.stringify(join(dir, 'homeserver.db'))}}}
log_config: ${JSON.stringify(join(dir, 'log.yaml'))}
media_store_path: ${JSON.stringify(join(dir, 'media'))}
signing_key_path: ${JSON.stringify(join(dir, 'signing.key'))}
registration_shared_secret: ${secret}
macaroon_secret_key: ${randomBytes(16).toString('hex')}
form_secret: ${randomBytes(16).toString('hex')}
report_stats: false
suppress_key_server_warning: true
trusted_key_servers: []
enable_registration: ${!options.noRegistration}
registration_requires_token: ${!options.openRegistration}
enable_registration_without_verification: ${options.openRegistration === true}
${limits}`;
}

const LOG_CONFIG = `version: 1
formatters: {plain: {format: '%(asctime)s %(levelname)s %(name)s %(message)s'}}
handlers: {console: {class: logging.StreamHandler, formatter: plain}}
root: {level: WARNING, handlers: [console]}
`;

async function post(url: string, body: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(url, {method: 'POST', body: JSON.stringify(body)});
  const answer = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(`${url}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

/** Shared-secret registration: Synapse's docs/admin_api/register_api.md. */
async function makeUser(
  url: string,
  secret: string,
  username: string,
  password: string,
  admin: boolean,
): Promise<string> {
  const endpoint = `${url}/_synapse/admin/v1/register`;
  const {nonce} = (await (await fetch(endpoint)).json()) as {nonce: string};
  const mac = createHmac('sha1', secret)
    .update([nonce, username, password, admin ? 'admin' : 'notadmin'].join('\0'))
    .digest('hex');
  const user = await post(endpoint, {nonce, username, password, admin, mac});
  return user['access_token'] as string;
}

async function untilReady(
  url: string,
  child: ChildProcess,
  logFile: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    signal?.throwIfAborted();
    if (child.exitCode !== null) break;
    try {
      const response = await fetch(`${url}/health`);
      if (response.ok) return;
    } catch {
      // Not listening yet.
    }

    await new Promise((resolve) => setTimeout(resolve, 50));
  }

  const log = await readFile(logFile, 'utf8').catch(() => '');
  throw new Error(`Synapse did not start.\n${log.slice(-4000)}`);
}

/**
 * Install Synapse where needed, start it on a free port and make a server admin.
 * @throws {SynapseUnavailable} where it cannot be installed here.
 */
export async function startSynapse(options: SynapseOptions = {}): Promise<LocalSynapse> {
  const interpreter = await installPythonProgram(SYNAPSE, options);
  const dir = await mkdtemp(join(tmpdir(), 'mxtok-synapse-'));
  try {
    return await startIn(dir, interpreter, options);
  } catch (error) {
    await rm(dir, {recursive: true, force: true});
    throw error;
  }
}

async function startIn(dir: string, interpreter: string, options: SynapseOptions): Promise<LocalSynapse> {
  const socketPath = join(dir, 's.sock');
  const secret = randomBytes(16).toString('hex');
  const adminPassword = randomBytes(12).toString('hex');
  const logFile = join(dir, 'synapse.log');
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  await writeFile(join(dir, 'log.yaml'), LOG_CONFIG);
  await writeFile(join(dir, 'homeserver.yaml'), config(dir, port, socketPath, secret, options));
  await run(
    interpreter,
    ['-m', 'synapse.app.homeserver', '-c', join(dir, 'homeserver.yaml'), '--generate-keys'],
    {cwd: dir, ...(options.signal && {signal: options.signal})},
  );

  const log = openSync(logFile, 'w');
  const child = spawn(interpreter, ['-m', 'synapse.app.homeserver', '-c', join(dir, 'homeserver.yaml')], {
    cwd: dir,
    env: ENVIRONMENT,
    stdio: ['ignore', log, log],
    detached: options.detached ?? false,
  });
  closeSync(log);
  const pid = child.pid ?? 0;

  const killAtExit = (): void => {
    child.kill('SIGKILL');
  };
  if (options.detached) child.unref();
  else process.once('exit', killAtExit);

  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopped ??= (async () => {
      process.removeListener('exit', killAtExit);
      if (child.exitCode === null && child.signalCode === null) {
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGTERM');
        const patience = setTimeout(() => child.kill('SIGKILL'), 5000);
        await ended;
        clearTimeout(patience);
      }

      await rm(dir, {recursive: true, force: true});
    })();
    return stopped;
  };

  try {
    await untilReady(url, child, logFile, options.signal);
    const accessToken = await makeUser(url, secret, 'admin', adminPassword, true);
    return {
      url,
      socketPath,
      serverName: options.serverName ?? 'demo.test',
      adminUser: 'admin',
      adminPassword,
      accessToken,
      pid,
      dir,
      makeUser: (name, password, admin) => makeUser(url, secret, name, password, admin),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
