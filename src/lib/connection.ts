/** From "which server" to a homeserver that can be talked to, with the local data that belongs to it. */
import {checkAccessToken, resolveCredential} from './credential.ts';
import {MxtokError, usageError} from './errors.ts';
import {parseAddress} from './homeserver/address.ts';
import {serverNameOf, whoAmI} from './homeserver/client-api.ts';
import {lookUpBaseUrl} from './homeserver/discovery.ts';
import type {Homeserver} from './homeserver/homeserver.ts';
import {HttpClient, type HttpOptions} from './homeserver/http.ts';
import {Synapse} from './homeserver/synapse.ts';
import {quote} from './quote.ts';
import {type AuditContext, AuditLog} from './store/audit.ts';
import type {Warn} from './store/files.ts';
import {MetadataStore} from './store/metadata.ts';
import {type Profile, ProfileStore} from './store/profiles.ts';

/** All that a run has from its surroundings. */
export interface Environment {
  configDir: string;
  dataDir: string;
  /** Environment variables. */
  env: NodeJS.ProcessEnv;
  /** Time limit, user agent, signal and listeners of all requests. */
  http: Omit<HttpOptions, 'baseUrl' | 'caFile'>;
  warn: Warn;
}

/** A server as chosen, before anything is sent. */
export interface Target {
  /** The profile's name; `null` for MXTOK_URL. */
  server: string | null;
  profile: Profile;
}

/**
 * `--server`, else MXTOK_URL with MXTOK_ACCESS_TOKEN, else MXTOK_SERVER, else the default, else the only profile.
 * @param needsCredential false where no access token is sent, so that MXTOK_URL will do.
 * @throws {MxtokError} `usage`, `no_such_server`
 */
export function chooseTarget(
  environment: Environment,
  serverFlag: string | undefined,
  needsCredential = true,
): Target {
  const profiles = new ProfileStore(environment.configDir, environment.warn);
  if (serverFlag !== undefined) return {server: serverFlag, profile: profiles.get(serverFlag)};

  const {MXTOK_URL, MXTOK_ACCESS_TOKEN, MXTOK_CA_FILE, MXTOK_ALLOW_HTTP, MXTOK_SERVER} = environment.env;
  if (MXTOK_URL && MXTOK_SERVER) {
    throw usageError(
      'MXTOK_URL and MXTOK_SERVER name two servers',
      'Unset one of them, or name a profile with --server.',
    );
  }

  if (MXTOK_URL && (MXTOK_ACCESS_TOKEN || !needsCredential)) {
    const allowHttp = MXTOK_ALLOW_HTTP === '1';
    // A server name would have to be looked up at each run, and could lead elsewhere tomorrow.
    const address = parseAddress(MXTOK_URL, allowHttp);
    if (address.kind !== 'base')
      throw usageError(`MXTOK_URL ${quote(MXTOK_URL)} is not a URL like https://matrix.example.org`);
    return {
      server: null,
      profile: {
        url: address.baseUrl,
        ...(MXTOK_ACCESS_TOKEN && {access_token: checkAccessToken(MXTOK_ACCESS_TOKEN, 'MXTOK_ACCESS_TOKEN')}),
        allow_http: allowHttp,
        ...(MXTOK_CA_FILE && {ca_file: MXTOK_CA_FILE}),
      },
    };
  }

  // One without the other would send a credential to a host that it was not meant for, or none at all.
  if (MXTOK_ACCESS_TOKEN)
    throw usageError(
      'MXTOK_ACCESS_TOKEN is set, but MXTOK_URL is not',
      'Set both, or name a profile with --server.',
    );
  if (MXTOK_URL)
    throw usageError(
      'MXTOK_URL is set, but MXTOK_ACCESS_TOKEN is not',
      'Set both, or name a profile with --server.',
    );
  if (MXTOK_SERVER) return {server: MXTOK_SERVER, profile: profiles.get(MXTOK_SERVER)};
  const {name, profile} = profiles.getDefault();
  return {server: name, profile};
}

/** An HTTP client for a profile's address, without any credential. */
export function openHttp(environment: Environment, profile: Profile): HttpClient {
  // The file may have been edited by hand, so the address is judged at each run.
  const address = parseAddress(profile.url, profile.allow_http ?? false);
  if (address.kind !== 'base')
    throw usageError(`${quote(profile.url)} is not a URL`, 'Set it anew: mxtok server update NAME --url URL');
  return new HttpClient({...environment.http, baseUrl: address.baseUrl, caFile: profile.ca_file});
}

/** Resolve what `--url` was given to a base URL. A server name is looked up through `.well-known`. */
export async function resolveUrl(
  environment: Environment,
  input: string,
  allowHttp: boolean,
  caFile?: string,
): Promise<string> {
  const address = parseAddress(input, allowHttp);
  return address.kind === 'base'
    ? address.baseUrl
    : lookUpBaseUrl(address.serverName, environment.http, caFile, allowHttp);
}

export interface Connection {
  /** The profile's name; without one, the homeserver's own name. */
  server: string;
  homeserver: Homeserver;
  metadata: MetadataStore;
  audit: AuditLog;
  auditContext: AuditContext;
  http: HttpClient;
}

/**
 * Get the credential and make ready to send.
 * @param forChange ask who we are first, so that the log names the right user and no other homeserver's data is
 * touched, and make sure that the local data can be changed. For reading, a profile's word is taken.
 * @throws {MxtokError} `no_credential`, `unauthorized`, and those of {@link HttpClient.request}.
 */
export async function connect(
  environment: Environment,
  target: Target,
  forChange: boolean,
): Promise<Connection> {
  const {profile} = target;
  const http = openHttp(environment, profile);
  const accessToken = await resolveCredential(
    profile,
    target.server ?? 'the homeserver',
    environment.http.signal,
  );
  let serverName = profile.server_name;
  let actor = profile.user_id ?? null;
  if (forChange || serverName === undefined) {
    const userId = await whoAmI(http, accessToken);
    const actual = serverNameOf(userId);
    if (actual === undefined)
      throw new MxtokError('not_matrix', `the homeserver gives ${quote(userId)} as user id, which is none`);
    if (serverName !== undefined && actual !== serverName) {
      throw new MxtokError(
        'refused',
        `the profile ${target.server ?? ''} is for ${serverName}, but ${http.baseUrl} is the homeserver of ${quote(actual)}; nothing was changed`,
        {hint: 'If it has moved on purpose: mxtok server update NAME --url URL'},
      );
    }

    serverName = actual;
    actor = userId;
  }

  const metadata = new MetadataStore(environment.configDir, serverName, environment.warn);
  // What cannot be noted here is not begun there.
  if (forChange) metadata.assertUsable();
  return {
    server: target.server ?? serverName,
    homeserver: new Synapse(http, accessToken),
    metadata,
    audit: new AuditLog(environment.dataDir, environment.warn),
    auditContext: {server: target.server, server_name: serverName, actor},
    http,
  };
}
