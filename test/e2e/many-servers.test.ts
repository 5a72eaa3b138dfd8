/** Several homeservers at once: two real ones, and some that are gone, stalled, or none. */
import {strict as assert} from 'node:assert';
import type {ServerResponse} from 'node:http';

import {type LocalSynapse, startSynapse} from '../../scripts/synapse.ts';
import {SERVERS_AT_ONCE} from '../../src/lib/operations/each-server.ts';
import type {Profile} from '../../src/lib/store/profiles.ts';
import {AdminApi, type ApiLimits} from '../helpers/admin-api.ts';
import {Operator} from '../helpers/binary.ts';
import {
  type BrokenServer,
  closedPort,
  closeServers,
  httpServer,
  tcpServer,
} from '../helpers/broken-server.ts';
import {giveProfiles} from '../helpers/profiles.ts';
import {Proxy, type ProxyOptions} from '../helpers/proxy.ts';
import {assertRefused as assertUsage} from '../helpers/refusal.ts';
import {register} from '../helpers/registration.ts';
import {secret} from '../helpers/secrets.ts';
import {localSynapse, uniqueToken} from '../helpers/setup-e2e.ts';
import {onTerminal} from '../helpers/terminal.ts';

interface Row extends Record<string, unknown> {
  server: string;
  token?: string;
  error?: {code: string; server?: string};
}

/** The profiles that nothing good comes of, and what each is told to be. */
const BROKEN = {
  dead: 'unreachable',
  rubbish: 'not_matrix',
  stalled: 'timeout',
  stranger: 'unauthorized',
} as const;
const BROKEN_NAMES = Object.keys(BROKEN);

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, {'content-type': 'application/json'});
  response.end(JSON.stringify(body));
}

