import {Flags} from '@oclif/core';

import {resolveUrl} from '../../lib/connection.ts';
import {usageError} from '../../lib/errors.ts';
import {
  connectionFlags,
  credentialFlags,
  nameArg,
  ServerCommand,
  parseCaFile,
} from '../../lib/server-command.ts';
import type {Profile} from '../../lib/store/profiles.ts';

export default class ServerUpdate extends ServerCommand {
  static override usage = 'server update NAME [FLAGS]';
  static override summary = 'Change the address or the access token of a server profile.';
  static override description =
    'The homeserver is asked whether the profile works before it is saved. To log in with a password, use server login.';

  static override examples = [
    {
      description: 'Another access token',
      command: 'pass show synapse-admin | <%= config.bin %> server update main --access-token-stdin',
    },
    {
      description: 'An authority of your own',
      command: '<%= config.bin %> server update main --ca-file /etc/ssl/our-ca.pem',
    },
  ];

  static override args = nameArg;
  static override flags = {
    url: Flags.string({summary: 'Base URL, unix:PATH, or a server name to look up.', helpValue: 'URL'}),
    'keep-access-token': Flags.boolean({
      summary: 'Send the access token to the new --url, though it is another host.',
      dependsOn: ['url'],
    }),
    ...credentialFlags,
    ...connectionFlags,
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(ServerUpdate);
    const {name} = args;
    const {url} = flags;
    // '' takes it away.
    const caFile = flags['ca-file'] === '' ? '' : parseCaFile(flags['ca-file']);
    // oclif's type leaves out that a flag may not have been given.
    const allowHttp = flags['allow-http'] as boolean | undefined;
    this.server = name;
    const before = this.profiles.get(name);
    const given =
      flags['access-token-stdin'] ||
      flags['access-token-file'] !== undefined ||
      flags['access-token-command'] !== undefined;
    if (url === undefined && caFile === undefined && allowHttp === undefined && !given) {
      throw usageError('there is nothing to change', 'See mxtok server update --help.');
    }

    // What is wrong with what was given is told before anything is sent.
    const newCredential = await this.credentialFromFlags(flags);
    const changed: Profile = {
      ...before,
      ...(caFile !== undefined && {ca_file: caFile}),
      ...(allowHttp !== undefined && {allow_http: allowHttp}),
    };
    if (caFile === '') delete changed.ca_file;
    if (url !== undefined) {
      changed.url = await resolveUrl(this.environment(), url, changed.allow_http ?? false, changed.ca_file);
      if (!given && !flags['keep-access-token']) await this.confirmNewHost(before, changed);
    }

    const credential = newCredential ?? {
      ...(before.access_token !== undefined && {access_token: before.access_token}),
      ...(before.access_token_file !== undefined && {access_token_file: before.access_token_file}),
      ...(before.access_token_command !== undefined && {access_token_command: before.access_token_command}),
    };
    const verify = !flags['no-verify'];
    const {profile, verified} = await this.withCredential(name, changed, credential, verify);
    if (!verify && url !== undefined) {
      // Which homeserver is at the new address is found out at the first use.
      delete profile.server_name;
      delete profile.user_id;
    }

    await this.profiles.change(name, before, profile);
    if (verified && before.server_name !== undefined && verified.server_name !== before.server_name) {
      this.warning(
        `${name} was for ${before.server_name} and is for ${verified.server_name} now; labels and notes stay with ${before.server_name}`,
      );
    }

    this.noteVerified(verified);
  }

  /** A credential goes to no other host than the one that it was given for, unless somebody says so. */
  private async confirmNewHost(before: Profile, after: Profile): Promise<void> {
    if (
      before.access_token === undefined &&
      before.access_token_file === undefined &&
      before.access_token_command === undefined
    )
      return;
    if (originOf(before.url) === originOf(after.url)) return;
    const prompter = await this.prompter();
    if (!prompter) {
      throw usageError(
        `${after.url} is another host than ${before.url}, which the access token was given for; nothing was sent`,
        'Give the access token anew, or add --keep-access-token.',
      );
    }

    await prompter.confirm(`Send the access token for ${before.url} to ${after.url}?`);
  }
}

function originOf(url: string): string {
  return URL.canParse(url) && !url.startsWith('unix:') ? new URL(url).origin : url;
}
