/** What the operations on several tokens have in common: look them up, log each, and lose none of the outcomes. */
import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {Outcome} from '../homeserver/homeserver.ts';
import type {RegistrationToken} from '../registration-token.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {type TokenRecord, toRecord} from '../token-record.ts';

/** One outcome for each token asked for, in the order asked. */
export interface TokenOutcome<T = TokenRecord> {
  token: string;
  outcome: Outcome<T>;
}

export interface FoundToken {
  token: RegistrationToken;
  metadata: TokenMetadata | undefined;
}

/** The named tokens with their local data; a token that does not exist is an error in its place. */
export async function findTokens(
  connection: Connection,
  names: readonly string[],
): Promise<TokenOutcome<FoundToken>[]> {
  const metadata = connection.metadata.read();
  const tokens = await connection.homeserver.getMany(names);
  return names.map((name) => {
    const token = tokens.get(name);
    return {
      token: name,
      outcome: token
        ? {ok: true, value: {token, metadata: metadata.get(name)}}
        : {
            ok: false,
            error: new MxtokError('no_such_token', `there is no registration token ${name}`, {
              token: name,
              errcode: 'M_NOT_FOUND',
              status: 404,
              hint: 'See which there are: mxtok list. Upper and lower case count.',
            }),
          },
    };
  });
}

/** What was found, without the errors. */
export function foundOf(outcomes: readonly TokenOutcome<FoundToken>[]): FoundToken[] {
  return outcomes.flatMap(({outcome}) => (outcome.ok ? [outcome.value] : []));
}

/** Replace the outcomes of those tokens that something was done to; the errors of the others stay in place. */
export function mergeOutcomes<T>(
  asked: readonly TokenOutcome<FoundToken>[],
  done: ReadonlyMap<string, Outcome<T>>,
): TokenOutcome<T>[] {
  return asked.map(({token, outcome}) => {
    const result = done.get(token);
    if (result) return {token, outcome: result};
    if (!outcome.ok) return {token, outcome};
    return {
      token,
      outcome: {ok: false, error: new MxtokError('unexpected', `nothing was done to ${token}`, {token})},
    };
  });
}

/**
 * The homeserver has done it, and it could not be noted here.
 * @param done as in "the token was DONE".
 */
export function unnoted(token: string, done: string, {message, hint}: MxtokError): MxtokError {
  return new MxtokError('store', `${token} was ${done}, but that could not be noted here: ${message}`, {
    token,
    hint,
  });
}

/** As {@link unnoted}, for each success. */
export function allUnnoted<T>(
  outcomes: ReadonlyMap<string, Outcome<T>>,
  done: string,
  problem: MxtokError,
): Map<string, Outcome<T>> {
  return new Map(
    [...outcomes].map(([token, outcome]) => [
      token,
      outcome.ok ? {ok: false, error: unnoted(token, done, problem)} : outcome,
    ]),
  );
}

/** Wait for the last lines of a log. @returns what went wrong with them, for the homeserver has done its part. */
export async function finishAll(
  lines: readonly (Promise<void> | undefined)[],
): Promise<MxtokError | undefined> {
  return Promise.all(lines.filter((line) => line !== undefined)).then(() => undefined, toMxtokError);
}

/** Run one token's work; an error is its outcome. */
export async function settle<T>(token: string, work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return {ok: true, value: await work()};
  } catch (error) {
    return {ok: false, error: toMxtokError(error).about(token)};
  }
}

export function recordOf(
  connection: Connection,
  token: RegistrationToken,
  metadata: TokenMetadata | undefined,
  now?: number,
): TokenRecord {
  return toRecord(connection.server, connection.homeserver, token, metadata, now);
}

/** Requests of one operation under way at once. */
export const CONCURRENCY = 8;
