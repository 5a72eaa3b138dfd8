/** What `server add`, `update` and `login` share: where an access token is to come from. */
import {resolve} from 'node:path';

import {Args, Flags} from '@oclif/core';

import {MxtokCommand} from './command.ts';
import {openHttp} from './connection.ts';
import {checkAccessToken, resolveCredential} from './credential.ts';
import {toMxtokError, usageError} from './errors.ts';
import {logOut} from './homeserver/client-api.ts';
import {checkSoftware, logInVerified, type VerifiedServer, verifyServer} from './operations/server.ts';
import type {Prompter} from './prompts.ts';
import {type Profile, ProfileStore} from './store/profiles.ts';

const sources = ['access-token-stdin', 'access-token-file', 'access-token-command', 'user'];
const others = (name: string): string[] => sources.filter((source) => source !== name);

export const credentialFlags = {
  'access-token-stdin': Flags.boolean({
    summary: 'Read the access token from standard input, and keep it (mode 600).',
    exclusive: others('access-token-stdin'),
    helpGroup: 'ACCESS TOKEN',
  }),
  'access-token-file': Flags.string({
    summary: 'Read the access token from this file at each run (systemd credential, mounted secret).',
    exclusive: others('access-token-file'),
    helpGroup: 'ACCESS TOKEN',
    helpValue: 'FILE',
  }),
  'access-token-command': Flags.string({
    summary: 'Get the access token from this shell command at each run (password manager).',
    exclusive: others('access-token-command'),
    helpGroup: 'ACCESS TOKEN',
    helpValue: 'CMD',
  }),
};

export const loginFlags = {
  user: Flags.string({
    char: 'u',
    summary: 'Log in as this server admin with a password, and keep the access token.',
    helpGroup: 'ACCESS TOKEN',
    helpValue: 'USER',
  }),
  'password-stdin': Flags.boolean({
    summary: 'Read the password from standard input.',
    dependsOn: ['user'],
    helpGroup: 'ACCESS TOKEN',
  }),
};

export const connectionFlags = {
  'ca-file': Flags.string({
    summary: 'Trust the authorities in this PEM file, instead of the system’s.',
    helpValue: 'FILE',
  }),
  'allow-http': Flags.boolean({
    summary: 'Send the access token over plain http to another host.',
    allowNo: true,
  }),
  'no-verify': Flags.boolean({summary: 'Save without asking the homeserver.'}),
};

export const nameArg = {
  name: Args.string({description: 'Name of the server profile.', required: true, ignoreStdin: true}),
};

/** How often a person is asked for a password. */
const PASSWORD_ATTEMPTS = 3;

interface PasswordCredential {
  user: string;
  password: string;
  /** Ask once more; only where a person can answer. */
  again?: () => Promise<string>;
}

type Credential = Pick<Profile, 'access_token' | 'access_token_file' | 'access_token_command'>;

interface CredentialFlags {
  'access-token-stdin'?: boolean;
  'access-token-file'?: string | undefined;
  'access-token-command'?: string | undefined;
}

/** Whether the flags say where an access token is to come from. */
export function namesCredential(flags: CredentialFlags): boolean {
  return (
    flags['access-token-stdin'] === true ||
    flags['access-token-file'] !== undefined ||
    flags['access-token-command'] !== undefined
  );
}

/** `--ca-file`: the same file wherever a later run is started. @throws {MxtokError} `usage` */
export function parseCaFile(input: string | undefined): string | undefined {
  if (input === '') throw usageError('--ca-file needs the path of a file');
  return input === undefined ? undefined : resolve(input);
}

/** Of a profile, all that is not about its credential. */
export function withoutCredential(profile: Profile): Profile {
  const {access_token: _token, access_token_file: _file, access_token_command: _command, ...rest} = profile;
  return rest;
}

/** Of a profile, what is about its credential. */
export function credentialOf({access_token, access_token_file, access_token_command}: Profile): Credential {
  return {
    ...(access_token !== undefined && {access_token}),
    ...(access_token_file !== undefined && {access_token_file}),
    ...(access_token_command !== undefined && {access_token_command}),
  };
}

export abstract class ServerCommand extends MxtokCommand {
  protected get profiles(): ProfileStore {
    const {configDir, warn} = this.environment();
    return new ProfileStore(configDir, warn);
  }

  /** The credential that the flags name; `undefined` where they name none. */
  protected async credentialFromFlags(flags: CredentialFlags): Promise<Credential | undefined> {
    if (flags['access-token-file'] !== undefined) {
      if (flags['access-token-file'] === '') throw usageError('--access-token-file needs the path of a file');
      return {access_token_file: resolve(flags['access-token-file'])};
    }

    if (flags['access-token-command'] !== undefined) {
      if (flags['access-token-command'].trim() === '')
        throw usageError('--access-token-command needs a command');
      return {access_token_command: flags['access-token-command']};
    }

    if (!flags['access-token-stdin']) return undefined;
    const token = await this.secret('Access token:', '--access-token-stdin');
    return {access_token: checkAccessToken(token, 'the access token on standard input')};
  }

