/** What is wrong with a homeserver or with the way to it, and what to do about it. */
import {chooseTarget, type Environment, openHttp, resolveUrl, type Target} from '../connection.ts';
import {credentialSource, resolveCredential} from '../credential.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import {getVersions, registrationMode, serverNameOf, whoAmI} from '../homeserver/client-api.ts';
import type {HttpClient} from '../homeserver/http.ts';
import {identifySoftware, whyUnsupported} from '../homeserver/software.ts';
import {Synapse} from '../homeserver/synapse.ts';
import {AuditLog} from '../store/audit.ts';
import {findOperations} from './audit.ts';
import {assertWritable} from '../store/files.ts';
import {MetadataStore} from '../store/metadata.ts';
import type {Profile} from '../store/profiles.ts';

export interface Finding {
  /** What was looked at; stable, for scripts. */
  check:
    | 'store'
    | 'credential'
    | 'reachable'
    | 'software'
    | 'clock'
    | 'user'
    | 'admin'
    | 'registration'
    | 'tokens'
    | 'audit';
  /** `fault`: tokens cannot be managed, or do not do what they are for. `warning`: worth knowing. */
  result: 'ok' | 'warning' | 'fault' | 'skipped';
  message: string;
  hint?: string;
}

/** A skew above it is a fault of one of the clocks, milliseconds. */
const MAX_SKEW = 60_000;

/** What is to be looked at: a profile, or an address without one. */
export interface DoctorQuery {
  server?: string | undefined;
  url?: string | undefined;
  allowHttp: boolean;
  caFile?: string | undefined;
}

/**
 * Find the profile or the address.
 * @returns it, or the finding that already keeps it from being found.
 * @throws {MxtokError} `usage`, `no_such_server`
 */
export async function findSubject(
  environment: Environment,
  {server, url, allowHttp, caFile}: DoctorQuery,
): Promise<{target: Target; finding?: never} | {target?: never; finding: Finding}> {
  try {
    if (url === undefined) return {target: chooseTarget(environment, server)};
    const baseUrl = await resolveUrl(environment, url, allowHttp, caFile);
    return {
      target: {
        server: null,
        profile: {url: baseUrl, allow_http: allowHttp, ...(caFile !== undefined && {ca_file: caFile})},
      },
    };
  } catch (error) {
    const problem = toMxtokError(error);
    if (problem.code === 'no_such_server' && server === undefined) {
      throw new MxtokError('no_such_server', problem.message, {
        hint: 'To look at a homeserver before it is added: mxtok server doctor --url https://matrix.example.org',
      });
    }

    if (['usage', 'no_such_server', 'interrupted'].includes(problem.code)) throw problem;
    return {finding: fault(problem.code === 'store' ? 'store' : 'reachable', problem)};
  }
}

/** Look at one thing after the other, as far as each lets one come to the next. Nothing is changed. */
export async function* examine(environment: Environment, {server, profile}: Target): AsyncGenerator<Finding> {
  yield* examineStore(environment, profile);

  let accessToken: string | undefined;
  // An address without a profile has none.
  if (server !== null || profile.access_token !== undefined) {
    const source = credentialSource(profile);
    try {
      accessToken = await resolveCredential(profile, server ?? 'the homeserver', environment.http.signal);
      const where = {
        stored: server === null ? 'MXTOK_ACCESS_TOKEN' : 'the configuration',
        file: profile.access_token_file,
        command: 'its command',
        none: '',
      }[source];
      yield {check: 'credential', result: 'ok', message: `there is an access token, from ${where ?? ''}`};
    } catch (error) {
      yield fault('credential', toMxtokError(error));
    }
  }

  let http: HttpClient;
  try {
    http = openHttp(environment, profile);
  } catch (error) {
    yield fault('reachable', toMxtokError(error));
    return;
  }

  try {
    yield* examineHomeserver(http, profile, accessToken);
  } finally {
    http.close();
  }
}

async function* examineStore(environment: Environment, profile: Profile): AsyncGenerator<Finding> {
  try {
    if (profile.server_name !== undefined) {
      const metadata = new MetadataStore(environment.configDir, profile.server_name, environment.warn);
      metadata.assertUsable();
      const known = metadata.read().size;
      yield {
        check: 'store',
        result: 'ok',
        message: `local data of ${profile.server_name} is in order (labels and the like of ${known} token${known === 1 ? '' : 's'})`,
      };
    } else {
      yield {check: 'store', result: 'ok', message: 'the configuration is in order'};
    }
  } catch (error) {
    yield fault('store', toMxtokError(error));
  }

  try {
    assertWritable(environment.dataDir);
    const log = new AuditLog(environment.dataDir, environment.warn);
    const open = await findOperations(log, {server: profile.server_name, unfinished: true});
    const last = open.at(-1);
    yield last === undefined
      ? {check: 'audit', result: 'ok', message: 'every operation in the audit log came to its end'}
      : {
          check: 'audit',
          result: 'warning',
          message: `${open.length} operation${open.length === 1 ? ' was' : 's were'} cut short or had no answer, the last one ${last.operation} ${last.token ?? ''} at ${last.time}`,
          hint: 'See them: mxtok audit --unfinished. Running a disable again finishes it.',
        };
  } catch (error) {
    yield fault('audit', toMxtokError(error));
  }
}

