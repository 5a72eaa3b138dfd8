import {strict as assert} from 'node:assert';

import nock from 'nock';

import {HttpClient} from '../../../src/lib/homeserver/http.ts';
import {checkTokens} from '../../../src/lib/operations/check.ts';

const BASE = 'https://matrix.example.org';
const PATH = '/_matrix/client/v1/register/m.login.registration_token/validity';

describe('checkTokens', () => {
  let http: HttpClient;

  beforeEach(() => {
    http = new HttpClient({baseUrl: BASE, timeout: 30_000, userAgent: 'mxtok/test'});
  });

  afterEach(() => {
    http.close();
  });

  it('tells of each token in turn what a registering person would be told', async () => {
    const asked: string[] = [];
    nock(BASE, {badheaders: ['authorization']})
      .get(PATH)
      .query(true)
      .times(2)
      .reply((path) => {
        asked.push(path.replace(/.*=/, ''));
        return [200, {valid: path.endsWith('good')}];
      });
    assert.deepEqual(await checkTokens(http, 'main', ['good', 'bad']), [
      {
        token: 'good',
        outcome: {ok: true, value: {server: 'main', token: 'good', accepted: true, reason: 'valid'}},
      },
      {
        token: 'bad',
        outcome: {ok: true, value: {server: 'main', token: 'bad', accepted: false, reason: 'invalid'}},
      },
    ]);
    assert.deepEqual(asked, ['good', 'bad']);
  });

  it('says no where registration is off', async () => {
    nock(BASE)
      .get(PATH)
      .query(true)
      .reply(403, {errcode: 'M_FORBIDDEN', error: 'Registration has been disabled'});
    const [only] = await checkTokens(http, null, ['abc']);
    assert.deepEqual(only?.outcome, {
      ok: true,
      value: {server: null, token: 'abc', accepted: false, reason: 'registration_disabled'},
    });
  });

  it('goes on after a token that could not be checked, and says which', async () => {
    nock(BASE)
      .get(PATH)
      .query({token: 'first'})
      .reply(500, {errcode: 'M_UNKNOWN', error: 'Internal server error'});
    nock(BASE).get(PATH).query({token: 'second'}).reply(200, {valid: true});
    const [first, second] = await checkTokens(http, null, ['first', 'second']);
    assert(first?.outcome.ok === false && first.outcome.error.code === 'server_error');
    assert.equal(first.outcome.error.token, 'first');
    assert(second?.outcome.ok);
  });
});
