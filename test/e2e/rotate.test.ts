/** A token that changes every week: the new one first, the old ones truly closed, whatever happens in between. */
import {strict as assert} from 'node:assert';
import {existsSync, mkdirSync, readdirSync, renameSync, rmdirSync} from 'node:fs';
import {join} from 'node:path';

import {type LocalSynapse, startSynapse} from '../../scripts/synapse.ts';
import {AdminApi} from '../helpers/admin-api.ts';
import type {BinaryResult, Operator} from '../helpers/binary.ts';
import {closedPort} from '../helpers/broken-server.ts';
import {giveProfiles} from '../helpers/profiles.ts';
import {type Exchange, Proxy, type ProxyOptions} from '../helpers/proxy.ts';
import {assertRefused as assertUsage} from '../helpers/refusal.ts';
import {register} from '../helpers/registration.ts';
import {secret} from '../helpers/secrets.ts';
import {localSynapse, operatorOf, synapse, type TestSynapse, uniqueToken} from '../helpers/setup-e2e.ts';

type Shown = Record<string, unknown> & {token: string};

interface Rotated extends Shown {
  created: boolean;
  disabled: string[];
  failed: {token: string; error: {code: string}}[];
  error?: {code: string; token: string};
}

const WEEK = 7 * 86_400_000;
const EXPIRY = '2034-05-06T07:08:09.123Z';

async function assertRefused(url: string, token: string): Promise<void> {
  const {userId, refusal} = await register(url, token);
  assert.equal(userId, undefined, `${token} let somebody in`);
  assert.equal(refusal.errcode, 'M_UNAUTHORIZED');
}

async function assertAccepted(url: string, token: string): Promise<void> {
  const {userId, refusal} = await register(url, token);
  assert.notEqual(userId, undefined, `${token} is refused: ${refusal?.error ?? ''}`);
}

/** What failed within a homeserver. */
function fault(status: number, errcode: string): {status: number; body: string} {
  return {status, body: JSON.stringify({errcode, error: 'it was meant to fail'})};
}

function isCreate({method, path}: Exchange): boolean {
  return method === 'POST' && path.endsWith('/registration_tokens/new');
}

function isList({method, path}: Exchange): boolean {
  return method === 'GET' && path.endsWith('/registration_tokens');
}

