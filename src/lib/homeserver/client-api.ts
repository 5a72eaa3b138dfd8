/** The parts of the Matrix client-server API that need no server admin, the same on every homeserver. */
import * as z from 'zod/mini';

import {MxtokError} from '../errors.ts';
import {matrixError, readMatrixError, shapeError} from './errors.ts';
import type {HttpClient} from './http.ts';

// Schemas stand where they are used: one that is not is not built, which takes as long as to send a request.

function read<T extends z.core.$ZodType>(schema: T, body: unknown): z.output<T> | undefined {
  return z.safeParse(schema, body).data;
}

/** @throws {MxtokError} `not_matrix` */
function parse<T extends z.core.$ZodType>(schema: T, body: unknown, what: string): z.output<T> {
  const parsed = read(schema, body);
  if (parsed === undefined) throw shapeError(what);
  return parsed;
}

/** `GET /_matrix/client/versions`: that there is a homeserver at all. @returns the versions it speaks. */
export async function getVersions(http: HttpClient): Promise<string[]> {
  const {status, body} = await http.request('GET', '/_matrix/client/versions');
  if (status !== 200) {
    throw new MxtokError('not_matrix', `${http.baseUrl} does not answer like a homeserver (${status})`, {
      status,
      errcode: readMatrixError(body)?.errcode,
      hint: 'Is this the base URL of the homeserver? A server name without https:// is looked up through .well-known.',
    });
  }

  return parse(z.object({versions: z.array(z.string())}), body, 'of /_matrix/client/versions').versions;
}

/** A Matrix user id: `@localpart:server_name`, at most 255 bytes (appendices, "User identifiers"). */
const USER_ID = /^@[\x21-\x39\x3b-\x7e]{0,254}:(.{1,254})$/;

/** @returns the server name in a user id; `undefined` where it is none. */
export function serverNameOf(userId: string): string | undefined {
  return USER_ID.exec(userId)?.[1];
}

/** `GET /account/whoami`. @returns the user id that the access token belongs to. */
export async function whoAmI(http: HttpClient, accessToken: string): Promise<string> {
  const {status, body} = await http.request('GET', '/_matrix/client/v3/account/whoami', {accessToken});
  if (status !== 200) throw matrixError(status, body);
  return parse(z.object({user_id: z.string()}), body, 'of whoami').user_id;
}

export interface Session {
  userId: string;
  accessToken: string;
}

/**
 * `POST /login` with a password. Not asked again by itself: Synapse allows few tries.
 * @param user localpart or whole user id.
 */
export async function logIn(http: HttpClient, user: string, password: string): Promise<Session> {
  const {status, body} = await http.request('POST', '/_matrix/client/v3/login', {
    json: {
      type: 'm.login.password',
      identifier: {type: 'm.id.user', user},
      password,
      initial_device_display_name: 'mxtok',
    },
  });
  if (status === 403) {
    throw new MxtokError('unauthorized', `the homeserver does not take that user name and password`, {
      status,
      errcode: readMatrixError(body)?.errcode,
    });
  }

  if (status === 404 || (status === 400 && readMatrixError(body)?.errcode === 'M_UNKNOWN')) {
    throw new MxtokError('unsupported', 'this homeserver takes no passwords here', {
      status,
      errcode: readMatrixError(body)?.errcode,
      hint: 'It may leave logins to the Matrix Authentication Service. Make an access token there and give it with mxtok server update NAME --access-token-stdin.',
    });
  }

  if (status !== 200) throw matrixError(status, body);
  const session = parse(z.object({user_id: z.string(), access_token: z.string()}), body, 'of login');
  return {userId: session.user_id, accessToken: session.access_token};
}

/** `POST /logout`: ends the access token. One that is no good any more counts as ended. */
export async function logOut(http: HttpClient, accessToken: string): Promise<void> {
  const {status, body} = await http.request('POST', '/_matrix/client/v3/logout', {
    accessToken,
    json: {},
    idempotent: true,
  });
  if (status !== 200 && status !== 401) throw matrixError(status, body);
}

