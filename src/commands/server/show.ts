import {toServerRecord} from '../../lib/output/servers.ts';
import {nameArg, ServerCommand} from '../../lib/server-command.ts';
import {MetadataStore} from '../../lib/store/metadata.ts';

export default class ServerShow extends ServerCommand {
  static override usage = 'server show NAME [FLAGS]';
  static override summary = 'Show a server profile and where its data is; never the access token.';
  static override examples = [
    '<%= config.bin %> server show main',
    '<%= config.bin %> server show main --json',
  ];
  static override args = nameArg;

  async run(): Promise<void> {
    const {args} = await this.parseInput(ServerShow);
    const {profiles} = this;
    const profile = profiles.get(args.name);
    const isDefault = profiles.list().some(({name, isDefault}) => isDefault && name === args.name);
    const environment = this.environment();
    await this.writeFields({
      ...toServerRecord(args.name, profile, isDefault),
      access_token_file: profile.access_token_file ?? null,
      access_token_command: profile.access_token_command ?? null,
      ca_file: profile.ca_file ?? null,
      allow_http: profile.allow_http ?? false,
      config_file: profiles.path,
      metadata_file:
        profile.server_name === undefined
          ? null
          : new MetadataStore(environment.configDir, profile.server_name, environment.warn).path,
    });
  }
}
