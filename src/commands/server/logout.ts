import {Flags} from '@oclif/core';

import {credentialSource} from '../../lib/credential.ts';
import {MxtokError, usageError} from '../../lib/errors.ts';
import {logOutServer} from '../../lib/operations/server.ts';
import {nameArg, ServerCommand, withoutCredential} from '../../lib/server-command.ts';

export default class ServerLogout extends ServerCommand {
  static override usage = 'server logout NAME [FLAGS]';
  static override summary = 'End the stored access token on the homeserver, and forget it.';
  static override examples = [
    '<%= config.bin %> server logout main',
    {
      description: 'It is no good any more, or the homeserver is gone',
      command: '<%= config.bin %> server logout --local main',
    },
  ];

  static override args = nameArg;
  static override flags = {
    local: Flags.boolean({summary: 'Only forget it here; the homeserver is not asked.'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(ServerLogout);
    const {name} = args;
    this.server = name;
    const profile = this.profiles.get(name);
    const source = credentialSource(profile);
    if (source === 'none') throw new MxtokError('no_credential', `not logged in to ${name}`);
    if (source !== 'stored' && !flags.local) {
      throw usageError(
        `the access token of ${name} is not stored here, but comes from a ${source}`,
        'It is ended where it was made. To forget where it comes from: mxtok server logout --local NAME'.replace(
          'NAME',
          name,
        ),
      );
    }

    if (!flags.local) await logOutServer(this.environment(), {server: name, profile});
    await this.profiles.update(name, withoutCredential);
    this.note(
      flags.local
        ? `The access token of ${name} is forgotten here.`
        : `The access token of ${name} is ended and forgotten.`,
    );
  }
}
