import {strict as assert} from 'node:assert';
import {join} from 'node:path';

import nock from 'nock';

import {
  chooseTarget,
  chooseTargets,
  connect,
  openHttp,
  requestTimeout,
  resolveUrl,
  type Target,
} from '../../src/lib/connection.ts';
import type {Profile} from '../../src/lib/store/profiles.ts';
import {surroundings} from '../helpers/environment.ts';
import {errorIn, errorOf} from '../helpers/mxtok-error.ts';
import {secret} from '../helpers/secrets.ts';

const BASE = 'https://matrix.example.org';
const ACCESS_TOKEN = secret('syt_YWRtaW4_connectionTests_0');
const WHOAMI = '/_matrix/client/v3/account/whoami';

const ONE: Profile = {url: 'https://one.example', server_name: 'one.example'};
const TWO: Profile = {url: 'https://two.example', server_name: 'two.example'};
const URL_AND_TOKEN = {MXTOK_URL: BASE, MXTOK_ACCESS_TOKEN: ACCESS_TOKEN};

describe('chooseTarget', () => {
  it('prefers --server to everything', () => {
    const env = {...URL_AND_TOKEN, MXTOK_SERVER: 'one'};
    const target = chooseTarget(surroundings({one: ONE, two: TWO}, env, 'one'), 'two');
    assert.deepEqual(target, {server: 'two', profile: TWO});
  });

  it('refuses MXTOK_URL and MXTOK_SERVER together: they name two servers', () => {
    const env = {...URL_AND_TOKEN, MXTOK_SERVER: 'one'};
    assert.equal(errorIn(() => chooseTarget(surroundings({one: ONE}, env, 'one'), undefined)).code, 'usage');
  });

  it('prefers MXTOK_URL with MXTOK_ACCESS_TOKEN to the default', () => {
    const target = chooseTarget(surroundings({one: ONE}, URL_AND_TOKEN, 'one'), undefined);
    assert.deepEqual(target, {
      server: null,
      profile: {url: BASE, access_token: ACCESS_TOKEN, allow_http: false},
    });
  });

  it('prefers MXTOK_SERVER to the default', () => {
    const target = chooseTarget(surroundings({one: ONE, two: TWO}, {MXTOK_SERVER: 'two'}, 'one'), undefined);
    assert.equal(target.server, 'two');
  });

  it('takes the default, and else the only one', () => {
    assert.equal(chooseTarget(surroundings({one: ONE, two: TWO}, {}, 'two'), undefined).server, 'two');
    assert.equal(chooseTarget(surroundings({one: ONE}), undefined).server, 'one');
  });

  it('does not choose among several without a default, and names them', () => {
    const error = errorIn(() => chooseTarget(surroundings({two: TWO, one: ONE}), undefined));
    assert.equal(error.code, 'usage');
    assert.match(error.message, /one, two/);
    assert.match(error.hint ?? '', /--server NAME/);
  });

  it('says how to add a server where there is none', () => {
    const error = errorIn(() => chooseTarget(surroundings(), undefined));
    assert.equal(error.code, 'no_such_server');
    assert.equal(error.exitCode, 5);
    assert.match(error.hint ?? '', /mxtok server add/);
  });

  it('names the servers there are where a name is wrong', () => {
    for (const [env, flag] of [
      [{}, 'main'],
      [{MXTOK_SERVER: 'main'}, undefined],
    ] as const) {
      const error = errorIn(() => chooseTarget(surroundings({one: ONE, two: TWO}, env), flag));
      assert.equal(error.code, 'no_such_server');
      assert.match(error.hint ?? '', /one, two/);
    }
  });

  it('takes no name that every object has for a profile', () => {
    for (const name of ['constructor', '__proto__', 'toString']) {
      assert.equal(errorIn(() => chooseTarget(surroundings({one: ONE}), name)).code, 'no_such_server', name);
    }
  });

  it('refuses MXTOK_URL and MXTOK_ACCESS_TOKEN one without the other', () => {
    for (const name of ['MXTOK_URL', 'MXTOK_ACCESS_TOKEN'] as const) {
      const env = {[name]: URL_AND_TOKEN[name]};
      const error = errorIn(() => chooseTarget(surroundings({one: ONE}, env, 'one'), undefined));
      assert.equal(error.code, 'usage');
      assert.match(error.message, new RegExp(`^${name} is set`));
    }
  });

  it('sends the access token of the surroundings over plain http only where MXTOK_ALLOW_HTTP insists', () => {
    const env = {...URL_AND_TOKEN, MXTOK_URL: 'http://matrix.example.org'};
    assert.equal(errorIn(() => chooseTarget(surroundings({}, env), undefined)).code, 'usage');
    for (const value of ['0', '', 'no']) {
      const almost = {...env, MXTOK_ALLOW_HTTP: value};
      assert.equal(errorIn(() => chooseTarget(surroundings({}, almost), undefined)).code, 'usage');
    }

    const insisting = surroundings({}, {...env, MXTOK_ALLOW_HTTP: '1'});
    assert.equal(chooseTarget(insisting, undefined).profile.url, 'http://matrix.example.org');
  });

  it('takes a CA file along, a socket, and no server name that would have to be looked up', () => {
    const withCa = surroundings({}, {...URL_AND_TOKEN, MXTOK_CA_FILE: '/etc/ca.pem'});
    assert.equal(chooseTarget(withCa, undefined).profile.ca_file, '/etc/ca.pem');
    const socket = surroundings({}, {...URL_AND_TOKEN, MXTOK_URL: 'unix:/run/main.sock'});
    assert.equal(chooseTarget(socket, undefined).profile.url, 'unix:/run/main.sock');
    const name = surroundings({}, {...URL_AND_TOKEN, MXTOK_URL: 'example.org'});
    assert.match(
      errorIn(() => chooseTarget(name, undefined)).message,
      /MXTOK_URL "example\.org" is not a URL/,
    );
  });

  it('refuses what cannot be an access token, without repeating it', () => {
    const env = {...URL_AND_TOKEN, MXTOK_ACCESS_TOKEN: `${ACCESS_TOKEN}\nX: y`};
    const error = errorIn(() => chooseTarget(surroundings({}, env), undefined));
    assert.equal(error.code, 'no_credential');
    assert.match(error.message, /^MXTOK_ACCESS_TOKEN cannot be/);
  });
});

