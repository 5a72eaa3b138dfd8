/** From what a network or a homeserver answers to an error that names the cause and the next step. */
import * as z from 'zod/mini';

import {type ErrorCode, MxtokError} from '../errors.ts';
import {socketPathOf} from './address.ts';
import {ISSUER_UNKNOWN} from './tls.ts';

/** The standard error response of the Matrix specification (client-server API, section 2). */
export interface MatrixError {
  errcode: string;
  error: string;
  soft_logout?: boolean | undefined;
}

export function readMatrixError(body: unknown): MatrixError | undefined {
  const schema = z.object({
    errcode: z.string(),
    error: z._default(z.string(), ''),
    soft_logout: z.optional(z.boolean()),
  });
  const parsed = schema.safeParse(body);
  return parsed.success ? {...parsed.data, errcode: clean(parsed.data.errcode)} : undefined;
}

/** An answer that is no success, as far as every endpoint has it in common. */
export function matrixError(status: number, body: unknown): MxtokError {
  const matrix = readMatrixError(body);
  const details = {errcode: matrix?.errcode, status};
  // The homeserver's words may hold anything, and go to a terminal.
  const said = clean(matrix?.error ?? '');
  if (status === 401) {
    return new MxtokError(
      'unauthorized',
      `the homeserver does not take the access token${said && `: ${said}`}`,
      {
        ...details,
        hint: matrix?.soft_logout
          ? 'It has expired. Get a new one: mxtok server login NAME'
          : 'Get a new one: mxtok server login NAME (with MXTOK_URL: check MXTOK_ACCESS_TOKEN)',
      },
    );
  }

  if (status === 403) {
    return new MxtokError('not_admin', `the homeserver refuses${said && `: ${said}`}`, {
      ...details,
      hint: 'Registration tokens are for server admins. Use the access token of one.',
    });
  }

  if (status === 429) {
    return new MxtokError('rate_limited', 'the homeserver limits the rate of requests', {
      ...details,
      hint: 'Try again in a minute.',
    });
  }

  if (status >= 500) {
    return new MxtokError('server_error', `the homeserver failed with ${status}${said && `: ${said}`}`, {
      ...details,
      hint: 'Its log says why. Try again later.',
    });
  }

  if (status === 200) return shapeError('');
  return new MxtokError('refused', `the homeserver answered ${status}${said && `: ${said}`}`, details);
}

/** A 200 whose body is not what the endpoint is known to answer. */
export function shapeError(what: string): MxtokError {
  return new MxtokError('not_matrix', `the answer makes no sense${what && ` (${what})`}`, {
    status: 200,
    hint: 'Is a proxy answering in the place of the homeserver? mxtok server doctor tells.',
  });
}

/** Control characters out, length bounded: for words of the homeserver that end in a message. */
function clean(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').slice(0, 300);
}

export function notJsonError(baseUrl: string, status: number, what: string): MxtokError {
  const from = status ? ` with ${status}` : '';
  if (status >= 500) {
    return new MxtokError('server_error', `${baseUrl} failed${from}; ${what}`, {
      status,
      hint: 'A reverse proxy says that the homeserver behind it is down or slow. Try again later.',
    });
  }

  return new MxtokError('not_matrix', `${baseUrl} does not answer like a homeserver${from}: ${what}`, {
    ...(status && {status}),
    hint: 'A reverse proxy may not pass /_synapse/admin on, or this may be the address of something else. mxtok server doctor tells.',
  });
}

export function redirectError(baseUrl: string, status: number, location: string | undefined): MxtokError {
  const target = location === undefined ? 'elsewhere' : clean(location);
  return new MxtokError('not_matrix', `${baseUrl} redirects (${status}) to ${target}`, {
    status,
    hint: 'The access token is sent to no other address. If that is the homeserver, give its URL with mxtok server update NAME --url URL.',
  });
}

/**
 * Errors of got, Node's net, dns and tls, by their `code`.
 * @param proxy host and port of the proxy that was asked to connect.
 */
