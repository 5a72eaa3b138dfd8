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
import {noServerYet, type Profile, ProfileStore} from './store/profiles.ts';
import {BUILT_IN, readSetting} from './settings.ts';
import {parseTimeout} from './when.ts';

/** All that a run has from its surroundings. */
export interface Environment {
  configDir: string;
  dataDir: string;
  /** Environment variables. */
  env: NodeJS.ProcessEnv;
  /** User agent, signal and listeners of all requests; and their time limit, where one is given for all servers. */
  http: Omit<HttpOptions, 'baseUrl' | 'caFile' | 'timeout'> & {timeout?: number | undefined};
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
  if (serverFlag?.includes(',')) {
    throw usageError(
      '--server takes one name here; this command works on one homeserver at a time',
      'Those that work on several: list, show, update, disable, prune, rotate, server doctor.',
    );
  }

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

/**
 * The servers that a command is for, where it can be for several: as {@link chooseTarget}, or several profiles with
 * commas, or all of them.
 * @throws {MxtokError} `usage`, `no_such_server`
 */
export function chooseTargets(
  environment: Environment,
  {server, 'all-servers': all}: {server?: string | undefined; 'all-servers'?: boolean | undefined},
): {targets: Target[]; several: boolean} {
  if (!all && !server?.includes(',')) return {targets: [chooseTarget(environment, server)], several: false};
  const known = new ProfileStore(environment.configDir, environment.warn).list();
  if (all) {
    if (known.length === 0) throw noServerYet();
    return {targets: known.map(({name, profile}) => ({server: name, profile})), several: true};
  }

  const names = new Set((server ?? '').split(',').map((name) => name.trim()));
  const profiles = new Map(known.map(({name, profile}) => [name, profile]));
  const unknown = [...names].filter((name) => !profiles.has(name));
  if (unknown.length > 0) {
    throw new MxtokError(
      'no_such_server',
      `there is no server profile ${unknown.map(quote).join(', nor ')}; nothing was sent`,
      {hint: 'See which there are: mxtok server list'},
    );
  }

  const targets = [...names].flatMap((name) => {
    const profile = profiles.get(name);
    return profile ? [{server: name, profile}] : [];
  });
  return {targets, several: true};
}

/**
 * An HTTP client for a profile's address, without any credential.
 * @param server the profile's name, for what is wrong with it.
 */
export function openHttp(
  environment: Environment,
  profile: Profile,
  server: string | null = null,
): HttpClient {
  // The file may have been edited by hand, so the address is judged at each run.
  const address = parseAddress(profile.url, profile.allow_http ?? false);
  if (address.kind !== 'base')
    throw usageError(`${quote(profile.url)} is not a URL`, 'Set it anew: mxtok server update NAME --url URL');
  return new HttpClient({
    ...environment.http,
    timeout: requestTimeout(environment, profile, server),
    baseUrl: address.baseUrl,
    caFile: profile.ca_file,
  });
}

/** For one request, milliseconds: `--timeout` or MXTOK_TIMEOUT, else the profile's, else 30 s. */
export function requestTimeout({http}: Environment, profile?: Profile, server: string | null = null): number {
  if (http.timeout !== undefined) return http.timeout;
  const value = profile?.defaults?.timeout ?? null;
  const standing = readSetting('timeout', {value, source: 'profile'}, parseTimeout, server);
  return standing ?? parseTimeout(BUILT_IN.timeout);
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
    : lookUpBaseUrl(
        address.serverName,
        {...environment.http, timeout: requestTimeout(environment)},
        caFile,
        allowHttp,
      );
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
 * @param audit the log; the same one for all that one process is connected to.
 * @throws {MxtokError} `no_credential`, `unauthorized`, and those of {@link HttpClient.request}.
 */
export async function connect(
  environment: Environment,
  target: Target,
  forChange: boolean,
  audit: AuditLog = new AuditLog(environment.dataDir, environment.warn),
): Promise<Connection> {
  const {profile} = target;
  const http = openHttp(environment, profile, target.server);
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
    audit,
    auditContext: {server: target.server, server_name: serverName, actor},
    http,
  };
}
