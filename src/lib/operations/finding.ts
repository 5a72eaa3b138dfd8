/** What `server doctor` finds. */
import type {MxtokError} from '../errors.ts';
import type {RegistrationToken} from '../registration-token.ts';

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

/** What the homeserver has said of itself, as far as it has; the log is judged by it. */
export interface Seen {
  serverName?: string | undefined;
  tokens?: readonly RegistrationToken[];
}

/** What keeps a look from its end. */
export function fault(check: Finding['check'], {message, hint}: MxtokError): Finding {
  return {check, result: 'fault', message, ...(hint !== undefined && {hint})};
}
