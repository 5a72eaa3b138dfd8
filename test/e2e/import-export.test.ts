/** Moving to another homeserver, and back from a backup: the real binary, and real Synapses. */
import {strict as assert} from 'node:assert';
import {type ChildProcessWithoutNullStreams, spawnSync} from 'node:child_process';
import {existsSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import {type LocalSynapse, startSynapse} from '../../scripts/synapse.ts';
import type {AuditRecord} from '../../src/lib/operations/audit.ts';
import type {ImportedToken} from '../../src/lib/operations/import.ts';
import type {TokenRecord} from '../../src/lib/token-record.ts';
import {AdminApi, type ApiToken} from '../helpers/admin-api.ts';
import {BINARY, Operator} from '../helpers/binary.ts';
import {Proxy, type ProxyOptions} from '../helpers/proxy.ts';
import {register, SignUp} from '../helpers/registration.ts';
import {secret} from '../helpers/secrets.ts';
import {localSynapse, operatorOf} from '../helpers/setup-e2e.ts';

type Row = Omit<ImportedToken, 'server'>;
type Failure = {token: string; error: {code: string; message: string}};

const FAR = Date.parse('2034-05-06T07:08:09.123Z');

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

describe('export and import', function () {
  this.timeout(300_000);
  let source: LocalSynapse;
  let target: LocalSynapse;
  let from: AdminApi;
  let to: AdminApi;
  /** Has both, as `old` and `new`. */
  let operator: Operator;

  before(async function () {
    // The one that all tests have is theirs: here are two that begin empty.
    localSynapse(this);
    [source, target] = await Promise.all([
      startSynapse({serverName: 'old.test'}),
      startSynapse({serverName: 'new.test'}),
    ]);
    for (const {accessToken, adminPassword} of [source, target]) {
      secret(accessToken);
      secret(adminPassword);
    }

    from = new AdminApi(source);
    to = new AdminApi(target);
  });

  after(async () => {
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- where the tests are skipped.
    await Promise.all([source?.stop(), target?.stop()]);
  });

  beforeEach(async () => {
    operator = new Operator();
    for (const [name, {url, accessToken}] of [
      ['old', source],
      ['new', target],
    ] as const) {
      await operator.ok(['server', 'add', name, '--url', url, '--access-token-stdin'], {input: accessToken});
    }
  });

  afterEach(async () => {
    for (const server of ['old', 'new']) await clear(server);
  });

  async function clear(server: string): Promise<void> {
    const names = (await operator.json<TokenRecord[]>(['list', '--server', server])).map(({token}) => token);
    await operator.ok(['delete', '--server', server, '--yes', '--quiet', '-'], {input: names.join('\n')});
  }

  function file(text: string): string {
    const path = join(operator.dir, 'tokens.ndjson');
    writeFileSync(path, text);
    return path;
  }

  /** All that is kept here, byte for byte. */
  function store(): Record<string, string> {
    const files = readdirSync(operator.dir, {recursive: true, encoding: 'utf8'}).filter((name) =>
      /\.jsonl?$/.test(name),
    );
    return Object.fromEntries(files.map((name) => [name, readFileSync(join(operator.dir, name), 'utf8')]));
  }

  async function through(
    server: LocalSynapse,
    options: ProxyOptions = {},
  ): Promise<{proxy: Proxy; env: Record<string, string>}> {
    const proxy = await Proxy.start(server.url, options);
    return {proxy, env: {MXTOK_URL: proxy.url, MXTOK_ACCESS_TOKEN: server.accessToken}};
  }

  const byName = (tokens: readonly ApiToken[]): Record<string, ApiToken> =>
    Object.fromEntries(tokens.map((token) => [token.token, token]));

  /** Tokens of every kind on the old homeserver, labelled where they are good. */
  async function furnish(): Promise<void> {
    await from.create('free');
    await from.create('used', {uses_allowed: 3, expiry_time: FAR});
    await register(source.url, 'used');
    await from.create('free-used');
    await register(source.url, 'free-used');
    await from.create('begun', {uses_allowed: 5});
    await SignUp.begin(source.url, 'begun');
    await from.create('-dash', {uses_allowed: 2_147_483_647});
    await from.create('~tilde.x_y', {expiry_time: 1_800_000_000_000_000});
    await from.create('exhausted', {uses_allowed: 1});
    await register(source.url, 'exhausted');
    await from.createExpired('expired', 5);
    await from.create('disabled', {uses_allowed: 5, expiry_time: FAR});
    await operator.ok(['disable', '--server', 'old', '--quiet', 'disabled']);
    await from.create('zero');
    await from.put('zero', {uses_allowed: 0});
    const label = (token: string, text: string, note: string): Promise<string> =>
      operator.ok(['update', '--server', 'old', '--label', text, '--note', note, '--quiet', '--', token]);
    await label('used', '=SUM("a", 1)', '+1; 😀');
    await label('-dash', '@admin', 'it’s');
    await label('exhausted', 'gone', 'too');
  }

  const CARRIED: Record<string, ApiToken> = byName([
    {token: 'free', uses_allowed: null, pending: 0, completed: 0, expiry_time: null},
    {token: 'used', uses_allowed: 2, pending: 0, completed: 0, expiry_time: FAR},
    {token: 'free-used', uses_allowed: null, pending: 0, completed: 0, expiry_time: null},
    {token: 'begun', uses_allowed: 5, pending: 0, completed: 0, expiry_time: null},
    {token: '-dash', uses_allowed: 2_147_483_647, pending: 0, completed: 0, expiry_time: null},
    {token: '~tilde.x_y', uses_allowed: null, pending: 0, completed: 0, expiry_time: 1_800_000_000_000_000},
  ]);
  const LEFT_OUT = {disabled: 'disabled', exhausted: 'exhausted', expired: 'expired', zero: 'disabled'};
  const SUMMARY =
    'Of 10 tokens: 6 created, 0 there already, 4 left out (1 expired, 1 exhausted, 2 disabled).\n';

  const textOf = (records: readonly TokenRecord[]): Record<string, (string | null)[]> =>
    Object.fromEntries(records.map(({token, label, note}) => [token, [label, note]]));

  for (const form of ['ndjson', 'csv', 'json'] as const) {
    it(`brings back what was deleted (${form}): string, uses left, expiry, label and note; and changes nothing again`, async () => {
      await furnish();
      const before = await operator.json<TokenRecord[]>(['list', '--server', 'old']);
      const flags = form === 'ndjson' ? [] : ['--output', form];
      const exported = await operator.mxtok(['export', '--server', 'old', ...flags]);
      assert.equal(exported.code, 0);
      assert.equal(exported.stderr, '10 tokens of old.test\n');
      const path = file(exported.stdout);
      await clear('old');
      assert.deepEqual(await from.list(), []);

      const planned = await operator.json<(Row & {dry_run: true})[]>([
        'import',
        path,
        '--server',
        'old',
        '--dry-run',
      ]);
      assert.deepEqual(await from.list(), []);
      const done = await operator.mxtok(['import', path, '--server', 'old', '--json']);
      assert.equal(done.code, 0, done.stderr);
      const rows = JSON.parse(done.stdout) as Row[];
      assert.deepEqual(
        planned,
        rows.map((row) => ({...row, dry_run: true})),
        'a dry run tells exactly what is then done',
      );
      const actions = Object.fromEntries(rows.map(({token, action, reason}) => [token, reason ?? action]));
      assert.deepEqual(actions, {
        ...LEFT_OUT,
        ...Object.fromEntries(Object.keys(CARRIED).map((token) => [token, 'create'])),
      });
      assert.deepEqual(byName(await from.list()), CARRIED);
      const after = await operator.json<TokenRecord[]>(['list', '--server', 'old']);
      const good = before.filter(({token}) => token in CARRIED);
      assert.deepEqual(textOf(after), textOf(good));
      assert.equal(textOf(after)['used']?.[0], '=SUM("a", 1)');
      assert.equal(await from.isValid('zero'), false, 'nobody gets in with what was closed');

      const files = store();
      const {proxy, env} = await through(source);
      const again = await operator.json<Row[]>(['import', path], {env});
      assert.deepEqual(new Set(again.map(({action}) => action)), new Set(['unchanged', 'skip']));
      assert.ok(proxy.exchanges.every(({method}) => method === 'GET'));
      assert.deepEqual(store(), files);
      assert.deepEqual(byName(await from.list()), CARRIED);
    });
  }

  it('moves all to another homeserver through a pipe, where they do what they did', async () => {
    await furnish();
    const exported = await operator.ok(['export', '--server', 'old', '--quiet']);
    const {code, stdout, stderr} = await operator.mxtok(['import', '-', '--server', 'new'], {
      input: exported,
    });
    assert.equal(code, 0);
    assert.equal(stderr, SUMMARY);
    const lines = linesOf(stdout).map((line) => line.split('\t'));
    assert.deepEqual(
      lines.find(([, token]) => token === 'used'),
      ['new', 'used', 'create', '', '2', String(FAR)],
    );
    assert.deepEqual(lines.find(([, token]) => token === 'zero')?.slice(0, 4), [
      'new',
      'zero',
      'skip',
      'disabled',
    ]);
    assert.deepEqual(byName(await to.list()), CARRIED);
    assert.deepEqual((await operator.json<TokenRecord>(['show', '--server', 'new', 'used'])).note, '+1; 😀');

    // Of three uses, one was used over there.
    for (const expected of ['string', 'string', 'undefined'])
      assert.equal(typeof (await register(target.url, 'used')).userId, expected);
    for (const token of Object.keys(LEFT_OUT)) assert.equal(await to.isValid(token), false, token);

    const again = await operator.mxtok(['import', '-', '--server', 'new'], {input: exported});
    assert.equal(again.code, 0);
    assert.match(again.stderr, /^Of 10 tokens: 0 created, 6 there already, 4 left out/);
    assert.equal((await to.get('used')).completed, 2, 'what was used meanwhile stays used');
    const log = await operator.json<AuditRecord[]>(['audit', '--operation', 'create', '--server', 'new']);
    assert.equal(log.filter(({outcome}) => outcome === 'ok').length, 6);
  });

  it('says nothing on success with --quiet', async () => {
    await from.create('free');
    const exported = await operator.mxtok(['export', '--server', 'old', '--quiet']);
    assert.equal(exported.stderr, '');
    const {code, stdout, stderr} = await operator.mxtok(['import', '-', '--server', 'new', '-q'], {
      input: exported.stdout,
    });
    assert.deepEqual([code, stdout, stderr], [0, '', '']);
    assert.equal((await to.list()).length, 1);
  });

  it('leaves tokens as they are that are there with other limits, says so, and brings the others', async () => {
    for (const token of ['a', 'b', 'c']) await from.create(token, {uses_allowed: 5});
    const path = file(await operator.ok(['export', '--server', 'old']));
    await to.create('b', {uses_allowed: 9});
    for (const dryRun of [['--dry-run'], []]) {
      const {code, stdout, stderr} = await operator.mxtok([
        'import',
        path,
        '--server',
        'new',
        '--json',
        ...dryRun,
      ]);
      assert.equal(code, 8);
      const rows = JSON.parse(stdout) as (Row | Failure)[];
      assert.deepEqual(
        rows.map((row) => [row.token, 'error' in row ? row.error.code : row.action]),
        [
          ['a', 'create'],
          ['b', 'already_exists'],
          ['c', 'create'],
        ],
      );
      assert.match(stderr, /1 of 3 tokens failed/);
      assert.deepEqual(
        Object.keys(byName(await to.list())).sort(),
        dryRun.length > 0 ? ['b'] : ['a', 'b', 'c'],
      );
    }

    const text = await operator.mxtok(['import', path, '--server', 'new']);
    assert.equal(text.code, 8);
    assert.match(text.stderr, /^error: there is a token b already: its (?:uses are|expiry is) .*, not .*$/m);
    assert.match(text.stderr, /^Of 3 tokens: 0 created, 2 there already, 0 left out, 1 failed\.$/m);
    assert.equal((await to.get('b')).uses_allowed, 9);
  });

  it('gives labels back to somebody who has lost them, and replaces none', async () => {
    await furnish();
    const exported = await operator.ok(['export', '--server', 'old']);
    const fresh = await operatorOf(source);
    await fresh.ok(['update', '--label', 'mine', '-q', '--', '-dash']);
    const {proxy, env} = await through(source);
    const rows = await fresh.json<Row[]>(['import', '-'], {input: exported, env});
    assert.ok(proxy.exchanges.every(({method}) => method === 'GET'));
    assert.deepEqual(
      rows
        .filter(({action}) => action === 'label')
        .map(({token}) => token)
        .sort(),
      ['-dash', 'exhausted', 'used'],
    );
    const texts = textOf(await fresh.json<TokenRecord[]>(['list']));
    assert.deepEqual(texts['used'], ['=SUM("a", 1)', '+1; 😀']);
    assert.deepEqual(texts['-dash'], ['mine', 'it’s']);
  });

  it('reads list --json and the admin API’s own answer, with the same result', async () => {
    await furnish();
    const list = await operator.ok(['list', '--server', 'old', '--json', '--quiet']);
    const answer = JSON.stringify({registration_tokens: await from.list()});
    for (const input of [list, answer]) {
      await operator.ok(['import', '-', '--server', 'new', '--quiet'], {input});
      assert.deepEqual(byName(await to.list()), CARRIED);
      const label = (await operator.json<TokenRecord>(['show', '--server', 'new', 'used'])).label;
      assert.equal(label, input === list ? '=SUM("a", 1)' : null);
      await clear('new');
    }
  });

  it('reads the list of matrix-registration: 0 is unlimited there, and its dates are local', async () => {
    // The answer of GET /api/token, by matrix_registration/tokens.py.
    const token = (name: string, fields: object): object => ({
      name,
      used: 0,
      expiration_date: null,
      max_usage: 0,
      ips: [],
      disabled: false,
      active: true,
      ...fields,
    });
    const input = JSON.stringify([
      token('DoubleWizardSki', {}),
      token('OneUseLeft', {max_usage: 3, used: 2, ips: ['127.0.0.1']}),
      token('WinterDate', {expiration_date: '2034-01-31 18:00:00'}),
      token('SummerDate', {expiration_date: '2034-07-31 18:00:00.500000'}),
      token('FlaskDate', {expiration_date: 'Tue, 31 Jan 2034 18:00:00 GMT'}),
      token('UsedUp', {max_usage: 1, used: 1, active: false}),
      token('LongAgo', {expiration_date: '2020-01-31 18:00:00', active: false}),
      token('SwitchedOff', {disabled: true, active: false}),
    ]);
    const times: Record<string, [winter: string, summer: string]> = {
      UTC: ['2034-01-31T18:00:00.000Z', '2034-07-31T18:00:00.500Z'],
      'Europe/Berlin': ['2034-01-31T17:00:00.000Z', '2034-07-31T16:00:00.500Z'],
      'America/St_Johns': ['2034-01-31T21:30:00.000Z', '2034-07-31T20:30:00.500Z'],
    };
    for (const [TZ, [winter, summer]] of Object.entries(times)) {
      const {code, stderr} = await operator.mxtok(['import', '-', '--server', 'new'], {input, env: {TZ}});
      assert.equal(code, 0);
      assert.match(
        stderr,
        /^Of 8 tokens: 5 created, .* 3 left out \(1 expired, 1 exhausted, 1 disabled\)\.$/m,
      );
      const limits = Object.fromEntries(
        (await to.list()).map((one) => [
          one.token,
          [one.uses_allowed, one.expiry_time === null ? null : new Date(one.expiry_time).toISOString()],
        ]),
      );
      assert.deepEqual(limits, {
        DoubleWizardSki: [null, null],
        OneUseLeft: [1, null],
        WinterDate: [null, winter],
        SummerDate: [null, summer],
        FlaskDate: [null, winter],
      });
      await clear('new');
    }
  });

  it('refuses, before the first request, what is cut off, newer, or lacks what the limits are made of', async () => {
    for (const token of ['aaa', 'bbb', 'ccc']) await from.create(token, {uses_allowed: 10, expiry_time: FAR});
    const exported = await operator.ok(['export', '--server', 'old']);
    const csv = await operator.ok(['export', '--server', 'old', '--output', 'csv']);
    const {proxy, env} = await through(target);
    const header = (fields: object): string =>
      exported.replace(
        /^.*\n/,
        (line) => `${JSON.stringify({...(JSON.parse(line) as object), ...fields})}\n`,
      );
    const wrong: [string, RegExp][] = [
      ['', /standard input is empty; nothing was imported/],
      [exported.slice(0, 40), /line 1: it is not a JSON object/],
      [
        linesOf(exported).slice(0, 3).join('\n'),
        /is not whole: it had 3 tokens and has 2; nothing was imported/,
      ],
      [exported.slice(0, -20), /line 4: it is not a JSON object/],
      [header({mxtok_export: 2}), /was written by a newer mxtok \(version 2.*\nhint: Update mxtok\./],
      [exported + exported, /is not as it was written: it had 3 tokens and has 7/],
      [csv.slice(0, csv.indexOf('ccc') + 2), /line 4: .*the rest seems to be cut off/],
      [csv.slice(0, csv.indexOf('ccc') + 5), /line 4: .*the rest seems to be cut off/],
      ['token,label\nabc,x\n', /line 1: the header does not name uses_allowed, completed, expiry_time/],
      ['{"token":"abc"}', /line 1: it has no uses_allowed and no completed and no expiry_time/],
      ['[{"token":"abc","__proto__":{"uses_allowed":1}}]', /line 1: element 1: it has no uses_allowed/],
      ['hello', /line 1: the header does not name token/],
      [`${'['.repeat(300_000)}${']'.repeat(300_000)}`, /line 1: .*is not a JSON object/],
    ];
    for (const [input, message] of wrong) {
      const result = await operator.mxtok(['import', '-'], {input, env});
      assert.equal(result.code, 2, String(message));
      assert.equal(result.stdout, '');
      assert.match(result.stderr, message);
    }

    const many = await operator.mxtok(['import', '-', '--json'], {
      input: exported.replaceAll('"uses_allowed":10', '"uses_allowed":-1'),
      env,
    });
    const {problems} = (JSON.parse(many.stderr) as {error: {problems: {line: number}[]}}).error;
    assert.deepEqual(
      problems.map(({line}) => line),
      [2, 3, 4],
    );
    assert.deepEqual(proxy.exchanges, []);
  });

  it('is no failure where its reader goes away: all of it has been done by then', async () => {
    for (let index = 0; index < 30; index++) await from.create(`t-${index}`, {uses_allowed: 5});
    const label = 'x'.repeat(200);
    const rows = Array.from({length: 500}, (_, index) =>
      JSON.stringify({token: `u-${index}`, uses_allowed: 1, completed: 1, expiry_time: null, label}),
    );
    const exported = await operator.ok(['export', '--server', 'old']);
    // More than a pipe holds.
    const path = file([...linesOf(exported).slice(1), ...rows].join('\n'));
    const script = '"$@" | head -n 1; exit "${PIPESTATUS[0]}"';
    const argv = [process.execPath, BINARY, 'import', path, '--server', 'new', '--output', 'ndjson'];
    const {status, stdout, stderr} = spawnSync('bash', ['-c', script, 'bash', ...argv], {
      env: operator.env,
      encoding: 'utf8',
    });
    assert.equal(stderr, 'Of 530 tokens: 30 created, 0 there already, 500 left out (500 exhausted).\n');
    assert.equal(status, 0);
    assert.equal(linesOf(stdout).length, 1);
    assert.equal((await to.list()).length, 30);
  });

  it('counts what another run of it makes at the same time', async () => {
    for (let index = 0; index < 30; index++) await from.create(`t-${index}`, {uses_allowed: 5});
    const path = file(await operator.ok(['export', '--server', 'old']));
    const held: (() => void)[] = [];
    const {env} = await through(target, {
      // Both have looked before either makes the first.
      onAnswer: async ({path: asked}) => {
        if (!asked.endsWith('/registration_tokens')) return;
        await new Promise<void>((resolve) => {
          held.push(resolve);
          if (held.length === 2) for (const pass of held) pass();
        });
      },
    });
    const both = await Promise.all(
      [1, 2].map(() => operator.mxtok(['import', path, '--output', 'ndjson'], {env})),
    );
    const actions: string[] = [];
    for (const {code, stdout, stderr} of both) {
      assert.equal(code, 0, stderr);
      actions.push(...linesOf(stdout).map((line) => (JSON.parse(line) as Row).action));
    }

    assert.deepEqual(actions.sort(), [
      ...Array<string>(30).fill('create'),
      ...Array<string>(30).fill('unchanged'),
    ]);
    assert.equal((await to.list()).length, 30);
  });

  it('tells what it came to at Ctrl-C, and does the rest the next time', async () => {
    for (let index = 0; index < 40; index++) await from.create(`t-${index}`, {uses_allowed: 5});
    const path = file(await operator.ok(['export', '--server', 'old']));
    let child: ChildProcessWithoutNullStreams | undefined;
    const held: (() => void)[] = [];
    const open = (): void => {
      for (const pass of held.splice(0)) pass();
    };
    let opened = false;
    const {env} = await through(target, {
      onAnswer: async ({method}) => {
        if (method !== 'POST' || opened) return;
        await new Promise<void>((resolve) => {
          held.push(resolve);
          if (held.length === 8) child?.kill('SIGINT');
        });
      },
    });
    const {code, stdout, stderr} = await operator.mxtok(['import', path], {
      env,
      onStart: (started) => {
        child = started;
        started.stderr.on('data', (text: string) => {
          if (!text.includes('Stopping once')) return;
          opened = true;
          open();
        });
      },
    });
    assert.equal(code, 130);
    const names = (await to.list()).map(({token}) => token).sort();
    assert.equal(names.length, 8);
    assert.deepEqual(
      linesOf(stdout)
        .map((line) => line.split('\t')[1])
        .sort(),
      names,
    );
    assert.match(stderr, /^interrupted: 8 of 40 tokens were come to$/m);
    assert.deepEqual(await operator.json<AuditRecord[]>(['audit', '--unfinished']), []);
    const again = await operator.mxtok(['import', path, '--server', 'new']);
    assert.match(again.stderr, /^Of 40 tokens: 32 created, 8 there already, 0 left out\.$/m);
    assert.equal((await to.list()).length, 40);
  });

  it('of a homeserver without tokens is an export, too', async () => {
    for (const flags of [[], ['--output', 'csv'], ['--json']]) {
      const {stdout, code} = await operator.mxtok(['export', '--server', 'old', ...flags]);
      assert.equal(code, 0);
      assert.notEqual(stdout, '');
      const result = await operator.mxtok(['import', '-', '--server', 'new'], {input: stdout});
      assert.equal(result.code, 0, result.stderr);
      assert.equal(result.stderr, 'Of 0 tokens: 0 created, 0 there already, 0 left out.\n');
    }
  });

  it('of a homeserver that cannot be reached leaves nothing that could be imported', async () => {
    const env = {MXTOK_URL: 'http://127.0.0.1:1', MXTOK_ACCESS_TOKEN: source.accessToken};
    const failed = await operator.mxtok(['export'], {env});
    assert.deepEqual([failed.code, failed.stdout], [7, '']);
    const result = await operator.mxtok(['import', '-', '--server', 'new'], {input: failed.stdout});
    assert.equal(result.code, 2);
    assert.ok(!existsSync(join(operator.dir, 'config', 'metadata', 'new.test.json')));
  });
});
