/** Disabled means refused: shown by trying to register, on a real Synapse. */
import {strict as assert} from 'node:assert';

import {AdminApi, type ApiToken} from '../helpers/admin-api.ts';
import {type BinaryResult, Operator} from '../helpers/binary.ts';
import {type Exchange, Proxy} from '../helpers/proxy.ts';
import {register, SignUp} from '../helpers/registration.ts';
import {synapse, type TestSynapse, uniqueToken} from '../helpers/setup-e2e.ts';

type Shown = Record<string, unknown> & {token: string};

/** Far enough ahead, and no whole second. */
const EXPIRY = '2034-05-06T07:08:09.123Z';
const EXPIRY_TIME = Date.parse(EXPIRY);

/** Somebody without a profile; their own directories know what `enable` restores. */
function newOperator({url, accessToken}: TestSynapse): Operator {
  return new Operator({MXTOK_URL: url, MXTOK_ACCESS_TOKEN: accessToken});
}

/** The changes that the homeserver took: a slow machine has some refused as too late, and sent again. */
function changesTaken(proxy: Proxy): Exchange[] {
  return proxy.of('PUT').filter(({status}) => status === 200);
}

async function assertRefused(url: string, token: string): Promise<void> {
  const {userId, refusal} = await register(url, token);
  assert.equal(userId, undefined, `${token} let somebody in`);
  assert.equal(refusal.errcode, 'M_UNAUTHORIZED');
}

async function assertAccepted(url: string, token: string): Promise<void> {
  const {userId, refusal} = await register(url, token);
  assert.notEqual(userId, undefined, `${token} is refused: ${refusal?.error ?? ''}`);
}

