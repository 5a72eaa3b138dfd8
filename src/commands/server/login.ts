import {credentialSource} from '../../lib/credential.ts';
import {openHttp} from '../../lib/connection.ts';
import {usageError} from '../../lib/errors.ts';
import {logOut} from '../../lib/homeserver/client-api.ts';
import {loginFlags, nameArg, ServerCommand} from '../../lib/server-command.ts';

export default class ServerLogin extends ServerCommand {
  static override usage = 'server login NAME [FLAGS]';
  static override summary = 'Get an access token for a server profile with the password of a server admin.';
  static override description =
    'The password is used once and not kept. An access token that was stored before is ended. Homeservers allow few tries: log in once and keep it.';

  static override examples = [
    '<%= config.bin %> server login main',
    {
      description: 'In a script',
      command: 'pass show matrix/admin | <%= config.bin %> server login main --user admin --password-stdin',
    },
  ];

  static override args = nameArg;
  static override flags = loginFlags;

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(ServerLogin);
    const {name} = args;
    this.server = name;
    const before = this.profiles.get(name);
    const prompter = await this.prompter();
    if (!prompter) {
      const missing = [
        ...(flags.user === undefined ? ['--user'] : []),
        ...(flags['password-stdin'] ? [] : ['--password-stdin']),
      ];
      if (missing.length > 0)
        throw usageError(`missing: ${missing.join(', ')}`, 'See mxtok server login --help.');
    }

    const credential =
      (await this.loginFromFlags(flags)) ?? (prompter && (await this.askForPassword(prompter, flags.user)));
    if (!credential) return;

    const {profile, verified} = await this.withCredential(name, before, credential, true);
    await this.profiles.change(name, before, profile).catch(async (error: unknown) => {
      await this.endUnsavedLogin(profile, credential);
      throw error;
    });
    const source = credentialSource(before);
    if (source === 'file' || source === 'command')
      this.note(`The access token is stored now, and no longer read from a ${source}.`);
    if (before.access_token !== undefined) {
      const http = openHttp(this.environment(), before);
      this.closeAtEnd(http);
      await logOut(http, before.access_token).catch(() => {
        this.warning('the access token that was stored before could not be ended on the homeserver');
      });
    }

    this.noteVerified(verified);
  }
}
