/** From a server name to a base URL (client-server API, "Well-known URI"). No credential is sent here. */
import * as z from 'zod/mini';

import {MxtokError, toMxtokError} from '../errors.ts';
import {type Address, isLoopback, parseAddress} from './address.ts';
import {HttpClient, type HttpOptions} from './http.ts';

/**
 * Ask `https://NAME/.well-known/matrix/client`. Where there is none, the name itself is the host to try.
 * @returns a base URL. @throws {MxtokError} `unreachable`, `tls`, `timeout`, `not_matrix`
 */
export async function lookUpBaseUrl(
  serverName: string,
  options: Omit<HttpOptions, 'baseUrl' | 'caFile'>,
  caFile: string | undefined,
  allowHttp: boolean,
): Promise<string> {
  const host = `https://${serverName}`;
  // An address on this machine is rarely one to look up: more likely somebody has left out the http://.
  const here = isLoopback(serverName.replace(/:\d+$/, ''));
  const timeout = here ? Math.min(options.timeout, 5000) : options.timeout;
  const http = new HttpClient({...options, timeout, baseUrl: host, caFile});
  let body: unknown;
  try {
    const answer = await http.request('GET', '/.well-known/matrix/client', {followRedirects: true});
    if (answer.status === 404) return host;
    body = answer.body;
  } catch (error) {
    // A web page in its place says no more than a 404.
    if (error instanceof MxtokError && error.code === 'not_matrix') return host;
    const {code, message} = toMxtokError(error);
    if (!here || code === 'interrupted') throw error;
    throw new MxtokError(code, message, {hint: `If it speaks plain http, say so: http://${serverName}`});
  } finally {
    http.close();
  }

  const parsed = z.object({'m.homeserver': z.object({base_url: z.string()})}).safeParse(body);
  if (!parsed.success) {
    throw new MxtokError('not_matrix', `${host}/.well-known/matrix/client names no homeserver`, {
      hint: 'Give the base URL itself: --url https://matrix.example.org',
    });
  }

  const address = readBaseUrl(parsed.data['m.homeserver'].base_url, host, allowHttp);
  if (address.kind !== 'base' || address.baseUrl.startsWith('unix:')) {
    throw new MxtokError('not_matrix', `${host}/.well-known/matrix/client gives no URL as base_url`);
  }

  return address.baseUrl;
}

/** As {@link parseAddress}; but it is not the operator who has written it. */
function readBaseUrl(baseUrl: string, host: string, allowHttp: boolean): Address {
  try {
    return parseAddress(baseUrl, allowHttp);
  } catch (error) {
    const {message, hint} = toMxtokError(error);
    throw new MxtokError('not_matrix', `${host}/.well-known/matrix/client: ${message}`, {hint});
  }
}