describe('disable', function () {
  let server: TestSynapse;
  let api: AdminApi;
  let operator: Operator;

  before(function () {
    server = synapse(this);
    api = new AdminApi(server);
  });

  /** Before each, and not once: the directories end with each test. */
  beforeEach(function () {
    operator = newOperator(server);
  });

  describe('closes a token, so that nobody can register with it,', function () {
    interface Case {
      title: string;
      /** Make it. */
      make: (token: string) => Promise<unknown>;
      /** What is sent to close it: two steps, or one where its time is over. */
      steps: 1 | 2;
      /** The uses of the first step: all that it had, or one. */
      uses?: number;
    }

    const cases: Case[] = [
      {
        title: 'with uses left',
        make: (token) => operator.ok(['create', '--token', token, '--uses', '5', '--expiry', EXPIRY]),
        steps: 2,
        uses: 1,
      },
      {
        title: 'without any limit',
        make: (token) => operator.ok(['create', '--token', token]),
        steps: 2,
        uses: 1,
      },
      {
        title: 'that somebody has registered with',
        make: async (token) => {
          await operator.ok(['create', '--token', token, '--uses', '4']);
          await assertAccepted(server.url, token);
          await assertAccepted(server.url, token);
        },
        steps: 2,
        uses: 2,
      },
      {
        title: 'with a sign-up under way',
        make: async (token) => {
          await operator.ok(['create', '--token', token, '--uses', '3']);
          await SignUp.begin(server.url, token);
        },
        steps: 2,
        uses: 1,
      },
      {
        title: 'that another tool has set to 0 uses, which opened it',
        make: async (token) => {
          await api.create(token, {uses_allowed: 1});
          await api.put(token, {uses_allowed: 0});
          await assertAccepted(server.url, token);
          await assertAccepted(server.url, token);
        },
        steps: 2,
        uses: 2,
      },
      {
        title: 'that has expired',
        make: (token) => api.createExpired(token, 3),
        steps: 1,
      },
      {
        title: 'that is used up',
        make: async (token) => {
          await operator.ok(['create', '--token', token, '--uses', '1']);
          await assertAccepted(server.url, token);
        },
        steps: 2,
        uses: 1,
      },
    ];

    for (const {title, make, steps, uses} of cases) {
      it(`${title}, and never opens it on the way`, async function () {
        const token = uniqueToken();
        await make(token);
        const before = await api.get(token);
        const room = [await api.room(token)];
        const proxy = await Proxy.start(server.url, {
          // The homeserver has done it, and mxtok does not know yet.
          onAnswer: async ({method, status}) => {
            if (method === 'PUT' && status === 200) room.push(await api.room(token));
          },
        });
        const env = {MXTOK_URL: proxy.url};
        const shown = await operator.json<Shown>(['disable', token], {env});
        assert.deepEqual(
          [
            shown['status'],
            shown['accepted'],
            shown['uses_allowed'],
            shown['changed'],
            shown['confirmed_by'],
          ],
          ['disabled', false, 0, true, 'validity'],
        );
        await assertRefused(server.url, token);
        assert.equal(await api.isValid(token), false);

        const puts = changesTaken(proxy);
        const path = `/_synapse/admin/v1/registration_tokens/${token}`;
        assert.ok(puts.every((put) => put.path === path));
        const bodies = puts.map(({body}) => body as Partial<ApiToken>);
        assert.deepEqual(bodies.pop(), {uses_allowed: 0});
        const first = bodies.shift();
        assert.equal(first === undefined, steps === 1);
        if (first) {
          const {expiry_time, ...rest} = first;
          assert.deepEqual(rest, {uses_allowed: uses});
          assert.ok((expiry_time ?? Infinity) < (before.expiry_time ?? Infinity), 'the expiry comes nearer');
          // To set it once more is to ask whether it is over.
          for (const body of bodies) assert.deepEqual(body, {expiry_time});
        }

        const after = await api.get(token);
        assert.equal(after.uses_allowed, 0, 'other tools take it for disabled too');
        assert.equal(room.length, puts.length + 1);
        for (const [index, left] of room.entries()) {
          const more = `room for ${left} where there was room for ${String(room[index - 1])} (${room.join(', ')})`;
          assert.ok(index === 0 || left <= (room[index - 1] ?? 0), more);
        }

        assert.equal(room.at(-1), 0);
        assert.ok(
          proxy.exchanges.every(({method}) => method === 'GET' || method === 'PUT'),
          'nothing else is changed',
        );
      });
    }

    it('that has expired a moment ago, which the clock of the homeserver does not tell yet', async function () {
      const token = uniqueToken();
      const {expiry_time} = await api.createExpired(token, 3);
      // Its Date has whole seconds, so it can be behind; here it is by enough to last in any case.
      const behind = Date.now() - (expiry_time ?? 0) + 2000;
      const proxy = await Proxy.start(server.url, {
        onAnswer: (_exchange, headers) => {
          headers.date = new Date(Date.parse(headers.date ?? '') - behind).toUTCString();
          return Promise.resolve();
        },
      });
      const shown = await operator.json<Shown>(['disable', token], {env: {MXTOK_URL: proxy.url}});
      assert.ok(proxy.of('PUT').some(({status}) => status === 400));
      assert.deepEqual([shown['status'], shown['accepted']], ['disabled', false]);
      assert.equal((await api.get(token)).uses_allowed, 0);
      await assertRefused(server.url, token);
    });

    it('also one whose only expiry would have come by itself in the meantime', async function () {
      const token = uniqueToken();
      await api.create(token, {uses_allowed: 3, expiry_time: Date.now() + 2000});
      await operator.ok(['disable', token]);
      await assertRefused(server.url, token);
      assert.equal((await api.get(token)).uses_allowed, 0);
    });
  });

  it('lets those finish who were in the middle of signing up, and stays closed after them', async function () {
    const token = uniqueToken();
    await operator.ok(['create', '--token', token, '--uses', '3']);
    const signUp = await SignUp.begin(server.url, token);
    await operator.ok(['disable', token]);
    assert.notEqual((await signUp.finish()).userId, undefined);
    await assertRefused(server.url, token);
    assert.equal((await api.get(token)).completed, 1);
  });

  it('says on stderr that the homeserver was asked, and prints the token object', async function () {
    const token = uniqueToken();
    await operator.ok(['create', '--token', token, '--uses', '2', '--label', 'the workshop']);
    const {stdout, stderr, code} = await operator.mxtok(['disable', token]);
    assert.equal(code, 0);
    assert.match(stderr, new RegExp(`${token} is disabled: the homeserver was asked, and refuses it`));
    const columns = stdout.trimEnd().split('\t');
    assert.deepEqual(
      [columns[1], columns[2], columns[3], columns[9]],
      [token, 'disabled', 'false', 'the workshop'],
    );
    const quiet = await operator.mxtok(['disable', token, '--quiet']);
    assert.deepEqual([quiet.stdout, quiet.stderr, quiet.code], ['', '', 0]);
  });

  it('says of a token that is disabled already that it is, and changes nothing', async function () {
    const token = uniqueToken();
    await operator.ok(['create', '--token', token, '--uses', '2', '--expiry', EXPIRY]);
    await operator.ok(['disable', token]);
    const closed = await api.get(token);
    const {stdout, stderr, code} = await operator.mxtok(['disable', token, '--json']);
    assert.equal(code, 0);
    assert.match(stderr, /disabled already/);
    assert.equal((JSON.parse(stdout) as Shown)['changed'], false);
    assert.deepEqual(await api.get(token), closed);
    await operator.ok(['enable', token]);
    const again = await api.get(token);
    assert.deepEqual([again.uses_allowed, again.expiry_time], [2, EXPIRY_TIME], 'it still knows the limits');
  });

  it('does what it can of several, and exits 8 where one is not there', async function () {
    const [good, bad] = [uniqueToken(), uniqueToken()];
    await api.create(good, {uses_allowed: 2});
    const {stdout, code} = await operator.mxtok(['disable', bad, good, '--json']);
    assert.equal(code, 8);
    const [first, second] = JSON.parse(stdout) as [{token: string; error: {code: string}}, Shown];
    assert.deepEqual([first.token, first.error.code], [bad, 'no_such_token']);
    assert.deepEqual([second.token, second['status'], second['accepted']], [good, 'disabled', false]);
    await assertRefused(server.url, good);
  });

  it('closes 25 tokens with one wait for all of them', async function () {
    const tokens = Array.from({length: 25}, uniqueToken);
    await Promise.all(tokens.map((token, index) => api.create(token, {uses_allowed: index % 5 || null})));
    const proxy = await Proxy.start(server.url);
    const env = {MXTOK_URL: proxy.url};
    const result = await operator.mxtok(['disable', '-', '--json'], {env, input: tokens.join('\n')});
    assert.equal(result.code, 0, result.stderr);
    const shown = JSON.parse(result.stdout) as Shown[];
    assert.deepEqual(
      shown.map(({token}) => token),
      tokens,
    );
    assert.ok(shown.every(({status, accepted}) => status === 'disabled' && accepted === false));
    assert.equal(result.stderr.match(/^Waiting /gm)?.length, 1);

    const uses = changesTaken(proxy).map(({body}) => (body as Partial<ApiToken>).uses_allowed);
    assert.equal(uses.filter((one) => one === 0).length, 25);
    const closed = uses.slice(0, uses.indexOf(0)).filter((one) => one !== undefined);
    assert.equal(closed.length, 25, 'all are closed before the first is marked');
    assert.deepEqual(new Set(await Promise.all(tokens.map((token) => api.isValid(token)))), new Set([false]));
    await assertRefused(server.url, tokens[0] ?? '');
    await assertRefused(server.url, tokens[24] ?? '');
  });

  describe('when it is cut short', function () {
    async function killedAfterFirstPut(token: string): Promise<BinaryResult> {
      let kill = (): void => undefined;
      const proxy = await Proxy.start(server.url, {
        onAnswered: ({method, status}) => {
          if (method === 'PUT' && status === 200) kill();
        },
      });
      const result = await operator.mxtok(['disable', token], {
        env: {MXTOK_URL: proxy.url},
        onStart: (child) => {
          kill = () => child.kill('SIGKILL');
        },
      });
      assert.equal(changesTaken(proxy).length, 1);
      return result;
    }

    it('killed between its two steps, leaves the token refused; running it again finishes, and enable restores all', async function () {
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--uses', '7', '--expiry', EXPIRY, '--label', 'kept']);
      await assertAccepted(server.url, token);
      const before = await api.get(token);
      const {signal} = await killedAfterFirstPut(token);
      assert.equal(signal, 'SIGKILL');

      await api.untilRefused(token);
      await assertRefused(server.url, token);
      assert.equal((await api.get(token)).uses_allowed, 1, 'the second step was not taken');
      const cut = await operator.json<{operation: string; outcome: string}[]>(['audit', '--unfinished']);
      assert.deepEqual(
        cut.map(({operation, outcome}) => [operation, outcome]),
        [['disable', 'unfinished']],
      );

      const again = await operator.json<Shown>(['disable', token]);
      assert.deepEqual([again['status'], again['accepted'], again['changed']], ['disabled', false, true]);
      await assertRefused(server.url, token);
      assert.equal((await api.get(token)).uses_allowed, 0);

      await operator.ok(['enable', token]);
      assert.deepEqual(await api.get(token), before);
      await assertAccepted(server.url, token);
      assert.equal((await operator.json<Shown>(['show', token]))['label'], 'kept');
    });

    it('killed between its two steps, can be taken back by enable at once', async function () {
      const token = uniqueToken();
      await operator.ok(['create', '--token', token]);
      const before = await api.get(token);
      await killedAfterFirstPut(token);
      await operator.ok(['enable', token]);
      assert.deepEqual(await api.get(token), before);
    });

    it('interrupted by Ctrl-C while it waits, exits 130 and leaves the token closed', async function () {
      const token = uniqueToken();
      await api.create(token, {uses_allowed: 3, expiry_time: EXPIRY_TIME});
      // A homeserver whose clock is put back has mxtok wait for long enough to be interrupted in any case.
      const proxy = await Proxy.start(server.url, {
        onAnswer: ({method, status}, headers) => {
          if (method === 'PUT' && status === 200) headers.date = new Date(Date.now() - 600_000).toUTCString();
          return Promise.resolve();
        },
      });
      const {code, stdout, stderr} = await operator.mxtok(['disable', token], {
        env: {MXTOK_URL: proxy.url},
        onStart: (child) => {
          child.stderr.on('data', (text: string) => {
            if (text.includes('Waiting')) child.kill('SIGINT');
          });
        },
      });
      assert.equal(code, 130, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, /interrupted/);
      assert.equal(changesTaken(proxy).length, 1);

      await api.untilRefused(token);
      await assertRefused(server.url, token);
      const [logged] = await operator.json<{outcome: string; error: {code: string}}[]>([
        'audit',
        '--unfinished',
      ]);
      assert.deepEqual([logged?.outcome, logged?.error.code], ['unknown', 'interrupted']);

      await operator.ok(['disable', token]);
      await operator.ok(['enable', token]);
      const restored = await api.get(token);
      assert.deepEqual([restored.uses_allowed, restored.expiry_time], [3, EXPIRY_TIME]);
    });
  });
});

