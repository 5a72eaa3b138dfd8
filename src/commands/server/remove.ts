import {Flags} from '@oclif/core';

import {usageError} from '../../lib/errors.ts';
import {nameArg, ServerCommand} from '../../lib/server-command.ts';
import {AuditLog} from '../../lib/store/audit.ts';
import {MetadataStore} from '../../lib/store/metadata.ts';

export default class ServerRemove extends ServerCommand {
  static override usage = 'server remove NAME [FLAGS]';
  static override summary = 'Remove a server profile. Nothing changes on the homeserver.';
  static override description =
    'Labels, notes and the log stay, and are there again when the same homeserver is added; --purge removes them too. A stored access token stays good on the homeserver: end it first with server logout.';

  static override examples = [
    '<%= config.bin %> server remove old',
    {
      description: 'With all that is known of its tokens',
      command: '<%= config.bin %> server remove old --purge --yes',
    },
  ];

  static override args = nameArg;
  static override flags = {
    purge: Flags.boolean({summary: 'Remove labels, notes and log entries of this homeserver too.'}),
    yes: Flags.boolean({char: 'y', summary: 'Do not ask.'}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(ServerRemove);
    const {name} = args;
    const profile = this.profiles.get(name);
    const shared = this.profiles
      .list()
      .find(
        (other) =>
          other.name !== name &&
          profile.server_name !== undefined &&
          other.profile.server_name === profile.server_name,
      );
    if (flags.purge && profile.server_name === undefined) {
      this.note('Which homeserver it is for was never found out, so there are no labels and no log of it.');
    }

    if (flags.purge && shared) {
      throw usageError(
        `the labels and the log of ${profile.server_name ?? ''} belong to the profile ${shared.name} too; nothing was removed`,
        `Leave out --purge, or remove ${shared.name} first.`,
      );
    }

    if (!flags.yes) {
      const prompter = await this.prompter();
      if (!prompter)
        throw usageError('server remove asks before it removes, and nobody can answer here', 'Add --yes.');
      if (profile.access_token !== undefined) {
        this.note(
          `Its access token stays good on the homeserver; to end it first: mxtok server logout ${name}`,
        );
      }

      await prompter.confirm(
        `Remove the profile ${name} (${profile.url})${flags.purge ? ', with all labels, notes and its log' : ''}?`,
      );
    }

    if (flags.purge && profile.server_name !== undefined) {
      const environment = this.environment();
      await new MetadataStore(environment.configDir, profile.server_name, environment.warn).purge();
      await new AuditLog(environment.dataDir, environment.warn).purge(profile.server_name);
    }

    await this.profiles.remove(name);
    this.note(`${name} is removed.`);
    if (flags.yes && profile.access_token !== undefined) {
      this.note('Its access token is still good on the homeserver until somebody ends it there.');
    }
  }
}