async function* examineHomeserver(
  http: HttpClient,
  profile: Profile,
  accessToken: string | undefined,
): AsyncGenerator<Finding> {
  try {
    await getVersions(http);
    yield {check: 'reachable', result: 'ok', message: `a homeserver answers at ${http.baseUrl}`};
  } catch (error) {
    yield fault('reachable', toMxtokError(error));
    return;
  }

  const skew = http.clock.skew();
  yield Math.abs(skew) > MAX_SKEW
    ? {
        check: 'clock',
        result: 'fault',
        message: `the clock here is ${Math.round(Math.abs(skew) / 1000)} s ${skew > 0 ? 'ahead of' : 'behind'} the homeserver's`,
        hint: 'Set both by NTP. Tokens expire by the clock of the homeserver.',
      }
    : {check: 'clock', result: 'ok', message: 'the clocks here and there agree'};

  try {
    const software = await identifySoftware(http);
    const problem = whyUnsupported(software);
    if (problem) {
      yield fault('software', problem);
      return;
    }

    yield {
      check: 'software',
      result: 'ok',
      message: `it is Synapse ${software.kind === 'synapse' ? software.version : ''}`,
    };
  } catch (error) {
    yield fault('software', toMxtokError(error));
    return;
  }

  yield await examineRegistration(http);
  if (accessToken === undefined) {
    yield {check: 'admin', result: 'skipped', message: 'without an access token, tokens cannot be looked at'};
    return;
  }

  yield* examineAccess(http, profile, accessToken);
}

async function examineRegistration(http: HttpClient): Promise<Finding> {
  const check = 'registration';
  try {
    switch (await registrationMode(http)) {
      case 'token_required':
        return {check, result: 'ok', message: 'registration is on, and requires a token'};
      case 'open':
        return {
          check,
          result: 'fault',
          message: 'registration is open: people can register without a token',
          hint: 'In homeserver.yaml: registration_requires_token: true',
        };
      case 'disabled':
        return {
          check,
          result: 'fault',
          message: 'registration is off: nobody can register, with any token',
          hint: 'In homeserver.yaml: enable_registration: true and registration_requires_token: true',
        };
      case 'elsewhere':
        return {
          check,
          result: 'fault',
          message: 'there is no registration at this address',
          hint: 'Does the reverse proxy pass /_matrix/client on?',
        };
    }
  } catch (error) {
    return {...fault(check, toMxtokError(error)), result: 'warning'};
  }
}

async function* examineAccess(
  http: HttpClient,
  profile: Profile,
  accessToken: string,
): AsyncGenerator<Finding> {
  try {
    const user = await whoAmI(http, accessToken);
    const moved = profile.server_name !== undefined && serverNameOf(user) !== profile.server_name;
    yield moved
      ? {
          check: 'user',
          result: 'fault',
          message: `the access token belongs to ${user}, but this profile is for ${profile.server_name ?? ''}`,
          hint: 'If the address has changed hands on purpose: mxtok server update NAME --url URL',
        }
      : {check: 'user', result: 'ok', message: `the access token belongs to ${user}`};
  } catch (error) {
    yield fault('user', toMxtokError(error));
    return;
  }

  const homeserver = new Synapse(http, accessToken);
  try {
    const tokens = await homeserver.list();
    yield {
      check: 'admin',
      result: 'ok',
      message: `it may manage registration tokens (there are ${tokens.length})`,
    };
    const open = tokens
      .filter((token) => token.disabled && homeserver.accepts(token))
      .map(({token}) => token);
    yield open.length === 0
      ? {check: 'tokens', result: 'ok', message: 'no disabled token is accepted'}
      : {
          check: 'tokens',
          result: 'fault',
          message: `${open.length} token${open.length === 1 ? ' at 0 uses is' : 's at 0 uses are'} still accepted, for any number of registrations: ${open.slice(0, 5).join(' ')}${open.length > 5 ? ' …' : ''}`,
          hint: `Synapse takes 0 for unlimited. Close them: mxtok disable -- ${open.slice(0, 5).join(' ')}`,
        };
  } catch (error) {
    yield fault('admin', toMxtokError(error));
  }
}

function fault(check: Finding['check'], {message, hint}: MxtokError): Finding {
  return {check, result: 'fault', message, ...(hint !== undefined && {hint})};
}
