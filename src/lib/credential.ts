/** The operator's access token: where it is kept, and getting it from there. It is never part of a message. */
import {spawn} from 'node:child_process';
import {readFile} from 'node:fs/promises';

import {MxtokError} from './errors.ts';
import {quote} from './quote.ts';
import type {Profile} from './store/profiles.ts';

/** How long a password manager may take, milliseconds: somebody may have to unlock it. */
const COMMAND_TIMEOUT = 60_000;
/** No access token is longer, bytes; Synapse's and MAS's are under 200. */
const MAX_LENGTH = 8192;

/** Where a profile has its access token from. */
export type CredentialSource = 'stored' | 'file' | 'command' | 'none';

export function credentialSource(profile: Profile): CredentialSource {
  if (profile.access_token !== undefined) return 'stored';
  if (profile.access_token_file !== undefined) return 'file';
  if (profile.access_token_command !== undefined) return 'command';
  return 'none';
}

/** @throws {MxtokError} `no_credential` */
export async function resolveCredential(profile: Profile, server: string): Promise<string> {
  if (profile.access_token !== undefined)
    return checkAccessToken(profile.access_token, 'the stored access token');
  if (profile.access_token_file !== undefined) return readAccessTokenFile(profile.access_token_file);
  if (profile.access_token_command !== undefined) return runAccessTokenCommand(profile.access_token_command);
  throw new MxtokError('no_credential', `not logged in to ${server}`, {
    server,
    hint: `Log in: mxtok server login ${server} — or give an access token: mxtok server update ${server} --access-token-stdin`,
  });
}

/** @throws {MxtokError} `no_credential` */
export async function readAccessTokenFile(path: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const {code} = error as {code?: string};
    const reason =
      code === 'ENOENT' ? 'there is no such file' : code === 'EACCES' ? 'permission denied' : code;
    throw new MxtokError(
      'no_credential',
      `the access token file ${quote(path)} cannot be read: ${reason ?? 'unknown error'}`,
    );
  }

  return checkAccessToken(text.trim(), `the access token in ${quote(path)}`);
}

/**
 * Run a password manager through the shell; the first line of its output is the access token. It may talk to the
 * operator over the terminal's stderr and stdin.
 * @throws {MxtokError} `no_credential`
 */
export async function runAccessTokenCommand(command: string): Promise<string> {
  const child = spawn(command, {
    shell: true,
    stdio: [process.stdin.isTTY ? 'inherit' : 'ignore', 'pipe', 'inherit'],
    timeout: COMMAND_TIMEOUT,
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    if (output.length <= MAX_LENGTH) output += chunk;
  });
  const status = await new Promise<string>((resolve) => {
    child.once('error', (error) => {
      resolve(error.message);
    });
    child.once('close', (code, signal) => {
      resolve(code === 0 ? '' : signal ? `it was ended by ${signal}` : `it exited with ${code ?? 'nothing'}`);
    });
  });
  if (status !== '') {
    throw new MxtokError('no_credential', `the access token command failed: ${status}`, {
      hint: 'Run it by hand to see why.',
    });
  }

  return checkAccessToken(output.split('\n')[0]?.trim() ?? '', 'the output of the access token command');
}

/**
 * Refuse what cannot be sent in a header, or is plainly something else, without repeating it.
 * @throws {MxtokError} `no_credential`
 */
export function checkAccessToken(token: string, what: string): string {
  if (token === '') throw new MxtokError('no_credential', `${what} is empty`);
  if (!/^[\x21-\x7e]+$/.test(token) || token.length > MAX_LENGTH) {
    throw new MxtokError(
      'no_credential',
      `${what} cannot be an access token: it has spaces, line breaks or other characters that none has`,
    );
  }

  return token;
}
