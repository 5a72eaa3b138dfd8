/**
 * The recipes of the README, taken out of its text and run as cron, a shell and systemd run them: no terminal, nothing
 * but PATH and HOME, and standard input closed.
 */
import {strict as assert} from 'node:assert';
import {spawn, spawnSync} from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

import {type LocalSynapse, startSynapse} from '../../scripts/synapse.ts';
import type {TokenMetadata} from '../../src/lib/store/metadata.ts';
import {AdminApi} from '../helpers/admin-api.ts';
import {BINARY} from '../helpers/binary.ts';
import {register} from '../helpers/registration.ts';
import {assertNoSecret, secret} from '../helpers/secrets.ts';
import {localSynapse, uniqueToken} from '../helpers/setup-e2e.ts';
import {tempDir} from '../helpers/temp.ts';

const DAY = 86_400_000;
const README = readFileSync(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8');

interface Block {
  language: string;
  text: string;
}

/** The code blocks of each recipe, by its heading. */
function readRecipes(): Map<string, Block[]> {
  const section = /^## Recipes\n([^]*?)^## /m.exec(README)?.[1] ?? assert.fail('the README has no recipes');
  const parts = section.split(/^### (.+)\n/m).slice(1);
  const recipes = new Map<string, Block[]>();
  for (let index = 0; index < parts.length; index += 2) {
    const [heading = '', body = ''] = parts.slice(index);
    const blocks = Array.from(body.matchAll(/^```(\w*)\n([^]*?)^```$/gm), ([, language = '', text = '']) => ({
      language,
      text,
    }));
    recipes.set(heading, blocks);
  }

  return recipes;
}

const recipes = readRecipes();

/** The blocks of one recipe, each of which is to be used. */
class Blocks {
  readonly #left: Block[];

  constructor(heading: string) {
    this.#left = [...(recipes.get(heading) ?? assert.fail(`the README has no recipe "${heading}"`))];
  }

  next(language: string): string {
    const block = this.#left.shift();
    assert.equal(block?.language, language, 'the blocks of the README are others than the test knows');
    return block.text;
  }

  assertAllUsed(): void {
    assert.deepEqual(this.#left, [], 'the README has blocks that the test does not try');
  }
}

interface Job {
  schedule: string;
  command: string;
  /** What cron writes to the standard input of the job. */
  input: string | undefined;
}

/** As Debian's cron reads it, crontab(5). */
function parseCrontab(text: string): {env: Record<string, string>; jobs: Job[]} {
  const env: Record<string, string> = {};
  const jobs: Job[] = [];
  for (const line of text.split('\n')) {
    if (/^\s*(?:#|$)/.test(line)) continue;
    const [, name, value = ''] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (name !== undefined) {
      env[name] = value.replace(/^(["'])(.*)\1$/, '$2');
      continue;
    }

    const [, schedule = '', rest = ''] = /^\s*((?:\S+\s+){4}\S+)\s+(.*)$/.exec(line) ?? [];
    assertSchedule(schedule, line);
    // The first "%" that has no backslash ends the command; the rest is its input.
    const [command = '', ...input] = rest
      .split(/(?<!\\)%/)
      .map((part) => part.replaceAll(String.raw`\%`, '%'));
    jobs.push({schedule, command, input: input.length > 0 ? input.join('\n') : undefined});
  }

  return {env, jobs};
}

function assertSchedule(schedule: string, line: string): void {
  const bounds = [
    [0, 59],
    [0, 23],
    [1, 31],
    [1, 12],
    [0, 7],
  ] as const;
  const fields = schedule.split(/\s+/);
  for (const [index, [least, most]] of bounds.entries()) {
    const field = fields[index] ?? '';
    assert.match(field, /^(?:\*|\d+(?:-\d+)?)(?:\/\d+)?(?:,\d+(?:-\d+)?)*$/, line);
    for (const [number] of field.replace(/\/\d+/, '').matchAll(/\d+/g))
      assert(Number(number) >= least && Number(number) <= most, line);
  }
}

/** How standard input is closed: cron's jobs have nothing there, or nothing at all. */
const INPUTS = ['closed', 'that is /dev/null'] as const;
type Input = (typeof INPUTS)[number];

interface Result {
  stdout: string;
  stderr: string;
  code: number | null;
}

interface RunOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** In place of nothing. */
  input?: string;
}

function run(command: string, argv: readonly string[], options: RunOptions): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, argv, {
      cwd: options.cwd,
      env: options.env,
      // No controlling terminal.
      detached: true,
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      timeout: 250_000,
      killSignal: 'SIGKILL',
    });
    const out = {stdout: '', stderr: ''};
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (out.stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (out.stderr += text));
    child.stdin?.end(options.input);
    child.once('error', reject);
    child.once('close', (code) => {
      assertNoSecret(out.stdout + out.stderr, `the output of ${command} ${argv.join(' ')}`);
      resolve({...out, code});
    });
  });
}

/** A machine that mxtok was just installed on, and somebody's home on it. */
class Machine {
  readonly dir = tempDir();
  readonly home = join(this.dir, 'home');
  /** Stands for /usr/local/bin. */
  readonly bin = join(this.dir, 'bin');
  readonly path = `${this.bin}:/usr/bin:/bin`;
  readonly #input: Input;

  constructor(input: Input) {
    this.#input = input;
    mkdirSync(this.home, {mode: 0o700});
    mkdirSync(this.bin);
    symlinkSync(BINARY, join(this.bin, 'mxtok'));
    symlinkSync(process.execPath, join(this.bin, 'node'));
  }

  /** Another program that a recipe uses. @param script of the shell. */
  install(name: string, script: string): void {
    writeFileSync(join(this.bin, name), `#!/bin/sh\n${script}\n`, {mode: 0o755});
  }

  /** What a shell makes of it, in the home. */
  sh(command: string, options: RunOptions = {}): Promise<Result> {
    const closed = this.#input === 'closed' && options.input === undefined;
    return run('/bin/sh', ['-c', closed ? `exec <&-\n${command}` : command], {
      cwd: this.home,
      ...options,
      env: {PATH: this.path, HOME: this.home, ...options.env},
    });
  }

  /** The only job of a crontab, or the one of a place in it, as cron runs it. */
  async cron(text: string, place = 0): Promise<Result> {
    const {env} = parseCrontab(recipes.get('A crontab')?.[0]?.text ?? '');
    const job = parseCrontab(text).jobs[place] ?? assert.fail(`no job in ${text}`);
    const path = (env['PATH'] ?? '').replace('/usr/local/bin', this.bin);
    return this.sh(job.command, {
      env: {PATH: path},
      ...(job.input !== undefined && {input: job.input}),
    });
  }

  async addServer(name: string, synapse: LocalSynapse): Promise<void> {
    const command = `mxtok server add ${name} --quiet --url ${synapse.url} --access-token-stdin`;
    assertSilent(await this.sh(command, {input: synapse.accessToken}));
  }

  async json<T>(command: string): Promise<T> {
    const {stdout, stderr, code} = await this.sh(`mxtok ${command} --json`);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as T;
  }

  /** Where labels are, on a machine without any setting. */
  metadataFile({serverName}: LocalSynapse): string {
    return join(this.home, '.config', 'mxtok', 'metadata', `${serverName}.json`);
  }

  file(name: string): string {
    return readFileSync(join(this.home, name), 'utf8');
  }
}

/** What cron mails: nothing. */
function assertSilent(result: Result): void {
  assert.deepEqual(result, {stdout: '', stderr: '', code: 0});
}

function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

interface Trial {
  blocks: Blocks;
  machine: Machine;
  /** Two homeservers with no tokens; the first is the profile `main`. */
  one: LocalSynapse;
  two: LocalSynapse;
  api: AdminApi;
  otherApi: AdminApi;
}

const TRIALS: Record<string, (trial: Trial) => Promise<void>> = {
  async 'A crontab'({blocks, machine}) {
    const {env, jobs} = parseCrontab(blocks.next('cron'));
    assert.deepEqual(jobs, []);
    assert.deepEqual(Object.keys(env), ['PATH', 'MAILTO']);
    const {stdout, code} = await machine.cron('* * * * *  mxtok --version');
    assert.match(stdout, /^mxtok\/\d/);
    assert.equal(code, 0);
  },

  async 'A new token every week'({blocks, machine, api}) {
    const crontab = blocks.next('cron');
    const first = await machine.cron(crontab);
    const token = first.stdout.trim();
    assert.deepEqual(first, {stdout: `${token}\n`, stderr: '', code: 0});
    const {uses_allowed, expiry_time} = await api.get(token);
    assert.equal(uses_allowed, 20);
    assert(Math.abs((expiry_time ?? 0) - Date.now() - 8 * DAY) < 0.1 * DAY);
    assert.equal(await api.isValid(token), true);

    const second = await machine.cron(crontab);
    const next = second.stdout.trim();
    assert.notEqual(next, token);
    assert.deepEqual(second, {stdout: `${next}\n`, stderr: `Disabled in its place: ${token}\n`, code: 0});
    assert.deepEqual([await api.isValid(token), await api.isValid(next)], [false, true]);
  },

  async 'Warn of tokens that are about to end'({blocks, machine, api}) {
    const [crontab, script] = [blocks.next('cron'), blocks.next('sh')];
    machine.install('mail', 'echo "$@" >> mails; cat >> mails');
    const [longLived, ending, scarce] = [uniqueToken(), uniqueToken(), uniqueToken()];
    await api.create(longLived, {uses_allowed: 100, expiry_time: Date.now() + 100 * DAY});
    assertSilent(await machine.cron(crontab, 0));
    assertSilent(await machine.cron(crontab, 1));
    assertSilent(await machine.sh(script));
    assert(!existsSync(join(machine.home, 'mails')));

    await api.create(ending, {expiry_time: Date.now() + 2.5 * DAY});
    await api.create(scarce, {uses_allowed: 2});
    for (const [place, token] of [ending, scarce].entries()) {
      const {stdout, stderr, code} = await machine.cron(crontab, place);
      assert.deepEqual([stderr, code], ['', 0]);
      const [header = '', row = '', ...others] = stdout.trimEnd().split('\n');
      assert.match(header, /^TOKEN +STATUS +USES +EXPIRES/);
      assert(row.startsWith(`${token} `), row);
      assert.deepEqual(others, []);
    }

    assertSilent(await machine.sh(script));
    assert.equal(machine.file('mails'), `-s Tokens are running out admins@example.org\n${scarce}\t\n`);
  },

  async 'Close what other tools have left open'({blocks, machine, two, api, otherApi}) {
    const [watch, close] = [blocks.next('cron'), blocks.next('cron')];
    await machine.addServer('other', two);
    const [here, there, kept] = [uniqueToken(), uniqueToken(), uniqueToken()];
    await api.create(kept, {uses_allowed: 3});
    assertSilent(await machine.cron(watch));
    assertSilent(await machine.cron(close));

    await api.create(here, {uses_allowed: 0});
    await otherApi.create(there, {uses_allowed: 0});
    assert.deepEqual([await api.isValid(here), await otherApi.isValid(there)], [true, true]);
    const told = await machine.cron(watch);
    assert.deepEqual([told.stderr, told.code], ['', 0]);
    assert.match(told.stdout, new RegExp(`^main +${here} +disabled \\(still accepted!\\)`, 'm'));
    assert.match(told.stdout, new RegExp(`^other +${there} +disabled \\(still accepted!\\)`, 'm'));
    assert.equal(told.stdout.trimEnd().split('\n').length, 3);

    assertSilent(await machine.cron(close));
    assert.deepEqual([await api.isValid(here), await otherApi.isValid(there)], [false, false]);
    assert.equal(await api.isValid(kept), true);
    assertSilent(await machine.cron(watch));
  },

  async 'Prune every month'({blocks, machine, one, api}) {
    const crontab = blocks.next('cron');
    assertSilent(await machine.cron(crontab));
    const [old, fresh, open] = [uniqueToken(), uniqueToken(), uniqueToken()];
    for (const token of [old, fresh, open])
      assertSilent(await machine.sh(`mxtok create --token ${token} --uses 1 > /dev/null`));
    for (const token of [old, fresh]) assert((await register(one.url, token)).userId);
    const file = machine.metadataFile(one);
    const metadata = JSON.parse(readFileSync(file, 'utf8')) as {tokens: TokenMetadata[]};
    for (const entry of metadata.tokens) {
      const age = entry.token === fresh ? 29 : 31;
      entry.created_at = new Date(Date.now() - age * DAY).toISOString();
    }

    writeFileSync(file, JSON.stringify(metadata));

    assertSilent(await machine.cron(crontab));
    const left = (await api.list()).map(({token}) => token);
    assert.deepEqual(left.sort(), [fresh, open].sort());
  },

  async 'Look over all homeservers every morning'({blocks, machine, two, otherApi}) {
    const crontab = blocks.next('cron');
    await machine.addServer('other', two);
    assertSilent(await machine.cron(crontab));

    const token = uniqueToken();
    await otherApi.create(token, {uses_allowed: 0});
    const {stdout, stderr, code} = await machine.cron(crontab);
    assert.deepEqual([stderr, code], ['', 9]);
    assert.match(stdout, /^other\t.*still accept/);
    assert.equal(stdout.trimEnd().split('\n').length, 1);
  },

  async 'Back up every night'({blocks, machine, api}) {
    const crontab = blocks.next('cron');
    const token = uniqueToken();
    await api.create(token, {uses_allowed: 5});
    assertSilent(await machine.cron(crontab));
    const [name = '', ...others] = readdirSync(machine.home).filter((file) => !file.startsWith('.'));
    assert.match(name, /^tokens-[1-7]\.ndjson$/);
    assert.deepEqual(others, []);
    assert.equal(modeOf(join(machine.home, name)), '600');
    const [header, row] = machine
      .file(name)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual([header?.['mxtok_export'], header?.['tokens']], [1, 1]);
    assert.deepEqual([row?.['token'], row?.['uses_allowed']], [token, 5]);
  },

  async 'Close an event'({blocks, machine, api}) {
    const [close, open] = [blocks.next('sh'), blocks.next('sh')];
    const [first, second, other] = [uniqueToken(), uniqueToken(), uniqueToken()];
    for (const [token, label] of [
      [first, 'spring fair'],
      [second, 'Spring dance'],
      [other, 'autumn fair'],
    ] as const)
      assertSilent(await machine.sh(`mxtok create --token ${token} --uses 5 --label '${label}' > /dev/null`));
    const validities = (): Promise<boolean[]> =>
      Promise.all([first, second, other].map((token) => api.isValid(token)));

    const [dryRun = '', ...rest] = close.trimEnd().split('\n');
    const seen = await machine.sh(dryRun);
    assert.equal(seen.code, 0, seen.stderr);
    assert.equal(seen.stderr, '2 tokens would be disabled; nothing was changed.\n');
    for (const token of [first, second]) assert(seen.stdout.includes(token));
    assert.deepEqual(await validities(), [true, true, true]);

    const closed = await machine.sh(rest.join('\n'));
    assert.equal(closed.code, 0, closed.stderr);
    assert.deepEqual(await validities(), [false, false, true]);

    const opened = await machine.sh(open);
    assert.equal(opened.code, 0, opened.stderr);
    assert.deepEqual(await validities(), [true, true, true]);
    assert.equal((await api.get(first)).uses_allowed, 5);
  },

  async 'A thousand invitations from a spreadsheet'({blocks, machine, api}) {
    const [sheet, command] = [blocks.next('csv'), blocks.next('sh')];
    const guests = Array.from({length: 997}, (_, index) => `Guest ${index},,,\n`).join('');
    writeFileSync(join(machine.home, 'guests.csv'), sheet + guests);
    assertSilent(await machine.sh(command));

    const rows = machine.file('invitations.csv').trimEnd().split('\r\n');
    assert.match(rows[0] ?? '', /^server,token,status,/);
    assert.equal(rows.length, 1001);
    const made = new Map((await api.list()).map((token) => [token.token, token]));
    assert.equal(made.size, 1000);
    const invitations = await machine.json<Record<string, unknown>[]>('list');
    const usesOf = (label: string): unknown =>
      invitations.find((invitation) => invitation['label'] === label)?.['uses_allowed'];
    assert.deepEqual(
      ['Ada Lovelace', 'Grace Hopper', 'Clubs, all of them', 'Guest 996'].map(usesOf),
      [2, 1, 25, 1],
    );
    const ada = invitations.find(({label}) => label === 'Ada Lovelace');
    assert.equal(ada?.['note'], 'speaker');
    for (const row of rows.slice(1)) {
      const token = row.split(',')[1] ?? '';
      assert.match(token, /^(?:[A-Z][a-z-]+){4,}$/);
      const wanted = token === ada['token'] ? 90 * DAY : 14 * DAY;
      const lasts = (made.get(token)?.expiry_time ?? 0) - Date.now();
      assert(Math.abs(lasts - wanted) < 3 * DAY, row);
    }
  },

  async 'Move to another homeserver'({blocks, machine, one, two, api, otherApi}) {
    const command = blocks.next('sh');
    await machine.addServer('old', one);
    await machine.addServer('new', two);
    const [used, plain, full] = [uniqueToken(), uniqueToken(), uniqueToken()];
    const make = `mxtok create --server old --token`;
    assertSilent(await machine.sh(`${make} ${used} --uses 5 --label choir > /dev/null`));
    assertSilent(await machine.sh(`${make} ${plain} --expiry 7d > /dev/null`));
    assertSilent(await machine.sh(`${make} ${full} --uses 1 > /dev/null`));
    for (const token of [used, full]) assert((await register(one.url, token)).userId);

    const {code, stderr} = await machine.sh(command);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^Of 3 tokens: 2 would be created, .*; nothing was changed\.$/m);
    assert.match(stderr, /^Of 3 tokens: 2 created, 0 there already, 1 left out \(1 exhausted\)\.$/m);
    assert.equal(modeOf(join(machine.home, 'tokens.ndjson')), '600');
    assert.equal((await otherApi.get(used)).uses_allowed, 4);
    assert.equal((await otherApi.get(plain)).expiry_time, 7 * DAY + createdAt(machine, one, plain));
    assert.equal(await otherApi.count(full), 0);
    const shown = await machine.json<{label: string | null}>(`show --server new ${used}`);
    assert.equal(shown.label, 'choir');
    for (const token of [used, plain, full]) assert.equal(await api.isValid(token), false);
  },

  async 'In a script'({blocks, machine, api}) {
    const script = blocks.next('sh');
    const {stdout, stderr, code} = await machine.sh(script);
    assert.deepEqual([stderr, code], ['', 0]);
    const [, token = ''] = /^open for 24 hours: (\S+)\n$/.exec(stdout) ?? [];
    assert.equal((await api.get(token)).uses_allowed, 1);

    rmSync(join(machine.home, '.config'), {recursive: true});
    const failed = await machine.sh(script);
    assert.deepEqual([failed.stdout, failed.code], ['', 5]);
    assert.match(failed.stderr, /^error: no homeserver is known yet\nhint: /);
  },

  async 'In CI, without a profile'({blocks, machine, one, api}) {
    const workflow = blocks.next('yaml');
    const env = Object.fromEntries(
      Array.from(workflow.matchAll(/^ {2}(\w+): (.*)$/gm), ([, name = '', value = '']) => [
        name,
        value
          .replace('https://matrix.example.org', one.url)
          .replace('${{ secrets.MXTOK_ACCESS_TOKEN }}', one.accessToken),
      ]),
    );
    assert.deepEqual(Object.keys(env), ['MXTOK_URL', 'MXTOK_ACCESS_TOKEN']);
    const command = /^run: (.*)$/m.exec(workflow)?.[1] ?? assert.fail('nothing is run');
    // In place of what it would bring from the registry.
    machine.install('npx', '[ "$1" = --yes ] && shift\nexec "$@"');
    rmSync(join(machine.home, '.config'), {recursive: true});
    const {stdout, stderr, code} = await machine.sh(command, {env: {...env, CI: 'true'}});
    assert.deepEqual([stderr, code], ['', 0]);
    const {token} = JSON.parse(stdout) as {token: string};
    assert.equal((await api.get(token)).uses_allowed, 1);
    assert(!existsSync(join(machine.home, '.config', 'mxtok', 'config.json')));
  },

  async 'In a systemd unit'({blocks, machine, one, api}) {
    const [service, timer] = [blocks.next('systemd'), blocks.next('systemd')];
    const setUp = blocks.next('sh');
    const [name = '', timerName = ''] = Array.from(
      README.matchAll(/`\/etc\/systemd\/system\/([\w.-]+)`/g),
      ([, file = '']) => file,
    );
    assert.deepEqual([name, timerName], ['mxtok-nightly.service', 'mxtok-nightly.timer']);

    // The set-up, with systemctl standing by.
    const etc = join(machine.dir, 'etc');
    machine.install('systemctl', 'echo "$@" >> systemctl.log');
    const done = await machine.sh(setUp.replaceAll('/etc/', `${etc}/`), {input: `${one.accessToken}\n`});
    assertSilent(done);
    const credential = join(etc, 'mxtok', 'access-token');
    try {
      assert.deepEqual([modeOf(join(etc, 'mxtok')), modeOf(credential)], ['700', '600']);
      assert.equal(
        machine.file('systemctl.log'),
        `daemon-reload\nstart ${name}\nenable ${timerName}\nstart ${timerName}\n`,
      );
      verifyUnits(machine, {
        [name]: service.replaceAll(/^(Exec\w+=)mxtok /gm, `$1${machine.bin}/mxtok `),
        [timerName]: timer,
      });

      const [open, fresh] = [uniqueToken(), uniqueToken()];
      await api.create(open, {uses_allowed: 0});
      await api.createExpired(fresh, 1);
      const text = service.replace('https://matrix.example.org', one.url);
      const unit = new Unit(machine, 'mxtok-nightly', text, credential);
      for (const result of await unit.start()) assertSilent(result);
      assert.equal(await api.isValid(open), false);
      assert.equal(await api.count(fresh), 1);
      assert.deepEqual(unit.profiles(), ['mxtok-nightly']);

      // The next night, and another unit.
      for (const result of await unit.start()) assertSilent(result);
      const second = new Unit(machine, 'mxtok-second', text, credential);
      for (const result of await second.start()) assertSilent(result);
      for (const result of await unit.start()) assertSilent(result);
      assert.deepEqual(unit.profiles(), ['mxtok-nightly', 'mxtok-second']);

      // What is wrong is told, and makes the unit fail.
      writeFileSync(credential, 'syt_ended\n');
      const results = await unit.start();
      assert.deepEqual(
        results.map(({code}) => code),
        [0, 4],
      );
      assert.match(results[1]?.stderr ?? '', /^error: mxtok-nightly: /);
    } finally {
      // The file is no secret's hiding place for the watch over all that the tests write.
      rmSync(credential, {force: true});
    }
  },
};

/** When a token was created here, by the homeserver's clock. */
function createdAt(machine: Machine, synapse: LocalSynapse, token: string): number {
  const {tokens} = JSON.parse(readFileSync(machine.metadataFile(synapse), 'utf8')) as {
    tokens: TokenMetadata[];
  };
  return Date.parse(tokens.find((entry) => entry.token === token)?.created_at ?? '');
}

/** What systemd itself says to the units; skipped loudly where it is not installed. */
function verifyUnits(machine: Machine, units: Record<string, string>): void {
  const files = Object.entries(units).map(([name, text]) => {
    const file = join(machine.dir, name);
    writeFileSync(file, text);
    return file;
  });
  const verified = spawnSync('systemd-analyze', ['verify', ...files], {encoding: 'utf8'});
  if (verified.error) {
    console.error('      !!! SKIPPED: systemd-analyze is not installed, so the units are not verified');
    return;
  }

  assert.deepEqual([verified.stdout + verified.stderr, verified.status], ['', 0]);
  // From 0 (locked down) to 100; systemd calls less than 20 "safe" and less than 50 "ok".
  const security = spawnSync(
    'systemd-analyze',
    ['security', '--no-pager', '--offline=true', '--threshold=25', ...files.slice(0, 1)],
    {encoding: 'utf8'},
  );
  assert.equal(security.status, 0, security.stdout + security.stderr);
}

/** A service as systemd runs it: its credential, its state directory, and nothing else that it could write. */
class Unit {
  readonly #name: string;
  readonly #credential: string;
  readonly #machine: Machine;
  readonly #lines: [key: string, value: string][];

  constructor(machine: Machine, name: string, text: string, credential: string) {
    this.#name = name;
    this.#credential = credential;
    this.#machine = machine;
    this.#lines = Array.from(text.matchAll(/^(\w+)=(.*)$/gm), ([, key = '', value = '']) => [key, value]);
  }

  /** Run its commands one after the other; the first that fails is the last. */
  async start(): Promise<Result[]> {
    const [{dir, bin}, name] = [this.#machine, this.#name];
    const state = this.#state;
    mkdirSync(state, {recursive: true});
    const credentials = join(dir, 'run', 'credentials', `${name}.service`);
    mkdirSync(credentials, {recursive: true});
    const file = join(credentials, this.#value('LoadCredential').split(':')[0] ?? '');
    writeFileSync(file, readFileSync(this.#credential));
    chmodSync(file, 0o400);
    const env: Record<string, string> = {
      PATH: `/usr/local/sbin:${bin}:/usr/sbin:/usr/bin`,
      HOME: '/',
      USER: 'mxtok',
      LOGNAME: 'mxtok',
      CREDENTIALS_DIRECTORY: credentials,
      STATE_DIRECTORY: state,
    };
    for (const assignment of this.#expand(this.#value('Environment')).split(' ')) {
      const [, variable = '', value = ''] = /^(\w+)=(.*)$/.exec(assignment) ?? assert.fail(assignment);
      env[variable] = value;
    }

    const results: Result[] = [];
    try {
      for (const [key, value] of this.#lines) {
        if (!key.startsWith('Exec')) continue;
        const [command = '', ...argv] = splitCommand(this.#expand(value)).map((word) =>
          word.replaceAll('${CREDENTIALS_DIRECTORY}', credentials),
        );
        const [program = '', ...rest] = [...sandbox(state), command, ...argv];
        const result = await run(program, rest, {cwd: '/', env});
        results.push(result);
        if (result.code !== 0) break;
      }
    } finally {
      rmSync(credentials, {recursive: true});
    }

    return results;
  }

  profiles(): string[] {
    const file = join(this.#state, 'config', 'config.json');
    const {servers} = JSON.parse(readFileSync(file, 'utf8')) as {servers: Record<string, object>};
    for (const profile of Object.values(servers)) assert(!('access_token' in profile));
    return Object.keys(servers);
  }

  get #state(): string {
    return join(this.#machine.dir, 'state', this.#value('StateDirectory'));
  }

  #value(key: string): string {
    return this.#lines.find(([name]) => name === key)?.[1] ?? assert.fail(`the unit has no ${key}=`);
  }

  /** Its specifiers, systemd.unit(5). */
  #expand(text: string): string {
    return text.replaceAll('%N', this.#name).replaceAll('%S', join(this.#machine.dir, 'state'));
  }
}

/** As systemd splits a command line: at spaces, outside of quotes. */
function splitCommand(line: string): string[] {
  return Array.from(line.matchAll(/'([^']*)'|(\S+)/g), ([, quoted, bare = '']) => quoted ?? bare);
}

/** `ProtectSystem=strict` where we may mount; else nothing, and the home `/` is that of another user, or is not. */
function sandbox(state: string): string[] {
  const wrapper = [
    'unshare',
    '--mount',
    '/bin/sh',
    '-c',
    'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"',
    state,
  ];
  const [command = '', ...argv] = wrapper;
  const {status} = spawnSync(command, [...argv, '/bin/sh', '-c', '! touch /mxtok-is-not-to-write-here'], {
    stdio: 'ignore',
  });
  if (status === 0) return wrapper;
  console.error('      !!! Not root, or no mounts here: the unit runs without a read-only file system');
  return [];
}

describe('the recipes of the README', function () {
  this.timeout(300_000);
  let one: LocalSynapse;
  let two: LocalSynapse;
  const running: LocalSynapse[] = [];

  before(async function () {
    localSynapse(this);
    one = await startSynapse({serverName: 'one.test'});
    running.push(one);
    two = await startSynapse({serverName: 'two.test'});
    running.push(two);
    for (const {accessToken, adminPassword} of running) {
      secret(accessToken);
      secret(adminPassword);
    }
  });

  after(async () => {
    for (const synapse of running) await synapse.stop();
  });

  it('are all tried here', () => {
    assert.deepEqual([...recipes.keys()], Object.keys(TRIALS));
  });

  for (const input of INPUTS) {
    describe(`with a standard input ${input}`, () => {
      for (const [heading, attempt] of Object.entries(TRIALS)) {
        // systemd always gives /dev/null.
        if (heading === 'In a systemd unit' && input === 'closed') continue;
        it(heading, async () => {
          const [api, otherApi] = [new AdminApi(one), new AdminApi(two)];
          for (const homeserver of [api, otherApi]) await homeserver.clear();
          const machine = new Machine(input);
          await machine.addServer('main', one);
          const blocks = new Blocks(heading);
          await attempt({blocks, machine, one, two, api, otherApi});
          blocks.assertAllUsed();
        });
      }
    });
  }
});
