import {Args} from '@oclif/core';

import {MxtokError} from '../../lib/errors.ts';
import {ServerCommand} from '../../lib/server-command.ts';

export default class ServerDefault extends ServerCommand {
  static override usage = 'server default [NAME] [FLAGS]';
  static override summary =
    'Choose the server that is used where none is named; without NAME, tell which it is.';
  static override examples = ['<%= config.bin %> server default main', '<%= config.bin %> server default'];
  static override args = {
    name: Args.string({description: 'Name of the server profile.', ignoreStdin: true}),
  };

  async run(): Promise<void> {
    const {args} = await this.parseInput(ServerDefault);
    if (args.name !== undefined) {
      await this.profiles.setDefault(args.name);
      this.note(`${args.name} is the default server.`);
      return;
    }

    const current = this.profiles.list().find(({isDefault}) => isDefault);
    if (!current) {
      throw new MxtokError('no_such_server', 'no server is the default', {
        hint: 'Choose one: mxtok server default NAME',
      });
    }

    if (this.format === 'json' || this.format === 'ndjson') await this.writeJson({server: current.name});
    else await this.write(`${current.name}\n`);
  }
}
