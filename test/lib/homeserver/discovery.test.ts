import {strict as assert} from 'node:assert';

import nock from 'nock';

import {lookUpBaseUrl} from '../../../src/lib/homeserver/discovery.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';

const OPTIONS = {timeout: 30_000, userAgent: 'mxtok/test'};

function lookUp(serverName = 'example.org', allowHttp = false): Promise<string> {
  return lookUpBaseUrl(serverName, OPTIONS, undefined, allowHttp);
}

/** The answer of https://example.org/.well-known/matrix/client. */
function wellKnown(status: number, body: nock.Body, headers: Record<string, string> = {}): void {
  nock('https://example.org', {badheaders: ['authorization']})
    .get('/.well-known/matrix/client')
    .reply(status, body, headers);
}

describe('lookUpBaseUrl', () => {
  it('takes the base URL that the server name publishes', async () => {
    wellKnown(200, {'m.homeserver': {base_url: 'https://matrix.example.org/'}, 'm.other': 1});
    assert.equal(await lookUp(), 'https://matrix.example.org');
  });

  it('asks at the port that the name has', async () => {
    nock('https://example.org:8448')
      .get('/.well-known/matrix/client')
      .reply(200, {'m.homeserver': {base_url: 'https://example.org:8448/matrix'}});
    assert.equal(await lookUp('example.org:8448'), 'https://example.org:8448/matrix');
  });

  it('tries the name itself where nothing is published', async () => {
    wellKnown(404, {errcode: 'M_NOT_FOUND', error: 'Not found'});
    assert.equal(await lookUp(), 'https://example.org');
    wellKnown(404, '<html>404</html>');
    assert.equal(await lookUp(), 'https://example.org');
    wellKnown(200, '<!doctype html><title>Our site</title>');
    assert.equal(await lookUp(), 'https://example.org');
  });

  it('follows a redirect to another https host', async () => {
    wellKnown(302, '', {location: 'https://www.example.org/.well-known/matrix/client'});
    nock('https://www.example.org')
      .get('/.well-known/matrix/client')
      .reply(200, {'m.homeserver': {base_url: 'https://matrix.example.org'}});
    assert.equal(await lookUp(), 'https://matrix.example.org');
  });

  it('does not go on to plain http, where it would be forged easily', async () => {
    wellKnown(302, '', {location: 'http://www.example.org/.well-known/matrix/client'});
    assert.equal(await lookUp(), 'https://example.org');
  });

  it('takes no plain http address, unless it is insisted on', async () => {
    const body = {'m.homeserver': {base_url: 'http://matrix.example.org'}};
    wellKnown(200, body);
    assert.match((await errorOf(lookUp())).message, /plain http/);
    wellKnown(200, body);
    assert.equal(await lookUp('example.org', true), 'http://matrix.example.org');
  });

  const wrong: [string, nock.Body][] = [
    ['JSON without an address', {}],
    ['an address of another kind', {'m.homeserver': {base_url: 7}}],
    ['a list', []],
    ['a server name instead of a URL', {'m.homeserver': {base_url: 'matrix.example.org'}}],
    ['a local socket', {'m.homeserver': {base_url: 'unix:/run/other.sock'}}],
  ];
  for (const [name, body] of wrong) {
    it(`refuses ${name}`, async () => {
      wellKnown(200, body);
      assert.equal((await errorOf(lookUp())).code, 'not_matrix');
    });
  }

  it('does not guess where the server is down', async () => {
    wellKnown(500, '<html>Internal Server Error</html>');
    assert.equal((await errorOf(lookUp())).code, 'server_error');
  });

  it('does not guess where the answer is an error of any other kind', async () => {
    wellKnown(500, {errcode: 'M_UNKNOWN', error: 'Internal server error'});
    assert.equal((await errorOf(lookUp())).exitCode, 7);
  });
});
