import {SERVER_FIELDS, toServerRecord} from '../../lib/output/servers.ts';
import {ServerCommand} from '../../lib/server-command.ts';

export default class ServerList extends ServerCommand {
  static override usage = 'server list [FLAGS]';
  static override summary = 'List the server profiles.';
  static override examples = ['<%= config.bin %> server list', '<%= config.bin %> server list --json'];

  async run(): Promise<void> {
    await this.parseInput(ServerList);
    const records = this.profiles
      .list()
      .map(({name, profile, isDefault}) => toServerRecord(name, profile, isDefault));
    await this.writeRows(SERVER_FIELDS, records);
    if (records.length === 0 && this.format === 'table') {
      this.note('No homeserver is known yet. Add one: mxtok server add');
    }
  }
}