describe('several homeservers', function () {
  let first: LocalSynapse;
  let second: LocalSynapse;
  let apis: AdminApi[];
  let operator: Operator;
  /** What the names of this test's tokens begin with. */
  let prefix: string;
  let stalled: BrokenServer;

  before(async function () {
    this.timeout(180_000);
    first = localSynapse(this);
    second = await startSynapse({serverName: 'many.test'});
    secret(second.accessToken);
    secret(second.adminPassword);
    apis = [new AdminApi(first), new AdminApi(second)];
  });

  after(async function () {
    await (second as LocalSynapse | undefined)?.stop();
  });

  beforeEach(function () {
    operator = new Operator();
    prefix = uniqueToken();
  });

  afterEach(closeServers);

  function profileOf({url, accessToken, serverName}: LocalSynapse, over: Partial<Profile> = {}): Profile {
    return {url, access_token: accessToken, server_name: serverName, ...over};
  }

  /** `alpha` and `omega` are real; those in between are not. */
  async function giveAll(more: Record<string, Profile> = {}): Promise<void> {
    stalled = await tcpServer(() => undefined);
    const rubbish = await httpServer((_request, response) => {
      response.end('<html>welcome</html>');
    });
    const stranger = await httpServer((_request, response) => {
      json(response, 401, {errcode: 'M_UNKNOWN_TOKEN', error: 'Invalid access token passed.'});
    });
    giveProfiles(operator, {
      omega: profileOf(second),
      stranger: {url: stranger.url, access_token: 'wrong', server_name: 'stranger.test'},
      stalled: {url: stalled.url, access_token: 'any', defaults: {timeout: '2s'}},
      rubbish: {url: rubbish.url, access_token: 'any', server_name: 'rubbish.test'},
      dead: {url: `http://127.0.0.1:${await closedPort()}`, access_token: 'any'},
      alpha: profileOf(first),
      ...more,
    });
  }

  /** The same tokens on both: some are only on one. */
  async function makeTokens(limits: ApiLimits = {uses_allowed: 5}): Promise<void> {
    await Promise.all([
      apis[0]?.create(`${prefix}-a`, limits),
      apis[0]?.create(`${prefix}-both`, limits),
      apis[1]?.create(`${prefix}-both`, limits),
      apis[1]?.create(`${prefix}-z`, limits),
    ]);
  }

  const expected = (): [string, string][] => [
    ['alpha', `${prefix}-a`],
    ['alpha', `${prefix}-both`],
    ['omega', `${prefix}-both`],
    ['omega', `${prefix}-z`],
  ];

  function tokensIn(rows: readonly Row[]): [string, string][] {
    return rows.filter(({error}) => !error).map(({server, token}) => [server, token ?? '']);
  }

  /** That each that failed is told, by itself, and that it stopped no other. */
  async function assertEachDone(argv: string[], done: [string, string][]): Promise<Row[]> {
    const asJson = await operator.mxtok([...argv, '--all-servers', '--json']);
    assert.equal(asJson.code, 8, asJson.stderr);
    const rows = JSON.parse(asJson.stdout) as Row[];
    const failed = rows.filter(({error}) => error);
    assert.deepEqual(
      failed.map(({server, error}) => [server, error?.code, error?.server]),
      Object.entries(BROKEN).map(([server, code]) => [server, code, server]),
    );
    assert.deepEqual(tokensIn(rows), done);
    const {error} = JSON.parse(asJson.stderr.slice(asJson.stderr.indexOf('{\n'))) as {
      error: {message: string};
    };
    assert.match(error.message, /4 of 6 servers failed: dead, rubbish, stalled, stranger$/);
    return rows;
  }

  describe('of which some fail', function () {
    it('are listed, each row with its server, and exit 8 tells of the others', async function () {
      await giveAll();
      await makeTokens();
      await assertEachDone(['list', '--search', prefix], expected());
      const {code, stdout, stderr} = await operator.mxtok(['list', '--search', prefix, '--all-servers']);
      assert.equal(code, 8);
      const lines = stdout.trimEnd().split('\n');
      assert.deepEqual(
        lines.map((line) => line.split('\t').slice(0, 2)),
        expected(),
      );
      const told = [...stderr.matchAll(/^error: (\w+): /gm)].map(([, server]) => server);
      assert.deepEqual(told, BROKEN_NAMES, stderr);
      assert.match(stderr, /^error: 4 of 6 servers failed: /m);

      const csv = await operator.mxtok(['list', '--search', prefix, '--all-servers', '--output', 'csv']);
      assert.equal(csv.stdout.split('\r\n').length, 6, 'one header');
      const table = await operator.mxtok(['list', '--search', prefix, '--all-servers', '--output', 'table']);
      assert.match(table.stdout, /^SERVER +TOKEN/);
      assert.equal(table.stdout.trimEnd().split('\n').length, 5);
    });

    it('are shown, chosen or named', async function () {
      await giveAll();
      await makeTokens();
      const rows = await assertEachDone(['show', '--search', prefix], expected());
      assert.deepEqual(
        rows.map(({server}) => server),
        ['alpha', 'alpha', 'dead', 'omega', 'omega', 'rubbish', 'stalled', 'stranger'],
        'each in its place',
      );
      await assertEachDone(['show', `${prefix}-z`], [['omega', `${prefix}-z`]]);
    });

    it('are updated, disabled, and pruned', async function () {
      await giveAll();
      await makeTokens();
      await assertEachDone(['update', '--search', prefix, '--uses', '9', '--dry-run'], expected());
      await assertEachDone(['update', '--search', prefix, '--uses', '9', '--yes'], expected());
      assert.equal((await apis[1]?.get(`${prefix}-both`))?.uses_allowed, 9);

      await assertEachDone(['disable', '--search', prefix, '--yes'], expected());
      for (const [index, name] of [`${prefix}-both`, `${prefix}-z`].entries()) {
        const {url} = index === 0 ? first : second;
        assert.equal((await register(url, name)).refusal?.errcode, 'M_UNAUTHORIZED');
      }

      for (const [server, token] of expected())
        await operator.ok(['update', token, '--label', prefix, '--server', server]);
      await assertEachDone(['prune', '--label', prefix, '--include-disabled', '--dry-run'], expected());
      await assertEachDone(['prune', '--label', prefix, '--include-disabled', '--yes'], expected());
      for (const api of apis) {
        const left = (await api.list()).filter(({token}) => token.startsWith(prefix));
        assert.deepEqual(left, []);
      }
    });

    it('are examined by the doctor, which exits 9', async function () {
      await giveAll();
      const result = await operator.mxtok(['server', 'doctor', '--all-servers', '--json']);
      assert.equal(result.code, 9, result.stderr);
      const rows = JSON.parse(result.stdout) as {
        server: string;
        findings: {check: string; result: string}[];
      }[];
      assert.deepEqual(
        rows.map(({server}) => server),
        ['alpha', ...BROKEN_NAMES, 'omega'].sort(),
      );
      const faulty = rows.filter(({findings}) => findings.some(({result}) => result === 'fault'));
      // Other tests leave tokens at 0 on the Synapse that is shared.
      const names = faulty.map(({server}) => server).filter((name) => name !== 'alpha');
      assert.deepEqual(names, BROKEN_NAMES);

      const quiet = await operator.mxtok(['server', 'doctor', '-s', 'omega,dead', '--quiet']);
      assert.equal(quiet.code, 9);
      assert.ok(quiet.stdout.split('\n').every((line) => line === '' || line.startsWith('dead\t')));
      const well = await operator.mxtok(['server', 'doctor', '-s', 'omega,omega']);
      assert.equal(well.code, 0, well.stdout);
    });

    it('are told in the same order, whichever answers first', async function () {
      await makeTokens();
      // Each is answered when the other has been, in both orders.
      for (const late of [0, 1]) {
        let release = (): void => undefined;
        const other = new Promise<void>((resolve) => (release = resolve));
        const options = (index: number): ProxyOptions =>
          index === late
            ? {onAnswer: () => other}
            : {
                onAnswered: () => {
                  release();
                },
              };
        const proxies = await Promise.all(
          [first, second].map(({url}, index) => Proxy.start(url, options(index))),
        );
        await giveAll({
          alpha: profileOf(first, {url: proxies[0]?.url ?? ''}),
          omega: profileOf(second, {url: proxies[1]?.url ?? ''}),
        });
        await assertEachDone(['list', '--search', prefix], expected());
        await closeServers();
      }
    });
  });

  describe('--limit and --sort', function () {
    it('are over all of them', async function () {
      giveProfiles(operator, {alpha: profileOf(first), omega: profileOf(second)});
      await makeTokens();
      await apis[1]?.put(`${prefix}-both`, {uses_allowed: 2});
      await apis[0]?.put(`${prefix}-both`, {uses_allowed: 7});
      const rows = async (...flags: string[]): Promise<unknown[]> =>
        tokensIn(await operator.json<Row[]>(['list', '--search', prefix, '--all-servers', ...flags]));
      const [a, both, both2, z] = expected();
      assert.deepEqual(await rows('--sort', 'uses_allowed', '--limit', '3'), [both2, a, z]);
      assert.deepEqual(await rows('--sort=-uses_allowed', '--limit', '1'), [both]);
      assert.deepEqual(await rows('--sort', 'token'), [a, both, both2, z]);
      assert.deepEqual(await rows('--limit', '3'), [a, both, both2]);
      const order = await operator.json<Row[]>(['list', '-s', 'omega,alpha', '--search', prefix]);
      assert.deepEqual(tokensIn(order), expected());
    });
  });

  describe('of which two are one', function () {
    async function giveTwins(): Promise<Proxy[]> {
      const proxies = [await Proxy.start(first.url), await Proxy.start(first.url)];
      giveProfiles(operator, {
        one: profileOf(first, {url: proxies[0]?.url ?? ''}),
        two: profileOf(first, {url: proxies[1]?.url ?? ''}),
      });
      return proxies;
    }

    it('are changed once, which is told, and foretold', async function () {
      const proxies = await giveTwins();
      await makeTokens();
      const argv = ['disable', '--search', prefix, '--server', 'one,two', '--json'];
      const dry = await operator.mxtok([...argv, '--dry-run']);
      assert.equal(dry.code, 0, dry.stderr);
      const told = expected()
        .slice(0, 2)
        .map(([, token]) => ['one', token]);
      assert.deepEqual(tokensIn(JSON.parse(dry.stdout) as Row[]), told);
      const run = await operator.mxtok([...argv, '--yes']);
      assert.equal(run.code, 0, run.stderr);
      assert.deepEqual(tokensIn(JSON.parse(run.stdout) as Row[]), told);
      assert.match(run.stderr, /^two is the same homeserver as one, so it is done once\.$/m);
      const [changed = 0, other = 0] = proxies.map((proxy) => proxy.of('PUT').length);
      assert.ok(changed > 0);
      assert.equal(other, 0);
    });

    it('get one new token from rotate', async function () {
      await giveTwins();
      const rows = await operator.json<Row[]>(['rotate', '--label', prefix, '--all-servers']);
      assert.equal(rows.length, 1);
      const listed = await operator.json<Row[]>(['list', '--label', prefix, '--server', 'one']);
      assert.deepEqual(
        listed.map(({token}) => token),
        [rows[0]?.token],
      );
    });

    it('are both listed', async function () {
      await giveTwins();
      await makeTokens();
      const rows = await operator.json<Row[]>(['list', '--search', prefix, '--all-servers']);
      assert.deepEqual(
        rows.map(({server}) => server),
        ['one', 'one', 'two', 'two'],
      );
    });

    it('are no reason to miss one of them that is gone', async function () {
      giveProfiles(operator, {
        gone: profileOf(first, {url: `http://127.0.0.1:${await closedPort()}`}),
        here: profileOf(first),
      });
      await makeTokens();
      const {code, stdout} = await operator.mxtok([
        ...['update', '--search', prefix, '--uses', '8', '--yes', '--all-servers', '--json'],
      ]);
      assert.equal(code, 8);
      assert.deepEqual(
        (JSON.parse(stdout) as Row[]).map(({server, error}) => [server, error?.code]),
        [
          ['gone', 'unreachable'],
          ['here', undefined],
          ['here', undefined],
        ],
      );
    });
  });

  describe('one of which never answers', function () {
    it('has a time limit of its own, and one that is slower than that is waited for', async function () {
      await makeTokens();
      // The slow one answers only once the other has been given up.
      let givenUp = (): void => undefined;
      const end = new Promise<void>((resolve) => (givenUp = resolve));
      stalled = await tcpServer((socket) => {
        socket.on('close', givenUp);
        socket.resume();
      });
      const slow = await Proxy.start(second.url, {onAnswer: () => end});
      giveProfiles(operator, {
        alpha: profileOf(first),
        omega: profileOf(second, {url: slow.url, defaults: {timeout: '90s'}}),
        stalled: {url: stalled.url, access_token: 'any', server_name: 's.test', defaults: {timeout: '1s'}},
      });
      const {code, stdout, stderr} = await operator.mxtok([
        ...['list', '--search', prefix, '--all-servers', '--json'],
      ]);
      assert.equal(code, 8, stderr);
      const rows = JSON.parse(stdout) as Row[];
      assert.deepEqual(tokensIn(rows), expected());
      assert.deepEqual(
        rows.filter(({error}) => error).map(({server, error}) => [server, error?.code]),
        [['stalled', 'timeout']],
      );
      assert.equal(stalled.connections, 1, 'it is not asked again');
    });

    it('is ended by Ctrl-C, which exits 130', async function () {
      for (const argv of [
        ['list'],
        ['show', '--all'],
        ['update', '--search', prefix, '--uses', '3', '--yes'],
        ['server', 'doctor'],
      ]) {
        let came = (): void => undefined;
        stalled = await tcpServer(() => {
          came();
        });
        giveProfiles(operator, {
          alpha: profileOf(first),
          stalled: {url: stalled.url, access_token: 'any', defaults: {timeout: '90s'}},
        });
        const {code, stderr} = await operator.mxtok([...argv, '--all-servers'], {
          onStart: (child) => {
            came = () => child.kill('SIGINT');
          },
        });
        assert.equal(code, 130, `${argv.join(' ')}: ${stderr}`);
      }
    });
  });

  describe('that are named', function () {
    it('must all be known: else exit 5, and nothing is sent to any', async function () {
      const proxy = await Proxy.start(first.url);
      giveProfiles(operator, {alpha: profileOf(first, {url: proxy.url})}, 'alpha');
      const says = /there is no server profile "nowhere", nor "never"; nothing was sent/;
      for (const argv of [
        ['list'],
        ['show', 'abc'],
        ['prune', '--yes'],
        ['rotate', '--label', 'x'],
        ['disable', 'abc'],
        ['update', 'abc', '--uses', '1'],
        ['server', 'doctor'],
      ]) {
        const server = ['--server', 'alpha,nowhere,never'];
        await assertUsage(operator, [...argv, ...server], {code: 5, is: 'no_such_server', says});
      }

      assert.deepEqual(proxy.exchanges, []);
      await assertUsage(operator, ['create', '--server', 'alpha,alpha'], {says: /one homeserver at a time/});
      await assertUsage(operator, ['list', '--server', 'alpha', '--all-servers'], {says: /cannot also be/});
    });

    it('none of them, there is nothing to ask', async function () {
      await assertUsage(operator, ['list', '--all-servers'], {
        code: 5,
        is: 'no_such_server',
        says: /no homeserver is known yet/,
      });
    });

    it('find where a token is', async function () {
      giveProfiles(operator, {alpha: profileOf(first), omega: profileOf(second)});
      await makeTokens();
      const where = async (...tokens: string[]): Promise<[string, string][]> =>
        tokensIn(await operator.json<Row[]>(['show', ...tokens, '--all-servers']));
      const [a, both, both2, z] = expected();
      assert.deepEqual(await where(`${prefix}-z`), [z]);
      assert.deepEqual(await where(`${prefix}-both`), [both, both2]);
      assert.deepEqual(await where(`${prefix}-z`, `${prefix}-a`), [a, z]);

      const nowhere = uniqueToken();
      await assertUsage(operator, ['show', nowhere, '--all-servers'], {
        code: 5,
        is: 'no_such_token',
        says: new RegExp(`there is no registration token ${nowhere} on any server`),
      });
      const some = await operator.mxtok(['show', nowhere, `${prefix}-a`, '--all-servers', '--json']);
      assert.equal(some.code, 8);
      const rows = JSON.parse(some.stdout) as Row[];
      assert.deepEqual(tokensIn(rows), [a]);
      assert.deepEqual(
        rows.filter(({error}) => error).map(({token, error}) => [token, error?.code]),
        [[nowhere, 'no_such_token']],
      );
    });

    it('are asked about together on a terminal', async function () {
      giveProfiles(operator, {alpha: profileOf(first), omega: profileOf(second)});
      await makeTokens();
      const argv = ['disable', '--search', prefix, '--all-servers'];
      const question = 'Disable 4 tokens on alpha, omega\\?';
      const no = await onTerminal(operator, argv, [[question, 'n\r']]);
      assert.equal(no.code, 3, no.shown);
      assert.equal((await apis[0]?.get(`${prefix}-a`))?.uses_allowed, 5);
      const yes = await onTerminal(operator, argv, [[question, 'y\r']]);
      assert.equal(yes.code, 0, yes.shown);
      for (const [index, api] of apis.entries())
        assert.equal((await api.get(`${prefix}-both`)).uses_allowed, 0, String(index));
    });
  });

  describe('that are very many', function () {
    const COUNT = 300;

    interface Crowd {
      profiles: Record<string, Profile>;
      /** Requests under way at once, at most. */
      most: () => number;
      deleted: Set<string>;
    }

    /**
     * As much of a homeserver as is asked here. None answers before so many are asked as may be, and another run has
     * come to its end: whoever could be asked too has been by then.
     */
    async function makeCrowd(): Promise<Crowd> {
      const deleted = new Set<string>();
      const asked = new Set<string>();
      let most = 0;
      let enough = (): void => undefined;
      const gate = new Promise<void>((resolve) => (enough = resolve)).then(() => operator.ok(['--version']));
      const profiles: Record<string, Profile> = {};
      for (let index = 0; index < COUNT; index++) {
        const name = `s${String(index).padStart(3, '0')}`;
        const token = {token: `t-${name}`, uses_allowed: 1, pending: 0, completed: 1, expiry_time: null};
        const server = await httpServer((request, response) => {
          asked.add(name);
          most = Math.max(most, asked.size);
          if (asked.size === SERVERS_AT_ONCE) enough();
          const answer = (): void => {
            asked.delete(name);
            if (request.method === 'DELETE') deleted.add(name);
            const body = request.url?.endsWith('/whoami')
              ? {user_id: `@admin:${name}.test`}
              : {registration_tokens: [token]};
            // One in ten is out of order.
            if (index % 10 === 9) json(response, 500, {errcode: 'M_UNKNOWN', error: 'out of order'});
            else json(response, 200, body);
          };
          gate.then(answer, () => response.destroy());
        });
        profiles[name] = {url: server.url, access_token: 'any', server_name: `${name}.test`};
      }

      return {profiles, most: () => most, deleted};
    }

    it('are worked on together, and no more at once than can be', async function () {
      const crowd = await makeCrowd();
      giveProfiles(operator, crowd.profiles);
      const {code, stdout, stderr} = await operator.mxtok(['list', '--all-servers', '--json']);
      assert.equal(code, 8, stderr);
      assert.equal(crowd.most(), SERVERS_AT_ONCE);
      const rows = JSON.parse(stdout) as Row[];
      assert.equal(rows.length, COUNT);
      const good = Object.keys(crowd.profiles).filter((name) => !name.endsWith('9'));
      assert.deepEqual(
        tokensIn(rows).map(([server]) => server),
        good,
      );
      assert.equal(rows.filter(({error}) => error?.code === 'server_error').length, COUNT / 10);
      assert.match(stderr, /30 of 300 servers failed: s009, s019, /);
    });

    it('are changed together, and no more at once than can be', async function () {
      const crowd = await makeCrowd();
      giveProfiles(operator, crowd.profiles);
      const {code, stdout, stderr} = await operator.mxtok(['prune', '--all-servers', '--yes', '--json']);
      assert.equal(code, 8, stderr);
      assert.equal(crowd.most(), SERVERS_AT_ONCE);
      assert.equal(crowd.deleted.size, COUNT - COUNT / 10);
      assert.equal((JSON.parse(stdout) as Row[]).filter(({error}) => !error).length, crowd.deleted.size);
    });
  });
});
