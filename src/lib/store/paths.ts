/** Where the local files are. */
import {join} from 'node:path';

export function profilesPath(configDir: string): string {
  return join(configDir, 'config.json');
}

/** @param serverName of the homeserver: whatever profile or address leads to it, its data is in one place. */
export function metadataPath(configDir: string, serverName: string): string {
  // A port's colon is no part of a Windows file name; a hostile server's slash is none anywhere.
  return join(configDir, 'metadata', `${encodeURIComponent(serverName)}.json`);
}
