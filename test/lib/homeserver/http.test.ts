import {strict as assert} from 'node:assert';
import {Readable} from 'node:stream';

import nock from 'nock';

import {HttpClient, type HttpOptions} from '../../../src/lib/homeserver/http.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {secret} from '../../helpers/secrets.ts';

const BASE = 'https://matrix.example.org';
const ACCESS_TOKEN = secret('syt_YWRtaW4_httpTests_000');
const JSON_TYPE = {'content-type': 'application/json'};

/** What Synapse answers to a client that asks too often. */
const LIMITED = {errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests', retry_after_ms: 100};

describe('HttpClient', () => {
  let waits: [number, string][];
  let lines: string[];
  let http: HttpClient;

  function client(options: Partial<HttpOptions> = {}): HttpClient {
    return new HttpClient({
      baseUrl: BASE,
      timeout: 30_000,
      userAgent: 'mxtok/test',
      onWait: (ms, why) => waits.push([ms, why]),
      onDebug: (line) => lines.push(line),
      ...options,
    });
  }

  beforeEach(() => {
    waits = [];
    lines = [];
    http = client();
  });

  afterEach(() => {
    http.close();
  });

  describe('what it sends', () => {
    it('sends the access token in a header, a body as JSON, and who it is', async () => {
      nock(BASE, {
        reqheaders: {
          authorization: `Bearer ${ACCESS_TOKEN}`,
          'user-agent': 'mxtok/test',
          accept: 'application/json',
          'content-type': 'application/json',
        },
      })
        .put('/x', {uses_allowed: null})
        .reply(200, {ok: true});
      const answer = await http.request('PUT', '/x', {
        accessToken: ACCESS_TOKEN,
        json: {uses_allowed: null},
      });
      assert.deepEqual(answer, {status: 200, body: {ok: true}});
    });

    it('does not pass on an access token that a proxy repeats', async () => {
      nock(BASE)
        .get('/x')
        .reply(403, {errcode: 'M_FORBIDDEN', error: `bad header: Bearer ${ACCESS_TOKEN}`});
      const answer = await http.request('GET', '/x', {accessToken: ACCESS_TOKEN});
      assert.deepEqual(answer.body, {errcode: 'M_FORBIDDEN', error: 'bad header: Bearer …'});
      nock(BASE)
        .get('/x')
        .reply(302, '', {location: `https://login.example.org/?token=${ACCESS_TOKEN}`});
      const {message} = await errorOf(http.request('GET', '/x', {accessToken: ACCESS_TOKEN}));
      assert.match(message, /redirects \(302\) to https:\/\/login\.example\.org\/\?token=…/);
    });

    it('sends no Authorization header where no access token is given', async () => {
      nock(BASE, {badheaders: ['authorization']})
        .get('/x')
        .reply(200, {});
      await http.request('GET', '/x');
    });

    it('appends paths to the path prefix of the base URL', async () => {
      nock('https://example.org:8448').get('/matrix/_matrix/client/versions').reply(200, {});
      await client({baseUrl: 'https://example.org:8448/matrix/'}).request('GET', '/_matrix/client/versions');
    });

    it('returns JSON of any status to its caller', async () => {
      nock(BASE).get('/x').reply(404, {errcode: 'M_NOT_FOUND', error: 'No such registration token: x'});
      assert.equal((await http.request('GET', '/x')).status, 404);
    });

    it('tells debug output neither the access token nor what is asked to be masked', async () => {
      nock(BASE).get('/tokens/wholetoken').reply(200, {});
      await http.request('GET', '/tokens/wholetoken', {
        accessToken: ACCESS_TOKEN,
        shownPath: '/tokens/whol…',
      });
      assert.equal(lines.length, 1);
      assert.match(
        lines[0] ?? '',
        /^GET https:\/\/matrix\.example\.org\/tokens\/whol… → 200, \d+ ms, 2 bytes$/,
      );
    });

    it('learns the time from each answer', async () => {
      nock(BASE).get('/x').reply(200, {}, {date: 'Fri, 01 Jan 2100 00:00:00 GMT'});
      await http.request('GET', '/x');
      assert.equal(new Date(http.clock.now()).getUTCFullYear(), 2100);
    });
  });

  describe('redirects', () => {
    for (const status of [301, 302, 303, 307, 308]) {
      it(`does not follow ${status} with an access token, and says where it leads`, async () => {
        nock(BASE).get('/x').reply(status, '', {location: 'https://evil.example/x'});
        const error = await errorOf(
          http.request('GET', '/x', {accessToken: ACCESS_TOKEN, followRedirects: true}),
        );
        assert.equal(error.code, 'not_matrix');
        assert.match(error.message, /redirects.*https:\/\/evil\.example\/x/);
      });
    }

    it('does not follow one on the same host either', async () => {
      nock(BASE).put('/x').reply(307, '', {location: '/y'});
      assert.equal(
        (await errorOf(http.request('PUT', '/x', {accessToken: ACCESS_TOKEN, json: {}}))).code,
        'not_matrix',
      );
    });

    it('follows none without being asked to', async () => {
      nock(BASE).get('/x').reply(302, '', {location: 'https://other.example/x'});
      assert.equal((await errorOf(http.request('GET', '/x'))).code, 'not_matrix');
    });

    it('follows one to https where no credential is sent', async () => {
      nock(BASE).get('/x').reply(302, '', {location: 'https://other.example/y'});
      nock('https://other.example', {badheaders: ['authorization']})
        .get('/y')
        .reply(200, {here: true});
      assert.deepEqual((await http.request('GET', '/x', {followRedirects: true})).body, {here: true});
    });

    it('follows none to plain http', async () => {
      nock(BASE).get('/x').reply(302, '', {location: 'http://other.example/y'});
      const error = await errorOf(http.request('GET', '/x', {followRedirects: true}));
      assert.equal(error.code, 'not_matrix');
      assert.match(error.message, /http:\/\/other\.example\/y/);
    });
  });

  describe('rate limits', () => {
    it('waits as long as Retry-After says, tells so, and asks again', async () => {
      nock(BASE).get('/x').reply(429, LIMITED, {'retry-after': '0'});
      nock(BASE).get('/x').reply(200, {done: true});
      assert.deepEqual((await http.request('GET', '/x')).body, {done: true});
      assert.deepEqual(waits, [[100, 'the homeserver limits the rate']]);
    });

    it('waits as long as retry_after_ms says where there is no header', async () => {
      nock(BASE)
        .get('/x')
        .reply(429, {...LIMITED, retry_after_ms: 123});
      nock(BASE).get('/x').reply(200, {});
      await http.request('GET', '/x');
      assert.deepEqual(waits, [[123, 'the homeserver limits the rate']]);
    });

    it('believes the header more than the body', async () => {
      nock(BASE)
        .get('/x')
        .reply(429, {...LIMITED, retry_after_ms: 59_000}, {'retry-after': '0'});
      nock(BASE).get('/x').reply(200, {});
      await http.request('GET', '/x');
      assert.deepEqual(waits, [[100, 'the homeserver limits the rate']]);
    });

    it('takes a date that has passed for now', async () => {
      nock(BASE).get('/x').reply(429, LIMITED, {'retry-after': 'Fri, 01 Jan 2021 00:00:00 GMT'});
      nock(BASE).get('/x').reply(200, {});
      await http.request('GET', '/x');
      assert.equal(waits[0]?.[0], 100);
    });

    it('waits with a POST too, for a limited request took no effect', async () => {
      nock(BASE).post('/x', {a: 1}).reply(429, LIMITED);
      nock(BASE).post('/x', {a: 1}).reply(200, {});
      assert.equal((await http.request('POST', '/x', {json: {a: 1}})).status, 200);
    });

    it('gives up at once where the wait is longer than its patience', async () => {
      nock(BASE)
        .get('/x')
        .reply(429, {...LIMITED, retry_after_ms: 61_000});
      const answer = await http.request('GET', '/x');
      assert.equal(answer.status, 429);
      assert.deepEqual(waits, []);
    });

    it('gives up once all waits together are longer than its patience', async () => {
      nock(BASE).get('/x').times(3).reply(429, LIMITED);
      assert.equal((await http.request('GET', '/x', {patience: 250})).status, 429);
      assert.equal(waits.length, 2);
    });

    it('waits not at all where it is told to have no patience', async () => {
      nock(BASE).get('/x').reply(429, LIMITED, {'retry-after': '0'});
      assert.equal((await http.request('GET', '/x', {patience: 0})).status, 429);
    });
  });

  describe('faults that pass', () => {
    for (const status of [502, 503, 504]) {
      it(`asks again after ${status}, and tells so`, async () => {
        nock(BASE).get('/x').reply(status, '<html>Bad Gateway</html>');
        nock(BASE).get('/x').reply(200, {done: true});
        assert.deepEqual((await http.request('GET', '/x')).body, {done: true});
        assert.deepEqual(waits, [[250, `the homeserver answered ${status}`]]);
      });
    }

    for (const method of ['GET', 'PUT', 'DELETE'] as const) {
      it(`sends ${method} again after the connection was cut`, async () => {
        nock(BASE).intercept('/x', method).replyWithError(cut());
        nock(BASE).intercept('/x', method).reply(200, {});
        assert.equal((await http.request(method, '/x')).status, 200);
        assert.deepEqual(waits, [[250, 'the connection was cut']]);
      });
    }

    it('gives up after three tries', async () => {
      nock(BASE).get('/x').times(3).replyWithError(cut());
      assert.equal((await errorOf(http.request('GET', '/x'))).code, 'unreachable');
    });

    it('never sends a POST again after the connection was cut', async () => {
      // Nothing is there to answer a second one.
      nock(BASE).post('/x').replyWithError(cut());
      const error = await errorOf(http.request('POST', '/x', {accessToken: ACCESS_TOKEN, json: {}}));
      assert.equal(error.code, 'unreachable');
      assert.match(error.message, /was cut/);
      assert.deepEqual(waits, []);
    });

    for (const status of [502, 503, 504]) {
      it(`never sends a POST again after ${status}`, async () => {
        let times = 0;
        nock(BASE)
          .persist()
          .post('/x')
          .reply(() => {
            times++;
            return [status, 'Bad Gateway'];
          });
        assert.equal((await errorOf(http.request('POST', '/x', {json: {}}))).code, 'server_error');
        assert.equal(times, 1);
        assert.deepEqual(waits, []);
      });
    }

    it('sends a POST again that is known to do no harm', async () => {
      nock(BASE).post('/x').replyWithError(cut());
      nock(BASE).post('/x').reply(200, {});
      assert.equal((await http.request('POST', '/x', {json: {}, idempotent: true})).status, 200);
    });

    it('does not ask again after 500, nor where nothing listens', async () => {
      nock(BASE).get('/x').reply(500, {errcode: 'M_UNKNOWN', error: 'Internal server error'});
      assert.equal((await http.request('GET', '/x')).status, 500);
      nock(BASE)
        .get('/x')
        .replyWithError(Object.assign(new Error('connect ECONNREFUSED'), {code: 'ECONNREFUSED'}));
      assert.match((await errorOf(http.request('GET', '/x'))).message, /nothing listens/);
      assert.deepEqual(waits, []);
    });
  });

  describe('answers of something else', () => {
    const cases: [string, number, string, string, RegExp][] = [
      ['an empty answer', 200, '', 'not_matrix', /the answer is empty/],
      ['a web page', 200, '<!DOCTYPE html><html></html>', 'not_matrix', /a web page, not JSON/],
      ['a 404 page', 404, '<html><title>404</title></html>', 'not_matrix', /with 404: .*web page/],
      ['a 403 page of a proxy', 403, '<html>Forbidden</html>', 'not_matrix', /with 403/],
      ['text', 200, 'It works!', 'not_matrix', /not JSON/],
      ['JSON that was cut off', 200, '{"registration_tokens": [', 'not_matrix', /not JSON/],
      ['a 500 page', 500, '<html>Internal Server Error</html>', 'server_error', /failed with 500/],
      ['a redirect without a target', 300, '', 'not_matrix', /redirects \(300\) to elsewhere/],
      ['a 304 that nobody asked for', 304, '', 'not_matrix', /redirects \(304\)/],
    ];
    for (const [name, status, body, code, message] of cases) {
      it(`says ${code} for ${name}`, async () => {
        nock(BASE).get('/x').reply(status, body);
        const error = await errorOf(http.request('GET', '/x', {accessToken: ACCESS_TOKEN}));
        assert.equal(error.code, code);
        assert.match(error.message, message);
        assert.equal(error.status, status);
      });
    }

    it('cuts off an answer of more than 256 MiB', async function () {
      this.timeout(60_000);
      const chunk = Buffer.alloc(8 * 1024 * 1024, ' ');
      let chunks = 0;
      const huge = new Readable({
        read() {
          // 320 MiB, with room in between for the reader to object.
          setImmediate(() => this.push(chunks++ < 40 ? chunk : null));
        },
      });
      nock(BASE)
        .get('/x')
        .reply(200, () => huge, JSON_TYPE);
      const error = await errorOf(http.request('GET', '/x', {accessToken: ACCESS_TOKEN}));
      assert.equal(error.code, 'not_matrix');
      assert.match(error.message, /over 256 MiB/);
    });
  });

  describe('time limits and interruption', () => {
    it('gives up on a homeserver that does not answer', async () => {
      nock(BASE).get('/x').delay(3_600_000).reply(200, {});
      const error = await errorOf(client({timeout: 50}).request('GET', '/x', {accessToken: ACCESS_TOKEN}));
      assert.equal(error.code, 'timeout');
      assert.match(error.message, /within 0\.05 s/);
    });

    it('gives up on an answer that stalls half way', async () => {
      const stalled = new Readable({
        read() {
          // One part, and then nothing any more.
        },
      });
      stalled.push('{"registration_tokens": [');
      nock(BASE)
        .get('/x')
        .reply(200, () => stalled, JSON_TYPE);
      const error = await errorOf(client({timeout: 200}).request('GET', '/x', {accessToken: ACCESS_TOKEN}));
      assert.equal(error.code, 'timeout');
      stalled.destroy();
    });

    it('sends nothing after an interruption', async () => {
      const error = await errorOf(
        client({signal: AbortSignal.abort()}).request('GET', '/x', {accessToken: ACCESS_TOKEN}),
      );
      assert.equal(error.code, 'interrupted');
    });

    it('ends a request under way on an interruption', async () => {
      const controller = new AbortController();
      nock(BASE)
        .get('/x')
        .reply(200, () => {
          controller.abort();
          return new Readable({
            read() {
              // Never comes.
            },
          });
        });
      const error = await errorOf(
        client({signal: controller.signal}).request('GET', '/x', {accessToken: ACCESS_TOKEN}),
      );
      assert.equal(error.code, 'interrupted');
    });

    it('ends the wait for a rate limit on an interruption', async () => {
      const controller = new AbortController();
      nock(BASE)
        .get('/x')
        .reply(429, {...LIMITED, retry_after_ms: 50_000});
      const error = await errorOf(
        client({
          signal: controller.signal,
          onWait: () => {
            setImmediate(() => {
              controller.abort();
            });
          },
        }).request('GET', '/x', {accessToken: ACCESS_TOKEN}),
      );
      assert.equal(error.code, 'interrupted');
    });
  });

  describe('once it is given up', () => {
    it('sends nothing more, not even after it was closed', async () => {
      const scope = nock(BASE).get('/x').reply(200, {});
      http.abandon();
      http.close();
      const error = await errorOf(http.request('GET', '/x', {accessToken: ACCESS_TOKEN}));
      assert.equal(error.code, 'timeout');
      assert.match(error.message, /given up/);
      assert.equal(scope.isDone(), false);
      nock.cleanAll();
    });

    it('sends nothing that was about to be sent', async () => {
      const scope = nock(BASE).get('/x').reply(200, {});
      const asking = errorOf(http.request('GET', '/x', {accessToken: ACCESS_TOKEN}));
      http.abandon();
      assert.equal((await asking).code, 'timeout');
      assert.equal(scope.isDone(), false);
      nock.cleanAll();
    });

    it('ends a request under way', async () => {
      nock(BASE)
        .get('/x')
        .reply(200, () => {
          http.abandon();
          return new Readable({
            read() {
              // Never comes.
            },
          });
        });
      assert.equal((await errorOf(http.request('GET', '/x', {accessToken: ACCESS_TOKEN}))).code, 'timeout');
    });

    it('ends the wait for a rate limit', async () => {
      nock(BASE)
        .get('/x')
        .reply(429, {...LIMITED, retry_after_ms: 50_000});
      const one = client({
        onWait: () => {
          setImmediate(() => {
            one.abandon();
          });
        },
      });
      assert.equal((await errorOf(one.request('GET', '/x', {accessToken: ACCESS_TOKEN}))).code, 'timeout');
    });
  });

  it('can be used again after it was closed', async () => {
    nock(BASE).get('/x').twice().reply(200, {});
    assert.equal((await http.request('GET', '/x')).status, 200);
    http.close();
    assert.equal((await http.request('GET', '/x')).status, 200);
  });

  it('names the cause of a failed connection, and holds nothing of the request', async () => {
    const error = Object.assign(new Error('getaddrinfo ENOTFOUND matrix.example.org'), {code: 'ENOTFOUND'});
    nock(BASE).get('/x').replyWithError(error);
    const problem = await errorOf(http.request('GET', '/x', {accessToken: ACCESS_TOKEN}));
    assert.equal(problem.code, 'unreachable');
    assert.match(problem.message, /no host matrix\.example\.org/);
  });
});

function cut(): Error {
  return Object.assign(new Error('socket hang up'), {code: 'ECONNRESET'});
}
