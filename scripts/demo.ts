/**
 * `npm run demo`: mxtok at work on a real Synapse, from nothing to a proof that a disabled token is refused.
 *
 * `npm run demo -- --keep` leaves that Synapse running, to try things out on.
 */
import {spawn} from 'node:child_process';
import {randomBytes} from 'node:crypto';
import {existsSync} from 'node:fs';
import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {parseArgs, styleText} from 'node:util';

import {type LocalSynapse, startSynapse, SYNAPSE_VERSION, SynapseUnavailable} from './synapse.ts';

const root = join(import.meta.dirname, '..');
const binary = join(root, 'bin', 'run.js');
const {keep} = parseArgs({options: {keep: {type: 'boolean', default: false}}}).values;

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    interrupted.abort();
  });
}

// A reader that has seen enough (head) ends it too.
process.stdout.on('error', () => {
  interrupted.abort();
});

function style(format: Parameters<typeof styleText>[0], text: string): string {
  return process.stdout.isTTY && !process.env['NO_COLOR'] ? styleText(format, text) : text;
}

function heading(text: string): void {
  console.log(`\n${style('bold', text)}`);
}

function quote(word: string): string {
  return /^[\w./:@,=~-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Where the demo's own profile, labels and log are. */
let dir = '';

function environment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('MXTOK_'));
  return {
    ...Object.fromEntries(own),
    MXTOK_CONFIG_DIR: join(dir, 'config'),
    MXTOK_DATA_DIR: join(dir, 'data'),
  };
}

/** Run the real binary. @returns its standard output where it is captured; else that goes where ours goes. */
async function run(argv: string[], {input = '', capture = false} = {}): Promise<string> {
  interrupted.signal.throwIfAborted();
  const child = spawn(process.execPath, [binary, ...argv], {
    env: environment(),
    stdio: ['pipe', capture ? 'pipe' : 'inherit', 'inherit'],
  });
  const end = (): unknown => child.kill();
  interrupted.signal.addEventListener('abort', end);
  child.stdin?.on('error', () => undefined).end(input);
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  interrupted.signal.removeEventListener('abort', end);
  interrupted.signal.throwIfAborted();
  if (code !== 0) throw new Error(`mxtok ${argv.join(' ')} ended with ${code ?? 'a signal'}`);
  return output;
}

/** Show a command, then what it says. On a pipe it is asked for the table that a terminal gets by itself. */
async function mxtok(argv: string[], {redirect = '', input = ''} = {}): Promise<void> {
  console.log(`\n${style('cyan', `$ mxtok ${argv.map(quote).join(' ')}${redirect}`)}`);
  const asked = argv.includes('--output') || process.stdout.isTTY;
  await run(asked ? argv : [...argv, '--output', 'table'], {input});
}

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

async function request(url: string, method: string, body: unknown, accessToken?: string): Promise<Answer> {
  const response = await fetch(url, {
    method,
    body: JSON.stringify(body),
    headers: {...(accessToken !== undefined && {authorization: `Bearer ${accessToken}`})},
    signal: interrupted.signal,
  });
  return {status: response.status, body: (await response.json()) as Record<string, unknown>};
}

/**
 * Register as any person would, without mxtok: user-interactive authentication (client-server API). The first answer
 * gives a session, then come the stages: the registration token, and a dummy that ends it.
 */
async function register(synapse: LocalSynapse, username: string, token: string): Promise<Answer> {
  const url = `${synapse.url}/_matrix/client/v3/register`;
  const account = {username, password: randomBytes(12).toString('hex'), inhibit_login: true};
  const {session} = (await request(url, 'POST', account)).body;
  const stage = {type: 'm.login.registration_token', token, session};
  const answer = await request(url, 'POST', {...account, auth: stage});
  const passed = (answer.body['completed'] ?? []) as string[];
  if (!passed.includes(stage.type)) return answer;
  return request(url, 'POST', {...account, auth: {type: 'm.login.dummy', session}});
}

/** Have somebody register, tell what Synapse answered, and insist on it. */
async function tryToRegister(
  synapse: LocalSynapse,
  name: string,
  token: string,
  expected: 'accepted' | 'refused',
): Promise<void> {
  const {status, body} = await register(synapse, name.toLowerCase(), token);
  const accepted = status === 200;
  const answer = accepted
    ? `200, welcome ${String(body['user_id'])}`
    : `${status} ${String(body['errcode'])}: ${String(body['error'])}`;
  console.log(`\n${style('yellow', `> ${name} tries to register with ${token}.`)}`);
  console.log(
    `  Synapse answers ${style(accepted ? 'green' : 'red', answer)}${accepted ? '' : '. No account was made.'}`,
  );
  const refused = status === 401 && body['errcode'] === 'M_UNAUTHORIZED';
  if (expected === 'accepted' ? !accepted : !refused) throw new Error(`it should have been ${expected}`);
}

