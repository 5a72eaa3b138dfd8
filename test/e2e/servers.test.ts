/** Profiles, logins and the doctor: the real binary against real Synapses, some of them set up badly. */
import {strict as assert} from 'node:assert';
import {randomBytes} from 'node:crypto';
import {chmodSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';

import {type LocalSynapse, startSynapse} from '../../scripts/synapse.ts';
import {AdminApi} from '../helpers/admin-api.ts';
import {type BinaryResult, Operator} from '../helpers/binary.ts';
import {Proxy} from '../helpers/proxy.ts';
import {secret} from '../helpers/secrets.ts';
import {localSynapse, operatorOf, uniqueToken} from '../helpers/setup-e2e.ts';

type Shown = Record<string, unknown>;

interface Config {
  default_server?: string;
  servers: Record<string, Record<string, string | undefined>>;
}

interface User {
  name: string;
  password: string;
  accessToken: string;
}

interface Diagnosis {
  server: string | null;
  url: string;
  findings: {check: string; result: string; message: string; hint?: string}[];
}

function configOf(operator: Operator): Config {
  return JSON.parse(readFileSync(`${operator.dir}/config/config.json`, 'utf8')) as Config;
}

/** Where the access token is kept that a profile holds itself. */
function storedAccessToken(operator: Operator, server: string): string {
  return secret(configOf(operator).servers[server]?.['access_token'] ?? assert.fail('none is stored'));
}

function errorCode({stdout, stderr}: BinaryResult): string {
  assert.equal(stdout, '');
  return (JSON.parse(stderr) as {error: {code: string}}).error.code;
}

async function newUser(local: LocalSynapse, admin: boolean): Promise<User> {
  const [name, password] = [`u${randomBytes(6).toString('hex')}`, secret(randomBytes(12).toString('hex'))];
  return {name, password, accessToken: secret(await local.makeUser(name, password, admin))};
}

describe('server', function () {
  let local: LocalSynapse;
  let api: AdminApi;
  /** Lets anybody in without a token, and has Synapse's own rate limits. */
  let openServer: LocalSynapse;
  /** Lets nobody in. */
  let closedServer: LocalSynapse;
  let operator: Operator;

  before(async function () {
    this.timeout(180_000);
    local = localSynapse(this);
    api = new AdminApi(local);
    [openServer, closedServer] = await Promise.all([
      startSynapse({serverName: 'open.test', openRegistration: true, rateLimits: true}),
      startSynapse({serverName: 'closed.test', noRegistration: true}),
    ]);
    for (const {accessToken, adminPassword} of [openServer, closedServer]) {
      secret(accessToken);
      secret(adminPassword);
    }
  });

  after(async function () {
    // Where there is no Synapse, none of them was started.
    const started = [openServer, closedServer] as (LocalSynapse | undefined)[];
    for (const one of started) await one?.stop();
  });

  beforeEach(function () {
    operator = new Operator();
  });

  /** A profile with a stored access token. */
  async function addServer(
    name: string,
    {url, accessToken}: {url: string; accessToken: string},
    ...flags: string[]
  ): Promise<void> {
    await operator.ok(['server', 'add', name, '--url', url, '--access-token-stdin', ...flags], {
      input: accessToken,
    });
  }

  describe('add', function () {
    it('--access-token-stdin keeps the access token, where only its owner can read it', async function () {
      const {stdout, stderr, code} = await operator.mxtok(
        ['server', 'add', 'main', '--url', `${local.url}/`, '--access-token-stdin', '--json'],
        {input: `${local.accessToken}\n`},
      );
      assert.equal(code, 0, stderr);
      const {url, serverName} = local;
      assert.deepEqual(JSON.parse(stdout), {server: 'main', url, server_name: serverName, default: true});
      assert.match(
        stderr,
        new RegExp(`${serverName} runs Synapse .*; @admin:${serverName} is a server admin`),
      );
      assert.equal(storedAccessToken(operator, 'main'), local.accessToken);
      assert.equal(statSync(`${operator.dir}/config/config.json`).mode & 0o777, 0o600);
      assert.equal(statSync(`${operator.dir}/config`).mode & 0o777, 0o700);
      await operator.ok(['list']);

      const shown = await operator.json<Shown>(['server', 'show', 'main']);
      assert.deepEqual(
        [shown['url'], shown['server_name'], shown['software'], shown['user_id'], shown['credential']],
        [url, serverName, 'synapse', `@admin:${serverName}`, 'stored'],
      );
      assert.equal(
        await operator.ok(['server', 'list']),
        `${['main', url, serverName, 'synapse', `@admin:${serverName}`, 'stored', true].join('\t')}\n`,
      );
    });

    it('--access-token-file reads the file at each run, and stores its path only', async function () {
      const file = `${operator.dir}/secret-access-token`;
      writeFileSync(file, `${local.accessToken}\n`, {mode: 0o600});
      await operator.ok(['server', 'add', 'main', '--url', local.url, '--access-token-file', file]);
      assert.equal(configOf(operator).servers['main']?.['access_token'], undefined);
      assert.equal(configOf(operator).servers['main']?.['access_token_file'], file);
      await operator.ok(['list']);
      writeFileSync(file, secret('syt_no_longer_good'));
      assert.equal((await operator.mxtok(['list'])).code, 4);
      writeFileSync(file, local.accessToken);
      await operator.ok(['list']);
    });

    it('--access-token-command runs the command at each run', async function () {
      const file = `${operator.dir}/secret-store`;
      writeFileSync(file, `${local.accessToken}\nuser: admin\n`, {mode: 0o600});
      const command = `cat '${file}'`;
      await operator.ok(['server', 'add', 'main', '--url', local.url, '--access-token-command', command]);
      await operator.ok(['list']);
      chmodSync(file, 0o600);
      writeFileSync(file, '');
      const failed = await operator.mxtok(['list', '--json']);
      assert.deepEqual([failed.code, errorCode(failed)], [4, 'no_credential']);
    });

    it('--user with --password-stdin logs in, and keeps the access token and not the password', async function () {
      const {name, password} = await newUser(local, true);
      await operator.ok(['server', 'add', 'main', '--url', local.url, '--user', name, '--password-stdin'], {
        input: `${password}\n`,
      });
      assert.equal(readFileSync(`${operator.dir}/config/config.json`, 'utf8').includes(password), false);
      assert.equal(await api.whoAmI(storedAccessToken(operator, 'main')), 200);
      await operator.ok(['list']);
      const [logged] = await operator.json<Shown[]>(['audit']);
      assert.deepEqual([logged?.['operation'], logged?.['outcome']], ['login', 'ok']);
    });

    it('takes a Unix socket, over which everything works that does over a port', async function () {
      const {name, password} = await newUser(local, true);
      const url = `unix:${local.socketPath}`;
      await operator.ok(['server', 'add', 'main', '--url', url, '--user', name, '--password-stdin'], {
        input: password,
      });
      const token = (await operator.ok(['create', '--uses', '1'])).trim();
      assert.equal((await api.get(token)).uses_allowed, 1);
      assert.equal((await operator.mxtok(['check', token])).code, 0);
      assert.equal((await operator.json<Shown>(['disable', token]))['confirmed_by'], 'validity');
      const {findings} = await operator.json<Diagnosis>(['server', 'doctor', '--url', url]);
      assert.equal(findings.find(({check}) => check === 'registration')?.result, 'ok');
      await operator.ok(['server', 'logout', 'main']);
    });

    it('takes a base URL with a path, and asks for nothing beside it', async function () {
      const proxy = await Proxy.start(local.url, {prefix: '/matrix/hs'});
      await addServer('main', {...local, url: `${proxy.url}/`});
      const token = (await operator.ok(['create', '--uses', '3'])).trim();
      await operator.ok(['update', token, '--uses', '2']);
      await operator.ok(['disable', token]);
      await operator.ok(['delete', '-y', token]);
      await operator.ok(['server', 'doctor', '--url', proxy.url]);
      assert.ok(proxy.exchanges.length > 10);
      assert.ok(proxy.exchanges.every(({path}) => path.startsWith('/matrix/hs/_')));
    });

    it('refuses the access token of somebody who is no server admin with exit 4, and saves nothing', async function () {
      const {name, accessToken} = await newUser(local, false);
      const result = await operator.mxtok(
        ['server', 'add', 'main', '--url', local.url, '--access-token-stdin', '--json'],
        {input: accessToken},
      );
      assert.deepEqual([result.code, errorCode(result)], [4, 'not_admin']);
      assert.match(result.stderr, new RegExp(`@${name}:.* is not a server admin`));
      assert.equal((await operator.mxtok(['server', 'show', 'main'])).code, 5);
    });

    it('refuses a wrong access token and a wrong password with exit 4', async function () {
      const token = await operator.mxtok(
        ['server', 'add', 'main', '--url', local.url, '--access-token-stdin', '--json'],
        {input: secret('syt_not_one_at_all')},
      );
      assert.deepEqual([token.code, errorCode(token)], [4, 'unauthorized']);
      const password = await operator.mxtok(
        ['server', 'add', 'main', '--url', local.url, '--user', 'admin', '--password-stdin', '--json'],
        {input: secret('not-the-password')},
      );
      assert.deepEqual([password.code, errorCode(password)], [4, 'unauthorized']);
      assert.equal(await operator.ok(['server', 'list']), '');
    });

    it('ends the session again where the password is right and the user no server admin', async function () {
      const {name, password} = await newUser(local, false);
      const proxy = await Proxy.start(local.url);
      const result = await operator.mxtok(
        ['server', 'add', 'main', '--url', proxy.url, '--user', name, '--password-stdin', '--json'],
        {input: password},
      );
      assert.deepEqual([result.code, errorCode(result)], [4, 'not_admin']);
      assert.deepEqual(
        proxy.of('POST').map(({path, status}) => [path, status]),
        [
          ['/_matrix/client/v3/login', 200],
          ['/_matrix/client/v3/logout', 200],
        ],
      );
      assert.equal(await operator.ok(['server', 'list']), '');
    });

    it('names all that is missing, and refuses a name that is taken', async function () {
      const missing = await operator.mxtok(['server', 'add']);
      assert.equal(missing.code, 2);
      for (const what of ['NAME', '--url', '--access-token-stdin', '--access-token-file', '--user']) {
        assert.ok(missing.stderr.includes(what), what);
      }

      await addServer('main', local);
      const taken = await operator.mxtok(
        ['server', 'add', 'main', '--url', local.url, '--access-token-stdin', '--json'],
        {input: local.accessToken},
      );
      assert.deepEqual([taken.code, errorCode(taken)], [6, 'already_exists']);
    });

    it('--no-verify asks nobody', async function () {
      const proxy = await Proxy.start(local.url);
      await addServer('main', {...local, url: proxy.url}, '--no-verify');
      assert.deepEqual(proxy.exchanges, []);
      const token = (await operator.ok(['create'])).trim();
      assert.equal(await api.count(token), 1);
    });
  });

  describe('login and logout', function () {
    it('login ends the access token that was stored before, and keeps the new one', async function () {
      const {name, password, accessToken: old} = await newUser(local, true);
      await addServer('main', {...local, accessToken: old});
      await operator.ok(['server', 'login', 'main', '--user', name, '--password-stdin'], {input: password});
      const renewed = storedAccessToken(operator, 'main');
      assert.notEqual(renewed, old);
      assert.deepEqual([await api.whoAmI(old), await api.whoAmI(renewed)], [401, 200]);
      await operator.ok(['list']);
    });

    it('login with a wrong password changes nothing', async function () {
      const {name, accessToken} = await newUser(local, true);
      await addServer('main', {...local, accessToken});
      const before = configOf(operator);
      const result = await operator.mxtok(
        ['server', 'login', 'main', '--user', name, '--password-stdin', '--json'],
        {input: secret('a-wrong-password')},
      );
      assert.deepEqual([result.code, errorCode(result)], [4, 'unauthorized']);
      assert.deepEqual(configOf(operator), before);
      assert.equal(await api.whoAmI(accessToken), 200);
      assert.equal((await operator.mxtok(['server', 'login', 'main'])).code, 2);
    });

    it('logout ends the access token on the homeserver and forgets it; login gets another', async function () {
      const {name, password, accessToken} = await newUser(local, true);
      await addServer('main', {...local, accessToken});
      await operator.ok(['server', 'logout', 'main']);
      assert.equal(await api.whoAmI(accessToken), 401);
      assert.equal(configOf(operator).servers['main']?.['access_token'], undefined);
      const listed = await operator.mxtok(['list', '--json']);
      assert.deepEqual([listed.code, errorCode(listed)], [4, 'no_credential']);
      assert.equal((await operator.mxtok(['server', 'logout', 'main'])).code, 4);
      await operator.ok(['server', 'login', 'main', '--user', name, '--password-stdin'], {input: password});
      await operator.ok(['list']);
      const log = await operator.json<Shown[]>(['audit']);
      assert.deepEqual(
        log.map(({operation, outcome}) => [operation, outcome]),
        [
          ['logout', 'ok'],
          ['login', 'ok'],
        ],
      );
    });

    it('logout leaves alone what comes from a file, and --local only forgets', async function () {
      const {accessToken} = await newUser(local, true);
      const file = `${operator.dir}/secret-access-token`;
      writeFileSync(file, accessToken, {mode: 0o600});
      await operator.ok(['server', 'add', 'main', '--url', local.url, '--access-token-file', file]);
      assert.equal((await operator.mxtok(['server', 'logout', 'main'])).code, 2);
      await operator.ok(['server', 'logout', 'main', '--local']);
      assert.equal(await api.whoAmI(accessToken), 200);
      assert.equal((await operator.mxtok(['list'])).code, 4);
    });
  });

  describe('update', function () {
    it('sends the access token to another host only with --keep-access-token', async function () {
      await addServer('main', local);
      const proxy = await Proxy.start(local.url);
      const refused = await operator.mxtok(['server', 'update', 'main', '--url', proxy.url, '--json']);
      assert.deepEqual([refused.code, errorCode(refused)], [2, 'usage']);
      assert.match(refused.stderr, /--keep-access-token/);
      assert.deepEqual(proxy.exchanges, []);
      assert.equal(configOf(operator).servers['main']?.['url'], local.url);

      await operator.ok(['server', 'update', 'main', '--url', proxy.url, '--keep-access-token']);
      assert.equal(configOf(operator).servers['main']?.['url'], proxy.url);
      await operator.ok(['list']);
      await operator.ok(['server', 'update', 'main', '--url', local.url, '--access-token-stdin'], {
        input: local.accessToken,
      });
      assert.equal(configOf(operator).servers['main']?.['url'], local.url);
    });

    it('saves nothing that does not work', async function () {
      await addServer('main', local);
      const before = configOf(operator);
      const wrong = await operator.mxtok(['server', 'update', 'main', '--access-token-stdin', '--json'], {
        input: secret('syt_some_wrong_one'),
      });
      assert.deepEqual([wrong.code, errorCode(wrong)], [4, 'unauthorized']);
      const other = ['server', 'update', 'main', '--url', openServer.url, '--keep-access-token', '--json'];
      assert.equal((await operator.mxtok(other)).code, 4);
      assert.equal((await operator.mxtok(['server', 'update', 'main'])).code, 2);
      assert.equal((await operator.mxtok(['server', 'update', 'nope', '--no-allow-http'])).code, 5);
      assert.deepEqual(configOf(operator), before);
    });

    it('replaces the way to the access token', async function () {
      await addServer('main', local);
      const file = `${operator.dir}/secret-access-token`;
      writeFileSync(file, local.accessToken, {mode: 0o600});
      await operator.ok(['server', 'update', 'main', '--access-token-file', file]);
      assert.equal(configOf(operator).servers['main']?.['access_token'], undefined);
      await operator.ok(['list']);
    });

    it('warns where the new address is that of another homeserver, whose labels are its own', async function () {
      await addServer('main', local);
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--label', 'of the first']);
      const {stderr, code} = await operator.mxtok(
        ['server', 'update', 'main', '--url', openServer.url, '--access-token-stdin'],
        {input: openServer.accessToken},
      );
      assert.equal(code, 0, stderr);
      assert.match(stderr, new RegExp(`main was for ${local.serverName} and is for open.test now`));
      await operator.ok(['create', '--token', token]);
      assert.equal((await operator.json<Shown>(['show', token]))['label'], null);
    });
  });

  describe('remove and default', function () {
    it('remove asks, keeps the labels, and they are there when the homeserver is added again', async function () {
      await addServer('main', local);
      const token = (await operator.ok(['create', '--label', 'kept'])).trim();
      assert.equal((await operator.mxtok(['server', 'remove', 'main'])).code, 2);
      await operator.ok(['server', 'remove', 'main', '--yes']);
      assert.equal(await operator.ok(['server', 'list']), '');
      assert.equal(await api.whoAmI(local.accessToken), 200);
      await addServer('again', local);
      assert.equal((await operator.json<Shown>(['show', token]))['label'], 'kept');
    });

    it('--purge removes the labels and the log of that homeserver, and of no other', async function () {
      await addServer('main', local);
      await addServer('open', openServer);
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--label', 'mine', '--server', 'main']);
      await operator.ok(['create', '--token', token, '--label', 'theirs', '--server', 'open']);

      await addServer('twin', local);
      const shared = await operator.mxtok(['server', 'remove', 'main', '--purge', '--yes']);
      assert.equal(shared.code, 2);
      assert.match(shared.stderr, /twin/);
      await operator.ok(['server', 'remove', 'twin', '--yes']);
      await operator.ok(['server', 'remove', 'main', '--purge', '--yes']);

      await addServer('main', local);
      assert.equal((await operator.json<Shown>(['show', token, '--server', 'main']))['label'], null);
      assert.equal((await operator.json<Shown>(['show', token, '--server', 'open']))['label'], 'theirs');
      const log = await operator.json<Shown[]>(['audit']);
      assert.deepEqual(
        log.map(({server_name, operation}) => [server_name, operation]),
        [['open.test', 'create']],
      );
    });

    it('the first is the default until another is; --server and MXTOK_SERVER come first', async function () {
      await addServer('main', local);
      await addServer('open', openServer);
      const used = async (flags: string[], env: Record<string, string> = {}): Promise<unknown> =>
        (await operator.json<Shown>(['create', ...flags], {env}))['server'];
      assert.equal(await operator.ok(['server', 'default']), 'main\n');
      assert.equal(await used([]), 'main');
      assert.equal(await used([], {MXTOK_SERVER: 'open'}), 'open');
      assert.equal(await used(['-s', 'main'], {MXTOK_SERVER: 'open'}), 'main');
      await operator.ok(['server', 'default', 'open']);
      assert.equal(await used([]), 'open');
      assert.equal((await operator.mxtok(['server', 'default', 'nope'])).code, 5);

      await operator.ok(['server', 'remove', 'open', '-y']);
      assert.equal(await used([]), 'main');
      await addServer('open', openServer);
      const unclear = await operator.mxtok(['list']);
      assert.equal(unclear.code, 2);
      assert.match(unclear.stderr, /main, open/);
    });
  });

  describe('several homeservers', function () {
    it('each have their own tokens and labels, also of the same name', async function () {
      await addServer('main', local);
      await addServer('open', openServer);
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--uses', '3', '--label', 'mine', '-s', 'main']);
      const missing = await operator.mxtok(['show', token, '-s', 'open', '--json']);
      assert.deepEqual([missing.code, errorCode(missing)], [5, 'no_such_token']);
      await operator.ok(['create', '--token', token, '--uses', '5', '--label', 'theirs', '-s', 'open']);
      await operator.ok(['disable', token, '-s', 'main']);
      const shown = await operator.json<Shown>(['show', token, '-s', 'open']);
      assert.deepEqual([shown['server'], shown['status'], shown['label']], ['open', 'valid', 'theirs']);
      const enabled = await operator.mxtok(['enable', token, '-s', 'open']);
      assert.match(enabled.stderr, /not disabled/);
      await operator.ok(['enable', token, '-s', 'main']);
      assert.equal((await api.get(token)).uses_allowed, 3);
      await operator.ok(['delete', '-y', token, '-s', 'open']);
      assert.equal((await operator.json<Shown>(['show', token, '-s', 'main']))['label'], 'mine');
    });

    it('nothing is changed where the address of a profile leads to another homeserver by now', async function () {
      const file = `${operator.dir}/secret-access-token`;
      writeFileSync(file, local.accessToken, {mode: 0o600});
      await operator.ok(['server', 'add', 'main', '--url', local.url, '--access-token-file', file]);
      const config = readFileSync(`${operator.dir}/config/config.json`, 'utf8');
      writeFileSync(`${operator.dir}/config/config.json`, config.replace(local.url, openServer.url));
      writeFileSync(file, openServer.accessToken);
      const token = uniqueToken();
      const result = await operator.mxtok(['create', '--token', token, '--json']);
      assert.deepEqual([result.code, errorCode(result)], [1, 'refused']);
      assert.match(result.stderr, new RegExp(`is for ${local.serverName}, but .*open.test`));
      assert.equal(await new AdminApi(openServer).count(token), 0);
    });

    it('disable confirms by the expiry where the homeserver limits how often it may be asked', async function () {
      await addServer('open', openServer);
      const tokens = Array.from({length: 8}, uniqueToken);
      for (const token of tokens) await operator.ok(['create', '--token', token, '--uses', '2']);
      const closed = await operator.json<Shown[]>(['disable', ...tokens]);
      assert.ok(closed.every(({status, accepted}) => status === 'disabled' && accepted === false));
      assert.deepEqual([...new Set(closed.map(({confirmed_by}) => confirmed_by))].sort(), [
        'expiry_time',
        'validity',
      ]);
      const openApi = new AdminApi(openServer);
      assert.deepEqual(
        await Promise.all(tokens.map((token) => openApi.room(token))),
        tokens.map(() => 0),
      );
    });
  });

  describe('doctor', function () {
    /** What it finds, with the exit code that goes with it. */
    async function diagnose(...argv: string[]): Promise<Diagnosis> {
      const {stdout, stderr, code} = await operator.mxtok(['server', 'doctor', ...argv, '--json']);
      const diagnosis = JSON.parse(stdout) as Diagnosis;
      assert.equal(code, faultsOf(diagnosis).length > 0 ? 9 : 0, stderr);
      return diagnosis;
    }

    function faultsOf({findings}: Diagnosis): string[] {
      return findings.filter(({result}) => result === 'fault').map(({check}) => check);
    }

    function messageOf({findings}: Diagnosis, check: string): string {
      return findings.find((finding) => finding.check === check)?.message ?? '';
    }

    it('finds tokens at 0 that are still accepted; once they are closed, all is well and it exits 0', async function () {
      await addServer('main', local);
      const token = uniqueToken();
      await api.create(token, {uses_allowed: 0});
      const diagnosis = await diagnose();
      assert.deepEqual(faultsOf(diagnosis), ['tokens']);
      assert.match(messageOf(diagnosis, 'tokens'), /at 0 uses .*still accepted/);

      const argv = [
        'list',
        '--status',
        'disabled',
        '--accepted',
        '--columns',
        'token',
        '--output',
        'tsv',
        '-q',
      ];
      const open = await operator.ok(argv);
      assert.ok(open.split('\n').includes(token));
      await operator.ok(['disable', '-'], {input: open});
      const healthy = await diagnose('main');
      assert.deepEqual(
        healthy.findings.map(({check, result}) => [check, result]),
        [
          'store',
          'credential',
          'reachable',
          'clock',
          'software',
          'registration',
          'user',
          'admin',
          'tokens',
          'audit',
        ].map((check) => [check, 'ok']),
      );
      assert.deepEqual([healthy.server, healthy.url], ['main', local.url]);

      const tsv = await operator.mxtok(['server', 'doctor']);
      assert.equal(tsv.code, 0);
      assert.deepEqual(
        tsv.stdout
          .trimEnd()
          .split('\n')
          .map((line) => line.split('\t')[1]),
        healthy.findings.map(() => 'ok'),
      );
      const table = await operator.mxtok(['server', 'doctor', '--output', 'table']);
      assert.equal(table.stdout.match(/^ok /gm)?.length, 10);
      assert.match(table.stderr, /All is well/);
    });

    it('finds that the access token is no server admin’s, or no good, or not there', async function () {
      const {accessToken} = await newUser(local, false);
      await addServer('member', {...local, accessToken}, '--no-verify');
      assert.deepEqual(faultsOf(await diagnose('member')), ['admin']);
      await addServer('wrong', {...local, accessToken: secret('syt_wrong_for_doctor')}, '--no-verify');
      assert.deepEqual(faultsOf(await diagnose('wrong')), ['user']);
      await operator.ok(['server', 'add', 'none', '--url', local.url, '--no-verify']);
      assert.deepEqual(faultsOf(await diagnose('none')), ['credential']);
    });

    it('finds registration that is open to all, or to nobody', async function () {
      await addServer('open', openServer);
      const open = await diagnose('open');
      assert.deepEqual(faultsOf(open), ['registration']);
      assert.match(messageOf(open, 'registration'), /open/);

      await addServer('closed', closedServer);
      const closed = await diagnose('closed');
      assert.deepEqual(faultsOf(closed), ['registration']);
      assert.match(messageOf(closed, 'registration'), /off/);

      // Where registration is off, a token is worth nothing, and disable knows by the expiry alone.
      const token = (await operator.ok(['create', '--uses', '2', '-s', 'closed'])).trim();
      const check = await operator.mxtok(['check', token, '-s', 'closed', '--json']);
      assert.equal(check.code, 9);
      assert.equal((JSON.parse(check.stdout) as Shown)['reason'], 'registration_disabled');
      const disabled = await operator.json<Shown>(['disable', token, '-s', 'closed']);
      assert.deepEqual([disabled['accepted'], disabled['confirmed_by']], [false, 'expiry_time']);
    });

    it('finds clocks that do not agree, of which every command warns', async function () {
      const proxy = await Proxy.start(local.url, {
        onAnswer: (_exchange, headers) => {
          headers.date = new Date(Date.parse(headers.date ?? '') + 600_000).toUTCString();
          return Promise.resolve();
        },
      });
      await addServer('main', {...local, url: proxy.url}, '-q');
      const diagnosis = await diagnose();
      assert.deepEqual(faultsOf(diagnosis), ['clock']);
      assert.match(messageOf(diagnosis, 'clock'), /behind/);
      const {code, stderr} = await operator.mxtok(['list', '--limit', '1']);
      assert.equal(code, 0);
      assert.match(stderr, /warning: the clock here is \d+ s behind the homeserver's/);
    });

    it('finds that nothing answers, or a web page in the place of the homeserver', async function () {
      const gone = createServer();
      await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
      const address = gone.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      await new Promise((resolve) => gone.close(resolve));
      await addServer('gone', {...local, url: `http://127.0.0.1:${port}`}, '--no-verify');
      const unreachable = await diagnose('gone');
      assert.deepEqual(faultsOf(unreachable), ['reachable']);
      assert.match(messageOf(unreachable, 'reachable'), /nothing listens/);

      const page = {status: 200, headers: {'content-type': 'text/html'}, body: '<!doctype html><p>Welcome'};
      const all = await Proxy.start(local.url, {instead: () => page});
      await addServer('page', {...local, url: all.url}, '--no-verify');
      const web = await diagnose('page');
      assert.deepEqual(faultsOf(web), ['reachable']);
      assert.match(messageOf(web, 'reachable'), /web page/);
      assert.ok(all.exchanges.every(({headers}) => headers.authorization === undefined));

      const part = await Proxy.start(local.url, {
        instead: ({path}) => (path.startsWith('/_synapse') ? {...page, status: 404} : undefined),
      });
      await addServer('part', {...local, url: part.url}, '--no-verify');
      const hidden = await diagnose('part');
      assert.deepEqual(faultsOf(hidden), ['software']);
      assert.match(messageOf(hidden, 'software'), /admin API is not at this address/);
    });

    it('--url looks at an address without a profile, and sends no credential', async function () {
      const proxy = await Proxy.start(local.url);
      const diagnosis = await diagnose('--url', proxy.url);
      assert.deepEqual(faultsOf(diagnosis), []);
      assert.equal(diagnosis.findings.find(({check}) => check === 'admin')?.result, 'skipped');
      assert.ok(proxy.exchanges.every(({headers}) => headers.authorization === undefined));
    });

    it('tells of an operation that was cut short', async function () {
      operator = await operatorOf(local);
      const token = uniqueToken();
      await api.create(token, {uses_allowed: 2});
      let kill = (): void => undefined;
      const proxy = await Proxy.start(local.url, {
        onAnswered: ({method}) => {
          if (method === 'PUT') kill();
        },
      });
      await operator.mxtok(['update', token, '--uses', '9'], {
        env: {MXTOK_URL: proxy.url, MXTOK_ACCESS_TOKEN: local.accessToken},
        onStart: (child) => {
          kill = () => child.kill('SIGKILL');
        },
      });
      const {findings} = await diagnose();
      assert.equal(findings.find(({check}) => check === 'audit')?.result, 'warning');
    });
  });
});
