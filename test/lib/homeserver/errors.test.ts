import {strict as assert} from 'node:assert';

import type {ErrorCode} from '../../../src/lib/errors.ts';
import {
  describeNetworkError,
  matrixError,
  notJsonError,
  readMatrixError,
  redirectError,
} from '../../../src/lib/homeserver/errors.ts';

const BASE = 'https://matrix.example.org';

describe('matrixError', () => {
  const cases: [number, unknown, ErrorCode, RegExp][] = [
    [
      401,
      {errcode: 'M_UNKNOWN_TOKEN', error: 'Invalid access token passed.', soft_logout: false},
      'unauthorized',
      /does not take the access token: Invalid access token passed\./,
    ],
    [401, {errcode: 'M_MISSING_TOKEN', error: 'Missing access token'}, 'unauthorized', /access token/],
    [403, {errcode: 'M_FORBIDDEN', error: 'You are not a server admin'}, 'not_admin', /not a server admin/],
    [429, {errcode: 'M_LIMIT_EXCEEDED', error: 'Too Many Requests'}, 'rate_limited', /limits the rate/],
    [500, {errcode: 'M_UNKNOWN', error: 'Internal server error'}, 'server_error', /500: Internal server/],
    [
      400,
      {errcode: 'M_INVALID_PARAM', error: 'expiry_time must not be in the past'},
      'refused',
      /answered 400: expiry_time must not be in the past/,
    ],
    [418, {}, 'refused', /answered 418$/],
  ];
  for (const [status, body, code, message] of cases) {
    it(`says ${code} for ${status} ${readMatrixError(body)?.errcode ?? 'without errcode'}`, () => {
      const error = matrixError(status, body);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.equal(error.status, status);
      assert.equal(error.errcode, readMatrixError(body)?.errcode);
    });
  }

  it('tells a token that has expired from one that was never good', () => {
    const expired = {errcode: 'M_UNKNOWN_TOKEN', error: 'Access token has expired', soft_logout: true};
    assert.match(matrixError(401, expired).hint ?? '', /It has expired.*mxtok server login/);
  });

  it('keeps control characters and floods of the homeserver out of messages', () => {
    const error = matrixError(400, {errcode: 'M_UNKNOWN', error: `\u001b[31mred\u202e\n${'x'.repeat(5000)}`});
    assert.doesNotMatch(error.message, /[\u001b\u202e\n]/);
    assert(error.message.length < 400);
  });

  it('survives any body', () => {
    for (const body of [null, undefined, 'text', [], {errcode: 7}, {errcode: 'M_X', error: {deep: true}}]) {
      assert.equal(matrixError(500, body).code, 'server_error');
    }
  });
});

describe('describeNetworkError', () => {
  const cases: [string, ErrorCode, RegExp][] = [
    ['ENOTFOUND', 'unreachable', /no host matrix\.example\.org \(DNS\)/],
    ['EAI_AGAIN', 'unreachable', /cannot be looked up now/],
    ['ECONNREFUSED', 'unreachable', /nothing listens at https:\/\/matrix\.example\.org/],
    ['EHOSTUNREACH', 'unreachable', /cannot be reached from here \(EHOSTUNREACH\)/],
    ['ETIMEDOUT', 'unreachable', /cannot be reached from here/],
    ['ECONNRESET', 'unreachable', /was cut/],
    ['EPIPE', 'unreachable', /was cut/],
    ['CERT_HAS_EXPIRED', 'tls', /has expired/],
    ['CERT_NOT_YET_VALID', 'tls', /not valid yet/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls', /another host name/],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'tls', /does not trust/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'tls', /does not trust/],
    ['EPROTO', 'tls', /no TLS connection/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls', /no TLS connection/],
    ['HPE_INVALID_CONSTANT', 'not_matrix', /does not speak HTTP/],
    ['EWHATEVER', 'unreachable', /cannot be reached: EWHATEVER/],
  ];
  for (const [code, expected, message] of cases) {
    it(`says ${expected} for ${code}`, () => {
      const error = describeNetworkError(Object.assign(new Error('raw'), {code}), BASE, 10_000);
      assert.equal(error.code, expected);
      assert.match(error.message, message);
      assert.equal(error.exitCode, 7);
    });
  }

  it('says how long was waited, and how to wait longer', () => {
    const error = describeNetworkError({name: 'TimeoutError', code: 'ETIMEDOUT'}, BASE, 2500);
    assert.equal(error.code, 'timeout');
    assert.match(error.message, /within 2\.5 s/);
    assert.match(error.hint ?? '', /--timeout/);
  });

  it('speaks of a socket where the address is one', () => {
    const message = (code: string): string =>
      describeNetworkError({code}, 'unix:/run/main.sock', 1000).message;
    assert.match(message('ENOENT'), /no socket at \/run\/main\.sock/);
    assert.match(message('EACCES'), /permission denied at the socket \/run\/main\.sock/);
  });
});

describe('notJsonError and redirectError', () => {
  it('takes a web page with 5xx for a homeserver that is down, and any other for something else', () => {
    assert.equal(notJsonError(BASE, 502, 'the answer is a web page, not JSON').code, 'server_error');
    assert.equal(notJsonError(BASE, 404, 'the answer is a web page, not JSON').code, 'not_matrix');
    assert.equal(notJsonError(BASE, 200, 'the answer is empty').code, 'not_matrix');
  });

  it('tells where a redirect leads, without its control characters', () => {
    const error = redirectError(BASE, 302, 'https://login.example\u001b[2J/sso');
    assert.equal(error.code, 'not_matrix');
    assert.match(error.message, /redirects \(302\) to https:\/\/login\.example \[2J\/sso/);
    assert.match(redirectError(BASE, 304, undefined).message, /elsewhere/);
  });
});
