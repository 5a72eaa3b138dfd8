import {strict as assert} from 'node:assert';
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {inspect} from 'node:util';

import nock from 'nock';

import type {Environment} from '../../../src/lib/connection.ts';
import {examine, type Finding, findSubject} from '../../../src/lib/operations/doctor.ts';
import {AuditLog} from '../../../src/lib/store/audit.ts';
import type {Profile} from '../../../src/lib/store/profiles.ts';
import {CUT, FakeSynapse, type Reply} from '../../helpers/fake-synapse.ts';
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
        'audit ok',
        'credential ok',
        'reachable ok',
        'clock ok',
        'software ok',
        'registration ok',
        'user ok',
        'admin ok',
        'tokens ok',
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
    assert.equal(findings.at(-1)?.check, 'reachable');
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