async function show(synapse: LocalSynapse): Promise<void> {
  heading('1. Tell mxtok about a homeserver, and make a registration token');
  await mxtok(['server', 'add', 'demo', '--url', synapse.url, '--access-token-stdin'], {
    redirect: ' < access-token',
    input: synapse.accessToken,
  });
  await mxtok(['create', '--uses', '5', '--expiry', '7d', '--label', 'workshop']);
  const [made] = JSON.parse(await run(['list', '--json'], {capture: true})) as {token: string}[];
  const token = made?.token ?? '';
  await mxtok(['list']);

  heading('2. It works');
  await mxtok(['check', token]);
  await tryToRegister(synapse, 'Anna', token, 'accepted');
  await mxtok(['show', token]);

  heading('3. Disable it, and it really is refused');
  await mxtok(['disable', token]);
  await tryToRegister(synapse, 'Bert', token, 'refused');

  heading('4. Other tools "disable" a token by setting its uses to 0. Synapse takes 0 for unlimited.');
  const endpoint = '/_synapse/admin/v1/registration_tokens';
  const create = {token: 'old-poster', uses_allowed: 1};
  await request(`${synapse.url}${endpoint}/new`, 'POST', create, synapse.accessToken);
  const byHand = {uses_allowed: 0};
  await request(`${synapse.url}${endpoint}/old-poster`, 'PUT', byHand, synapse.accessToken);
  console.log(`\n${style('cyan', `PUT ${endpoint}/old-poster ${JSON.stringify(byHand)}`)}`);
  await tryToRegister(synapse, 'Cleo', 'old-poster', 'accepted');
  console.log('\nmxtok sees that, and closes it:');
  await mxtok(['list', '--columns', 'token,status,expires_at,label']);
  await mxtok(['disable', 'old-poster']);
  await tryToRegister(synapse, 'Dora', 'old-poster', 'refused');

  heading('5. Enable the first one again, with the limits that it had');
  await mxtok(['enable', token]);
  await tryToRegister(synapse, 'Emil', token, 'accepted');

  heading('6. Clean up, and look back');
  await mxtok(['delete', '--yes', token]);
  // As a table it is wider than the 80 columns that a pipe counts as having.
  await mxtok(['audit', ...((process.stdout.columns || 80) < 100 ? ['--output', 'tsv'] : [])]);
}

function tellHowToUse({url, pid, dir: data}: LocalSynapse): void {
  heading(`This Synapse keeps running at ${url}. To try things out on it:`);
  const {MXTOK_CONFIG_DIR = '', MXTOK_DATA_DIR = ''} = environment();
  console.log(`
  export MXTOK_CONFIG_DIR=${quote(MXTOK_CONFIG_DIR)} MXTOK_DATA_DIR=${quote(MXTOK_DATA_DIR)}
  alias mxtok=${quote(binary)}
  mxtok create --uses 1 --expiry 1d

To stop it, and remove all that the demo made:

  kill -9 ${pid}; rm -rf ${quote(data)} ${quote(dir)}`);
}

/** @returns the exit code, and the last word, for when everything is tidied up. */
function explain(error: unknown): [number, string] {
  if (interrupted.signal.aborted) return [130, 'Interrupted; Synapse is stopped, and everything removed.'];
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof SynapseUnavailable) {
    return [1, `The demo needs a Synapse of its own, and there is none to be had here:\n${message}`];
  }

  return [1, `The demo failed: ${message}`];
}

let synapse: LocalSynapse | undefined;
try {
  if (!existsSync(join(root, 'dist', 'main.js'))) await import('./build.ts');
  console.log(
    `mxtok at work on a real Synapse ${SYNAPSE_VERSION}, started on this machine for the demo alone …`,
  );
  synapse = await startSynapse({onProgress: console.log, detached: keep, signal: interrupted.signal});
  dir = await mkdtemp(join(tmpdir(), 'mxtok-demo-'));
  await show(synapse);
  if (keep) {
    tellHowToUse(synapse);
  } else {
    await tidyUp();
    heading('That was all. Synapse is stopped, and everything removed.');
    console.log('To try things out yourself: npm run demo -- --keep');
  }
} catch (error) {
  const [code, message] = explain(error);
  await tidyUp();
  console.error(`\n${message}`);
  process.exitCode = code;
}

async function tidyUp(): Promise<void> {
  await synapse?.stop();
  if (dir !== '') await rm(dir, {recursive: true, force: true});
}
