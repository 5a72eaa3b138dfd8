/** What is wrong with a homeserver, or with the way to it. */
import {type Environment, openHttp, type Target} from '../connection.ts';
import {credentialSource, resolveCredential} from '../credential.ts';
import {toMxtokError} from '../errors.ts';
import {getVersions, registrationMode, serverNameOf, whoAmI} from '../homeserver/client-api.ts';
import type {HttpClient} from '../homeserver/http.ts';
import {identifySoftware, whyUnsupported} from '../homeserver/software.ts';
import {Synapse} from '../homeserver/synapse.ts';
import {shorten} from '../shorten.ts';
import type {Profile} from '../store/profiles.ts';
import {fault, type Finding, type Seen} from './finding.ts';

/** A skew above it is a fault of one of the clocks, milliseconds. */
const MAX_SKEW = 60_000;

/** Look at one thing after the other, as far as each lets one come to the next. */
export async function* examineServer(
  environment: Environment,
  {server, profile}: Target,
  seen: Seen,
): AsyncGenerator<Finding> {
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
    http = openHttp(environment, profile, server);
  } catch (error) {
    yield fault('reachable', toMxtokError(error));
    return;
  }

  try {
    yield* examineHomeserver(http, profile, accessToken, seen);
  } finally {
    http.close();
  }
}

async function* examineHomeserver(
  http: HttpClient,
  profile: Profile,
  accessToken: string | undefined,
  seen: Seen,
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

  yield* examineAccess(http, profile, accessToken, seen);
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
  seen: Seen,
): AsyncGenerator<Finding> {
  try {
    const user = await whoAmI(http, accessToken);
    seen.serverName = serverNameOf(user);
    const moved = profile.server_name !== undefined && seen.serverName !== profile.server_name;
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
    seen.tokens = tokens;
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
          message: `${open.length} token${open.length === 1 ? ' at 0 uses is' : 's at 0 uses are'} still accepted, for any number of registrations: ${shorten(open, ' ')}`,
          hint: `Synapse takes 0 for unlimited. Close them: mxtok disable -- ${open.slice(0, 5).join(' ')}`,
        };
  } catch (error) {
    yield fault('admin', toMxtokError(error));
  }
}
