import {strict as assert} from 'node:assert';
import {setImmediate as turn} from 'node:timers/promises';

import nock from 'nock';

import type {Connection, Target} from '../../../src/lib/connection.ts';
import {interruptedError, MxtokError} from '../../../src/lib/errors.ts';
import {HttpClient} from '../../../src/lib/homeserver/http.ts';
import {
  connectEach,
  onEach,
  readingLimit,
  SERVERS_AT_ONCE,
  type ServerOutcome,
  withTimeLimit,
} from '../../../src/lib/operations/each-server.ts';
import {surroundings} from '../../helpers/environment.ts';
import {FakeHomeserver, fakeConnection} from '../../helpers/fake-homeserver.ts';
import {Gate} from '../../helpers/gate.ts';
import {HeldTimers} from '../../helpers/held-timers.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {secret} from '../../helpers/secrets.ts';
import {tempDir} from '../../helpers/temp.ts';

const T0 = Date.UTC(2035, 0, 1, 12);
const ACCESS_TOKEN = secret('syt_YWRtaW4_eachServerTests_0');
const WHOAMI = '/_matrix/client/v3/account/whoami';
const OTHER_HOMESERVER = {server_name: 'moved.example'};

/** `name: ok`, or the code of the error, of each in their order. */
function summary(servers: readonly ServerOutcome<unknown>[]): string[] {
  return servers.map(({server, outcome}) => `${server}: ${outcome.ok ? 'ok' : outcome.error.code}`);
}

function target(name: string, profile: Partial<Target['profile']> = {}): Target {
  return {
    server: name,
    profile: {
      url: `https://${name}.example`,
      server_name: `${name}.example`,
      access_token: ACCESS_TOKEN,
      ...profile,
    },
  };
}

const noneSame = (server: string): never => assert.fail(`${server} is taken for another`);

