/** Homeservers, proxies and networks that do not do as they should: one clear message, the right exit code, no secret. */
import {strict as assert} from 'node:assert';
import {writeFileSync} from 'node:fs';
import type {IncomingMessage, ServerResponse} from 'node:http';
import {join} from 'node:path';

import type {Profile} from '../../src/lib/store/profiles.ts';
import {type BinaryResult, Operator} from '../helpers/binary.ts';
import {
  type BrokenServer,
  type Certificate,
  closedPort,
  closeServers,
  connectProxy,
  hasOpenssl,
  httpServer,
  makeCertificate,
  tcpServer,
} from '../helpers/broken-server.ts';
import {giveProfiles} from '../helpers/profiles.ts';
import {
  assertJsonError,
  assertOneError,
  assertPlain,
  assertRefused,
  type Refusal,
} from '../helpers/refusal.ts';
import {secret} from '../helpers/secrets.ts';

const ACCESS_TOKEN = secret('syt_YWRtaW4_badAnswerTestsOfMxtok_4xAmPl');
/** What a terminal would act on: colours, the window's title, the 8-bit forms, a change of direction, a new line. */
const NASTY = '\u001b[31mred\u001b]0;title\u0007\u009b32m\u202ebackwards\u200b\nerror: forged\r\u0008';

const TOKEN = {token: 'good', uses_allowed: 1, pending: 0, completed: 0, expiry_time: null};
const LIST = {registration_tokens: [TOKEN]};
/** Notes about waiting may stand beside the error. */
const WITH_NOTES =
  /^(?:hint: .|(?:the homeserver answered \d+|the connection was cut|the name cannot be looked up); waiting \d+ s …$)/;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

function json(status: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return text(status, JSON.stringify(body), {'content-type': 'application/json', ...headers});
}

function text(status: number, body: string, headers: Record<string, string> = {}): Answer {
  return (_, response) => response.writeHead(status, headers).end(body);
}

