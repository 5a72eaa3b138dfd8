import {strict as assert} from 'node:assert';

import nock from 'nock';

import {
  checkValidity,
  delegatesAuthentication,
  federationVersion,
  getVersions,
  logIn,
  logOut,
  registrationMode,
  serverNameOf,
  synapseVersion,
  whoAmI,
} from '../../../src/lib/homeserver/client-api.ts';
import {HttpClient} from '../../../src/lib/homeserver/http.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {secret} from '../../helpers/secrets.ts';

const BASE = 'https://matrix.example.org';
const ACCESS_TOKEN = secret('syt_YWRtaW4_clientApiTests_0');
const PASSWORD = secret('correct horse battery');
const UNRECOGNIZED = {errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request'};
const VALIDITY = '/_matrix/client/v1/register/m.login.registration_token/validity';

describe('the client-server API', () => {
  let http: HttpClient;
  let lines: string[];

  beforeEach(() => {
    lines = [];
    http = new HttpClient({
      baseUrl: BASE,
      timeout: 30_000,
      userAgent: 'mxtok/test',
      onDebug: (line) => lines.push(line),
    });
  });

  afterEach(() => {
    http.close();
  });

  describe('getVersions', () => {
    it('tells what the homeserver speaks', async () => {
      nock(BASE)
        .get('/_matrix/client/versions')
        .reply(200, {versions: ['v1.14', 'v1.15'], unstable_features: {}});
      assert.deepEqual(await getVersions(http), ['v1.14', 'v1.15']);
    });

    it('says that this is no homeserver', async () => {
      for (const [status, body] of [
        [404, {}],
        [200, {hello: 'world'}],
        [200, []],
      ] as const) {
        nock(BASE).get('/_matrix/client/versions').reply(status, body);
        assert.equal((await errorOf(getVersions(http))).code, 'not_matrix');
      }
    });
  });

  describe('serverNameOf', () => {
    it('takes the part after the first colon, with a port', () => {
      assert.equal(serverNameOf('@admin:example.org'), 'example.org');
      assert.equal(serverNameOf('@admin:example.org:8448'), 'example.org:8448');
      assert.equal(serverNameOf('@a:[::1]:8448'), '[::1]:8448');
      assert.equal(serverNameOf('@a/b=c:example.org'), 'example.org');
    });

    it('takes nothing else', () => {
      for (const userId of ['', 'admin', '@admin', '@admin:', 'admin:example.org', '@a b:example.org']) {
        assert.equal(serverNameOf(userId), undefined, userId);
      }
    });
  });

  describe('whoAmI', () => {
    const path = '/_matrix/client/v3/account/whoami';

    it('tells whose access token it is', async () => {
      nock(BASE, {reqheaders: {authorization: `Bearer ${ACCESS_TOKEN}`}})
        .get(path)
        .reply(200, {user_id: '@admin:example.org', is_guest: false, device_id: 'ABC'});
      assert.equal(await whoAmI(http, ACCESS_TOKEN), '@admin:example.org');
    });

    it('says that the access token is no good, without showing it', async () => {
      nock(BASE).get(path).reply(401, {
        errcode: 'M_UNKNOWN_TOKEN',
        error: 'Invalid access token passed.',
        soft_logout: false,
      });
      const error = await errorOf(whoAmI(http, ACCESS_TOKEN));
      assert.equal(error.code, 'unauthorized');
      assert.equal(error.exitCode, 4);
    });
  });

  describe('logIn', () => {
    const path = '/_matrix/client/v3/login';

    it('sends the password once, in the body, with the device’s name', async () => {
      nock(BASE, {badheaders: ['authorization']})
        .post(path, {
          type: 'm.login.password',
          identifier: {type: 'm.id.user', user: 'admin'},
          password: PASSWORD,
          initial_device_display_name: 'mxtok',
        })
        .reply(200, {user_id: '@admin:example.org', access_token: ACCESS_TOKEN, device_id: 'ABC'});
      assert.deepEqual(await logIn(http, 'admin', PASSWORD), {
        userId: '@admin:example.org',
        accessToken: ACCESS_TOKEN,
      });
      assert(!lines.join('').includes(PASSWORD) && !lines.join('').includes(ACCESS_TOKEN));
    });

    it('never sends it again after the connection was cut', async () => {
      nock(BASE)
        .post(path)
        .replyWithError(Object.assign(new Error('socket hang up'), {code: 'ECONNRESET'}));
      assert.equal((await errorOf(logIn(http, 'admin', PASSWORD))).code, 'unreachable');
    });

    it('says that the password is wrong', async () => {
      nock(BASE).post(path).reply(403, {errcode: 'M_FORBIDDEN', error: 'Invalid username or password'});
      const error = await errorOf(logIn(http, 'admin', PASSWORD));
      assert.equal(error.code, 'unauthorized');
      assert.equal(error.errcode, 'M_FORBIDDEN');
    });

    it('says that passwords are not taken here', async () => {
      nock(BASE).post(path).reply(404, UNRECOGNIZED);
      assert.equal((await errorOf(logIn(http, 'admin', PASSWORD))).code, 'unsupported');
      nock(BASE).post(path).reply(400, {errcode: 'M_UNKNOWN', error: 'Unknown login type m.login.password'});
      assert.match((await errorOf(logIn(http, 'admin', PASSWORD))).hint ?? '', /--access-token-stdin/);
    });

    it('shows no access token of an answer that makes no sense', async () => {
      nock(BASE).post(path).reply(200, {access_token: ACCESS_TOKEN});
      assert.equal((await errorOf(logIn(http, 'admin', PASSWORD))).code, 'not_matrix');
    });
  });

  describe('logOut', () => {
    const path = '/_matrix/client/v3/logout';

    it('ends the access token', async () => {
      nock(BASE, {reqheaders: {authorization: `Bearer ${ACCESS_TOKEN}`}})
        .post(path, {})
        .reply(200, {});
      await logOut(http, ACCESS_TOKEN);
    });

    it('is content where it is no good any more', async () => {
      nock(BASE).post(path).reply(401, {errcode: 'M_UNKNOWN_TOKEN', error: 'Invalid access token passed.'});
      await logOut(http, ACCESS_TOKEN);
    });

    it('says where it failed', async () => {
      nock(BASE).post(path).reply(500, {errcode: 'M_UNKNOWN', error: 'Internal server error'});
      assert.equal((await errorOf(logOut(http, ACCESS_TOKEN))).code, 'server_error');
    });
  });

  describe('checkValidity', () => {
    it('asks without any credential, and tells debug output no token', async () => {
      for (const valid of [true, false]) {
        nock(BASE, {badheaders: ['authorization']})
          .get(VALIDITY)
          .query({token: 'a~b.c-d_e'})
          .reply(200, {valid});
        assert.deepEqual(await checkValidity(http, 'a~b.c-d_e'), {
          accepted: valid,
          reason: valid ? 'valid' : 'invalid',
        });
      }

      assert.equal(lines.length, 2);
      assert(lines.every((line) => !line.includes('a~b')));
    });

    it('says that registration is off', async () => {
      nock(BASE)
        .get(VALIDITY)
        .query(true)
        .reply(403, {errcode: 'M_FORBIDDEN', error: 'Registration has been disabled'});
      assert.deepEqual(await checkValidity(http, 'abc'), {
        accepted: false,
        reason: 'registration_disabled',
      });
    });

    it('says that the homeserver does not tell', async () => {
      nock(BASE).get(VALIDITY).query(true).reply(404, UNRECOGNIZED);
      const error = await errorOf(checkValidity(http, 'abc'));
      assert.equal(error.code, 'unsupported');
      assert.equal(error.errcode, 'M_UNRECOGNIZED');
    });

    it('gives up on the rate limit past its patience', async () => {
      nock(BASE)
        .get(VALIDITY)
        .query(true)
        .reply(
          429,
          {errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests', retry_after_ms: 9000},
          {'retry-after': '9'},
        );
      assert.equal((await errorOf(checkValidity(http, 'abc', 0))).code, 'rate_limited');
    });

    it('takes no answer for a yes that is none', async () => {
      for (const body of [{}, {valid: 'true'}, {valid: 1}, []]) {
        nock(BASE).get(VALIDITY).query(true).reply(200, body);
        assert.equal((await errorOf(checkValidity(http, 'abc'))).code, 'not_matrix');
      }
    });
  });

  describe('registrationMode', () => {
    const token = 'm.login.registration_token';
    const cases: [string, number, nock.Body, string][] = [
      [
        'every flow has the stage',
        401,
        {session: 'x', flows: [{stages: [token, 'm.login.dummy']}, {stages: [token]}], params: {}},
        'token_required',
      ],
      [
        'one flow goes without',
        401,
        {session: 'x', flows: [{stages: [token]}, {stages: ['m.login.dummy']}]},
        'open',
      ],
      ['it is refused', 403, {errcode: 'M_FORBIDDEN', error: 'Registration has been disabled.'}, 'disabled'],
      ['there is no such endpoint', 404, UNRECOGNIZED, 'elsewhere'],
    ];
    for (const [name, status, body, mode] of cases) {
      it(`says ${mode} where ${name}`, async () => {
        nock(BASE, {badheaders: ['authorization']})
          .post('/_matrix/client/v3/register', {})
          .reply(status, body);
        assert.equal(await registrationMode(http), mode);
      });
    }
  });

  describe('asking for the software', () => {
    it('tells the versions', async () => {
      nock(BASE).get('/_synapse/admin/v1/server_version').reply(200, {server_version: '1.163.2'});
      nock(BASE)
        .get('/_matrix/federation/v1/version')
        .reply(200, {server: {name: 'Dendrite', version: '0.15.2'}});
      nock(BASE).get('/_matrix/client/v1/auth_metadata').reply(200, {issuer: 'https://auth.example.org/'});
      assert.equal(await synapseVersion(http), '1.163.2');
      assert.equal(await federationVersion(http), 'Dendrite 0.15.2');
      assert.equal(await delegatesAuthentication(http), true);
    });

    it('takes 404, web pages and nonsense for "not there"', async () => {
      const answers: [number, nock.Body][] = [
        [404, UNRECOGNIZED],
        [404, '<html>404</html>'],
        [200, '<html>Hello</html>'],
        [200, {hello: 1}],
      ];
      for (const [status, body] of answers) {
        nock(BASE).get('/_synapse/admin/v1/server_version').reply(status, body);
        nock(BASE).get('/_matrix/federation/v1/version').reply(status, body);
        assert.equal(await synapseVersion(http), undefined);
        assert.equal(await federationVersion(http), undefined);
      }
    });

    it('does not take a homeserver that is down for one without the endpoint', async () => {
      nock(BASE).get('/_synapse/admin/v1/server_version').reply(500, '<html></html>');
      assert.equal((await errorOf(synapseVersion(http))).code, 'server_error');
    });
  });
});