describe('connectEach', () => {
  /** What each homeserver says of who we are; after `before`, where that is given. */
  function answerWhoAmI(
    users: Record<string, string>,
    before: (host: string) => Promise<void> | void = () => undefined,
  ) {
    for (const [name, user_id] of Object.entries(users)) {
      nock(`https://${name}.example`)
        .get(WHOAMI)
        .reply(async () => {
          await before(name);
          return [200, {user_id, is_guest: false}] as const;
        });
    }
  }

  it('takes each profile’s word for reading, and asks nobody', async () => {
    const targets = ['b', 'a', 'c'].map((name) => target(name));
    const servers = await connectEach(surroundings(), targets, false);
    assert.deepEqual(summary(servers), ['b: ok', 'a: ok', 'c: ok']);
    for (const {server, connection, outcome} of servers) {
      assert(connection && outcome.ok);
      assert.equal(outcome.value, connection);
      assert.equal(connection.server, server);
      assert.equal(connection.auditContext.server_name, `${server}.example`);
    }
  });

  it('asks each who we are before a change, and has them in the order asked for', async () => {
    const gate = new Gate();
    // The last one asked answers first.
    answerWhoAmI({a: '@admin:a.example', b: '@root:b.example', c: '@admin:c.example'}, () => gate.pass());
    const connecting = connectEach(
      surroundings(),
      ['c', 'a', 'b'].map((name) => target(name)),
      true,
      noneSame,
    );
    await gate.reached(3);
    gate.open();
    const servers = await connecting;
    assert.deepEqual(summary(servers), ['c: ok', 'a: ok', 'b: ok']);
    assert.equal(servers[2]?.connection?.auditContext.actor, '@root:b.example');
  });

  it('gives all of them one log', async () => {
    const servers = await connectEach(surroundings(), [target('a'), target('b')], false);
    assert.equal(new Set(servers.map(({connection}) => connection?.audit)).size, 1);
  });

  it('keeps none from the others, and says of each error which server it is of', async () => {
    answerWhoAmI({
      good: '@admin:good.example',
      moved: '@admin:elsewhere.example',
      last: '@admin:last.example',
    });
    nock('https://expired.example')
      .get(WHOAMI)
      .reply(401, {errcode: 'M_UNKNOWN_TOKEN', error: 'Invalid access token passed.', soft_logout: false});
    nock('https://gone.example')
      .get(WHOAMI)
      .replyWithError(Object.assign(new Error('connect ECONNREFUSED'), {code: 'ECONNREFUSED'}));
    const {access_token: _, ...loggedOut} = target('out').profile;
    const servers = await connectEach(
      surroundings(),
      [
        target('good'),
        {server: 'out', profile: loggedOut},
        target('plain', {url: 'http://plain.example'}),
        target('expired'),
        target('gone'),
        target('moved', OTHER_HOMESERVER),
        target('last'),
      ],
      true,
      noneSame,
    );
    assert.deepEqual(summary(servers), [
      'good: ok',
      'out: no_credential',
      'plain: usage',
      'expired: unauthorized',
      'gone: unreachable',
      'moved: refused',
      'last: ok',
    ]);
    for (const {server, connection, outcome} of servers) {
      if (outcome.ok) continue;
      assert.equal(outcome.error.server, server);
      assert.equal(connection, undefined);
    }
  });

  it('names the server that has to be waited for', async () => {
    nock('https://busy.example')
      .get(WHOAMI)
      .reply(429, {errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests', retry_after_ms: 1})
      .get(WHOAMI)
      .reply(200, {user_id: '@admin:busy.example'});
    const told: string[] = [];
    const environment = surroundings();
    environment.http.onWait = (_ms, why) => void told.push(why);
    await connectEach(environment, [target('busy')], true, noneSame);
    assert.deepEqual(told, ['busy: the homeserver limits the rate']);
  });

  describe('of one homeserver that several profiles lead to', () => {
    it('takes the first for a change, whichever answers first, and tells of the others', async () => {
      const gate = new Gate();
      const user = '@admin:main.example';
      answerWhoAmI({main: user, socket: user, other: '@admin:other.example', third: user}, async (name) => {
        if (name === 'main') await gate.pass();
        else if (name === 'third') gate.open();
      });
      const same: string[] = [];
      const targets = ['main', 'socket', 'other', 'third'].map((name) => {
        // As after server add --no-verify: only the homeserver itself can tell.
        const {server_name: _, ...profile} = target(name).profile;
        return {server: name, profile};
      });
      const servers = await connectEach(surroundings(), targets, true, (server, other) => {
        same.push(`${server} is ${other}`);
      });
      assert.deepEqual(summary(servers), ['main: ok', 'other: ok']);
      assert.deepEqual(same, ['socket is main', 'third is main']);
    });

    it('takes the second where the first cannot be had', async () => {
      const {access_token: _, ...loggedOut} = target('main').profile;
      answerWhoAmI({socket: '@admin:main.example'});
      const servers = await connectEach(
        surroundings(),
        [{server: 'main', profile: loggedOut}, target('socket', {server_name: 'main.example'})],
        true,
        noneSame,
      );
      assert.deepEqual(summary(servers), ['main: no_credential', 'socket: ok']);
    });

    it('reads from each of them', async () => {
      const twins = ['main', 'socket'].map((name) => target(name, {server_name: 'main.example'}));
      assert.deepEqual(summary(await connectEach(surroundings(), twins, false)), ['main: ok', 'socket: ok']);
    });
  });

  it('asks so many at once and no more, and comes to the end of a thousand', async function () {
    this.timeout(60_000);
    const names = Array.from({length: 1000}, (_, index) => `s${index}`);
    const gate = new Gate();
    answerWhoAmI(Object.fromEntries(names.map((name) => [name, `@admin:${name}.example`])), () =>
      gate.pass(),
    );
    const begun = new Set<string>();
    const targets = names.map((name): Target => {
      const {server, profile} = target(name);
      return {
        server,
        get profile() {
          begun.add(name);
          return profile;
        },
      };
    });
    const connecting = connectEach(surroundings(), targets, true, noneSame);
    await gate.reached(SERVERS_AT_ONCE);
    assert.equal(begun.size, SERVERS_AT_ONCE);
    gate.open();
    const servers = await connecting;
    assert.deepEqual(
      summary(servers),
      names.map((name) => `${name}: ok`),
    );
  });

  it('sends nothing once it is interrupted', async () => {
    const environment = surroundings();
    environment.http.signal = AbortSignal.abort();
    const servers = await connectEach(environment, [target('a'), target('b')], true, noneSame);
    assert.deepEqual(summary(servers), ['a: interrupted', 'b: interrupted']);
  });
});

/** A server that is connected to, its requests limited to a time. */
function connected(
  name: string,
  timeout = 30_000,
  dir = tempDir(),
): ServerOutcome<Connection> & {connection: Connection} {
  const http = new HttpClient({baseUrl: `https://${name}.example`, timeout, userAgent: 'mxtok/test'});
  const connection = {...fakeConnection(new FakeHomeserver(T0), dir), server: name, http};
  return {server: name, connection, outcome: {ok: true, value: connection}};
}

function failed(name: string): ServerOutcome<never> {
  return {
    server: name,
    connection: undefined,
    outcome: {ok: false, error: new MxtokError('unreachable', 'gone')},
  };
}

describe('onEach', () => {
  it('works on each with what it has so far, and has what comes of it in their order', async () => {
    const first = await onEach([connected('a'), connected('b')], async ({server}) =>
      Promise.resolve(server.length),
    );
    const gate = new Gate();
    const second = onEach(first, async ({server}, value) => {
      await gate.pass();
      return `${server}${value}`;
    });
    await gate.reached(2);
    gate.open();
    assert.deepEqual(
      (await second).map(({outcome}) => outcome.ok && outcome.value),
      ['a1', 'b1'],
    );
  });

  it('leaves alone those that something has gone wrong with, and passes on what', async () => {
    const worked: string[] = [];
    const gone = failed('b');
    const servers = await onEach([connected('a'), gone, connected('c')], ({server}) => {
      worked.push(server);
      return Promise.resolve();
    });
    assert.deepEqual(worked, ['a', 'c']);
    assert.equal(servers[1]?.outcome, gone.outcome);
  });

  it('keeps none from the others, whatever is thrown, and names the server', async () => {
    const servers = await onEach(
      ['a', 'b', 'c', 'd', 'e'].map((name) => connected(name)),
      ({server}) => {
        if (server === 'b') throw new TypeError('odd');
        if (server === 'c') return Promise.reject(new MxtokError('not_admin', 'no'));
        return server === 'd' ? Promise.reject(interruptedError()) : Promise.resolve();
      },
    );
    assert.deepEqual(summary(servers), ['a: ok', 'b: unexpected', 'c: not_admin', 'd: interrupted', 'e: ok']);
    assert.deepEqual(
      servers.map(({outcome}) => (outcome.ok ? undefined : outcome.error.server)),
      [undefined, 'b', 'c', 'd', undefined],
    );
  });

  it('ends the connections of each as soon as it is done with', async () => {
    const closed: string[] = [];
    const gate = new Gate();
    const servers = ['a', 'b', 'slow'].map((name) => {
      const one = connected(name);
      one.connection.http.close = () => void closed.push(name);
      return one;
    });
    const working = onEach(servers, async ({server}) => {
      if (server === 'b') throw new MxtokError('timeout', 'too slow');
      if (server === 'slow') await gate.pass();
    });
    await gate.reached(1);
    await turn();
    assert.deepEqual(closed.sort(), ['a', 'b']);
    gate.open();
    await working;
    assert.deepEqual(closed, ['a', 'b', 'slow']);
  });

  it('works on so many at once and no more, and comes to the end of a thousand', async () => {
    const dir = tempDir();
    const servers = Array.from({length: 1000}, (_, index) => connected(`s${index}`, 30_000, dir));
    const gate = new Gate();
    let [now, most] = [0, 0];
    const working = onEach(servers, async ({server}) => {
      most = Math.max(most, ++now);
      await gate.pass();
      now--;
      return server;
    });
    await gate.reached(SERVERS_AT_ONCE);
    gate.open();
    assert.deepEqual(
      (await working).map(({outcome}) => outcome.ok && outcome.value),
      servers.map(({server}) => server),
    );
    assert.equal(most, SERVERS_AT_ONCE);
  });

  describe('with a time limit', () => {
    const clock = new HeldTimers();
    const never = new Promise<never>(() => undefined);

    beforeEach(() => {
      clock.hold();
    });

    afterEach(() => {
      clock.release();
    });

    it('gives up on one that does not answer, and has what the others say', async () => {
      const gate = new Gate();
      const working = onEach(
        [connected('a'), connected('stalled'), connected('c')],
        async ({server}) => {
          if (server !== 'stalled') return server;
          await gate.pass();
          return never;
        },
        true,
      );
      await gate.reached(1);
      await turn();
      clock.pass(readingLimit(30_000));
      const servers = await working;
      assert.deepEqual(summary(servers), ['a: ok', 'stalled: timeout', 'c: ok']);
      const stalled = servers[1]?.outcome;
      assert(stalled?.ok === false);
      assert.equal(stalled.error.server, 'stalled');
      assert.equal(stalled.error.message, 'the homeserver was not done after 120 s');
      assert.match(stalled.error.hint ?? '', /--timeout/);
      // Nothing is left that would keep the process from its end.
      assert.equal(clock.running, 0);
    });

    it('has as many times the time of one request as it takes, of each server its own', async () => {
      const working = onEach([connected('quick', 1000), connected('patient', 60_000)], () => never, true);
      await turn();
      clock.pass(4000);
      await turn();
      assert.deepEqual(clock.limits, [4000, 240_000]);
      clock.pass(236_000);
      const [quick, patient] = await working;
      assert(quick?.outcome.ok === false && /after 4 s/.test(quick.outcome.error.message));
      assert(patient?.outcome.ok === false && /after 240 s/.test(patient.outcome.error.message));
    });

    it('has none for changes, which nobody may be left in the dark about', async () => {
      const gate = new Gate();
      const working = onEach([connected('slow')], async () => gate.pass());
      await gate.reached(1);
      assert.equal(clock.running, 0);
      gate.open();
      assert.deepEqual(summary(await working), ['slow: ok']);
    });

    it('takes no harm from what becomes of the work that was given up', async () => {
      const gate = new Gate();
      const working = onEach(
        [connected('late')],
        async () => {
          await gate.pass();
          throw new Error('far too late');
        },
        true,
      );
      await gate.reached(1);
      clock.pass(readingLimit(30_000));
      assert.deepEqual(summary(await working), ['late: timeout']);
      gate.open();
      // Unless it is taken care of, the rejection would end the process in this turn.
      await turn();
    });

    it('asks nothing more of one that was given up, and goes on to ask the others', async () => {
      const scope = nock('https://stalled.example').get('/later').reply(200, {});
      nock('https://a.example').get('/later').reply(200, {});
      const gate = new Gate();
      let late: Promise<MxtokError> | undefined;
      const ask = async ({http}: Connection) => (await http.request('GET', '/later')).status;
      const working = onEach(
        [connected('stalled'), connected('a')],
        async (connection) => {
          if (connection.server === 'a') return 200;
          await gate.pass();
          late = errorOf(ask(connection));
          return never;
        },
        true,
      );
      await gate.reached(1);
      clock.pass(readingLimit(30_000));
      const servers = await working;
      assert.deepEqual(summary(servers), ['stalled: timeout', 'a: ok']);
      clock.release();
      gate.open();
      await turn();
      assert.equal((await late)?.code, 'timeout');
      assert.equal(scope.isDone(), false);
      // What comes after finds the others as ready as before.
      assert.deepEqual(summary(await onEach(servers, ask)), ['stalled: timeout', 'a: ok']);
      nock.cleanAll();
    });

    it('is done with a thousand, a tenth of them stalled, after two limits', async () => {
      const dir = tempDir();
      const servers = Array.from({length: 1000}, (_, index) => connected(`s${index}`, 1000, dir));
      const finished = {yet: false};
      const working = onEach(
        servers,
        ({server}) => (server.endsWith('7') ? never : Promise.resolve(server)),
        true,
      ).finally(() => {
        finished.yet = true;
      });
      let limits = 0;
      for (;;) {
        await turn();
        if (finished.yet) break;
        clock.pass(readingLimit(1000));
        limits++;
      }

      const results = await working;
      assert.equal(results.filter(({outcome}) => outcome.ok).length, 900);
      assert.equal(limits, Math.ceil(100 / SERVERS_AT_ONCE));
    });
  });
});

describe('withTimeLimit', () => {
  it('has what the work has, and holds the process no longer', async () => {
    const clock = new HeldTimers();
    clock.hold();
    try {
      assert.equal(await withTimeLimit(Promise.resolve(5), 1000), 5);
      assert.equal(
        (await errorOf(withTimeLimit(Promise.reject(interruptedError()), 1000))).code,
        'interrupted',
      );
      assert.equal(clock.running, 0);
    } finally {
      clock.release();
    }
  });
});