describe('rotate', function () {
  let server: TestSynapse;
  let api: AdminApi;
  let operator: Operator;
  let label: string;

  before(function () {
    server = synapse(this);
    api = new AdminApi(server);
  });

  beforeEach(async function () {
    operator = await operatorOf(server);
    label = `weekly ${uniqueToken()}`;
  });

  /** Somebody's tokens of a label, made a week after one another, by the homeserver's clock; the last is the newest. */
  async function oldTokens(count: number, of = label): Promise<string[]> {
    const tokens: string[] = [];
    let weeks = count;
    const {proxy, env} = await through({
      onAnswer: (_exchange, headers) => {
        headers.date = new Date(Date.now() - weeks * WEEK).toUTCString();
        return Promise.resolve();
      },
    });
    for (; weeks > 0; weeks--)
      tokens.push((await operator.ok(['create', '--uses', '20', '--label', of], {env})).trim());
    proxy.close();
    return tokens;
  }

  /** The same operator with a proxy on the way. */
  async function through(options: ProxyOptions): Promise<{proxy: Proxy; env: Record<string, string>}> {
    const proxy = await Proxy.start(server.url, options);
    return {proxy, env: {MXTOK_URL: proxy.url, MXTOK_ACCESS_TOKEN: server.accessToken}};
  }

  /** Those of the label that the homeserver takes, by its own rule. */
  async function openTokens(of = label): Promise<string[]> {
    const known = await operator.json<Shown[]>(['list', '--label', of]);
    const rooms = await Promise.all(known.map(({token}) => api.room(token)));
    return known.flatMap(({token}, index) => ((rooms[index] ?? 0) > 0 ? [token] : []));
  }

  /** The lock of the rotation that is under way. */
  function lockOfRun(): string {
    const directory = join(operator.dir, 'config', 'metadata');
    const name = readdirSync(directory).find((one) => /\.rotation-[0-9a-f]+\.lock$/.test(one));
    return join(directory, name ?? assert.fail('no rotation is under way'));
  }

  /** Another run takes it for dead; its lock is made first, so that it cannot get the inode of the old one. */
  function takeOver(lock: string): void {
    mkdirSync(`${lock}.other`);
    rmdirSync(lock);
    renameSync(`${lock}.other`, lock);
  }

  function argvOf(...flags: string[]): string[] {
    return ['rotate', '--label', label, '--uses', '20', '--expiry', EXPIRY, ...flags];
  }

  it('prints the new token alone on a pipe, which people register with; the older ones let nobody in', async function () {
    const old = await oldTokens(2);
    const {stdout, stderr, code} = await operator.mxtok(argvOf('--note', 'this week'));
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^[A-Za-z0-9]{16}\n$/);
    const token = stdout.trim();
    for (const one of old) {
      assert.match(stderr, new RegExp(`^Disabled in its place: .*${one}`, 'm'));
      await assertRefused(server.url, one);
    }

    await assertAccepted(server.url, token);
    assert.deepEqual(await openTokens(), [token]);
    const shown = await operator.json<Shown>(['show', token]);
    assert.deepEqual(
      [shown['label'], shown['note'], shown['uses_allowed'], shown['expires_at']],
      [label, 'this week', 20, EXPIRY],
    );
    // The first of a label has none to take the place of; with --quiet there is but the token.
    const first = await operator.mxtok(['rotate', '--label', `${label} 2`, '--quiet']);
    assert.deepEqual([first.code, first.stderr], [0, '']);
    assert.match(first.stdout, /^[A-Za-z0-9]{16}\n$/);
  });

  it('makes the new one before it touches an old one', async function () {
    await oldTokens(1);
    const {proxy, env} = await through({});
    await operator.ok(argvOf(), {env});
    const changes = proxy.exchanges.filter(({method}) => method !== 'GET');
    assert.equal(changes.findIndex(isCreate), 0);
    assert.equal(changes.filter(isCreate).length, 1);
    assert.ok(changes.length > 2);
  });

  it('tells all of it with --json', async function () {
    const old = await oldTokens(2);
    const rotated = await operator.json<Rotated>(argvOf());
    assert.deepEqual(rotated.disabled.toSorted(), old.toSorted());
    assert.deepEqual([rotated.created, rotated.failed, rotated['label']], [true, [], label]);
    assert.deepEqual(await openTokens(), [rotated.token]);
  });

  it('--keep 2 leaves the newest of the older ones open, and closes the rest', async function () {
    const [first = '', second = '', third = ''] = await oldTokens(3);
    const token = (await operator.ok(argvOf('--keep', '2'))).trim();
    assert.deepEqual(await openTokens(), [third, token].sort());
    await assertRefused(server.url, first);
    await assertRefused(server.url, second);
    await assertAccepted(server.url, third);
    await assertUsage(operator, argvOf('--keep', '0'), {says: /--keep takes a number from 1/});
  });

  it('leaves tokens of every other label alone, and those of none', async function () {
    const others = await Promise.all(
      [`${label}2`, label.toUpperCase(), `${label}*`, '*', label.slice(0, -1)].map(async (of) => {
        return (await oldTokens(1, of))[0] ?? '';
      }),
    );
    others.push((await operator.ok(['create'])).trim());
    const before = await Promise.all(others.map((token) => api.get(token)));
    // As a glob, it would be the label of them all.
    await operator.ok(['rotate', '--label', `${label}*`, '--keep', '2']);
    await operator.ok(['rotate', '--label', '*', '--keep', '2']);
    await oldTokens(1);
    await operator.ok(argvOf());
    assert.deepEqual(await Promise.all(others.map((token) => api.get(token))), before);
  });

  it('closes also what another tool has set to 0 uses, which people register with', async function () {
    const [old = ''] = await oldTokens(1);
    await api.put(old, {uses_allowed: 0});
    await assertAccepted(server.url, old);
    await operator.ok(argvOf('--keep', '2'));
    await assertRefused(server.url, old);
  });

  it('--dry-run tells what it would make and close, and changes nothing; that is done then', async function () {
    const old = await oldTokens(3);
    const {proxy, env} = await through({});
    const argv = argvOf('--keep', '2', '--dry-run');
    const [made, ...closed] = await operator.json<(Shown & {action: string})[]>(argv, {env});
    assert.deepEqual(
      [made?.token, made?.action, made?.['uses_allowed'], made?.['expires_at'], made?.['label']],
      ['', 'create', 20, EXPIRY, label],
    );
    assert.deepEqual(
      closed.map(({token, action}) => [token, action]).sort(),
      [old[0], old[1]].map((token) => [token, 'disable']).sort(),
    );
    const {stdout, stderr, code} = await operator.mxtok(argv, {env});
    assert.equal(code, 0);
    assert.equal(stdout.split('\n').length, 4);
    assert.match(
      stderr,
      /^3 tokens would be created or disabled, the new one first; nothing was changed\.$/m,
    );
    const table = await operator.ok([...argv, '--output', 'table'], {env});
    assert.match(table.split('\n')[1] ?? '', /^\(new\) .*\bcreate\b/);
    assert.ok(proxy.exchanges.every(({method}) => method === 'GET'));
    assert.deepEqual(await openTokens(), old.toSorted());
    const {disabled} = await operator.json<Rotated>(argvOf('--keep', '2'));
    assert.deepEqual(disabled.toSorted(), closed.map(({token}) => token).sort());
  });

  it('takes the standing settings for what is not given', async function () {
    await operator.ok(['server', 'update', 'main', '--default-uses', '4', '--default-words', '3']);
    const own = await operator.json<Rotated>(['rotate', '--label', label], {
      env: {MXTOK_EXPIRY: EXPIRY},
    });
    assert.deepEqual([own['uses_allowed'], own['expires_at']], [4, EXPIRY]);
    assert.match(own.token, /^(?:[A-Z][a-z-]+){3}$/);
    const given = await operator.json<Rotated>(argvOf('--length', '40'));
    assert.deepEqual([given['uses_allowed'], given.token.length], [20, 40]);
  });

  describe('where something fails', function () {
    const failures: {title: string; instead: ProxyOptions['instead']; code: number}[] = [
      {
        title: 'the homeserver cannot make the new one',
        instead: (exchange) => (isCreate(exchange) ? fault(500, 'M_UNKNOWN') : undefined),
        code: 7,
      },
      {
        title: 'the homeserver refuses to make the new one',
        instead: (exchange) => (isCreate(exchange) ? fault(403, 'M_FORBIDDEN') : undefined),
        code: 4,
      },
      {
        title: 'the connection is cut while the new one is made',
        instead: (exchange) => (isCreate(exchange) ? 'cut' : undefined),
        code: 7,
      },
      {
        title: 'the homeserver does not list its tokens',
        instead: ({path}) => (path.endsWith('/registration_tokens') ? fault(500, 'M_UNKNOWN') : undefined),
        code: 7,
      },
    ];

    for (const {title, instead, code} of failures) {
      it(`before the new one exists, nothing is closed: ${title}`, async function () {
        const old = await oldTokens(2);
        const before = await Promise.all(old.map((token) => api.get(token)));
        const {proxy, env} = await through({...(instead && {instead})});
        const result = await operator.mxtok(argvOf(), {env});
        assert.deepEqual([result.code, result.stdout], [code, ''], result.stderr);
        assert.deepEqual([proxy.of('PUT'), proxy.of('DELETE')], [[], []]);
        assert.deepEqual(await Promise.all(old.map((token) => api.get(token))), before);
        assert.deepEqual(await openTokens(), old.toSorted());
        await assertAccepted(server.url, old[0] ?? '');
      });
    }

    it('afterwards, the new one is printed, exit 8 tells so, and the next run closes the rest', async function () {
      const old = await oldTokens(2);
      const instead: ProxyOptions['instead'] = ({method}) =>
        method === 'PUT' ? fault(500, 'M_UNKNOWN') : undefined;
      const {env} = await through({instead});
      const {code, stdout, stderr} = await operator.mxtok(argvOf(), {env});
      assert.equal(code, 8, stderr);
      assert.match(stdout, /^[A-Za-z0-9]{16}\n$/);
      for (const token of old) assert.match(stderr, new RegExp(`^error: .*${token}`, 'm'));
      const first = stdout.trim();
      assert.deepEqual(await openTokens(), [...old, first].sort());

      const json = await operator.mxtok(argvOf('--json'), {env});
      assert.equal(json.code, 8);
      const rotated = JSON.parse(json.stdout) as Rotated;
      assert.deepEqual(rotated.failed.map(({token}) => token).sort(), [...old, first].sort());
      assert.deepEqual(rotated.disabled, []);
      assert.ok(rotated.failed.every(({error}) => error.code === 'server_error'));

      const last = (await operator.ok(argvOf())).trim();
      assert.deepEqual(await openTokens(), [last]);
      await assertRefused(server.url, first);
      for (const token of old) await assertRefused(server.url, token);
    });

    const interruptions: {title: string; options: (interrupt: () => void) => ProxyOptions}[] = [
      {
        title: 'closes an old one',
        options: (interrupt) => ({
          instead: ({method}) => {
            if (method !== 'PUT') return undefined;
            interrupt();
            return 'silence';
          },
        }),
      },
      {
        title: 'waits for an old one to be over',
        options: (interrupt) => ({
          onAnswer: ({method}, headers) => {
            // With its clock put back, there is long to wait.
            if (method === 'PUT') headers.date = new Date(Date.now() - 600_000).toUTCString();
            return Promise.resolve();
          },
          onAnswered: ({method}) => {
            if (method === 'PUT') interrupt();
          },
        }),
      },
    ];

    for (const {title, options} of interruptions) {
      it(`and it is interrupted while it ${title}, the new one is printed all the same`, async function () {
        await oldTokens(1);
        let interrupt = (): void => undefined;
        const {env} = await through(
          options(() => {
            interrupt();
          }),
        );
        const {code, stdout, stderr} = await operator.mxtok(argvOf(), {
          env,
          onStart: (child) => {
            interrupt = () => child.kill('SIGINT');
          },
        });
        assert.equal(code, 130, stderr);
        assert.match(stdout, /^[A-Za-z0-9]{16}\n$/);
        assert.ok((await openTokens()).includes(stdout.trim()));
      });
    }

    it('before the new one exists: another run has taken it for dead, and it makes none', async function () {
      const old = await oldTokens(1);
      const {proxy, env} = await through({
        onAnswer: (exchange) => {
          if (isList(exchange)) takeOver(lockOfRun());
          return Promise.resolve();
        },
      });
      const {code, stdout, stderr} = await operator.mxtok(argvOf(), {env});
      assert.deepEqual([code, stdout], [1, ''], stderr);
      assert.match(stderr, /^error: another mxtok took over .* nothing was written$/m);
      assert.equal(proxy.exchanges.filter(isCreate).length, 0);
      assert.deepEqual(await openTokens(), old);
      assert.ok(existsSync(lockOfRun()), 'the lock is the other one’s');
    });

    it('afterwards, as another run has taken it for dead: the new one is printed, and exit 8 tells so', async function () {
      const {env} = await through({
        onAnswer: (exchange) => {
          if (isCreate(exchange)) takeOver(lockOfRun());
          return Promise.resolve();
        },
      });
      const {code, stdout, stderr} = await operator.mxtok(argvOf(), {env});
      assert.equal(code, 8, stderr);
      const token = stdout.trim();
      assert.deepEqual(await openTokens(), [token]);
      assert.match(stderr, new RegExp(`^error: the new token ${token} exists, .*may be open still$`, 'm'));
      assert.match(stderr, /Run again .*mxtok disable/);

      rmdirSync(lockOfRun());
      const json = await operator.mxtok(argvOf('--json'), {env});
      assert.equal(json.code, 8, json.stderr);
      const rotated = JSON.parse(json.stdout) as Rotated;
      assert.deepEqual([rotated.disabled, rotated.failed], [[], []]);
      assert.deepEqual([rotated.error?.code, rotated.error?.token], ['store', rotated.token]);
      assert.deepEqual(await openTokens(), [token, rotated.token].sort(), 'left to the other run');
    });

    const kills: {title: string; options: (kill: () => void) => ProxyOptions}[] = [
      {
        title: 'after the new one is made and before an old one is closed',
        options: (kill) => ({
          instead: ({method}) => {
            if (method !== 'PUT') return undefined;
            kill();
            return 'silence';
          },
        }),
      },
      {
        title: 'before it is told that the new one was made',
        options: (kill) => ({
          onAnswer: (exchange) => {
            // The answer is never passed on.
            if (!isCreate(exchange)) return Promise.resolve();
            kill();
            return new Promise(() => undefined);
          },
        }),
      },
      {
        title: 'between the steps that close the old ones',
        options: (kill) => ({
          onAnswered: ({method, status}) => {
            if (method === 'PUT' && status === 200) kill();
          },
        }),
      },
    ];

    for (const {title, options} of kills) {
      it(`and it is killed ${title}, the next run ends with one open`, async function () {
        const old = await oldTokens(2);
        let kill = (): void => undefined;
        const {env} = await through(
          options(() => {
            kill();
          }),
        );
        const {signal, stdout} = await operator.mxtok(argvOf(), {
          env,
          onStart: (child) => {
            kill = () => child.kill('SIGKILL');
          },
        });
        assert.deepEqual([signal, stdout], ['SIGKILL', '']);
        assert.notDeepEqual(await openTokens(), [], 'never none');
        const token = (await operator.ok(argvOf())).trim();
        assert.deepEqual(await openTokens(), [token]);
        await assertAccepted(server.url, token);
        for (const one of old) await assertRefused(server.url, one);
      });
    }
  });

  describe('twice at once', function () {
    it('makes one token, which both print, and which alone is open then: ten times', async function () {
      this.timeout(300_000);
      for (let round = 1; round <= 10; round++) {
        const of = `${label} ${round}`;
        const [old = ''] = await oldTokens(1, of);
        // The first to make one is held up until both have come as far.
        let asked = 0;
        let bothAreThere = (): void => undefined;
        const both = new Promise<void>((resolve) => (bothAreThere = resolve));
        const {proxy, env} = await through({
          onAnswer: async (exchange) => {
            if (exchange.path.endsWith('/whoami') && ++asked === 2) bothAreThere();
            if (isCreate(exchange)) await both;
          },
        });
        const argv = ['rotate', '--label', of, '--uses', '20', '--expiry', '8d', '--json'];
        const results = await Promise.all([operator.mxtok(argv, {env}), operator.mxtok(argv, {env})]);
        const rotated = results.map(({code, stdout, stderr}: BinaryResult) => {
          assert.equal(code, 0, stderr);
          return JSON.parse(stdout) as Rotated;
        });
        const [one, other] = rotated;
        assert.equal(one?.token, other?.token, `round ${round}`);
        assert.deepEqual(rotated.map(({created}) => created).sort(), [false, true]);
        assert.equal(proxy.exchanges.filter(isCreate).length, 1);
        assert.deepEqual(await openTokens(of), [one?.token], `round ${round}`);
        await assertRefused(server.url, old);
      }
    });

    it('prints the same also where one reaches the homeserver when the other has ended', async function () {
      const [old = ''] = await oldTokens(1);
      let asked = 0;
      let oneHasEnded = (): void => undefined;
      const ended = new Promise<void>((resolve) => (oneHasEnded = resolve));
      let bothHaveBegun = (): void => undefined;
      const begun = new Promise<void>((resolve) => (bothHaveBegun = resolve));
      const {proxy, env} = await through({
        onAnswer: async ({path}) => {
          if (!path.endsWith('/whoami')) return;
          if (++asked === 1) return begun;
          bothHaveBegun();
          await ended;
        },
      });
      const run = async (): Promise<BinaryResult> => {
        const result = await operator.mxtok(argvOf(), {env});
        oneHasEnded();
        return result;
      };
      const [one, other] = await Promise.all([run(), run()]);
      assert.deepEqual([one.code, other.code], [0, 0], one.stderr + other.stderr);
      assert.equal(one.stdout, other.stdout);
      assert.match(one.stderr + other.stderr, /was made by another run at the same time/);
      assert.equal(proxy.exchanges.filter(isCreate).length, 1);
      assert.deepEqual(await openTokens(), [one.stdout.trim()]);
      await assertRefused(server.url, old);
    });

    it('the second says what it waits for, and Ctrl-C ends it', async function () {
      await oldTokens(1);
      let release = (): void => undefined;
      const released = new Promise<void>((resolve) => (release = resolve));
      let reached = (): void => undefined;
      const held = new Promise<void>((resolve) => (reached = resolve));
      const {proxy, env} = await through({
        onAnswer: async (exchange) => {
          if (!isCreate(exchange)) return;
          reached();
          await released;
        },
      });
      const first = operator.mxtok(argvOf(), {env});
      await held;
      const {code, stdout, stderr} = await operator.mxtok(argvOf(), {
        env,
        onStart: (child) => {
          child.stderr.on('data', (text: string) => {
            if (text.includes('waiting')) child.kill('SIGINT');
          });
        },
      });
      assert.deepEqual([code, stdout], [130, ''], stderr);
      assert.ok(stderr.startsWith(`Another rotation of "${label}" is running; waiting for it to end …\n`));
      release();
      const {code: firstCode, stdout: token} = await first;
      assert.equal(firstCode, 0);
      assert.equal(proxy.exchanges.filter(isCreate).length, 1);
      assert.deepEqual(await openTokens(), [token.trim()]);
    });

    it('for two labels, makes one of each', async function () {
      const labels = [`${label} a`, `${label} b`];
      for (const of of labels) await oldTokens(1, of);
      const tokens = await Promise.all(
        labels.map(async (of) => (await operator.ok(['rotate', '--label', of])).trim()),
      );
      assert.notEqual(tokens[0], tokens[1]);
      for (const [index, of] of labels.entries()) assert.deepEqual(await openTokens(of), [tokens[index]]);
    });

    it('with other limits each, makes both and leaves open the one that came last', async function () {
      const results = await Promise.all(
        ['20', '21'].map((uses) => operator.mxtok(['rotate', '--label', label, '--uses', uses])),
      );
      for (const {code, stderr} of results) assert.equal(code, 0, stderr);
      const printed = results.map(({stdout}) => stdout.trim());
      assert.notEqual(printed[0], printed[1]);
      const open = await openTokens();
      assert.equal(open.length, 1);
      assert.ok(printed.includes(open[0] ?? ''));
    });
  });

  it('one after the other makes another one each time', async function () {
    const tokens = [];
    for (let run = 0; run < 3; run++) tokens.push((await operator.ok(argvOf())).trim());
    assert.equal(new Set(tokens).size, 3);
    assert.deepEqual(await openTokens(), [tokens[2]]);
  });

  describe('on several homeservers', function () {
    let second: LocalSynapse;

    before(async function () {
      this.timeout(180_000);
      localSynapse(this);
      second = await startSynapse({serverName: 'second.test'});
      secret(second.accessToken);
      secret(second.adminPassword);
    });

    after(async function () {
      await (second as LocalSynapse | undefined)?.stop();
    });

    it('makes each a token of its own; one that is gone is named, and stops no other', async function () {
      const profile = (of: {url: string; accessToken: string}): {url: string; access_token: string} => ({
        url: of.url,
        access_token: of.accessToken,
      });
      const gone = {url: `http://127.0.0.1:${await closedPort()}`, access_token: 'gone'};
      giveProfiles(operator, {main: profile(server), second: profile(second), gone});
      const argv = ['rotate', '--label', label, '--server', 'main,second'];
      const first = (await operator.ok(argv)).trimEnd().split('\n');
      const [main = '', other = ''] = first.map((line) => line.split('\t')[1] ?? '');
      assert.deepEqual(first, [`main\t${main}`, `second\t${other}`]);
      assert.notEqual(main, other);
      await assertAccepted(server.url, main);
      await assertAccepted(second.url, other);

      const {code, stdout, stderr} = await operator.mxtok([...argv.slice(0, 3), '--all-servers', '--json']);
      assert.equal(code, 8, stderr);
      const rows = JSON.parse(stdout) as (Rotated & {server: string; error?: {code: string}})[];
      const by = new Map(rows.map((row) => [row.server, row]));
      assert.deepEqual([...by.keys()], ['gone', 'main', 'second'], 'each in its place');
      assert.equal(by.get('gone')?.error?.code, 'unreachable');
      assert.deepEqual(by.get('main')?.disabled, [main]);
      assert.deepEqual(by.get('second')?.disabled, [other]);
      assert.match(stderr, /1 of 3 servers failed: gone/);
      await assertRefused(server.url, main);
      await assertRefused(second.url, other);

      const text = await operator.mxtok([...argv.slice(0, 3), '--all-servers']);
      assert.equal(text.code, 8);
      assert.match(text.stderr, /^error: gone: /m);
      assert.match(text.stdout, /^main\t\w+\nsecond\t\w+\n$/);
    });

    it('takes the standing settings of each', async function () {
      const of = (uses: string): object => ({defaults: {uses}});
      giveProfiles(operator, {
        main: {url: server.url, access_token: server.accessToken, ...of('3')},
        second: {url: second.url, access_token: second.accessToken, ...of('5')},
      });
      const rows = await operator.json<Shown[]>(['rotate', '--label', label, '--all-servers']);
      assert.deepEqual(
        rows.map(({uses_allowed}) => uses_allowed),
        [3, 5],
      );
    });
  });
});
