import {Args, Flags} from '@oclif/core';

import {resolveUrl} from '../../lib/connection.ts';
import {changedDefaults, defaultsFlags} from '../../lib/defaults-flags.ts';
import {usageError} from '../../lib/errors.ts';
import {parseAddress} from '../../lib/homeserver/address.ts';
import {complaint} from '../../lib/prompts.ts';
import {
  connectionFlags,
  credentialFlags,
  loginFlags,
  namesCredential,
  parseCaFile,
  ServerCommand,
} from '../../lib/server-command.ts';
import {applyDefaults, parseProfileName, type Profile, profileExists} from '../../lib/store/profiles.ts';

export default class ServerAdd extends ServerCommand {
  static override usage = 'server add [NAME] [FLAGS]';
  static override summary = 'Add a homeserver: its address, and an access token of a server admin.';
  static override description =
    'On a terminal, what is missing is asked for. The homeserver is asked whether all of it is right before anything is saved. An access token is never given as a flag, where others could read it.';

  static override examples = [
    {
      description: 'Be asked for the rest',
      command: '<%= config.bin %> server add main --url https://matrix.example.org',
    },
    {
      description: 'In a script',
      command:
        'pass show synapse-admin | <%= config.bin %> server add main --url https://matrix.example.org --access-token-stdin',
    },
    {
      description: 'Over its Unix socket, with a systemd credential',
      command:
        '<%= config.bin %> server add main --url unix:/run/matrix-synapse/main.sock --access-token-file /run/credentials/mxtok.service/access-token',
    },
    {
      description: 'Log in with a password',
      command: '<%= config.bin %> server add main --url example.org --user admin',
    },
  ];

  static override args = {
    name: Args.string({description: 'Your name for it, as in --server NAME.', ignoreStdin: true}),
  };

  static override flags = {
    url: Flags.string({summary: 'Base URL, unix:PATH, or a server name to look up.', helpValue: 'URL'}),
    ...credentialFlags,
    ...loginFlags,
    ...connectionFlags,
    ...defaultsFlags,
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(ServerAdd);
    const prompter = await this.prompter();
    if (!prompter) {
      const missing = [
        ...(args.name === undefined ? ['NAME'] : []),
        ...(flags.url === undefined ? ['--url'] : []),
        ...(namesCredential(flags) || flags.user !== undefined || flags['no-verify']
          ? []
          : ['one of --access-token-stdin, --access-token-file, --access-token-command, --user']),
        ...(flags.user !== undefined && !flags['password-stdin'] ? ['--password-stdin'] : []),
      ];
      if (missing.length > 0)
        throw usageError(`missing: ${missing.join('; ')}`, 'See mxtok server add --help.');
    }

    const allowHttp = flags['allow-http'];
    const caFile = parseCaFile(flags['ca-file']);
    const defaults = changedDefaults(flags);
    const name = parseProfileName(
      args.name ?? (await prompter?.input('Name for this server:', complaint(parseProfileName))) ?? '',
    );
    if (this.profiles.has(name)) throw profileExists(name);
    this.server = name;
    // What is wrong with what was given is told before anything is sent.
    const given = (await this.loginFromFlags(flags)) ?? (await this.credentialFromFlags(flags));
    const validUrl = complaint((value) => parseAddress(value, allowHttp));
    const input = flags.url ?? (await prompter?.input('URL or server name:', validUrl)) ?? '';
    // A name that cannot be looked up, or leads to something else, is told before anybody types a password.
    const url = await resolveUrl(this.environment(), input, allowHttp, caFile);
    if (url !== input) this.note(`${input} is at ${url}.`);
    const base: Profile = {
      url,
      ...(allowHttp && {allow_http: true}),
      ...(caFile !== undefined && {ca_file: caFile}),
      ...(defaults && {defaults: applyDefaults(undefined, defaults)}),
    };
    const verify = !flags['no-verify'];
    if (verify) await this.checkSoftware(base);

    const credential =
      given ??
      (prompter && flags.user !== undefined
        ? await this.askForPassword(prompter, flags.user)
        : prompter && verify
          ? await this.askForCredential(prompter)
          : {});
    const {profile, verified} = await this.withCredential(name, base, credential, verify);
    const {isDefault} = await this.profiles.add(name, profile).catch(async (error: unknown) => {
      await this.endUnsavedLogin(profile, credential);
      throw error;
    });
    this.noteVerified(verified);
    if (isDefault) this.note(`${name} is the default server. Next: mxtok create --uses 1 --expiry 7d`);
    else this.note(`Use it with --server ${name}, or make it the default: mxtok server default ${name}`);
    if (this.format === 'json' || this.format === 'ndjson') {
      await this.writeJson({server: name, url, server_name: profile.server_name ?? null, default: isDefault});
    }
  }
}
