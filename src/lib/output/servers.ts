/** Server profiles as they are shown. The access token itself never is. */
import {type CredentialSource, credentialSource} from '../credential.ts';
import type {Profile} from '../store/profiles.ts';

export interface ServerRecord {
  server: string;
  url: string;
  /** `null` until the homeserver has been asked. */
  server_name: string | null;
  software: string | null;
  /** Whom the access token belongs to. */
  user_id: string | null;
  credential: CredentialSource;
  default: boolean;
}

export const SERVER_FIELDS = [
  'server',
  'url',
  'server_name',
  'software',
  'user_id',
  'credential',
  'default',
] as const satisfies readonly (keyof ServerRecord)[];

export function toServerRecord(name: string, profile: Profile, isDefault: boolean): ServerRecord {
  return {
    server: name,
    url: profile.url,
    server_name: profile.server_name ?? null,
    software: profile.software ?? null,
    user_id: profile.user_id ?? null,
    credential: credentialSource(profile),
    default: isDefault,
  };
}