export function describeNetworkError(
  error: unknown,
  baseUrl: string,
  timeout: number,
  proxy?: string,
): MxtokError {
  const {
    code = '',
    message = String(error),
    name = '',
  } = error as {code?: string; message?: string; name?: string};
  const make = (kind: ErrorCode, text: string, hint?: string): MxtokError =>
    new MxtokError(kind, text, {hint, cause: code || message});
  const socketPath = socketPathOf(baseUrl);

  if (name === 'TimeoutError') {
    return make(
      'timeout',
      `${baseUrl} did not answer within ${timeout / 1000} s`,
      'Try again, or give it more time with --timeout.',
    );
  }

  if (proxy !== undefined) {
    // hpagent's words for what a proxy answers to CONNECT.
    const status = /^Bad response: (\d+)$/.exec(message)?.[1];
    const reason = status === undefined ? code : `it answers ${status}`;
    if (
      status !== undefined ||
      ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'].includes(code)
    ) {
      return make(
        'unreachable',
        `the proxy ${proxy} does not connect to ${baseUrl} (${reason})`,
        'Check HTTPS_PROXY and HTTP_PROXY. NO_PROXY names the hosts that need no proxy.',
      );
    }
  }

  if (ISSUER_UNKNOWN.has(code)) {
    return make(
      'tls',
      `the TLS certificate of ${baseUrl} is signed by an authority that this system does not trust (${code})`,
      'If it is your own authority, name its certificate: mxtok server update NAME --ca-file FILE',
    );
  }

  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return make(
        'tls',
        `the TLS certificate of ${baseUrl} has expired`,
        'Renew it on the homeserver, and check the clock here.',
      );
    case 'CERT_NOT_YET_VALID':
      return make(
        'tls',
        `the TLS certificate of ${baseUrl} is not valid yet`,
        'Check the clock here and there.',
      );
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return make(
        'tls',
        `the TLS certificate of ${baseUrl} is for another host name`,
        'Use the name that the certificate is for.',
      );
    case 'ENOTFOUND':
      return make(
        'unreachable',
        `there is no host ${hostOf(baseUrl)} (DNS)`,
        'Check the spelling of the URL.',
      );
    case 'EAI_AGAIN':
      return make(
        'unreachable',
        `the name of ${hostOf(baseUrl)} cannot be looked up now (DNS)`,
        'Check the network, then try again.',
      );
    case 'ECONNREFUSED':
      return make(
        'unreachable',
        `nothing listens at ${baseUrl}`,
        'Is the homeserver running? Is the port right?',
      );
    case 'ENOENT':
    case 'ENOTSOCK':
      if (socketPath !== undefined)
        return make('unreachable', `there is no socket at ${socketPath}`, 'Is the homeserver running?');
      break;
    case 'EACCES':
      if (socketPath !== undefined) {
        return make(
          'unreachable',
          `permission denied at the socket ${socketPath}`,
          'Run as a user who may write to it.',
        );
      }

      break;
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
      return make(
        'unreachable',
        `${hostOf(baseUrl)} cannot be reached from here (${code})`,
        'Check the network and the firewall.',
      );
    case 'ECONNRESET':
    case 'EPIPE':
    case 'ERR_STREAM_PREMATURE_CLOSE':
      return make('unreachable', `the connection to ${baseUrl} was cut`, 'Try again.');
    default:
  }

  if (code === 'EPROTO' || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) {
    return make(
      'tls',
      `no TLS connection to ${baseUrl} (${code})`,
      'Does that port speak https? An http:// port does not.',
    );
  }

  if (code.startsWith('HPE_')) {
    return make('not_matrix', `${baseUrl} does not speak HTTP (${code})`, 'Check the port.');
  }

  return make('unreachable', `${baseUrl} cannot be reached: ${code || clean(message)}`);
}

function hostOf(baseUrl: string): string {
  return URL.canParse(baseUrl) ? new URL(baseUrl).host : baseUrl;
}
