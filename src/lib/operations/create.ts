import type {Connection} from '../connection.ts';
import {MxtokError, toMxtokError} from '../errors.ts';
import type {RegistrationToken} from '../registration-token.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {toAuditState, type TokenRecord} from '../token-record.ts';
import {resolveExpiry, type When} from '../when.ts';
import {recordOf} from './batch.ts';

export interface NewToken {
  token: string;
  /** `null` is no limit. */
  uses_allowed: number | null;
  expiry: When;
  label?: string | undefined;
  note?: string | undefined;
}

/**
 * Create one token. The log is written before and after, the label once the homeserver has the token.
 * @throws {MxtokError} `already_exists`, `store` (saying so where the token exists all the same), and those of a request.
 */
export async function createToken(connection: Connection, wanted: NewToken): Promise<TokenRecord> {
  const {homeserver, audit, auditContext, metadata} = connection;
  // A store that cannot be read is known before anything is sent.
  metadata.read();
  const limits = {
    uses_allowed: wanted.uses_allowed,
    expiry_time: resolveExpiry(wanted.expiry, homeserver.clock.now()),
  };
  const entry: TokenMetadata = {
    token: wanted.token,
    ...(wanted.label && {label: wanted.label}),
    ...(wanted.note && {note: wanted.note}),
    created_at: new Date().toISOString(),
    ...(auditContext.actor !== null && {created_by: auditContext.actor}),
  };
  const unused = {token: wanted.token, pending: 0, completed: 0, disabled: false, ...limits};
  const [operation] = await audit.start(auditContext, [
    {operation: 'create', token: wanted.token, after: toAuditState(unused, entry)},
  ]);
  let token: RegistrationToken;
  try {
    token = await homeserver.create(wanted.token, limits);
  } catch (error) {
    await operation?.failed(toMxtokError(error));
    throw error;
  }

  try {
    // Whatever was known of an earlier token of this name is not about this one.
    const unsaved = await metadata.update([wanted.token], () => entry).then(() => undefined, toMxtokError);
    await operation?.succeeded(toAuditState(token, entry));
    if (unsaved) throw unsaved;
  } catch (error) {
    throw new MxtokError(
      'store',
      `the token ${token.token} was created, but could not be noted here: ${toMxtokError(error).message}`,
      {
        token: token.token,
        hint: 'The token works. Give it its label once the problem is solved: mxtok update -- TOKEN',
      },
    );
  }

  return recordOf(connection, token, entry);
}
