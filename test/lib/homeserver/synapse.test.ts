import {strict as assert} from 'node:assert';

import {HttpClient, type HttpOptions} from '../../../src/lib/homeserver/http.ts';
import type {DisabledToken, DisableOptions, Outcome} from '../../../src/lib/homeserver/homeserver.ts';
import {Synapse} from '../../../src/lib/homeserver/synapse.ts';
import {CUT, FakeSynapse, LIMITED, type Reply, type SynapseRow} from '../../helpers/fake-synapse.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {secret} from '../../helpers/secrets.ts';

const BASE = 'https://matrix.example.org';
const ACCESS_TOKEN = secret('syt_YWRtaW4_synapseTests_0');
/** The homeserver's time: years from ours, which must not count. */
const T0 = Date.UTC(2035, 0, 1, 12);
const UNLIMITED = {uses_allowed: null, expiry_time: null};
const INTERNAL = {status: 500, body: {errcode: 'M_UNKNOWN', error: 'Internal server error'}};

describe('Synapse', () => {
  let time: FrozenTime;
  let fake: FakeSynapse;
  let http: HttpClient;
  let synapse: Synapse;

  function connect(options: Partial<HttpOptions> = {}): void {
    http = new HttpClient({baseUrl: BASE, timeout: 30_000, userAgent: 'mxtok/test', ...options});
    synapse = new Synapse(http, ACCESS_TOKEN, [0, 0]);
  }

  beforeEach(() => {
    time = new FrozenTime();
    fake = new FakeSynapse(BASE, ACCESS_TOKEN, T0);
    connect();
  });

  afterEach(() => {
    time.restore();
    http.close();
  });

  describe('accepts', () => {
    const cases: [string, Partial<SynapseRow>, boolean][] = [
      ['a token without limits', {}, true],
      ['one with uses left', {uses_allowed: 2, completed: 1}, true],
      ['one whose uses are completed', {uses_allowed: 1, completed: 1}, false],
      ['one whose last use is pending', {uses_allowed: 2, completed: 1, pending: 1}, false],
      ['one at 0: Synapse takes that for unlimited', {uses_allowed: 0}, true],
      ['one at 0 that was used', {uses_allowed: 0, completed: 9}, true],
      ['one at 0 whose expiry has passed', {uses_allowed: 0, expiry_time: T0 - 1}, false],
      ['one that expires at this millisecond', {expiry_time: T0}, false],
      ['one that expires at the next', {expiry_time: T0 + 1}, true],
    ];
    for (const [name, fields, accepted] of cases) {
      it(`says ${accepted} of ${name}`, async () => {
        fake.add('abc', fields);
        assert.equal(synapse.accepts(await synapse.get('abc')), accepted);
        assert.equal(fake.accepts('abc'), accepted);
      });
    }
  });

  describe('reading', () => {
    it('gets one token, and marks it disabled at 0 uses alone', async () => {
      fake.add('abc', {uses_allowed: 0, expiry_time: T0 - 1});
      fake.add('open', {uses_allowed: 1, completed: 1});
      assert.deepEqual(await synapse.get('abc'), {
        token: 'abc',
        uses_allowed: 0,
        pending: 0,
        completed: 0,
        expiry_time: T0 - 1,
        disabled: true,
      });
      assert.equal((await synapse.get('open')).disabled, false);
    });

    it('lists all tokens in one request', async () => {
      for (const token of ['a', 'b', '.', 'new']) fake.add(token);
      assert.deepEqual(
        (await synapse.list()).map(({token}) => token),
        ['a', 'b', '.', 'new'],
      );
      assert.deepEqual(fake.sent, ['GET ']);
    });

    it('says which token there is not', async () => {
      const error = await errorOf(synapse.get('gone'));
      assert.equal(error.code, 'no_such_token');
      assert.equal(error.token, 'gone');
      assert.equal(error.errcode, 'M_NOT_FOUND');
    });

    it('never takes a missing endpoint for a missing token', async () => {
      fake.before = () => ({
        status: 404,
        body: {errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request'},
      });
      for (const work of [
        synapse.get('abc'),
        synapse.list(),
        synapse.delete('abc'),
        synapse.verifyAccess(),
      ]) {
        const error = await errorOf(work);
        assert.equal(error.code, 'unsupported');
        assert.match(error.hint ?? '', /server doctor/);
      }
    });

    const nonsense: [string, unknown][] = [
      ['nothing', {}],
      ['a token without counts', {token: 'abc', uses_allowed: null, expiry_time: null}],
      [
        'a time in text',
        {token: 'abc', uses_allowed: 1, pending: 0, completed: 0, expiry_time: '2035-01-01'},
      ],
      ['parts of a use', {token: 'abc', uses_allowed: 1.5, pending: 0, completed: 0, expiry_time: null}],
      ['null', null],
    ];
    for (const [name, body] of nonsense) {
      it(`takes ${name} for the answer of something else`, async () => {
        fake.before = () => ({status: 200, body});
        assert.equal((await errorOf(synapse.get('abc'))).code, 'not_matrix');
        assert.equal((await errorOf(synapse.list())).code, 'not_matrix');
        fake.before = () => ({status: 200, body: {registration_tokens: [body]}});
        assert.equal((await errorOf(synapse.list())).code, 'not_matrix');
      });
    }
  });

  describe('getMany', () => {
    const names = (count: number): string[] => Array.from({length: count}, (_, index) => `t${index}`);

    it('asks for up to 19 tokens one by one, and leaves out those that there are not', async () => {
      for (const token of names(18)) fake.add(token);
      const found = await synapse.getMany(names(19));
      assert.deepEqual([...found.keys()], names(18));
      assert.deepEqual(
        [...fake.sent].sort(),
        names(19)
          .map((token) => `GET /${token}`)
          .sort(),
      );
    });

    it('takes the whole list from 20 on: one request', async () => {
      for (const token of [...names(25), 'other']) fake.add(token);
      const found = await synapse.getMany([...names(19), 'gone']);
      assert.deepEqual([...found.keys()], names(19));
      assert.deepEqual(fake.sent, ['GET ']);
    });

    it('fails where one answer is an error, instead of leaving the token out', async () => {
      fake.add('t0');
      fake.before = (request) => (request === 'GET /t1' ? INTERNAL : undefined);
      assert.equal((await errorOf(synapse.getMany(['t0', 't1']))).code, 'server_error');
    });
  });

  describe('verifyAccess', () => {
    it('is content where the access token may ask for tokens, and changes nothing', async () => {
      await synapse.verifyAccess();
      assert.deepEqual(fake.sent, [`GET /${'~'.repeat(65)}`]);
    });

    const cases: [number, string, string, string][] = [
      [401, 'M_UNKNOWN_TOKEN', 'Invalid access token passed.', 'unauthorized'],
      [403, 'M_FORBIDDEN', 'You are not a server admin', 'not_admin'],
      [500, 'M_UNKNOWN', 'Internal server error', 'server_error'],
    ];
    for (const [status, errcode, error, code] of cases) {
      it(`says ${code} for ${status} ${errcode}`, async () => {
        fake.before = () => ({status, body: {errcode, error}});
        const problem = await errorOf(synapse.verifyAccess());
        assert.equal(problem.code, code);
        assert.equal(problem.errcode, errcode);
      });
    }
  });

  describe('create', () => {
    it('sends the token and both limits, once', async () => {
      const made = await synapse.create('abc', {uses_allowed: 5, expiry_time: T0 + 60_000});
      assert.equal(made.token, 'abc');
      assert.equal(made.uses_allowed, 5);
      assert.deepEqual(fake.sent, [
        `POST /new {"token":"abc","uses_allowed":5,"expiry_time":${T0 + 60_000}}`,
      ]);
    });

    it('sends no limit as null', async () => {
      await synapse.create('abc', UNLIMITED);
      assert.deepEqual(fake.sent, ['POST /new {"token":"abc","uses_allowed":null,"expiry_time":null}']);
    });

    it('says that there is such a token already, and asks no further', async () => {
      fake.add('abc');
      const error = await errorOf(synapse.create('abc', UNLIMITED));
      assert.equal(error.code, 'already_exists');
      assert.equal(error.errcode, 'M_INVALID_PARAM');
      assert.equal(error.token, 'abc');
      assert.equal(fake.sent.length, 1);
    });

    it('tells other refusals apart from a duplicate', async () => {
      const error = await errorOf(synapse.create('abc', {uses_allowed: 1, expiry_time: T0 - 1}));
      assert.equal(error.code, 'refused');
      assert.match(error.message, /must not be in the past/);
      assert.equal(fake.sent.length, 1);
    });

    const ambiguous: [string, Reply][] = [
      ['the connection is cut', CUT],
      ['the homeserver answers 500', INTERNAL],
      ['a proxy answers 502', {status: 502, body: {}}],
      ['the answer makes no sense', {status: 503, body: 'down'}],
    ];
    for (const [name, reply] of ambiguous) {
      it(`asks the homeserver where ${name} after the token was made, and never sends it again`, async () => {
        fake.after = (request) => (request.startsWith('POST') ? reply : undefined);
        const made = await synapse.create('abc', {uses_allowed: 2, expiry_time: null});
        assert.equal(made.uses_allowed, 2);
        assert.deepEqual(
          fake.sent.map((request) => request.slice(0, 9)),
          ['POST /new', 'GET /abc'],
        );
      });

      it(`says what was wrong where ${name} before the token was made`, async () => {
        fake.before = (request) => (request.startsWith('POST') ? reply : undefined);
        const error = await errorOf(synapse.create('abc', UNLIMITED));
        assert.equal(error.code, reply === CUT ? 'unreachable' : 'server_error');
        assert.equal(error.exitCode, 7);
        assert.doesNotMatch(error.message, /could not be found out/);
      });
    }

    it('asks the homeserver after a time-out', async () => {
      connect({timeout: 100});
      fake.after = (request) =>
        request.startsWith('POST') ? {status: 0, body: '', fate: 'silence'} : undefined;
      assert.equal((await synapse.create('abc', UNLIMITED)).token, 'abc');
    });

    it('takes no token for its own that has other limits, or was used', async () => {
      const others: Partial<SynapseRow>[] = [
        {uses_allowed: 7},
        {expiry_time: T0 + 1},
        {completed: 1},
        {pending: 1},
      ];
      for (const fields of others) {
        fake.add('abc', fields);
        fake.before = (request) => (request.startsWith('POST') ? INTERNAL : undefined);
        assert.equal((await errorOf(synapse.create('abc', UNLIMITED))).code, 'already_exists');
      }
    });

    it('says that it does not know where the homeserver cannot be asked, and names the token', async () => {
      fake.before = (request) => (request.startsWith('POST') ? CUT : INTERNAL);
      const error = await errorOf(synapse.create('abcdefghijklmnop', UNLIMITED));
      assert.equal(error.code, 'unreachable');
      assert.match(error.message, /whether the token abcdefghijklmnop was created could not be found out/);
      assert.match(error.hint ?? '', /mxtok show -- abcdefghijklmnop/);
    });

    it('asks nothing where the refusal is plain', async () => {
      fake.before = () => ({
        status: 403,
        body: {errcode: 'M_FORBIDDEN', error: 'You are not a server admin'},
      });
      assert.equal((await errorOf(synapse.create('abc', UNLIMITED))).code, 'not_admin');
      assert.equal(fake.sent.length, 1);
    });
  });

  describe('update and delete', () => {
    it('send what is given and nothing else', async () => {
      fake.add('abc', {uses_allowed: 3, expiry_time: T0 + 5000});
      await synapse.update('abc', {uses_allowed: 4});
      await synapse.update('abc', {expiry_time: null});
      await synapse.delete('abc');
      assert.deepEqual(fake.sent, [
        'PUT /abc {"uses_allowed":4}',
        'PUT /abc {"expiry_time":null}',
        'DELETE /abc',
      ]);
      assert.equal(fake.tokens.size, 0);
    });

    it('say which token there is not', async () => {
      assert.equal((await errorOf(synapse.update('gone', {uses_allowed: 1}))).token, 'gone');
      assert.equal((await errorOf(synapse.delete('gone'))).code, 'no_such_token');
    });
  });

  describe('names with a meaning of their own in paths', () => {
    it('finds . and .. in the list, for no request can name them', async () => {
      fake.add('.');
      assert.equal((await synapse.get('.')).token, '.');
      assert.equal((await errorOf(synapse.get('..'))).code, 'no_such_token');
      assert.deepEqual(fake.sent, ['GET ', 'GET ']);
    });

    it('refuses to change or delete them, and sends nothing', async () => {
      for (const token of ['.', '..']) {
        fake.add(token);
        for (const work of [() => synapse.update(token, {uses_allowed: 1}), () => synapse.delete(token)]) {
          const error = await errorOf(work());
          assert.equal(error.code, 'usage');
          assert.equal(error.token, token);
        }
      }

      assert.deepEqual(fake.sent, []);
    });

    it('refuses to disable them, and disables the others', async () => {
      jump();
      const [dots, abc] = await disable(fake.add('..'), fake.add('abc'));
      assert(!dots?.ok && dots?.error.code === 'usage');
      assert(abc?.ok);
      assert(fake.sent.every((request) => /^\w+ (?:\/abc |validity abc)/.test(request)));
    });

    it('reaches a token named new by the path that works', async () => {
      fake.add('new');
      fake.before = (request) => {
        assert.match(request, /^\w+ \/n%65w/);
        return undefined;
      };
      await synapse.get('new');
      await synapse.update('new', {uses_allowed: 1});
      await synapse.delete('new');
      assert.equal(fake.tokens.size, 0);
    });

    it('reaches every other name as it is', async () => {
      for (const token of ['-a', '~', '...', 'a.b', '_~.-']) {
        fake.add(token);
        assert.equal((await synapse.get(token)).token, token);
      }
    });
  });

  /** Rows as the homeserver has them, disabled; with the clocks of both sides going on where it waits. */
  async function disable(...rows: SynapseRow[]): Promise<Outcome<DisabledToken>[]> {
    return disableWith({}, ...rows);
  }

  async function disableWith(
    options: DisableOptions,
    ...rows: SynapseRow[]
  ): Promise<Outcome<DisabledToken>[]> {
    await synapse.list();
    fake.sent.length = 0;
    return synapse.disable(
      rows.map((row) => ({...row, disabled: row.uses_allowed === 0})),
      options,
    );
  }

  /** The homeserver's time reaches each expiry by the time it answers, so that nothing waits. */
  function jump(): void {
    fake.after = (request) => {
      const expiry = /"expiry_time":(\d+)/.exec(request)?.[1];
      if (request.startsWith('PUT') && expiry !== undefined) fake.now = Math.max(fake.now, Number(expiry));
      return undefined;
    };
  }

  describe('isPast', () => {
    /** What the homeserver says of a token of this expiry. */
    async function isPast(expiry_time: number | null): Promise<boolean> {
      return synapse.isPast({...fake.add('abc', {uses_allowed: 0, expiry_time}), disabled: true});
    }

    it('has Synapse say so, which refuses a past expiry, and changes nothing', async () => {
      assert.equal(await isPast(T0 - 1000), true);
      assert.equal(await isPast(T0 + 1000), false);
      assert.deepEqual(fake.sent, []);
      assert.deepEqual(fake.probes, [
        `PUT /abc {"expiry_time":${T0 - 1000}}`,
        `PUT /abc {"expiry_time":${T0 + 1000}}`,
      ]);
      assert.deepEqual(fake.tokens.get('abc'), {
        token: 'abc',
        uses_allowed: 0,
        pending: 0,
        completed: 0,
        expiry_time: T0 + 1000,
      });
    });

    it('goes by that alone, not by the Date of an answer', async () => {
      await synapse.list();
      time.advance(60_000);
      assert(synapse.clock.now() > T0 + 1000);
      assert.equal(await isPast(T0 + 1000), false);
    });

    it('knows without asking that a token without an expiry is not', async () => {
      assert.equal(await isPast(null), false);
      assert.deepEqual(fake.probes, []);
    });

    it('takes no other answer for a yes', async () => {
      const answers: [Reply, string][] = [
        [
          {status: 404, body: {errcode: 'M_NOT_FOUND', error: 'No such registration token: abc'}},
          'no_such_token',
        ],
        [
          {status: 401, body: {errcode: 'M_UNKNOWN_TOKEN', error: 'Access token has expired'}},
          'unauthorized',
        ],
        [INTERNAL, 'server_error'],
      ];
      for (const [reply, code] of answers) {
        fake.before = () => reply;
        assert.equal((await errorOf(isPast(T0 - 1000))).code, code);
      }
    });
  });

  describe('disable', () => {
    beforeEach(jump);

    it('closes in two steps and asks as a registering person would', async () => {
      const [outcome] = await disable(fake.add('abc'));
      assert.deepEqual(fake.sent, [
        `PUT /abc {"uses_allowed":1,"expiry_time":${T0 + 1000}}`,
        'PUT /abc {"uses_allowed":0}',
        'GET validity abc',
      ]);
      assert.deepEqual(outcome, {
        ok: true,
        value: {
          token: {
            token: 'abc',
            uses_allowed: 0,
            pending: 0,
            completed: 0,
            expiry_time: T0 + 1000,
            disabled: true,
          },
          confirmed_by: 'validity',
        },
      });
      assert.equal(fake.accepts('abc'), false);
    });

    const first: [string, Partial<SynapseRow>, number][] = [
      ['unlimited and never used', {}, 1],
      ['unlimited and used', {completed: 3, pending: 2}, 5],
      ['limited and never used', {uses_allowed: 5}, 1],
      ['partly used', {uses_allowed: 10, completed: 3, pending: 1}, 4],
      ['exhausted', {uses_allowed: 2, completed: 2}, 2],
      ['used more than allowed', {uses_allowed: 2, completed: 3}, 2],
      ['reserved', {uses_allowed: 1, pending: 1}, 1],
      ['at 0, which is unlimited, and never used', {uses_allowed: 0}, 1],
      ['at 0, which is unlimited, and used', {uses_allowed: 0, completed: 4, pending: 1}, 5],
      ['with a negative count of pending sign-ups', {pending: -2}, 1],
    ];
    for (const [name, fields, uses] of first) {
      it(`leaves a token that is ${name} at ${uses} first`, async () => {
        const [outcome] = await disable(fake.add('abc', fields));
        assert(outcome?.ok);
        assert.deepEqual(fake.sent.slice(0, 2), [
          `PUT /abc {"uses_allowed":${uses},"expiry_time":${T0 + 1000}}`,
          'PUT /abc {"uses_allowed":0}',
        ]);
      });

      it(`never opens a token that is ${name} on the way`, async () => {
        const row = fake.add('abc', fields);
        let open = fake.accepts('abc');
        fake.before = () => {
          assert(open || !fake.accepts('abc'), `open after ${fake.sent.at(-2) ?? ''}`);
          open = fake.accepts('abc');
          return undefined;
        };
        await disable(row);
        assert.equal(open || fake.accepts('abc'), false);
      });
    }

    it('gives no new expiry to a token that has expired already', async () => {
      const [outcome] = await disable(fake.add('abc', {uses_allowed: 5, expiry_time: T0 - 1}));
      assert(outcome?.ok);
      assert.deepEqual(fake.sent, ['PUT /abc {"uses_allowed":0}', 'GET validity abc']);
      assert.equal(fake.tokens.get('abc')?.expiry_time, T0 - 1);
    });

    it('tries a later expiry where the homeserver’s time has passed the one it was sent', async () => {
      const row = fake.add('abc');
      await synapse.list();
      let late = true;
      fake.before = (request) => {
        if (request.startsWith('PUT') && late) {
          fake.now = T0 + 5000;
          late = false;
        }

        return undefined;
      };
      const [outcome] = await synapse.disable([{...row, disabled: false}]);
      assert(outcome?.ok);
      assert.deepEqual(fake.sent.slice(1), [
        `PUT /abc {"uses_allowed":1,"expiry_time":${T0 + 1000}}`,
        'GET /abc',
        `PUT /abc {"uses_allowed":1,"expiry_time":${T0 + 7000}}`,
        'PUT /abc {"uses_allowed":0}',
        'GET validity abc',
      ]);
    });

    it('gives a token no new expiry that has expired by itself while it was being closed', async () => {
      const row = fake.add('abc', {expiry_time: T0 + 300});
      fake.before = (request) => {
        if (request.startsWith('PUT')) fake.now = T0 + 2000;
        return undefined;
      };
      const [outcome] = await disable(row);
      assert(outcome?.ok);
      assert.deepEqual(fake.sent, [
        `PUT /abc {"uses_allowed":1,"expiry_time":${T0 + 300}}`,
        'GET /abc',
        'PUT /abc {"uses_allowed":0}',
        'GET validity abc',
      ]);
    });

    it('gives up where the homeserver takes no expiry at all, and never sends 0', async () => {
      fake.before = (request) =>
        request.startsWith('PUT')
          ? {
              status: 400,
              body: {errcode: 'M_INVALID_PARAM', error: 'expiry_time must not be in the past'},
            }
          : undefined;
      const [outcome] = await disable(fake.add('abc'));
      assert(outcome?.ok === false && outcome.error.code === 'refused');
      assert.equal(fake.sent.filter((request) => request.startsWith('PUT')).length, 11);
      assert(fake.sent.every((request) => !request.includes('"uses_allowed":0')));
    });

    it('closes again where somebody puts the expiry off between the steps', async () => {
      const row = fake.add('abc', {completed: 2});
      let meddle = true;
      fake.before = (request) => {
        if (meddle && request.includes('"uses_allowed":0')) {
          row.expiry_time = null;
          meddle = false;
        }

        return undefined;
      };
      const [outcome] = await disable(row);
      assert(outcome?.ok);
      assert.deepEqual(fake.sent, [
        `PUT /abc {"uses_allowed":2,"expiry_time":${T0 + 1000}}`,
        'PUT /abc {"uses_allowed":0}',
        `PUT /abc {"uses_allowed":2,"expiry_time":${T0 + 2000}}`,
        'PUT /abc {"uses_allowed":0}',
        'GET validity abc',
      ]);
      assert.equal(fake.accepts('abc'), false);
    });

    it('never sends 0 while the homeserver itself says that the expiry is to come, whatever Date says', async () => {
      const row = fake.add('abc', {completed: 2});
      let early = 2;
      let open = false;
      // A reverse proxy's clock is ahead: by Date the expiry is past, by Synapse it is not.
      fake.before = (request) => {
        open ||= request.includes('"uses_allowed":0') && early > 0;
        const probe = request.startsWith('PUT') && fake.probes.at(-1) === request;
        return probe && early-- > 0 ? {status: 200, body: row} : undefined;
      };
      const [outcome] = await disable(row);
      assert(outcome?.ok);
      assert.equal(early, -1);
      assert.equal(open, false);
      assert.equal(fake.probes.filter((request) => request.startsWith('PUT')).length, 3);
    });

    it('waits for a clock far behind Date once, and not once for every eight tokens', async function () {
      this.timeout(30_000);
      const rows = Array.from({length: 40}, (_, index) => fake.add(`t${index}`, {completed: 2}));
      fake.before = (request) => {
        // By Synapse's own clock every expiry is to come, for as long as anybody has the patience to ask.
        if (!request.startsWith('PUT') || fake.probes.at(-1) !== request) return undefined;
        time.advance(2000);
        const row = fake.tokens.get(/^PUT \/(\w+)/.exec(request)?.[1] ?? '');
        return {status: 200, body: {...row}};
      };
      const outcomes = await disable(...rows);
      for (const outcome of outcomes) {
        assert(!outcome.ok && outcome.error.code === 'still_accepted');
        assert.match(outcome.error.message, /behind the Date header/);
        assert(outcome.partly);
      }

      // A minute of them, and then one for each.
      const asked = fake.probes.filter((request) => request.startsWith('PUT')).length;
      assert(asked >= 40 && asked <= 80, `it was asked ${asked} times`);
      assert(fake.sent.every((request) => !request.includes('"uses_allowed":0')));
    });

    it('does not send 0 to a token whose expiry somebody has put off during the wait', async () => {
      const row = fake.add('abc', {completed: 2});
      let meddle = true;
      let open = false;
      fake.before = (request) => {
        if (meddle && request === 'GET /abc') {
          row.expiry_time = null;
          meddle = false;
        }

        open ||= request.includes('"uses_allowed":0') && row.expiry_time === null;
        return undefined;
      };
      const [outcome] = await disable(row);
      assert(outcome?.ok && !meddle);
      assert.equal(open, false);
      assert.equal(fake.accepts('abc'), false);
    });

    it('says that the token is still accepted where somebody goes on doing so', async () => {
      const row = fake.add('abc');
      fake.before = (request) => {
        if (request.includes('"uses_allowed":0')) row.expiry_time = null;
        return undefined;
      };
      const [outcome] = await disable(row);
      assert(outcome?.ok === false && outcome.error.code === 'still_accepted');
      assert.equal(outcome.error.token, 'abc');
    });

    it('says that the token is still accepted where the homeserver says so, whatever the limits are', async () => {
      fake.before = (request) =>
        request.startsWith('GET validity') ? {status: 200, body: {valid: true}} : undefined;
      const [outcome] = await disable(fake.add('abc'));
      assert(outcome?.ok === false && outcome.error.code === 'still_accepted');
      assert.match(outcome.error.hint ?? '', /mxtok delete -- abc/);
    });

    const unasked: [string, Reply][] = [
      ['limits the rate', LIMITED],
      ['does not answer that here', {status: 404, body: {errcode: 'M_UNRECOGNIZED', error: 'x'}}],
    ];
    for (const [name, reply] of unasked) {
      it(`goes by the expiry time where the homeserver ${name}, and asks for no further token`, async () => {
        const rows = ['a', 'b', 'c'].map((token) => fake.add(token, {expiry_time: T0 - 1}));
        let answers = 0;
        fake.before = (request) => (request.startsWith('GET validity') && ++answers > 1 ? reply : undefined);
        const outcomes = await disable(...rows);
        assert.deepEqual(
          outcomes.map((outcome) => outcome.ok && outcome.value.confirmed_by),
          ['validity', 'expiry_time', 'expiry_time'],
        );
        assert.equal(answers, 2);
      });
    }

    it('goes by the expiry time where registration is off altogether', async () => {
      fake.before = (request) =>
        request.startsWith('GET validity')
          ? {status: 403, body: {errcode: 'M_FORBIDDEN', error: 'Registration has been disabled'}}
          : undefined;
      const [outcome] = await disable(fake.add('abc'));
      assert(outcome?.ok && outcome.value.confirmed_by === 'expiry_time');
    });

    it('has an outcome for each token in its place, whatever became of the others', async () => {
      const rows = ['a', 'gone', 'b'].map((token) => fake.add(token, {expiry_time: T0 - 1}));
      fake.tokens.delete('gone');
      const [a, gone, b] = await disable(...rows);
      assert(a?.ok && a.value.token.token === 'a');
      assert(gone?.ok === false && gone.error.code === 'no_such_token');
      assert(b?.ok && b.value.token.token === 'b');
    });

    it('does not take a token for closed whose second step failed', async () => {
      fake.before = (request) => (request.includes('"uses_allowed":0') ? INTERNAL : undefined);
      const [outcome] = await disable(fake.add('abc'));
      assert(outcome?.ok === false && outcome.error.code === 'server_error');
      assert.equal(fake.accepts('abc'), false);
    });
  });

  describe('disable, waiting', () => {
    const waits: number[] = [];
    /** Time passes on both sides as long as is to be waited. */
    const onWait = (ms: number): void => {
      waits.push(ms);
      time.advance(ms);
      fake.now += ms;
    };

    beforeEach(() => {
      waits.length = 0;
    });

    it('waits once for 200 tokens, after the first step of all and before the second of any', async function () {
      this.timeout(30_000);
      // Expiries of their own that are near, so that the one wait is short.
      const rows = Array.from({length: 200}, (_, index) =>
        fake.add(`t${index}`, {expiry_time: T0 + 10 + (index % 10)}),
      );
      let asked = 0;
      fake.before = (request) => (request.startsWith('GET validity') && ++asked > 5 ? LIMITED : undefined);
      const outcomes = await disableWith({onWait}, ...rows);
      assert(outcomes.every(({ok}) => ok));
      assert.deepEqual(waits, [19]);
      assert.equal(asked, 6);
      const changes = fake.sent.filter((request) => request.startsWith('PUT'));
      assert.equal(changes.length, 400);
      assert(changes.slice(0, 200).every((request) => request.includes('"expiry_time"')));
      assert(changes.slice(200).every((request) => request.endsWith('{"uses_allowed":0}')));
    });

    it('never puts a token’s expiry off', async () => {
      await disableWith({onWait}, fake.add('abc', {expiry_time: T0 + 4}));
      assert.equal(fake.sent[0], `PUT /abc {"uses_allowed":1,"expiry_time":${T0 + 4}}`);
    });

    it('does not send 0 before the homeserver’s time has reached the expiry', async () => {
      fake.before = (request) => {
        if (request.includes('"uses_allowed":0')) assert.equal(fake.accepts('abc'), false);
        return undefined;
      };
      const [outcome] = await disableWith({onWait}, fake.add('abc', {expiry_time: T0 + 5}));
      assert(outcome?.ok);
      assert.deepEqual(waits, [5]);
    });

    it('stops waiting on an interruption; what is closed stays closed', async () => {
      const controller = new AbortController();
      const error = await errorOf(
        disableWith(
          {
            signal: controller.signal,
            onWait: () => {
              controller.abort();
            },
          },
          fake.add('abc', {completed: 1}),
        ),
      );
      assert.equal(error.code, 'interrupted');
      assert.deepEqual(fake.sent, [`PUT /abc {"uses_allowed":1,"expiry_time":${T0 + 1000}}`]);
      assert.equal(fake.accepts('abc'), false);
    });
  });
});
