import type {Connection} from '../connection.ts';
import type {TokenMetadata} from '../store/metadata.ts';
import {EXPORT_VERSION, type ExportHeader} from '../token-file/exported-tokens.ts';
import {formatIso} from '../when.ts';

/** A token with all that is known of it, here and there. */
export interface ExportRecord {
  token: string;
  uses_allowed: number | null;
  pending: number;
  completed: number;
  /** Unix ms. */
  expiry_time: number | null;
  expires_at: string | null;
  label: string | null;
  note: string | null;
  created_at: string | null;
  created_by: string | null;
  /** What a token had before it was disabled here. */
  uses_allowed_before: number | null;
  expiry_time_before: number | null;
}

export const EXPORT_FIELDS = [
  'token',
  'uses_allowed',
  'pending',
  'completed',
  'expiry_time',
  'expires_at',
  'label',
  'note',
  'created_at',
  'created_by',
  'uses_allowed_before',
  'expiry_time_before',
] as const satisfies readonly (keyof ExportRecord)[];

/** All tokens of a homeserver, by token. */
export async function exportTokens(
  connection: Connection,
): Promise<{header: ExportHeader; records: ExportRecord[]}> {
  const known = connection.metadata.read();
  const tokens = await connection.homeserver.list();
  const records = tokens
    .sort((a, b) => (a.token < b.token ? -1 : 1))
    .map(({disabled: _disabled, ...token}): ExportRecord => {
      const {label, note, created_at, created_by, disabled} =
        known.get(token.token) ?? ({} as Partial<TokenMetadata>);
      return {
        ...token,
        expires_at: token.expiry_time === null ? null : formatIso(token.expiry_time),
        label: label ?? null,
        note: note ?? null,
        created_at: created_at ?? null,
        created_by: created_by ?? null,
        uses_allowed_before: disabled?.uses_allowed ?? null,
        expiry_time_before: disabled?.expiry_time ?? null,
      };
    });
  return {
    header: {
      mxtok_export: EXPORT_VERSION,
      server_name: connection.auditContext.server_name,
      exported_at: formatIso(connection.homeserver.clock.now()),
      tokens: records.length,
    },
    records,
  };
}
