import {strict as assert} from 'node:assert';
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {setImmediate as turn} from 'node:timers/promises';
import {inspect} from 'node:util';

import nock from 'nock';

import type {Environment} from '../../../src/lib/connection.ts';
import {findOperations} from '../../../src/lib/operations/audit.ts';
import {examine, examineEach, findSubject} from '../../../src/lib/operations/doctor.ts';
import type {Finding} from '../../../src/lib/operations/finding.ts';
import {fingerprint, maskToken} from '../../../src/lib/registration-token.ts';
import {AuditLog} from '../../../src/lib/store/audit.ts';
import type {Profile} from '../../../src/lib/store/profiles.ts';
import {surroundings as surroundingsOf} from '../../helpers/environment.ts';
import {CUT, FakeSynapse, type Reply} from '../../helpers/fake-synapse.ts';
import {Gate} from '../../helpers/gate.ts';
import {HeldTimers} from '../../helpers/held-timers.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {assertNoSecret, secret} from '../../helpers/secrets.ts';
import {tempDir} from '../../helpers/temp.ts';

const BASE = 'https://matrix.example.org';
const ACCESS_TOKEN = secret('syt_YWRtaW4_doctorTests_000');
const UNRECOGNIZED: Reply = {
  status: 404,
  body: {errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request'},
};
const PROFILE: Profile = {url: BASE, server_name: 'example.org', access_token: ACCESS_TOKEN};
const STAGE = 'm.login.registration_token';

function flows(...stages: string[][]): Reply {
  return {status: 401, body: {session: 'x', flows: stages.map((one) => ({stages: one})), params: {}}};
}

/** What a Synapse that is set up well answers, apart from its tokens. */
const WELL: Record<string, Reply> = {
  'GET /_matrix/client/versions': {status: 200, body: {versions: ['v1.15']}},
  'GET /_synapse/admin/v1/server_version': {status: 200, body: {server_version: '1.163.2'}},
  'GET /_matrix/federation/v1/version': {
    status: 200,
    body: {server: {name: 'Synapse', version: '1.163.2'}},
  },
  'GET /_matrix/client/v1/auth_metadata': UNRECOGNIZED,
  'POST /_matrix/client/v3/register {}': flows([STAGE, 'm.login.dummy']),
  'GET /_matrix/client/v3/account/whoami': {
    status: 200,
    body: {user_id: '@admin:example.org', is_guest: false},
  },
};

describe('examine', () => {
  let dir: string;
  let environment: Environment;
  let fake: FakeSynapse;

  beforeEach(() => {
    dir = tempDir();
    environment = {
      configDir: join(dir, 'config'),
      dataDir: join(dir, 'data'),
      env: {},
      http: {timeout: 30_000, userAgent: 'mxtok/test'},
      warn: () => undefined,
    };
    fake = new FakeSynapse(BASE, ACCESS_TOKEN, Date.now());
    answers({});
  });

  function answers(other: Record<string, Reply>): void {
    fake.before = (request) => other[request] ?? WELL[request];
  }

  async function run(profile: Profile = PROFILE, server: string | null = 'main'): Promise<Finding[]> {
    const findings: Finding[] = [];
    for await (const finding of examine(environment, {server, profile})) findings.push(finding);
    assertNoSecret(inspect(findings), 'the findings');
    assert(fake.sent.every((request) => /^(?:GET|POST \/_matrix\/client\/v3\/register)/.test(request)));
    return findings;
  }

  async function only(check: Finding['check'], profile?: Profile): Promise<Finding> {
    const found = (await run(profile)).filter((finding) => finding.check === check);
    assert.equal(found.length, 1, `${check} is not looked at once`);
    return found[0] ?? assert.fail();
  }

  function text({message, hint}: Finding): string {
    return `${message} | ${hint ?? ''}`;
  }

  it('finds nothing wrong where nothing is, and looks at everything once', async () => {
    fake.add('abc', {uses_allowed: 1});
    const findings = await run();
    assert.deepEqual(
      findings.map(({check, result}) => `${check} ${result}`),
      [
        'store ok',
        'credential ok',
        'reachable ok',
        'clock ok',
        'software ok',
        'registration ok',
        'user ok',
        'admin ok',
        'tokens ok',
        'audit ok',
      ],
    );
  });

  it('counts and names disabled tokens that are still accepted', async () => {
    fake.add('open-a', {uses_allowed: 0});
    fake.add('open-b', {uses_allowed: 0, expiry_time: fake.now + 3_600_000});
    fake.add('closed', {uses_allowed: 0, expiry_time: fake.now - 3_600_000});
    fake.add('valid', {uses_allowed: 5});
    const finding = await only('tokens');
    assert.equal(finding.result, 'fault');
    assert.match(text(finding), /2 tokens at 0 uses are still accepted.*open-a open-b \|/);
    assert.match(text(finding), /mxtok disable -- open-a open-b/);
  });

  it('looks no further where the homeserver cannot be reached', async () => {
    answers({'GET /_matrix/client/versions': {...CUT}});
    const findings = await run();
    assert.deepEqual(
      findings.filter(({result}) => result === 'fault').map(({check}) => check),
      ['reachable'],
    );
    // What the homeserver has to say is not to be had; what is kept here is looked at all the same.
    assert.deepEqual(findings.map(({check}) => check).slice(-2), ['reachable', 'audit']);
  });

  it('says that something else answers', async () => {
    answers({'GET /_matrix/client/versions': {status: 404, body: {}}});
    assert.match(text(await only('reachable')), /does not answer like a homeserver/);
  });

  const software: [string, Record<string, Reply>, RegExp][] = [
    [
      'MAS',
      {
        'GET /_matrix/client/v1/auth_metadata': {status: 200, body: {issuer: 'https://auth.example.org/'}},
      },
      /Matrix Authentication Service/,
    ],
    ['a worker', {'GET /_synapse/admin/v1/server_version': UNRECOGNIZED}, /worker/],
    [
      'Dendrite',
      {
        'GET /_synapse/admin/v1/server_version': UNRECOGNIZED,
        'GET /_matrix/federation/v1/version': {
          status: 200,
          body: {server: {name: 'Dendrite', version: '0.15.2'}},
        },
      },
      /never checks/,
    ],
  ];
  for (const [name, other, says] of software) {
    it(`says that it is ${name}`, async () => {
      answers(other);
      const finding = await only('software');
      assert.equal(finding.result, 'fault');
      assert.match(text(finding), says);
    });
  }

  const registration: [string, Reply, Finding['result'], RegExp][] = [
    ['open', flows(['m.login.dummy']), 'fault', /registration is open.*registration_requires_token: true/],
    [
      'open in one way of two',
      flows([STAGE], ['m.login.dummy']),
      'fault',
      /people can register without a token/,
    ],
    [
      'off',
      {status: 403, body: {errcode: 'M_FORBIDDEN', error: 'Registration has been disabled.'}},
      'fault',
      /registration is off.*enable_registration: true/,
    ],
    ['elsewhere', UNRECOGNIZED, 'fault', /no registration at this address/],
    [
      'not to be found out',
      {status: 500, body: {errcode: 'M_UNKNOWN', error: 'Internal server error'}},
      'warning',
      /failed with 500/,
    ],
  ];
  for (const [name, reply, result, says] of registration) {
    it(`says that registration is ${name}`, async () => {
      answers({'POST /_matrix/client/v3/register {}': reply});
      const finding = await only('registration');
      assert.equal(finding.result, result);
      assert.match(text(finding), says);
    });
  }

  it('says that the access token is no good', async () => {
    answers({
      'GET /_matrix/client/v3/account/whoami': {
        status: 401,
        body: {errcode: 'M_UNKNOWN_TOKEN', error: 'Invalid access token passed.', soft_logout: false},
      },
    });
    assert.match(text(await only('user')), /does not take the access token/);
  });

  it('says that the access token is not a server admin’s', async () => {
    answers({'GET ': {status: 403, body: {errcode: 'M_FORBIDDEN', error: 'You are not a server admin'}}});
    const finding = await only('admin');
    assert.equal(finding.result, 'fault');
    assert.match(text(finding), /not a server admin/);
  });

  it('says that the address is another homeserver’s than it was', async () => {
    const finding = await only('user', {...PROFILE, server_name: 'moved.example'});
    assert.equal(finding.result, 'fault');
    assert.match(text(finding), /@admin:example\.org.*moved\.example/);
  });

  for (const [name, ahead] of [
    ['behind', 600_000],
    ['ahead of', -600_000],
  ] as const) {
    it(`says that the clock here is ${name} the homeserver's`, async () => {
      fake.now = Date.now() + ahead;
      const finding = await only('clock');
      assert.equal(finding.result, 'fault');
      assert.match(text(finding), new RegExp(`the clock here is \\d{3} s ${name} the homeserver's`));
    });
  }

  it('lets a few seconds of skew pass', async () => {
    fake.now = Date.now() + 30_000;
    assert.equal((await only('clock')).result, 'ok');
  });

  it('says that there is no access token, and looks at the rest', async () => {
    const findings = await run({url: BASE, server_name: 'example.org'});
    const of = (check: string): string | undefined =>
      findings.find((finding) => finding.check === check)?.result;
    assert.equal(of('credential'), 'fault');
    assert.equal(of('registration'), 'ok');
    assert.equal(of('admin'), 'skipped');
  });

  it('asks for no access token where none is expected', async () => {
    const findings = await run({url: BASE}, null);
    assert(findings.every(({result}) => result === 'ok' || result === 'skipped'));
    assert(findings.every(({check}) => check !== 'credential'));
  });

  it('says that the local store is broken, and looks at the rest', async () => {
    mkdirSync(join(dir, 'config', 'metadata'), {recursive: true, mode: 0o700});
    writeFileSync(join(dir, 'config', 'metadata', 'example.org.json'), 'not JSON', {mode: 0o600});
    const findings = await run();
    const store = findings.find(({check}) => check === 'store');
    assert.equal(store?.result, 'fault');
    assert.match(text(store), /is broken/);
    assert(findings.some(({check}) => check === 'tokens'));
  });

  it('tells of operations of this homeserver that were cut short', async () => {
    const log = new AuditLog(environment.dataDir, environment.warn);
    const context = {server: 'main', server_name: 'example.org', actor: null};
    const [done] = await log.start(context, [{operation: 'create', token: 'd'.repeat(16)}]);
    await done?.succeeded();
    await log.start({...context, server_name: 'other.example'}, [{operation: 'delete'}]);
    assert.equal((await only('audit')).result, 'ok');
    await log.start(context, [{operation: 'disable', token: 'abcdefghijklmnop'}]);
    const finding = await only('audit');
    assert.equal(finding.result, 'warning');
    assert.match(
      text(finding),
      /1 operation was cut short or had no answer, the last one disable abcd… at .*--unfinished/,
    );
  });

  it('takes an interruption for no fault of the homeserver’s', async () => {
    const controller = new AbortController();
    environment.http.signal = controller.signal;
    fake.before = (request) => {
      controller.abort();
      return WELL[request];
    };
    assert.equal((await errorOf(run())).code, 'interrupted');
    const work = examineEach(environment, [{server: 'main', profile: PROFILE}]);
    assert.equal((await errorOf(work)).code, 'interrupted');
  });

  it('names the profile in what it says to do', async () => {
    const profile = {...PROFILE, server_name: 'moved.example'};
    const [each] = await examineEach(environment, [{server: 'main', profile}]);
    for (const finding of [await only('user', profile), each?.findings.find(({check}) => check === 'user')])
      assert.match(finding?.hint ?? '', /mxtok server update main --url URL/);
  });

  describe('where a run that creates tokens was killed', () => {
    const AN_HOUR = 3_600_000;

    /** Logged and not finished, before so many milliseconds. */
    async function killed(
      operation: string,
      token: string,
      ago: number,
      server_name = 'example.org',
    ): Promise<void> {
      const log = new AuditLog(environment.dataDir, environment.warn);
      const entry = {version: 1, phase: 'started', server: 'main', server_name, actor: null} as const;
      const time = new Date(Date.now() - ago).toISOString();
      await log.append([
        {
          ...entry,
          time,
          id: `${operation} ${token}`,
          os_user: 'root',
          operation,
          token: maskToken(token),
          fingerprint: fingerprint(token),
        },
      ]);
    }

    /** How many are left open; `0` where all is well. */
    async function left(profile?: Profile): Promise<number> {
      const {result, message} = await only('audit', profile);
      assert.equal(result, /^\d/.test(message) ? 'warning' : 'ok');
      return Number.parseInt(message) || 0;
    }

    it('does not warn for ever of tokens that never came to be', async () => {
      for (const token of ['never-a', 'never-b', 'never-c']) await killed('create', token, AN_HOUR);
      const {result, message} = await only('audit');
      assert.equal(result, 'ok');
      assert.match(message, /but for 3 on tokens that are not there/);
      const unfinished = await findOperations(new AuditLog(environment.dataDir, environment.warn), {
        unfinished: true,
      });
      assert.equal(unfinished.length, 3);
    });

    it('warns of those whose tokens are there, whatever the operation', async () => {
      await killed('create', 'never', AN_HOUR);
      await killed('disable', 'gone', AN_HOUR);
      await killed('delete', 'deleted', 1000);
      await killed('create', 'made', AN_HOUR);
      await killed('disable', 'made', AN_HOUR);
      fake.add('made');
      assert.equal(await left(), 2);
      assert.match((await only('audit')).message, /the last one disable /);
    });

    it('warns of one that may still be under way', async () => {
      await killed('create', 'just-now', 60_000);
      assert.equal(await left(), 1);
      await killed('create', 'long-ago', 11 * 60_000);
      assert.equal(await left(), 1);
    });

    it('warns of all where the tokens cannot be had', async () => {
      await killed('create', 'never', AN_HOUR);
      answers({'GET ': {status: 403, body: {errcode: 'M_FORBIDDEN', error: 'You are not a server admin'}}});
      assert.equal(await left(), 1);
      answers({'GET /_matrix/client/versions': {...CUT}});
      assert.equal(await left(), 1);
    });

    it('takes no homeserver’s word for another', async () => {
      await killed('create', 'never', AN_HOUR, 'other.example');
      // A profile whose homeserver was not known yet is told of all.
      assert.equal(await left({url: BASE, access_token: ACCESS_TOKEN}), 1);
      // The address leads to another homeserver now.
      assert.equal(await left({...PROFILE, server_name: 'other.example'}), 1);
    });
  });
});

describe('examineEach', () => {
  const clock = new HeldTimers();

  afterEach(() => {
    clock.release();
  });

  it('asks nothing more of a homeserver that it has given up, and still looks at what is here', async () => {
    const sent: string[] = [];
    let gate = new Gate();
    for (const method of ['GET', 'POST']) {
      nock(BASE)
        .persist()
        .intercept(/.*/, method)
        .optionally()
        .reply(async (path, body) => {
          const request = [method, path, ...(body === '' ? [] : [JSON.stringify(body)])].join(' ');
          sent.push(request);
          const {status, body: answer} = WELL[request] ?? {status: 429, body: {retry_after_ms: 10_000}};
          if (status !== 429) await gate.pass();
          return [status, JSON.stringify(answer), {'content-type': 'application/json'}];
        });
    }

    const environment = surroundingsOf({main: PROFILE});
    const waiting = new Promise<void>((resolve) => {
      environment.http.onWait = () => {
        resolve();
      };
    });
    clock.hold();
    const examining = examineEach(environment, [{server: 'main', profile: PROFILE}]);
    // Each answer comes just in time for its request, and all of them are too slow together.
    for (const atOnce of [1, 3, 1, 1]) {
      const answering = gate;
      await answering.reached(atOnce);
      clock.pass(29_000);
      gate = new Gate();
      answering.open();
    }

    await waiting;
    await turn();
    clock.pass(4000);
    const [examined] = await examining;
    assert.deepEqual(
      examined?.findings.slice(-2).map(({check, result}) => `${check} ${result}`),
      ['reachable fault', 'audit ok'],
    );
    assert.match(examined.findings.at(-2)?.message ?? '', /was not done after 120 s/);
    const before = [...sent];
    clock.pass(10_000);
    clock.release();
    for (let index = 0; index < 20; index++) await turn();
    assert.deepEqual(sent, before);
  });
});

describe('findSubject', () => {
  function surroundings(): Environment {
    const dir = tempDir();
    return {
      configDir: join(dir, 'config'),
      dataDir: join(dir, 'data'),
      env: {},
      http: {timeout: 30_000, userAgent: 'mxtok/test'},
      warn: () => undefined,
    };
  }

  it('takes an address without a profile, and no credential for it', async () => {
    const {target} = await findSubject(surroundings(), {url: `${BASE}/`, allowHttp: false});
    assert.deepEqual(target, {server: null, profile: {url: BASE, allow_http: false}});
  });

  it('finds a name that cannot be looked up, as a fault', async () => {
    nock('https://example.org')
      .get('/.well-known/matrix/client')
      .replyWithError(Object.assign(new Error('getaddrinfo ENOTFOUND'), {code: 'ENOTFOUND'}));
    const {finding} = await findSubject(surroundings(), {url: 'example.org', allowHttp: false});
    assert.equal(finding?.check, 'reachable');
    assert.equal(finding.result, 'fault');
    assert.match(finding.message, /no host example\.org/);
  });

  it('finds a broken configuration, as a fault', async () => {
    const environment = surroundings();
    mkdirSync(environment.configDir, {recursive: true, mode: 0o700});
    writeFileSync(join(environment.configDir, 'config.json'), '{', {mode: 0o600});
    const {finding} = await findSubject(environment, {allowHttp: false});
    assert.equal(finding?.check, 'store');
  });

  it('says how to look at a homeserver before there is a profile', async () => {
    const error = await errorOf(findSubject(surroundings(), {allowHttp: false}));
    assert.equal(error.code, 'no_such_server');
    assert.match(error.hint ?? '', /mxtok server doctor --url/);
  });

  it('takes a wrong address for a mistake in what was typed', async () => {
    const work = findSubject(surroundings(), {url: 'http://matrix.example.org', allowHttp: false});
    assert.equal((await errorOf(work)).code, 'usage');
  });
});
