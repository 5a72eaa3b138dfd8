import {Flags} from '@oclif/core';

import {resolveUrl} from '../../lib/connection.ts';
import {changedDefaults, defaultsFlags} from '../../lib/defaults-flags.ts';
import {usageError} from '../../lib/errors.ts';
import {
  connectionFlags,
  credentialFlags,
  credentialOf,
  nameArg,
  namesCredential,
  parseCaFile,
  ServerCommand,
} from '../../lib/server-command.ts';
import type {Profile} from '../../lib/store/profiles.ts';

export default class ServerUpdate extends ServerCommand {
  static override usage = 'server update NAME [FLAGS]';
  static override summary =
    'Change the address, the access token or the standing settings of a server profile.';
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
    {
      description: 'What new tokens are where nothing else is said',
      command: '<%= config.bin %> server update main --default-uses 1 --default-expiry 7d --default-words 4',
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
    ...defaultsFlags,
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
    const given = namesCredential(flags);
    const defaults = changedDefaults(flags);
    const elsewhere = url === undefined && caFile === undefined && allowHttp === undefined && !given;
    if (elsewhere && !defaults)
      throw usageError('there is nothing to change', 'See mxtok server update --help.');
    if (elsewhere) {
      // Nothing that the homeserver could say anything about.
      await this.profiles.change(name, before, before, defaults);
      this.note(`Saved. See them all: mxtok server show ${name}`);
      return;
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

    const credential = newCredential ?? credentialOf(before);
    const verify = !flags['no-verify'];
    const {profile, verified} = await this.withCredential(name, changed, credential, verify);
    if (!verify && url !== undefined) {
      // Which homeserver is at the new address is found out at the first use.
      delete profile.server_name;
      delete profile.user_id;
    }

    await this.profiles.change(name, before, profile, defaults);
    if (verified && before.server_name !== undefined && verified.server_name !== before.server_name) {
      this.warning(
        `${name} was for ${before.server_name} and is for ${verified.server_name} now; labels and notes stay with ${before.server_name}`,
      );
    }

    this.noteVerified(verified);
  }
}
