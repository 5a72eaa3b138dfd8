import {checkValidity} from '../homeserver/client-api.ts';
import type {HttpClient} from '../homeserver/http.ts';
import {settle} from '../settle.ts';
import {about, type TokenOutcome} from './batch.ts';

export interface CheckedToken {
  /** The profile's name; `null` with --url. */
  server: string | null;
  token: string;
  accepted: boolean;
  /** `invalid`: unknown, expired or used up; the homeserver does not tell strangers which. */
  reason: 'valid' | 'invalid' | 'registration_disabled';
}

/** Ask about each in turn: the homeserver limits how fast strangers may ask. */
export async function checkTokens(
  http: HttpClient,
  server: string | null,
  tokens: readonly string[],
): Promise<TokenOutcome<CheckedToken>[]> {
  const outcomes: TokenOutcome<CheckedToken>[] = [];
  for (const token of tokens) {
    const outcome = await settle(async () => ({server, token, ...(await checkValidity(http, token))}));
    outcomes.push({token, outcome: about(token, outcome)});
  }

  return outcomes;
}
