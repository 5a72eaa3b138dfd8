/** Finding out about a homeserver, logging in to it and out. */
import {connect, type Environment, openHttp, type Target} from '../connection.ts';
import {resolveCredential} from '../credential.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import {getVersions, logIn, logOut, serverNameOf, type Session, whoAmI} from '../homeserver/client-api.ts';
import type {HttpClient} from '../homeserver/http.ts';
import {identifySoftware, whyUnsupported} from '../homeserver/software.ts';
import {Synapse} from '../homeserver/synapse.ts';
import {quote} from '../quote.ts';
import {AuditLog} from '../store/audit.ts';
import type {Profile} from '../store/profiles.ts';

/** What a verification has found out. */
export interface VerifiedServer {
  server_name: string;
  user_id: string;
  software: 'synapse';
  /** Of Synapse. */
  version: string;
}

/**
 * Make sure that a profile works: a homeserver answers, of a known kind, takes the access token, and lets it manage
 * registration tokens.
 */
export async function verifyServer(http: HttpClient, accessToken: string): Promise<VerifiedServer> {
  await checkSoftware(http);
  const user_id = await whoAmI(http, accessToken).catch((error: unknown) => {
    const problem = toMxtokError(error);
    if (problem.code !== 'unauthorized') throw problem;
    const {message, errcode, status} = problem;
    const hint = 'Is it the whole access token, and of this homeserver? It may have expired, or been ended.';
    throw new MxtokError('unauthorized', message, {errcode, status, hint});
  });
  const server_name = serverNameOf(user_id);
  if (server_name === undefined)
    throw new MxtokError('not_matrix', `the homeserver gives ${quote(user_id)} as user id, which is none`);
  try {
    await new Synapse(http, accessToken).verifyAccess();
  } catch (error) {
    const problem = toMxtokError(error);
    if (problem.code !== 'not_admin') throw problem;
    throw new MxtokError('not_admin', `${user_id} is not a server admin`, {
      errcode: problem.errcode,
      status: problem.status,
      hint: 'Registration tokens are for server admins. Log in as one, or have this user made one.',
    });
  }

  const software = await identifySoftware(http);
  return {
    server_name,
    user_id,
    software: 'synapse',
    version: software.kind === 'synapse' ? software.version : '',
  };
}

/** That there is a homeserver whose registration tokens can be managed; no credential is sent. */
export async function checkSoftware(http: HttpClient): Promise<void> {
  await getVersions(http);
  const problem = whyUnsupported(await identifySoftware(http));
  if (problem) throw problem;
}

/**
 * Log in with a password and verify the access token; one that turns out to be of no use is ended again.
 * @param server the profile's name, for the log.
 */
export async function logInVerified(
  environment: Environment,
  server: string,
  profile: Profile,
  user: string,
  password: string,
): Promise<VerifiedServer & {access_token: string}> {
  const http = openHttp(environment, profile, server);
  try {
    await checkSoftware(http);
    const audit = new AuditLog(environment.dataDir, environment.warn);
    const context = {server, server_name: profile.server_name ?? new URL(baseOf(http)).host, actor: null};
    const [operation] = await audit.start(context, [{operation: 'login', after: {user}}]);
    let session: Session;
    try {
      session = await logIn(http, user, password);
    } catch (error) {
      await operation?.failed(toMxtokError(error));
      throw error;
    }

    try {
      const verified = await verifyServer(http, session.accessToken);
      if (profile.server_name !== undefined && verified.server_name !== profile.server_name) {
        throw new MxtokError(
          'refused',
          `the profile ${server} is for ${profile.server_name}, but this is the homeserver of ${verified.server_name}; nothing was changed`,
          {
            hint: `If it has moved on purpose, remove the profile and add it anew: mxtok server remove ${server}`,
          },
        );
      }

      await operation?.succeeded({user: session.userId}, verified.server_name);
      return {...verified, access_token: session.accessToken};
    } catch (error) {
      await logOut(http, session.accessToken).catch(() => undefined);
      await operation?.failed(toMxtokError(error));
      throw error;
    }
  } finally {
    http.close();
  }
}

function baseOf(http: HttpClient): string {
  return URL.canParse(http.baseUrl) ? http.baseUrl : 'http://localhost';
}

/** End the profile's access token on the homeserver, and log that. */
export async function logOutServer(environment: Environment, target: Target): Promise<void> {
  const accessToken = await resolveCredential(target.profile, target.server ?? '');
  const connection = await connect(environment, target, false).catch((error: unknown) => {
    // One that is no good any more is as good as ended.
    if (error instanceof MxtokError && error.code === 'unauthorized') return undefined;
    throw error;
  });
  if (!connection) return;
  try {
    const [operation] = await connection.audit.start(connection.auditContext, [{operation: 'logout'}]);
    try {
      await logOut(connection.http, accessToken);
    } catch (error) {
      await operation?.failed(toMxtokError(error));
      throw error;
    }

    await operation?.succeeded();
  } finally {
    connection.http.close();
  }
}