describe('chooseTargets', () => {
  const THREE: Record<string, Profile> = {
    two: TWO,
    one: ONE,
    three: {url: 'https://three.example', server_name: 'three.example'},
  };

  it('takes one where none or one is named, as every command does', () => {
    const environment = surroundings(THREE, {}, 'two');
    assert.deepEqual(chooseTargets(environment, {}), {
      targets: [{server: 'two', profile: TWO}],
      several: false,
    });
    assert.deepEqual(chooseTargets(environment, {server: 'one', 'all-servers': false}), {
      targets: [{server: 'one', profile: ONE}],
      several: false,
    });
    const withUrl = chooseTargets(surroundings(THREE, URL_AND_TOKEN, 'two'), {});
    assert.equal(withUrl.targets[0]?.server, null);
    assert.equal(errorIn(() => chooseTargets(surroundings(THREE), {})).code, 'usage');
  });

  it('takes those that are named with commas, each once, in the order named', () => {
    for (const server of ['three,one', 'three, one', ' three ,one', 'three,one,three']) {
      const {targets, several} = chooseTargets(surroundings(THREE, {}, 'two'), {server});
      assert.deepEqual(targets, [
        {server: 'three', profile: THREE['three']},
        {server: 'one', profile: ONE},
      ]);
      assert.equal(several, true);
    }
  });

  it('says that several are meant also where one is left, so that the answer has the form that was asked for', () => {
    assert.deepEqual(chooseTargets(surroundings(THREE), {server: 'one,one'}), {
      targets: [{server: 'one', profile: ONE}],
      several: true,
    });
    assert.equal(chooseTargets(surroundings({one: ONE}), {'all-servers': true}).several, true);
  });

  it('takes all, by name, whatever the surroundings say', () => {
    const environment = surroundings(THREE, {...URL_AND_TOKEN}, 'two');
    const {targets, several} = chooseTargets(environment, {'all-servers': true});
    assert.deepEqual(
      targets.map(({server}) => server),
      ['one', 'three', 'two'],
    );
    assert.equal(several, true);
  });

  it('says how to add a server where there are none', () => {
    const error = errorIn(() => chooseTargets(surroundings(), {'all-servers': true}));
    assert.equal(error.code, 'no_such_server');
    assert.match(error.hint ?? '', /mxtok server add/);
  });

  it('names every one that there is not, and takes none of the others', () => {
    const error = errorIn(() => chooseTargets(surroundings(THREE), {server: 'one,main,two,backup'}));
    assert.equal(error.code, 'no_such_server');
    assert.match(error.message, /"main", nor "backup"; nothing was sent/);
  });

  it('takes no name that every object has, and no name at all, for a profile', () => {
    for (const server of ['one,constructor', 'one,__proto__', 'one,', ',one', ',']) {
      const error = errorIn(() => chooseTargets(surroundings(THREE), {server}));
      assert.equal(error.code, 'no_such_server', server);
    }
  });

  it('is refused several where a command works on one', () => {
    const error = errorIn(() => chooseTarget(surroundings(THREE), 'one,two'));
    assert.equal(error.code, 'usage');
    assert.match(error.message, /one homeserver at a time/);
  });
});

describe('requestTimeout', () => {
  const patient: Profile = {...ONE, defaults: {timeout: '2m'}};

  it('is that of the run, else the profile’s, else half a minute', () => {
    const given = surroundings();
    const {timeout: _, ...http} = given.http;
    const open = {...given, http};
    assert.equal(requestTimeout({...given, http: {...http, timeout: 5000}}, patient), 5000);
    assert.equal(requestTimeout(open, patient), 120_000);
    assert.equal(requestTimeout(open, ONE), 30_000);
    assert.equal(requestTimeout(open), 30_000);
    assert.equal(openHttp(open, patient).timeout, 120_000);
  });

  it('says whose it is where the profile’s is none', () => {
    const given = surroundings();
    const {timeout: _, ...http} = given.http;
    const broken: Profile = {...ONE, defaults: {timeout: 'long'}};
    const error = errorIn(() => openHttp({...given, http}, broken, 'one'));
    assert.equal(error.code, 'usage');
    assert.match(error.message, /^the standing --timeout of the profile one: "long"/);
    assert.match(error.hint ?? '', /mxtok server update one --default-timeout/);
  });
});