describe('answers that are none', function () {
  this.timeout(120_000);
  let operator: Operator;

  beforeEach(() => {
    operator = new Operator();
  });

  afterEach(closeServers);

  function profileOf(url: string, more: Partial<Profile> = {}): void {
    const profile = {url, server_name: 'demo.test', access_token: ACCESS_TOKEN, ...more};
    giveProfiles(operator, {main: profile}, 'main');
  }

  /** Run with the profile's server, for people and with --json; both must fail in the same way. */
  async function fails(url: string, argv: string[], refusal: Refusal): Promise<void> {
    profileOf(url);
    await failsWithProfile(argv, refusal);
  }

  async function failsWithProfile(argv: string[], refusal: Refusal): Promise<void> {
    const env = refusal.env ?? {};
    const [shown, data] = await Promise.all([
      operator.mxtok([...argv, '--no-color'], {env}),
      operator.mxtok([...argv, '--json', '--quiet'], {env}),
    ]);
    assertOneError(shown, refusal, WITH_NOTES);
    assertJsonError(data, refusal);
  }

  const NOT_MATRIX = {code: 7, is: 'not_matrix'};
  const SERVER_ERROR = {code: 7, is: 'server_error'};
  const UNREACHABLE = {code: 7, is: 'unreachable'};
  const TLS = {code: 7, is: 'tls'};
  const TIMEOUT = {code: 7, is: 'timeout'};

  describe('that are no answer of a homeserver', () => {
    const page = '<!DOCTYPE html>\n<html><body><h1>It works!</h1></body></html>';
    const cases: [title: string, answer: Answer, refusal: Refusal][] = [
      ['plain text', text(200, 'OK'), {...NOT_MATRIX, says: /the answer is not JSON/}],
      ['nothing', text(200, ''), {...NOT_MATRIX, says: /the answer is empty/}],
      ['half a JSON text', text(200, '{"registration_tokens": [{"tok'), {...NOT_MATRIX, says: /not JSON/}],
      ['a web page', text(200, page), {...NOT_MATRIX, says: /with 200: the answer is a web page, not JSON/}],
      [
        'a web page with 404',
        text(404, page),
        {...NOT_MATRIX, says: /with 404: the answer is a web page[^]*proxy/},
      ],
      ['a web page with 403', text(403, page), {...NOT_MATRIX, says: /with 403: the answer is a web page/}],
      [
        'a web page with 502',
        text(502, page),
        {...SERVER_ERROR, says: /failed with 502[^]*behind it is down/},
      ],
      ['a web page with 503', text(503, page), {...SERVER_ERROR, says: /failed with 503/}],
      ['an empty 504', text(504, ''), {...SERVER_ERROR, says: /failed with 504; the answer is empty/}],
      ['JSON that is no object', text(200, 'null'), {...NOT_MATRIX, says: /makes no sense/}],
      ['an array', json(200, []), {...NOT_MATRIX, says: /makes no sense \(of the list/}],
      ['an object without the list', json(200, {}), {...NOT_MATRIX, says: /makes no sense \(of the list/}],
      ['a list that is none', json(200, {registration_tokens: {}}), {...NOT_MATRIX, says: /makes no sense/}],
      [
        'a token that is none',
        json(200, {registration_tokens: [TOKEN, {...TOKEN, uses_allowed: '5'}]}),
        {...NOT_MATRIX, says: /makes no sense \(of a registration token\)/},
      ],
      [
        'an error in a 200',
        json(200, {errcode: 'M_UNKNOWN', error: 'Internal server error'}),
        {...NOT_MATRIX, says: /makes no sense/},
      ],
      [
        'an internal error',
        json(500, {errcode: 'M_UNKNOWN', error: 'Internal server error'}),
        {...SERVER_ERROR, says: /the homeserver failed with 500: Internal server error/},
      ],
      [
        'a status that nobody expects',
        json(418, {errcode: 'M_TEAPOT', error: 'short and stout'}),
        {code: 1, is: 'refused', says: /the homeserver answered 418: short and stout/},
      ],
      [
        'an access token that has ended',
        json(401, {errcode: 'M_UNKNOWN_TOKEN', error: 'Invalid access token passed.', soft_logout: false}),
        {code: 4, is: 'unauthorized', says: /does not take the access token[^]*mxtok server login main/},
      ],
      [
        'a user who is no server admin',
        json(403, {errcode: 'M_FORBIDDEN', error: 'You are not a server admin'}),
        {code: 4, is: 'not_admin', says: /You are not a server admin/},
      ],
      [
        'no such endpoint',
        json(404, {errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request'}),
        {code: 1, is: 'unsupported', says: /no registration tokens at that address/},
      ],
      [
        'a megabyte of opening brackets',
        text(200, '['.repeat(1_000_000)),
        {...NOT_MATRIX, says: /not JSON|makes no sense/},
      ],
      [
        'a hundred thousand levels',
        text(200, `{"registration_tokens":${'['.repeat(100_000)}${']'.repeat(100_000)}}`),
        {...NOT_MATRIX, says: /makes no sense|not JSON/},
      ],
      [
        'an error of 10 MB',
        json(500, {errcode: 'M_UNKNOWN', error: 'x'.repeat(10_000_000)}),
        {...SERVER_ERROR, says: /failed with 500: x{300}\n|failed with 500: x{299,300}…?\n/},
      ],
      [
        'an error code of 10 MB',
        json(500, {errcode: 'M_'.repeat(5_000_000), error: 'no'}),
        {...SERVER_ERROR, says: /failed with 500: no/},
      ],
    ];
    for (const [title, answer, refusal] of cases) {
      it(`tells what is wrong with ${title}`, async () => {
        const server = await httpServer(answer);
        await fails(server.url, ['list'], refusal);
        assert(server.requests.length >= 2, 'both runs have asked');
      });
    }

    it('says the same where one token is asked for', async () => {
      const server = await httpServer(text(200, page));
      await fails(server.url, ['show', 'abc'], {...NOT_MATRIX, says: /web page/});
      await fails(server.url, ['check', 'abc'], {...NOT_MATRIX, says: /web page/});
    });

    it('changes nothing where it cannot find out whose homeserver it is', async () => {
      for (const answer of [json(200, {}), json(200, {user_id: 'admin'}), json(200, {user_id: '@admin'})]) {
        const server = await httpServer(answer);
        await fails(server.url, ['create'], {
          ...NOT_MATRIX,
          says: /makes no sense|as user id, which is none/,
        });
        assert(server.requests.every(({method}) => method === 'GET'));
      }
    });

    it('changes nothing where another homeserver answers', async () => {
      const server = await httpServer(json(200, {user_id: '@admin:other.test'}));
      for (const argv of [
        ['create'],
        ['update', 'abc', '--uses', '1'],
        ['disable', 'abc'],
        ['delete', '--yes', 'abc'],
      ]) {
        const says = /is for demo.test, but .* is the homeserver of "other.test"; nothing was changed/;
        await fails(server.url, argv, {code: 1, is: 'refused', says});
      }

      assert(server.requests.every(({method}) => method === 'GET'));
    });

    it('takes a token of 10 MB for what it is', async () => {
      const token = 'x'.repeat(10_000_000);
      const server = await httpServer(json(200, {registration_tokens: [{...TOKEN, token}]}));
      profileOf(server.url);
      const [shown] = await operator.json<{token: string}[]>(['list']);
      assert.equal(shown?.token.length, token.length);
    });
  });

  describe('that do not come to an end', () => {
    it('tells that the connection was cut in the middle of an answer', async () => {
      const server = await httpServer((_, response) => {
        response.writeHead(200, {'content-length': '1000'});
        response.write('{"registration_tokens":', () => response.destroy());
      });
      await fails(server.url, ['list'], {...UNREACHABLE, says: /the connection to .* was cut/});
    });

    it('tells that the connection was cut in the middle of a chunk', async () => {
      const server = await httpServer((_, response) => {
        response.writeHead(200);
        response.write('{"registration_tokens":', () => response.destroy());
      });
      await fails(server.url, ['list'], {...UNREACHABLE, says: /the connection to .* was cut/});
    });

    it('tells that the connection was cut before an answer', async () => {
      const server = await tcpServer((socket) => socket.once('data', () => socket.destroy()));
      await fails(server.url, ['list'], {...UNREACHABLE, says: /the connection to .* was cut/});
    });

    it('gives up on an answer without an end', async () => {
      const chunk = Buffer.alloc(1024 * 1024, ' ');
      const server = await httpServer((_, response) => {
        response.writeHead(200);
        const more = (): void => {
          while (!response.destroyed && response.write(chunk));
          if (!response.destroyed) response.once('drain', more);
        };
        more();
      });
      profileOf(server.url);
      const result = await operator.mxtok(['list', '--timeout', '10m']);
      assertOneError(result, {code: 7, says: /its answer has no end \(over 256 MiB\)/});
    });

    it('gives up on an answer that drips', async () => {
      const timers = new Set<NodeJS.Timeout>();
      const server = await httpServer((_, response) => {
        response.writeHead(200);
        const timer = setInterval(() => response.write(' '), 50);
        timers.add(timer);
        response.on('close', () => {
          clearInterval(timer);
        });
      });
      await fails(server.url, ['list', '--timeout', '1'], {...TIMEOUT, says: /did not answer within 1 s/});
      for (const timer of timers) clearInterval(timer);
    });

    it('gives up on a homeserver that says nothing', async () => {
      const server = await tcpServer(() => undefined);
      await fails(server.url, ['list', '--timeout', '1'], {
        ...TIMEOUT,
        says: /did not answer within 1 s[^]*--timeout/,
      });
      assert.equal(server.connections, 2, 'what took its time is not asked for again');
    });

    it('gives up on a TLS handshake that stalls', async () => {
      const server = await tcpServer(() => undefined);
      const url = server.url.replace('http:', 'https:');
      await fails(url, ['list', '--timeout', '1'], {...TIMEOUT, says: /did not answer within 1 s/});
    });

    it('tells that something else than HTTP answers', async () => {
      const server = await tcpServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'));
      await fails(server.url, ['list'], {...NOT_MATRIX, says: /does not speak HTTP/});
    });
  });

  describe('that lead elsewhere', () => {
    for (const status of [301, 302, 303, 307, 308]) {
      it(`follows no redirect (${status}) to another host`, async () => {
        const other = await httpServer(json(200, LIST));
        const server = await httpServer((request, response) => {
          response.writeHead(status, {location: `${other.url}${request.url ?? ''}`}).end();
        });
        await fails(server.url, ['list'], {
          ...NOT_MATRIX,
          says: new RegExp(`redirects \\(${status}\\) to ${other.url}[^]*sent to no other address`),
        });
        await fails(server.url, ['create'], {...NOT_MATRIX, says: /redirects/});
        await fails(server.url, ['check', 'abc'], {...NOT_MATRIX, says: /redirects/});
        assert.equal(other.connections, 0, 'the other host hears nothing');
      });
    }

    it('follows no redirect to another path either, nor one to nowhere', async () => {
      const server = await httpServer((_, response) =>
        response.writeHead(302, {location: '/elsewhere'}).end(),
      );
      await fails(server.url, ['list'], {...NOT_MATRIX, says: /redirects \(302\) to \/elsewhere/});
      assert.equal(server.requests.length, 2);
      const bare = await httpServer((_, response) => response.writeHead(302).end());
      await fails(bare.url, ['list'], {...NOT_MATRIX, says: /redirects \(302\) to elsewhere/});
    });
  });

  describe('where nobody answers', () => {
    it('tells that nothing listens', async () => {
      const url = `http://127.0.0.1:${await closedPort()}`;
      await fails(url, ['list'], {
        ...UNREACHABLE,
        says: /nothing listens at http:\/\/127[^]*Is the port right/,
      });
    });

    it('tells that there is no such host', async () => {
      await fails('https://nonexistent.invalid', ['list'], {
        ...UNREACHABLE,
        says: /(?:there is no host|the name of) nonexistent\.invalid.*\(DNS\)/,
      });
    });

    it('tells that the Unix socket is missing, or is none', async () => {
      const missing = join(operator.dir, 'missing.sock');
      await fails(`unix:${missing}`, ['list'], {
        ...UNREACHABLE,
        says: /there is no socket at .*missing\.sock/,
      });
      const file = join(operator.dir, 'file');
      writeFileSync(file, '');
      await fails(`unix:${file}`, ['list'], {
        ...UNREACHABLE,
        says: /nothing listens at unix:|there is no socket at/,
      });
    });

    it('tells that a port speaks no TLS', async () => {
      const server = await httpServer(json(200, LIST));
      const url = server.url.replace('http:', 'https:');
      await fails(url, ['list'], {...TLS, says: /no TLS connection[^]*Does that port speak https/});
      assert.equal(server.requests.length, 0);
    });
  });

  describe('over TLS', () => {
    let good: Certificate;
    let expired: Certificate;
    let caFile: string;

    before(async function () {
      if (!(await hasOpenssl())) {
        console.error('\n  !!! NO openssl COMMAND: the tests about TLS are SKIPPED.\n');
        this.skip();
      }

      good = await makeCertificate('DNS:matrix.test,IP:127.0.0.1');
      expired = await makeCertificate('DNS:matrix.test,IP:127.0.0.1', -1);
    });

    beforeEach(() => {
      caFile = join(operator.dir, 'ca.pem');
      writeFileSync(caFile, good.cert);
    });

    it('trusts no certificate of an unknown authority, and the one that --ca-file names', async () => {
      const server = await httpServer(json(200, LIST), good);
      await fails(server.url, ['list'], {
        ...TLS,
        says: /signed by an authority that this system does not trust.*SELF_SIGNED[^]*mxtok server update main --ca-file/,
      });
      assert.equal(server.requests.length, 0, 'nothing was sent');
      profileOf(server.url, {ca_file: caFile});
      assert.match(await operator.ok(['list']), /\tgood\t/);
      assert.equal(server.requests[0]?.headers.authorization, `Bearer ${ACCESS_TOKEN}`);
    });

    it('takes --ca-file where there is no profile', async () => {
      const server = await httpServer(json(200, {valid: true}), good);
      const argv = ['check', 'abc', '--url', server.url];
      await assertRefused(operator, argv, {...TLS, says: /does not trust/});
      assert.equal(await operator.ok([...argv, '--ca-file', caFile]), '\tabc\ttrue\tvalid\n');
    });

    it('trusts no other authority than that of --ca-file', async () => {
      const stranger = await makeCertificate('DNS:matrix.test,IP:127.0.0.1');
      const server = await httpServer(json(200, LIST), stranger);
      profileOf(server.url, {ca_file: caFile});
      await failsWithProfile(['list'], {...TLS, says: /does not trust/});
      assert.equal(server.requests.length, 0, 'nothing was sent');
    });

    it('tells that a certificate has expired', async () => {
      writeFileSync(caFile, expired.cert);
      const server = await httpServer(json(200, LIST), expired);
      profileOf(server.url, {ca_file: caFile});
      await failsWithProfile(['list'], {...TLS, says: /the TLS certificate of .* has expired/});
      assert.equal(server.requests.length, 0, 'nothing was sent');
    });

    it('tells that a certificate is for another host name', async () => {
      const server = await httpServer(json(200, LIST), good);
      profileOf(server.url.replace('127.0.0.1', 'localhost'), {ca_file: caFile});
      await failsWithProfile(['list'], {...TLS, says: /is for another host name/});
      assert.equal(server.requests.length, 0, 'nothing was sent');
    });

    it('tells that a port that speaks TLS is spoken to without', async () => {
      const server = await httpServer(json(200, LIST), good);
      await fails(server.url.replace('https:', 'http:'), ['list'], {
        code: 7,
        says: /cut|does not speak HTTP|answer/,
        is: 'unreachable',
      });
    });

    describe('with a server name to look up', () => {
      /** `check --url 127.0.0.1:PORT` asks that host for `.well-known` first. */
      async function lookUp(answer: Answer): Promise<{argv: string[]; server: BrokenServer}> {
        const server = await httpServer(answer, good);
        return {argv: ['check', 'abc', '--url', `127.0.0.1:${server.port}`, '--ca-file', caFile], server};
      }

      it('tells what is wrong with what it finds', async () => {
        const cases: [answer: Answer, refusal: Refusal][] = [
          [json(200, {}), {...NOT_MATRIX, says: /names no homeserver/}],
          [json(200, {'m.homeserver': {base_url: 5}}), {...NOT_MATRIX, says: /names no homeserver/}],
          [json(200, {'m.homeserver': {base_url: 'other.test'}}), {...NOT_MATRIX, says: /gives no URL/}],
          [
            json(200, {'m.homeserver': {base_url: 'unix:/run/x.sock'}}),
            {...NOT_MATRIX, says: /gives no URL/},
          ],
          [json(200, {'m.homeserver': {base_url: NASTY}}), {...NOT_MATRIX, says: /neither a URL/}],
          [
            json(200, {'m.homeserver': {base_url: 'http://matrix.test'}}),
            {...NOT_MATRIX, says: /plain http/},
          ],
        ];
        for (const [answer, refusal] of cases) {
          const {argv} = await lookUp(answer);
          await assertRefused(operator, argv, refusal);
        }
      });

      it('follows redirects as browsers do, but none to plain http, and not for ever', async () => {
        const plain = await httpServer(json(200, {'m.homeserver': {base_url: 'https://matrix.test'}}));
        const forged = await lookUp((_, response) => response.writeHead(302, {location: plain.url}).end());
        await assertRefused(operator, forged.argv, {...NOT_MATRIX, says: /abc|redirects|web page|empty/});
        assert.equal(plain.connections, 0, 'plain http is not asked');
        const endless = await lookUp((request, response) =>
          response.writeHead(302, {location: request.url ?? '/'}).end(),
        );
        await assertRefused(operator, endless.argv, {code: 7, is: 'unreachable', says: /redirect/i});
      });
    });

    describe('through a proxy', () => {
      let server: BrokenServer;
      let proxy: BrokenServer;

      beforeEach(async () => {
        server = await httpServer(json(200, LIST), good);
        proxy = await connectProxy(server);
        profileOf('https://matrix.test', {ca_file: caFile});
      });

      for (const name of ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY']) {
        it(`goes by ${name}, which sees no more than the host name`, async () => {
          assert.match(await operator.ok(['list'], {env: {[name]: proxy.url}}), /\tgood\t/);
          assert.deepEqual(
            proxy.requests.map(({path}) => path),
            ['matrix.test:443'],
          );
          assert.equal(proxy.requests[0]?.headers.authorization, undefined);
          assert.equal(server.requests[0]?.headers.authorization, `Bearer ${ACCESS_TOKEN}`);
          assert.equal(server.requests[0].headers.host, 'matrix.test');
        });
      }

      it('checks the certificate all the same', async () => {
        profileOf('https://other.test', {ca_file: caFile});
        const env = {HTTPS_PROXY: proxy.url};
        await failsWithProfile(['list'], {...TLS, says: /is for another host name/, env});
        assert.equal(server.requests.length, 0, 'nothing was sent');
      });

      it('logs in to the proxy with the user name in its URL, and never shows it', async () => {
        const password = secret('proxyPassword42');
        const url = proxy.url.replace('//', `//me:${password}@`);
        const result = await operator.mxtok(['list', '--debug'], {env: {HTTPS_PROXY: url}});
        assert.equal(result.code, 0, result.stderr);
        assert.equal(
          proxy.requests[0]?.headers['proxy-authorization'],
          `Basic ${Buffer.from(`me:${password}`).toString('base64')}`,
        );
        const refusing = (await connectProxy(server, 407)).url.replace('//', `//me:${password}@`);
        await failsWithProfile(['list'], {
          ...UNREACHABLE,
          says: /the proxy .* 407/,
          env: {HTTPS_PROXY: refusing},
        });
      });

      it('says that it is the proxy that does not answer', async () => {
        const port = await closedPort();
        await failsWithProfile(['list'], {
          ...UNREACHABLE,
          says: new RegExp(`the proxy 127.0.0.1:${port}.*https://matrix.test`),
          env: {HTTPS_PROXY: `http://127.0.0.1:${port}`},
        });
        await failsWithProfile(['list'], {
          ...UNREACHABLE,
          says: /the proxy nonexistent\.invalid:3128/,
          env: {HTTPS_PROXY: 'http://nonexistent.invalid:3128'},
        });
      });

      for (const no of ['matrix.test', '.test', '*']) {
        it(`passes the proxy by for NO_PROXY=${no}`, async () => {
          const env = {HTTPS_PROXY: proxy.url, NO_PROXY: no};
          await failsWithProfile(['list'], {...UNREACHABLE, says: /matrix\.test.*\(DNS\)/, env});
          assert.equal(proxy.connections, 0);
        });
      }

      it('goes by it where NO_PROXY names another host', async () => {
        await operator.ok(['list'], {env: {HTTPS_PROXY: proxy.url, NO_PROXY: 'other.test,localhost'}});
        assert.equal(proxy.requests.length, 1);
      });

      it('never goes by a proxy to loopback, nor to a Unix socket', async () => {
        const env = {HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url, ALL_PROXY: proxy.url};
        profileOf(server.url, {ca_file: caFile});
        assert.match(await operator.ok(['list'], {env}), /\tgood\t/);
        const plain = await httpServer(json(200, LIST));
        profileOf(plain.url);
        assert.match(await operator.ok(['list'], {env}), /\tgood\t/);
        profileOf(`unix:${join(operator.dir, 'missing.sock')}`);
        await failsWithProfile(['list'], {...UNREACHABLE, says: /there is no socket/, env});
        assert.equal(proxy.connections, 0);
      });
    });
  });

  describe('plain http to another host', () => {
    it('is refused unless somebody insists', async () => {
      const server = await httpServer(json(200, LIST));
      const proxy = await connectProxy(server);
      const env = {HTTP_PROXY: proxy.url};
      profileOf('http://matrix.test');
      await failsWithProfile(['list'], {code: 2, says: /is plain http[^]*--allow-http/, env});
      profileOf('http://matrix.test', {allow_http: false});
      await failsWithProfile(['list'], {code: 2, says: /is plain http/, env});
      assert.equal(proxy.connections, 0);
      profileOf('http://matrix.test', {allow_http: true});
      assert.match(await operator.ok(['list'], {env}), /\tgood\t/);
      assert.equal(proxy.requests[0]?.path, 'matrix.test:80');
    });
  });

  describe('about the rate', () => {
    const limited = (headers: Record<string, string>, body: object = {}): Answer =>
      json(429, {errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests', ...body}, headers);

    /** The first request is refused, the second answered. */
    function once(refuse: Answer): Answer {
      let asked = 0;
      return (request, response) => {
        (asked++ === 0 ? refuse : json(200, LIST))(request, response);
      };
    }

    it('waits as long as Retry-After says, and tells so', async () => {
      const server = await httpServer(once(limited({'retry-after': '1'})));
      profileOf(server.url);
      const {stdout, stderr, code} = await operator.mxtok(['list']);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /\tgood\t/);
      assert.equal(stderr, 'the homeserver limits the rate; waiting 1 s …\n');
      assert.equal(server.requests.length, 2);
    });

    it('takes retry_after_ms, and a date, for the same', async () => {
      for (const answer of [
        limited({}, {retry_after_ms: 100}),
        limited({'retry-after': new Date(Date.now() - 1000).toUTCString()}),
      ]) {
        const server = await httpServer(once(answer));
        profileOf(server.url);
        const {stdout, stderr} = await operator.mxtok(['list', '--quiet']);
        assert.match(stdout, /\tgood\t/);
        assert.equal(stderr, '', 'no notes with --quiet');
        assert.equal(server.requests.length, 2);
      }
    });

    it('waits before a create too, which is sent once more only because it was refused', async () => {
      let posts = 0;
      const server = await httpServer((request, response) => {
        if (request.method !== 'POST') json(200, {user_id: '@admin:demo.test'})(request, response);
        else if (posts++ === 0) limited({'retry-after': '0'})(request, response);
        else json(200, {...TOKEN, token: 'abc'})(request, response);
      });
      profileOf(server.url);
      assert.equal(await operator.ok(['create', '--token', 'abc']), 'abc\n');
      assert.equal(posts, 2);
    });

    it('gives up at once where it would have to wait for an hour', async () => {
      const server = await httpServer(limited({'retry-after': '3600'}));
      await fails(server.url, ['list'], {
        code: 7,
        is: 'rate_limited',
        says: /the homeserver limits the rate of requests/,
      });
      assert.equal(server.requests.length, 2, 'one request for each run');
    });

    it('is not taken in by nonsense', async () => {
      for (const value of ['soon', '-5', '1e9', '99999999999999999999']) {
        const server = await httpServer(once(limited({'retry-after': value}, {retry_after_ms: 100})));
        profileOf(server.url);
        const {code, stderr} = await operator.mxtok(['list']);
        assert(code === 0 || code === 7, stderr);
        assertPlain(stderr);
      }
    });
  });

  describe('about passing faults', () => {
    it('asks again where a proxy says that the homeserver is down for a moment', async () => {
      let asked = 0;
      const server = await httpServer((request, response) => {
        (asked++ === 0 ? text(502, '<html></html>') : json(200, LIST))(request, response);
      });
      profileOf(server.url);
      const {stdout, stderr} = await operator.mxtok(['list']);
      assert.match(stdout, /\tgood\t/);
      assert.match(stderr, /^the homeserver answered 502; waiting 1 s …\n$/);
    });
  });

  describe('about the access token', () => {
    let server: BrokenServer;

    beforeEach(async () => {
      server = await httpServer(json(200, LIST));
    });

    async function refused(credential: Partial<Profile>, says: RegExp, others = /^hint: ./): Promise<void> {
      giveProfiles(operator, {main: {url: server.url, server_name: 'demo.test', ...credential}}, 'main');
      const refusal = {code: 4, is: 'no_credential', says};
      const [shown, data] = await Promise.all([operator.mxtok(['list']), operator.mxtok(['list', '--json'])]);
      assertOneError(shown, refusal, others);
      if (others.source === '^hint: .') assertJsonError(data, refusal);
      else assert.equal(data.code, 4);
      assert.equal(server.connections, 0, 'nobody was asked');
    }

    it('says what is wrong with its file', async () => {
      await refused(
        {access_token_file: '/nonexistent/token'},
        /"\/nonexistent\/token" cannot be read: there is no such/,
      );
      await refused({access_token_file: operator.dir}, /cannot be read: it is not a file/);
      const file = join(operator.dir, 'secret-token');
      for (const [content, says] of [
        ['', /the access token in ".*secret-token" is empty/],
        [' \n\n', /is empty/],
        [`${secret('syt_first_line')}\n${secret('syt_second_line')}\n`, /cannot be an access token/],
        [secret('syt with spaces'), /cannot be an access token/],
        [`${secret('syt_nul')}\0`, /cannot be an access token/],
        [secret('syt_zürich'), /cannot be an access token/],
        ['x'.repeat(10_000), /cannot be an access token/],
      ] as const) {
        writeFileSync(file, content);
        await refused({access_token_file: file}, says);
      }

      writeFileSync(file, `${ACCESS_TOKEN}\r\n`);
      assert.match(await operator.ok(['list']), /\tgood\t/);
    });

    it('says what is wrong with its command', async () => {
      const printed = secret('syt_printed_before_it_failed');
      await refused({access_token_command: 'exit 3'}, /the access token command failed: it exited with 3/);
      await refused({access_token_command: `printf ${printed}; exit 1`}, /it exited with 1/);
      await refused({access_token_command: 'kill -9 $$'}, /it was ended by SIGKILL/);
      await refused({access_token_command: 'true'}, /the output of the access token command is empty/);
      await refused({access_token_command: `printf '\\033[31m'`}, /cannot be an access token/);
      await refused(
        {access_token_command: 'echo "the vault is locked" >&2; exit 2'},
        /it exited with 2/,
        /^(?:hint: .|the vault is locked)/,
      );
      await refused(
        {access_token_command: 'nonexistent-password-manager'},
        /it exited with 127/,
        /^(?:hint: .|.*not found)/,
      );
    });

    it('is missing', async () => {
      await refused({}, /not logged in to main[^]*mxtok server login main/);
    });
  });

  describe('with what a terminal would act on', () => {
    /** Every form of output must be free of it; CR is a part of CSV's line ends, tabs are TSV's. */
    async function assertClean(argv: string[]): Promise<BinaryResult[]> {
      const results: BinaryResult[] = [];
      for (const form of ['table', 'tsv', 'csv', 'json', 'ndjson']) {
        const result = await operator.mxtok([...argv, '--output', form]);
        assertPlain(result.stdout.replaceAll('\r\n', '\n'), form === 'tsv' ? '\t' : '');
        assertPlain(result.stderr);
        assert.doesNotMatch(result.stdout + result.stderr, /^error: forged/m);
        results.push(result);
      }

      return results;
    }

    it('shows tokens without it', async () => {
      const nasty = {...TOKEN, token: NASTY, uses_allowed: 0};
      const server = await httpServer((request, response) => {
        const one = /\/ab[cd]$/.test(request.url ?? '');
        json(200, one ? nasty : {registration_tokens: [nasty, TOKEN]})(request, response);
      });
      profileOf(server.url);
      for (const {stdout} of await assertClean(['list']))
        assert.match(stdout, /backwards/, 'the rest is there');
      await assertClean(['show', 'abc']);
      await assertClean(['show', 'abc', 'abd']);
    });

    it('shows errors without it', async () => {
      for (const status of [400, 401, 403, 404, 429, 500]) {
        const server = await httpServer(
          json(status, {errcode: `M_${NASTY}`, error: NASTY}, {'retry-after': '3600'}),
        );
        profileOf(server.url);
        const results = await assertClean(['list']);
        for (const {code, stdout} of results) {
          assert(code !== 0);
          assert.equal(stdout, '');
        }

        await assertClean(['check', 'abc', 'abd']);
      }
    });

    it('shows what a homeserver says of itself without it', async () => {
      const answers: Record<string, unknown> = {
        '/_matrix/client/versions': {versions: ['v1.11']},
        '/_matrix/federation/v1/version': {server: {name: NASTY, version: NASTY}},
      };
      const other = await httpServer((request, response) => {
        const body = answers[request.url ?? ''];
        json(body ? 200 : 404, body ?? {errcode: 'M_UNRECOGNIZED', error: NASTY})(request, response);
      });
      profileOf(other.url);
      await assertClean(['server', 'doctor']);
      const add = [
        'server',
        'add',
        'other',
        '--url',
        other.url,
        '--access-token-command',
        `printf ${ACCESS_TOKEN}`,
      ];
      await assertClean(add);

      answers['/_synapse/admin/v1/server_version'] = {server_version: NASTY};
      answers['/_matrix/client/v3/account/whoami'] = {user_id: `@admin:${NASTY.replaceAll(/[\r\n]/g, '')}`};
      answers['/_synapse/admin/v1/registration_tokens'] = LIST;
      await assertClean(['server', 'doctor']);
      for (const [index, form] of ['table', 'tsv', 'json'].entries()) {
        const name = `other${index}`;
        const result = await operator.mxtok([...add.slice(0, 2), name, ...add.slice(3), '--output', form]);
        assertPlain(result.stdout.replaceAll('\t', ' ') + result.stderr);
      }

      await assertClean(['server', 'list']);
    });

    it('shows where a redirect leads without it', async () => {
      const server = await tcpServer((socket) => {
        socket.once('data', () =>
          socket.end(
            `HTTP/1.1 302 Found\r\nLocation: https://x/\u009b31m\u00e9\r\nContent-Length: 0\r\n\r\n`,
            'latin1',
          ),
        );
      });
      profileOf(server.url);
      await assertClean(['list']);
    });
  });
});