describe('enable', function () {
  let server: TestSynapse;
  let api: AdminApi;
  let operator: Operator;

  before(function () {
    server = synapse(this);
    api = new AdminApi(server);
  });

  beforeEach(function () {
    operator = newOperator(server);
  });

  const limits: {title: string; flags: string[]; expected: Partial<ApiToken>}[] = [
    {
      title: 'limit and expiry',
      flags: ['--uses', '6', '--expiry', EXPIRY],
      expected: {uses_allowed: 6, expiry_time: EXPIRY_TIME},
    },
    {title: 'no limit and no expiry', flags: [], expected: {uses_allowed: null, expiry_time: null}},
    {
      title: 'the largest limit there is',
      flags: ['--uses', '2147483647'],
      expected: {uses_allowed: 2_147_483_647, expiry_time: null},
    },
  ];

  for (const {title, flags, expected} of limits) {
    it(`brings back ${title}, to the millisecond, and people can register again`, async function () {
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, ...flags]);
      await assertAccepted(server.url, token);
      const before = await api.get(token);
      assert.deepEqual({uses_allowed: before.uses_allowed, expiry_time: before.expiry_time}, expected);
      await operator.ok(['disable', token]);
      assert.notDeepEqual(await api.get(token), before);
      const shown = await operator.json<Shown>(['enable', token]);
      assert.deepEqual([shown['status'], shown['accepted'], shown['changed']], ['valid', true, true]);
      assert.deepEqual(await api.get(token), before);
      await assertAccepted(server.url, token);
    });
  }

  it('brings back what was to be with a sign-up under way', async function () {
    const token = uniqueToken();
    await operator.ok(['create', '--token', token, '--uses', '2']);
    const signUp = await SignUp.begin(server.url, token);
    const before = await api.get(token);
    await operator.ok(['disable', token]);
    await operator.ok(['enable', token]);
    assert.deepEqual(await api.get(token), before);
    await signUp.finish();
    await assertAccepted(server.url, token);
    await assertRefused(server.url, token);
  });

  it('asks for a new expiry where the old one has passed, and then restores the rest', async function () {
    const token = uniqueToken();
    await api.createExpired(token, 4);
    await operator.ok(['disable', token]);
    const closed = await api.get(token);
    const {code, stderr, stdout} = await operator.mxtok(['enable', token]);
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /--expiry/);
    assert.doesNotMatch(stderr, /--uses/);
    assert.deepEqual(await api.get(token), closed);
    await assertRefused(server.url, token);

    await operator.ok(['enable', token, '--expiry', EXPIRY]);
    const opened = await api.get(token);
    assert.deepEqual([opened.uses_allowed, opened.expiry_time], [4, EXPIRY_TIME]);
    await assertAccepted(server.url, token);
  });

  it('asks for the uses of a token that another tool had set to 0', async function () {
    const token = uniqueToken();
    await api.create(token, {uses_allowed: 0});
    await operator.ok(['disable', token]);
    const {code, stderr} = await operator.mxtok(['enable', token]);
    assert.equal(code, 2);
    assert.match(stderr, /--uses/);
    await operator.ok(['enable', token, '--uses', '1']);
    await assertAccepted(server.url, token);
    await assertRefused(server.url, token);
  });

  it('asks for both where another machine has disabled the token', async function () {
    const token = uniqueToken();
    await operator.ok(['create', '--token', token, '--uses', '2']);
    await operator.ok(['disable', token]);
    const elsewhere = newOperator(server);
    const {code, stderr} = await elsewhere.mxtok(['enable', token]);
    assert.equal(code, 2);
    assert.match(stderr, /--uses and --expiry/);
    await elsewhere.ok(['enable', token, '--uses', '3', '--expiry', 'never']);
    const opened = await api.get(token);
    assert.deepEqual([opened.uses_allowed, opened.expiry_time], [3, null]);
  });

  it('says of a token that is not disabled that it is not, and changes nothing', async function () {
    const token = uniqueToken();
    await operator.ok(['create', '--token', token, '--uses', '2']);
    const before = await api.get(token);
    const {code, stdout, stderr} = await operator.mxtok(['enable', token, '--json']);
    assert.equal(code, 0);
    assert.match(stderr, /not disabled/);
    assert.equal((JSON.parse(stdout) as Shown)['changed'], false);
    const limits = await operator.mxtok(['enable', token, '--uses', '5']);
    assert.deepEqual([limits.code, limits.stdout], [2, '']);
    assert.match(limits.stderr, /mxtok update/);
    assert.deepEqual(await api.get(token), before);
  });
});
