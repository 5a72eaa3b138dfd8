/** Where a homeserver is: base URLs, Unix sockets, and which of them may see an access token. */
import {usageError} from '../errors.ts';
import {quote} from '../quote.ts';

/** The path of a `unix:PATH` address; `undefined` for any other. */
export function socketPathOf(address: string): string | undefined {
  return address.startsWith('unix:') ? address.slice('unix:'.length) : undefined;
}

/** @param hostname as WHATWG URL gives it, which has turned `127.1` and `0x7f000001` into `127.0.0.1`. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** What `--url` was given: an address to use, or a server name to look up through `.well-known`. */
export type Address = {kind: 'base'; baseUrl: string} | {kind: 'name'; serverName: string};

/** Matrix specification, appendices, "Server name": a DNS name, an IPv4 or a bracketed IPv6 address, and a port. */
const SERVER_NAME = /^(?:[A-Za-z0-9.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;

export function isServerName(name: string): boolean {
  return SERVER_NAME.test(name);
}

/**
 * @param allowHttp let an access token travel in plain text.
 * @throws {MxtokError} `usage`
 */
export function parseAddress(input: string, allowHttp: boolean): Address {
  const socketPath = socketPathOf(input);
  if (socketPath !== undefined) {
    if (!socketPath.startsWith('/')) {
      throw usageError(
        `${quote(input)} needs an absolute path`,
        'For example: unix:/run/matrix-synapse/main.sock',
      );
    }

    return {kind: 'base', baseUrl: input};
  }

  if (isServerName(input)) return {kind: 'name', serverName: input};

  let url: URL;
  try {
    url = new URL(input);
  } catch {
    throw usageError(
      `${quote(input)} is neither a URL, nor unix:PATH, nor a server name`,
      'For example: https://matrix.example.org, or example.org to look it up',
    );
  }

  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw usageError(`${quote(input)} is not an https:// URL`);
  }

  if (url.username || url.password) {
    throw usageError(
      'a URL with a user name or password in it is not taken',
      'Leave out everything before the @.',
    );
  }

  if (url.search || url.hash) {
    throw usageError(`${quote(input)} has a query or a fragment; a base URL ends with its path`);
  }

  if (url.protocol === 'http:' && !isLoopback(url.hostname) && !allowHttp) {
    throw usageError(
      `${quote(input)} is plain http: everybody on the way could read the access token`,
      'Use https://, or insist with --allow-http (MXTOK_ALLOW_HTTP=1 where there is no profile).',
    );
  }

  return {kind: 'base', baseUrl: url.href.replace(/\/+$/, '')};
}