describe('openHttp', () => {
  it('judges the address anew, for the file may have been edited by hand', () => {
    const environment = surroundings();
    assert.equal(openHttp(environment, {url: `${BASE}/`}).baseUrl, BASE);
    for (const url of ['http://matrix.example.org', 'example.org', 'https://a:b@example.org', 'nonsense ']) {
      assert.equal(errorIn(() => openHttp(environment, {url})).code, 'usage', url);
    }

    openHttp(environment, {url: 'http://matrix.example.org', allow_http: true});
  });
});

describe('resolveUrl', () => {
  it('takes a URL as it is, and looks a server name up', async () => {
    assert.equal(await resolveUrl(surroundings(), `${BASE}/`, false), BASE);
    nock('https://example.org')
      .get('/.well-known/matrix/client')
      .reply(200, {'m.homeserver': {base_url: BASE}});
    assert.equal(await resolveUrl(surroundings(), 'example.org', false), BASE);
  });
});

describe('connect', () => {
  function target(profile: Partial<Profile> = {}): Target {
    return {server: 'main', profile: {url: BASE, access_token: ACCESS_TOKEN, ...profile}};
  }

  /** The homeserver tells once whose access token it is. */
  function answerWhoAmI(user_id: string): void {
    nock(BASE, {reqheaders: {authorization: `Bearer ${ACCESS_TOKEN}`}})
      .get(WHOAMI)
      .reply(200, {user_id, is_guest: false, device_id: 'ABC'});
  }

  it('asks who we are before a change', async () => {
    answerWhoAmI('@other:example.org');
    const profile = {server_name: 'example.org', user_id: '@admin:example.org'};
    const connection = await connect(surroundings(), target(profile), true);
    assert.deepEqual(connection.auditContext, {
      server: 'main',
      server_name: 'example.org',
      actor: '@other:example.org',
    });
    assert.equal(connection.server, 'main');
  });

  it('takes the profile’s word for reading, without a request', async () => {
    const profile = {server_name: 'example.org', user_id: '@admin:example.org'};
    const connection = await connect(surroundings(), target(profile), false);
    assert.deepEqual(connection.auditContext, {
      server: 'main',
      server_name: 'example.org',
      actor: '@admin:example.org',
    });
    assert.match(connection.metadata.path, /\/metadata\/example\.org\.json$/);
  });

  it('asks also for reading where the homeserver’s name is not known yet', async () => {
    answerWhoAmI('@admin:example.org:8448');
    const connection = await connect(surroundings(), target(), false);
    assert.equal(connection.auditContext.server_name, 'example.org:8448');
    assert.match(connection.metadata.path, /\/metadata\/example\.org%3A8448\.json$/);
  });

  it('is known by the homeserver’s own name where there is no profile', async () => {
    answerWhoAmI('@admin:example.org');
    const connection = await connect(surroundings(), {...target(), server: null}, true);
    assert.equal(connection.server, 'example.org');
    assert.equal(connection.auditContext.server, null);
  });

  it('refuses to change anything on another homeserver than the profile’s', async () => {
    answerWhoAmI('@admin:example.org');
    // Nothing else is answered: a further request would fail in another way.
    const error = await errorOf(connect(surroundings(), target({server_name: 'other.example'}), true));
    assert.equal(error.code, 'refused');
    assert.match(error.message, /is for other\.example, but .* of "example\.org"; nothing was changed/);
  });

  it('lets a hostile homeserver name no file outside the directory', async () => {
    answerWhoAmI('@admin:../../../etc/passwd');
    const environment = surroundings();
    const connection = await connect(environment, target(), true).catch(() => undefined);
    if (connection) {
      const inside = join(environment.configDir, 'metadata', '..%2F..%2F..%2Fetc%2Fpasswd.json');
      assert.equal(connection.metadata.path, inside);
    }
  });

  it('refuses a user id that is none', async () => {
    answerWhoAmI('admin');
    assert.equal((await errorOf(connect(surroundings(), target(), true))).code, 'not_matrix');
  });

  it('sends nothing without a credential', async () => {
    const error = await errorOf(connect(surroundings(), {server: 'main', profile: ONE}, true));
    assert.equal(error.code, 'no_credential');
    assert.match(error.hint ?? '', /mxtok server login main/);
  });

  it('says that the access token is no good before anything is changed', async () => {
    nock(BASE)
      .get(WHOAMI)
      .reply(401, {errcode: 'M_UNKNOWN_TOKEN', error: 'Invalid access token passed.', soft_logout: false});
    assert.equal((await errorOf(connect(surroundings(), target(), true))).code, 'unauthorized');
  });
});
