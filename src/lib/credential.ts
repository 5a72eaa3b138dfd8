/** The operator's access token: where it is kept, and getting it from there. It is never part of a message. */
import {spawn} from 'node:child_process';
import {closeSync, constants, fstatSync, openSync, readFileSync} from 'node:fs';

import {interruptedError, MxtokError} from './errors.ts';
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
export async function resolveCredential(
  profile: Profile,
  server: string,
  signal?: AbortSignal,
): Promise<string> {
  if (profile.access_token !== undefined)
    return checkAccessToken(profile.access_token, 'the stored access token');
  if (profile.access_token_file !== undefined) return readAccessTokenFile(profile.access_token_file);
  if (profile.access_token_command !== undefined)
    return runAccessTokenCommand(profile.access_token_command, signal);
  throw new MxtokError('no_credential', `not logged in to ${server}`, {
    server,
    hint: `Log in: mxtok server login ${server} — or give an access token: mxtok server update ${server} --access-token-stdin`,
  });
}

/** @throws {MxtokError} `no_credential` */
export function readAccessTokenFile(path: string): string {
  let text: string;
  try {
    // Not blocking: a pipe in its place would wait for somebody to write to it.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!fstatSync(fd).isFile()) throw Object.assign(new Error(), {code: 'it is not a file'});
      text = readFileSync(fd, 'utf8');
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const {code = 'unknown error'} = error as {code?: string};
    const reasons: Record<string, string> = {ENOENT: 'there is no such file', EACCES: 'permission denied'};
    throw new MxtokError(
      'no_credential',
      `the access token file ${quote(path)} cannot be read: ${reasons[code] ?? code}`,
    );
  }

  return checkAccessToken(text.trim(), `the access token in ${quote(path)}`);
}

/**
 * Run a password manager through the shell; the first line of its output is the access token. It may talk to the
 * operator over the terminal's stderr and stdin.
 * @throws {MxtokError} `no_credential`, `interrupted`
 */
export async function runAccessTokenCommand(command: string, signal?: AbortSignal): Promise<string> {
  const child = spawn(command, {
    shell: true,
    stdio: [process.stdin.isTTY ? 'inherit' : 'ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    if (output.length <= MAX_LENGTH) output += chunk;
  });
  const status = await new Promise<string>((resolve) => {
    // What the shell has started may live on and hold the pipe open, so its end is not waited for.
    const giveUp = (reason: string): void => {
      child.kill();
      child.stdout.destroy();
      resolve(reason);
    };
    const timer = setTimeout(() => {
      giveUp(`it took more than ${COMMAND_TIMEOUT / 1000} s`);
    }, COMMAND_TIMEOUT);
    const stop = (): void => {
      giveUp('interrupted');
    };
    signal?.addEventListener('abort', stop, {once: true});
    child.once('error', (error) => {
      resolve(error.message);
    });
    child.once('close', (code, killedBy) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
      resolve(
        code === 0 ? '' : killedBy ? `it was ended by ${killedBy}` : `it exited with ${code ?? 'nothing'}`,
      );
    });
  });
  if (signal?.aborted) throw interruptedError();
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
