/** Standing settings: what counts where a flag is not given, who says so, and what is wrong with it. */
import {strict as assert} from 'node:assert';
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import type {Profile} from '../../src/lib/store/profiles.ts';
import type {Operator} from '../helpers/binary.ts';
import {type BrokenServer, closedPort, closeServers, tcpServer} from '../helpers/broken-server.ts';
import {giveProfiles} from '../helpers/profiles.ts';
import {Proxy} from '../helpers/proxy.ts';
import {assertRefused as assertUsage} from '../helpers/refusal.ts';
import {operatorOf, synapse, type TestSynapse, uniqueToken} from '../helpers/setup-e2e.ts';
import {onTerminal} from '../helpers/terminal.ts';

type Shown = Record<string, unknown> & {token: string};

const [NEAR, FAR, FARTHEST] = [
  '2034-01-01T00:00:00.000Z',
  '2035-01-01T00:00:00.000Z',
  '2036-01-01T00:00:00.000Z',
];
const WORDS = /^(?:[A-Z][a-z-]+)+$/;

describe('standing settings', function () {
  let server: TestSynapse;
  let operator: Operator;

  before(function () {
    server = synapse(this);
  });

  beforeEach(async function () {
    operator = await operatorOf(server);
  });

  afterEach(closeServers);

  function configPath(): string {
    return join(operator.dir, 'config', 'config.json');
  }

  function profileNow(name = 'main'): Profile {
    const config = JSON.parse(readFileSync(configPath(), 'utf8')) as {servers: Record<string, Profile>};
    return config.servers[name] ?? assert.fail('no such profile');
  }

  /** As somebody does with an editor. */
  function editDefaults(defaults: Record<string, unknown>): void {
    const config = JSON.parse(readFileSync(configPath(), 'utf8')) as {servers: Record<string, object>};
    config.servers['main'] = {...config.servers['main'], defaults};
    writeFileSync(configPath(), JSON.stringify(config), {mode: 0o600});
  }

  async function update(...flags: string[]): Promise<void> {
    assert.equal(await operator.ok(['server', 'update', 'main', ...flags]), '');
  }

  describe('of new tokens', function () {
    /** Each way to make one; all print the whole token. */
    const ways: [title: string, argv: () => string[], input?: string][] = [
      ['create', () => ['create', '--output', 'ndjson']],
      ['create --count', () => ['create', '--count', '2', '--output', 'ndjson']],
      ['create --from', () => ['create', '--from', '-', '--output', 'ndjson'], 'label\nfrom a file\n'],
      ['rotate', () => ['rotate', '--label', uniqueToken(), '--output', 'ndjson']],
    ];

    for (const [title, argv, input] of ways) {
      it(`count in ${title}: the flag before the environment, that before the profile, that before what is built in`, async function () {
        const make = async (flags: string[], env: Record<string, string> = {}): Promise<Shown> => {
          const stdout = await operator.ok([...argv(), ...flags], {env, ...(input !== undefined && {input})});
          const lines = stdout.trimEnd().split('\n');
          const [one = assert.fail('none was made'), ...others] = lines.map(
            (line) => JSON.parse(line) as Shown,
          );
          for (const other of others) assert.equal(other['uses_allowed'], one['uses_allowed']);
          return one;
        };

        const builtIn = await make([]);
        assert.deepEqual([builtIn['uses_allowed'], builtIn['expires_at']], [null, null]);
        assert.match(builtIn.token, /^[A-Za-z0-9]{16}$/);

        await update('--default-uses', '3', '--default-expiry', '7d', '--default-length', '20');
        const ofProfile = await make([]);
        assert.equal(ofProfile['uses_allowed'], 3);
        const days = ((ofProfile['expiry_time'] as number) - Date.now()) / 86_400_000;
        assert.ok(days > 6.9 && days <= 7.01, String(days));
        assert.equal(ofProfile.token.length, 20);

        const env = {MXTOK_USES: '4', MXTOK_EXPIRY: NEAR, MXTOK_LENGTH: '30'};
        const ofEnvironment = await make([], env);
        assert.deepEqual([ofEnvironment['uses_allowed'], ofEnvironment['expires_at']], [4, NEAR]);
        assert.equal(ofEnvironment.token.length, 30);

        const flags = ['--uses', '5', '--expiry', FAR, '--length', '40'];
        const ofFlag = await make(flags, env);
        assert.deepEqual([ofFlag['uses_allowed'], ofFlag['expires_at']], [5, FAR]);
        assert.equal(ofFlag.token.length, 40);

        // What takes a setting back is a setting too; an empty variable is none.
        const none = await make(['--uses', 'unlimited', '--expiry', 'never'], {MXTOK_LENGTH: ''});
        assert.deepEqual([none['uses_allowed'], none['expires_at'], none.token.length], [null, null, 20]);
        const unlimited = await make([], {MXTOK_USES: 'unlimited', MXTOK_EXPIRY: 'never'});
        assert.deepEqual([unlimited['uses_allowed'], unlimited['expires_at']], [null, null]);

        // Of length and words, the nearer one.
        assert.match((await make(['--words', '4'], env)).token, WORDS);
        assert.match((await make([], {MXTOK_WORDS: '3'})).token, WORDS);
        await update('--default-words', '4');
        assert.equal(profileNow().defaults?.length, undefined, 'the one takes the place of the other');
        assert.match((await make([])).token, WORDS);
        assert.equal((await make([], {MXTOK_LENGTH: '24'})).token.length, 24);
        assert.equal((await make(['--length', '25'], {MXTOK_WORDS: '3'})).token.length, 25);
      });
    }

    it('come after what a row of a file says', async function () {
      await update('--default-uses', '3');
      const [first, second] = await operator.json<Shown[]>(['create', '--from', '-'], {
        input: `uses_allowed,expiry,label\n8,${FARTHEST},a\n,,b\n`,
        env: {MXTOK_EXPIRY: NEAR},
      });
      assert.deepEqual([first?.['uses_allowed'], first?.['expires_at']], [8, FARTHEST]);
      assert.deepEqual([second?.['uses_allowed'], second?.['expires_at']], [3, NEAR]);
    });

    it('are those of the server that is used, and none of what is no new token', async function () {
      const token = (await operator.ok(['create', '--uses', '2'])).trim();
      await update('--default-uses', '3', '--default-expiry', '1d');
      const {url, accessToken} = server;
      const other = ['server', 'add', 'other', '--url', url, '--access-token-stdin', '--default-uses', '7'];
      await operator.ok(other, {input: accessToken});
      assert.equal((await operator.json<Shown>(['create', '-s', 'other']))['uses_allowed'], 7);
      assert.equal((await operator.json<Shown>(['create']))['uses_allowed'], 3);
      const env = {MXTOK_URL: url, MXTOK_ACCESS_TOKEN: accessToken};
      assert.equal((await operator.json<Shown>(['create'], {env}))['uses_allowed'], null);

      await operator.ok(['update', token, '--label', 'x'], {env: {MXTOK_USES: '9', MXTOK_EXPIRY: '1d'}});
      await operator.ok(['disable', token]);
      const enabled = await operator.json<Shown>(['enable', token], {
        env: {MXTOK_USES: '9', MXTOK_EXPIRY: '1d'},
      });
      assert.deepEqual([enabled['uses_allowed'], enabled['expires_at']], [2, null]);
    });
  });

  describe('of the table of list', function () {
    let label: string;

    beforeEach(async function () {
      label = uniqueToken();
      await operator.ok(['create', '--uses', '2', '--label', label]);
    });

    async function header(flags: string[] = [], env: Record<string, string> = {}): Promise<string> {
      const table = await operator.ok(['list', '--label', label, '--output', 'table', ...flags], {env});
      return (table.split('\n')[0] ?? '').trim().replaceAll(/ {2,}/g, '|');
    }

    it('count in the order that all have', async function () {
      assert.equal(await header(), 'TOKEN|STATUS|USES|EXPIRES|LABEL');
      await update('--default-columns', 'token,label');
      assert.equal(await header(), 'TOKEN|LABEL');
      assert.equal(await header([], {MXTOK_COLUMNS: 'label,status'}), 'LABEL|STATUS');
      assert.equal(await header(['--columns', 'status'], {MXTOK_COLUMNS: 'label,status'}), 'STATUS');
      const shown = await onTerminal(operator, ['list', '--label', label, '--output', 'table']);
      assert.match(shown.stdout, /^TOKEN +LABEL/);
    });

    it('change nothing of TSV, CSV and JSON, which scripts count on', async function () {
      const argv = ['list', '--label', label];
      const forms = ['tsv', 'csv', 'json', 'ndjson'].map((form) => [...argv, '--output', form]);
      const before = await Promise.all(forms.map((form) => operator.ok(form)));
      await update('--default-columns', 'token,label');
      const env = {MXTOK_COLUMNS: 'label'};
      assert.deepEqual(await Promise.all(forms.map((form) => operator.ok(form))), before);
      assert.deepEqual(await Promise.all(forms.map((form) => operator.ok(form, {env}))), before);
      assert.equal(await operator.ok(argv, {env}), before[0]);
    });

    it('are those of the environment alone on several servers', async function () {
      await update('--default-columns', 'token,label');
      assert.match(await header(['--all-servers']), /^SERVER\|TOKEN\|STATUS/);
      assert.equal(await header(['--all-servers'], {MXTOK_COLUMNS: 'server,token'}), 'SERVER|TOKEN');
    });
  });

  describe('of the time for one request', function () {
    it('count in the order that all have', async function () {
      const stalled: BrokenServer = await tcpServer(() => undefined);
      giveProfiles(operator, {main: {url: stalled.url, access_token: 'any', defaults: {timeout: '1500ms'}}});
      const limit = async (argv: string[], env: Record<string, string> = {}): Promise<string> => {
        const {code, stderr} = await operator.mxtok(argv, {env});
        assert.equal(code, 7, stderr);
        return /did not answer within (\S+ s)/.exec(stderr)?.[1] ?? stderr;
      };

      await assertUsage(operator, ['list'], {says: /the standing --timeout of the profile main: "1500ms"/});
      editDefaults({timeout: '1.5'});
      assert.equal(await limit(['list']), '1.5 s');
      assert.equal(await limit(['list'], {MXTOK_TIMEOUT: '1.25'}), '1.25 s');
      assert.equal(await limit(['list', '--timeout', '1s'], {MXTOK_TIMEOUT: '1.25'}), '1 s');
      assert.equal(await limit(['create']), '1.5 s');
      assert.equal(await limit(['rotate', '--label', 'x']), '1.5 s');
      assert.equal(await limit(['check', 'abc']), '1.5 s');
    });
  });

  describe('server show', function () {
    async function settings(
      flags: string[] = [],
      env: Record<string, string> = {},
    ): Promise<Record<string, unknown>> {
      const shown = await operator.json(['server', 'show', 'main', ...flags], {env});
      return Object.fromEntries(Object.entries(shown).filter(([name]) => name.startsWith('default_')));
    }

    it('tells each value, and where it comes from', async function () {
      assert.deepEqual(await settings(), {
        default_uses: 'unlimited',
        default_uses_source: 'built-in',
        default_expiry: 'never',
        default_expiry_source: 'built-in',
        default_length: '16',
        default_length_source: 'built-in',
        default_words: null,
        default_words_source: 'built-in',
        default_columns: null,
        default_columns_source: 'built-in',
        default_timeout: '30s',
        default_timeout_source: 'built-in',
      });
      await update('--default-uses', '3', '--default-words', '4', '--default-timeout', '10s');
      assert.deepEqual(
        await settings(['--timeout', '5'], {
          MXTOK_EXPIRY: '2w',
          MXTOK_COLUMNS: 'token,label',
          MXTOK_USES: '',
        }),
        {
          default_uses: '3',
          default_uses_source: 'profile',
          default_expiry: '2w',
          default_expiry_source: 'environment',
          default_length: null,
          default_length_source: 'profile',
          default_words: '4',
          default_words_source: 'profile',
          default_columns: 'token,label',
          default_columns_source: 'environment',
          default_timeout: '5',
          default_timeout_source: 'flag',
        },
      );
      const table = await operator.ok(['server', 'show', 'main', '--output', 'table']);
      assert.match(table, /^default uses +3 \(profile\)$/im);
      assert.match(table, /^default expiry +never \(built-in\)$/im);
    });

    it("tells that '' has taken one away", async function () {
      await update('--default-uses', '3', '--default-expiry', '7d');
      await update('--default-uses', '');
      const {default_uses_source, default_expiry} = await settings();
      assert.deepEqual([default_uses_source, default_expiry], ['built-in', '7d']);
      assert.equal((await operator.json<Shown>(['create']))['uses_allowed'], null);
      await update('--default-expiry', '', '--default-length', '', '--default-timeout', '');
      assert.deepEqual(profileNow().defaults ?? {}, {});
    });
  });

  describe('that are wrong', function () {
    const wrong: [name: string, value: string, says: RegExp][] = [
      ['uses', '0', /disable/],
      ['uses', '-1', /-1/],
      ['uses', 'many', /"many"/],
      ['uses', '2147483648', /2147483647/],
      ['expiry', 'soon', /"soon"/],
      ['expiry', '0d', /no time at all/],
      ['length', '7', /from 8 to 64/],
      ['length', '65', /from 8 to 64/],
      ['words', '2', /from 3 to 8/],
      ['columns', 'token,colour', /"colour" is no column/],
      ['columns', ',', /is no column/],
      ['timeout', '0', /not a number of seconds/],
      ['timeout', 'long', /"long" is not a number of seconds/],
    ];

    for (const [name, value, says] of wrong) {
      it(`are refused where they are set: ${name} ${value}`, async function () {
        const before = readFileSync(configPath(), 'utf8');
        const proxy = await Proxy.start(server.url);
        const flag = `--default-${name}=${value}`;
        const told = new RegExp(`--default-${name}: [^]*${says.source}`);
        await assertUsage(operator, ['server', 'update', 'main', flag], {says: told});
        // Beside what is to be asked, nothing is.
        await assertUsage(operator, ['server', 'update', 'main', '--url', proxy.url, flag], {says: told});
        const add = ['server', 'add', 'new', '--url', proxy.url, '--no-verify', flag];
        await assertUsage(operator, add, {says: told});
        assert.deepEqual(proxy.exchanges, []);
        assert.equal(readFileSync(configPath(), 'utf8'), before);
      });

      it(`are refused where they are used, with the place where they stand: ${name} ${value}`, async function () {
        const proxy = await Proxy.start(server.url);
        editDefaults({[name]: value});
        const command = name === 'columns' ? ['list', '--output', 'table'] : ['create'];
        const {url} = proxy;
        const config = readFileSync(configPath(), 'utf8').replaceAll(server.url, url);
        writeFileSync(configPath(), config);
        const {code, stdout, stderr} = await operator.mxtok(command);
        assert.deepEqual([code, stdout], [2, ''], stderr);
        assert.match(
          stderr,
          new RegExp(`^error: the standing --${name} of the profile main: [^]*${says.source}`),
        );
        assert.match(stderr, new RegExp(`^hint: .*mxtok server update main --default-${name}`, 'm'));

        editDefaults({});
        const variable = `MXTOK_${name.toUpperCase()}`;
        const env = {[variable]: value, MXTOK_URL: url, MXTOK_ACCESS_TOKEN: server.accessToken};
        const environment = await operator.mxtok(command, {env});
        assert.deepEqual([environment.code, environment.stdout], [2, ''], environment.stderr);
        assert.match(environment.stderr, new RegExp(`^error: ${variable}:? [^]*${says.source}`));
        assert.deepEqual(proxy.exchanges, [], 'before anything is sent');
      });
    }

    it('are a length beside words in one place, which is named; nothing is sent', async function () {
      const proxy = await Proxy.start(server.url);
      giveProfiles(operator, {main: {url: proxy.url, access_token: server.accessToken}});
      const both = {MXTOK_LENGTH: '20', MXTOK_WORDS: '4'};
      for (const command of [['create'], ['rotate', '--label', 'x']])
        await assertUsage(operator, command, {env: both, says: /MXTOK_LENGTH and MXTOK_WORDS/});
      editDefaults({length: '20', words: '4'});
      const says = /--length and --words of the profile main[^]*--default-length ''/;
      await assertUsage(operator, ['create'], {says});
      assert.deepEqual(proxy.exchanges, []);

      // A nearer one counts; and the way out that is told of is one.
      const near = await operator.ok(['create', '--length', '12'], {env: both});
      assert.equal(near.trim().length, 12);
      await update('--default-length', '');
      assert.match((await operator.ok(['create'])).trim(), WORDS);
    });

    it('do no harm where a nearer one counts, or where they are not for', async function () {
      editDefaults({uses: 'many', expiry: 'soon', length: '1', columns: 'colour'});
      const flags = ['--uses', '2', '--expiry', '1d', '--length', '12'];
      assert.equal((await operator.json<Shown>(['create', ...flags]))['uses_allowed'], 2);
      await operator.ok(['list', '--limit', '1']);
      await operator.ok(['list', '--limit', '1', '--output', 'table', '--columns', 'token']);
      await update('--default-uses', '3');
      assert.equal((await operator.json(['server', 'show', 'main']))['default_uses'], '3');
    });

    it('of a kind that none can be are told as a broken file, which is left alone', async function () {
      editDefaults({uses: 5});
      const before = readFileSync(configPath(), 'utf8');
      const {code, stderr} = await operator.mxtok(['create']);
      assert.equal(code, 1);
      assert.match(stderr, /config\.json.*defaults\.uses/s);
      assert.equal(readFileSync(configPath(), 'utf8'), before);
    });

    it('are a date, which would be over one day, and length beside words', async function () {
      await assertUsage(operator, ['server', 'update', 'main', '--default-expiry', '2034-01-01'], {
        says: /would be past one day/,
      });
      await assertUsage(
        operator,
        ['server', 'update', 'main', '--default-length', '9', '--default-words', '4'],
        {
          says: /exclude each other/,
        },
      );
    });
  });

  it('are set and shown without a homeserver', async function () {
    const url = `http://127.0.0.1:${await closedPort()}`;
    giveProfiles(operator, {main: {url}});
    await update('--default-uses', '3', '--default-expiry', '7d', '--default-columns', 'token');
    assert.deepEqual(profileNow().defaults, {uses: '3', expiry: '7d', columns: 'token'});
    assert.equal((await operator.json(['server', 'show', 'main']))['default_uses'], '3');
    await operator.ok(['server', 'add', 'far', '--url', url, '--no-verify', '--default-uses', '4']);
    assert.deepEqual(profileNow('far').defaults, {uses: '4'});
    assert.ok(!existsSync(join(operator.dir, 'config', 'metadata')));
  });

  it('are all kept where two runs change them at once', async function () {
    await update('--default-uses', '3', '--default-columns', 'token');
    // The first run has read the profile, and asks the homeserver, while the others change it.
    let meanwhile: Promise<void> | undefined;
    const proxy = await Proxy.start(server.url, {
      onAnswer: () => (meanwhile ??= update('--default-expiry', '7d', '--default-columns', '')),
    });
    await update('--url', proxy.url, '--keep-access-token', '--default-words', '4', '--default-uses', '5');
    assert.ok(meanwhile);
    const {url, defaults} = profileNow();
    assert.deepEqual([url, defaults], [proxy.url, {uses: '5', expiry: '7d', words: '4'}]);
  });

  it('stay with the profile when something else of it changes', async function () {
    await update('--default-uses', '3');
    await operator.ok(['server', 'update', 'main', '--access-token-stdin'], {input: server.accessToken});
    await operator.ok(['server', 'update', 'main', '--url', server.url, '--default-words', '4']);
    assert.deepEqual(profileNow().defaults, {uses: '3', words: '4'});
  });
});