/** What a registering person would be told about a token. */
export type Validity =
  | {accepted: boolean; reason: 'valid' | 'invalid'}
  /** The homeserver takes no registrations at all. */
  | {accepted: false; reason: 'registration_disabled'};

/**
 * `GET /_matrix/client/v1/register/m.login.registration_token/validity` (client-server API, "Token-authenticated
 * registration"); no login. Rate limited by client address: five at once, then one every ten seconds on Synapse.
 * @param patience milliseconds to wait for the rate limit.
 */
export async function checkValidity(http: HttpClient, token: string, patience?: number): Promise<Validity> {
  const path = '/_matrix/client/v1/register/m.login.registration_token/validity?token=';
  const {status, body} = await http.request('GET', path + encodeURIComponent(token), {
    shownPath: `${path}…`,
    ...(patience !== undefined && {patience}),
  });
  if (status === 403) return {accepted: false, reason: 'registration_disabled'};
  if (status === 404) {
    throw new MxtokError('unsupported', 'this homeserver does not tell whether a token is valid', {
      status,
      errcode: readMatrixError(body)?.errcode,
      hint: 'It may leave registration to the Matrix Authentication Service. mxtok server doctor tells.',
    });
  }

  if (status !== 200) throw matrixError(status, body);
  const {valid} = parse(z.object({valid: z.boolean()}), body, 'of the validity check');
  return {accepted: valid, reason: valid ? 'valid' : 'invalid'};
}

/** How this homeserver lets people in. */
export type RegistrationMode = 'token_required' | 'open' | 'disabled' | 'elsewhere';

/**
 * `POST /register` with nothing in it, which makes no account but is answered with the flows (user-interactive
 * authentication). A token is required where every flow has its stage.
 */
export async function registrationMode(http: HttpClient): Promise<RegistrationMode> {
  const {status, body} = await http.request('POST', '/_matrix/client/v3/register', {
    json: {},
    idempotent: true,
  });
  if (status === 403) return 'disabled';
  if (status === 404) return 'elsewhere';
  if (status !== 401) throw matrixError(status, body);
  const {flows} = parse(
    z.object({flows: z.array(z.object({stages: z.array(z.string())}))}),
    body,
    'of register',
  );
  const required = flows.every(({stages}) => stages.includes('m.login.registration_token'));
  return required ? 'token_required' : 'open';
}

/** `GET /_synapse/admin/v1/server_version`, which needs no login; `undefined` where it is no Synapse, or a worker. */
export async function synapseVersion(http: HttpClient): Promise<string | undefined> {
  return probe(
    http,
    '/_synapse/admin/v1/server_version',
    (body) => read(z.object({server_version: z.string()}), body)?.server_version,
  );
}

/** `GET /_matrix/federation/v1/version`, for a name where the admin API gives none: `Dendrite 0.15.2`. */
export async function federationVersion(http: HttpClient): Promise<string | undefined> {
  return probe(http, '/_matrix/federation/v1/version', (body) => {
    const server = read(
      z.object({server: z.object({name: z.string(), version: z.optional(z.string())})}),
      body,
    )?.server;
    return server && [server.name, server.version].filter(Boolean).join(' ');
  });
}

/** `GET /_matrix/client/v1/auth_metadata`: there where an OAuth 2 service such as MAS has the say about accounts. */
export async function delegatesAuthentication(http: HttpClient): Promise<boolean> {
  return (await probe(http, '/_matrix/client/v1/auth_metadata', () => true)) ?? false;
}

/** Ask for something that may well not be there: an answer that is no JSON is as good as a 404. */
async function probe<T>(http: HttpClient, path: string, read: (body: unknown) => T): Promise<T | undefined> {
  try {
    const {status, body} = await http.request('GET', path);
    return status === 200 ? read(body) : undefined;
  } catch (error) {
    if (error instanceof MxtokError && error.code === 'not_matrix') return undefined;
    throw error;
  }
}