  /**
   * The user name and password that the flags and standard input give; `undefined` where there is more to ask.
   * @throws {MxtokError} `usage`, where one of them is empty.
   */
  protected async loginFromFlags(flags: {
    user?: string | undefined;
    'password-stdin'?: boolean;
  }): Promise<PasswordCredential | undefined> {
    const {user} = flags;
    if (user?.trim() === '') throw usageError('--user cannot be empty');
    if (user === undefined || !flags['password-stdin']) return undefined;
    const password = await this.secret('Password:', '--password-stdin');
    if (password === '') throw usageError('the password is empty');
    return {user, password};
  }

  /** A secret from a pipe; from a person, where standard input is their terminal. */
  protected async secret(question: string, flag: string): Promise<string> {
    if (!process.stdin.isTTY) {
      const {readSecretFromStdin} = await import('./stdin.ts');
      return readSecretFromStdin();
    }

    const prompter = await this.prompter();
    if (!prompter) throw usageError(`${flag} finds nothing on standard input`, 'Pipe it in.');
    return (await prompter.secret(question)).trim();
  }

  /** Ask how to get at an access token, and for what that takes. */
  protected async askForCredential(prompter: Prompter): Promise<Credential | PasswordCredential> {
    const how = await prompter.select('How do you want to log in?', [
      {value: 'password', name: 'With the password of a server admin'},
      {value: 'token', name: 'With an access token that I have'},
      {value: 'file', name: 'With an access token in a file, read at each run'},
      {value: 'command', name: 'With an access token from a password manager, run each time'},
    ]);
    switch (how) {
      case 'password':
        return this.askForPassword(prompter, undefined);
      case 'token':
        return {
          access_token: checkAccessToken((await prompter.secret('Access token:')).trim(), 'the access token'),
        };
      case 'file':
        return {access_token_file: resolve(await prompter.input('File:', required))};
      case 'command':
        return {access_token_command: await prompter.input('Command:', required)};
    }
  }

  protected async askForPassword(prompter: Prompter, user: string | undefined): Promise<PasswordCredential> {
    return {
      user: user ?? (await prompter.input('User name of a server admin:', required)),
      password: await prompter.secret('Password:'),
      again: () => prompter.secret('Password:'),
    };
  }

  /** Before anybody is asked for a password: @throws {MxtokError} where it could not be used anyway. */
  protected async checkSoftware(profile: Profile): Promise<void> {
    const http = openHttp(this.environment(), profile);
    this.closeAtEnd(http);
    await checkSoftware(http);
  }

  /** @returns the profile with its credential and, unless told not to ask, all that verification has found. */
  protected async withCredential(
    name: string,
    profile: Profile,
    credential: Credential | PasswordCredential,
    verify: boolean,
  ): Promise<{profile: Profile; verified: VerifiedServer | undefined}> {
    const environment = this.environment();
    if ('user' in credential) {
      const {access_token, ...verified} = await this.logIn(name, profile, credential);
      const {server_name, user_id, software} = verified;
      return {
        profile: {...withoutCredential(profile), server_name, user_id, software, access_token},
        verified,
      };
    }

    const complete: Profile = {...withoutCredential(profile), ...credential};
    if (!verify) return {profile: complete, verified: undefined};
    const http = openHttp(environment, complete);
    this.closeAtEnd(http);
    const verified = await verifyServer(http, await resolveCredential(complete, name));
    const {server_name, user_id, software} = verified;
    return {profile: {...complete, server_name, user_id, software}, verified};
  }

  /** A credential goes to no other host than the one that it was given for, unless somebody says so. */
  protected async confirmNewHost(before: Profile, after: Profile): Promise<void> {
    if (Object.keys(credentialOf(before)).length === 0 || originOf(before.url) === originOf(after.url))
      return;
    const prompter = await this.prompter();
    if (!prompter) {
      throw usageError(
        `${after.url} is another host than ${before.url}, which the access token was given for; nothing was sent`,
        'Give the access token anew, or add --keep-access-token.',
      );
    }

    await prompter.confirm(`Send the access token for ${before.url} to ${after.url}?`);
  }

  /** A person may mistype; homeservers allow few tries. */
  private async logIn(
    name: string,
    profile: Profile,
    {user, password, again}: PasswordCredential,
  ): Promise<VerifiedServer & {access_token: string}> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await logInVerified(this.environment(), name, profile, user, password);
      } catch (error) {
        const {code, message} = toMxtokError(error);
        if (code !== 'unauthorized' || !again || attempt === PASSWORD_ATTEMPTS) throw error;
        this.note(`Not accepted: ${message}.`);
        password = await again();
      }
    }
  }

  /** A session that could not be saved is one that nobody would know of. */
  protected async endUnsavedLogin(profile: Profile, credential: object): Promise<void> {
    if (!('user' in credential) || profile.access_token === undefined) return;
    const http = openHttp(this.environment(), profile);
    this.closeAtEnd(http);
    await logOut(http, profile.access_token).catch(() => undefined);
  }

  protected noteVerified(verified: VerifiedServer | undefined): void {
    if (verified) {
      this.note(
        `${verified.server_name} runs Synapse ${verified.version}; ${verified.user_id} is a server admin.`,
      );
    } else {
      this.note(
        'Saved without asking the homeserver. To see whether it works: mxtok server doctor NAME'.replace(
          'NAME',
          this.server ?? '',
        ),
      );
    }
  }
}

function originOf(url: string): string {
  return URL.canParse(url) && !url.startsWith('unix:') ? new URL(url).origin : url;
}

function required(value: string): string | undefined {
  return value === '' ? 'It cannot be empty.' : undefined;
}
