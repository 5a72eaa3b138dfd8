import {toServerRecord} from '../../lib/output/servers.ts';
import {nameArg, ServerCommand} from '../../lib/server-command.ts';
import {resolveSettings, SETTINGS} from '../../lib/settings.ts';
import {MetadataStore} from '../../lib/store/metadata.ts';
import type {Profile} from '../../lib/store/profiles.ts';

export default class ServerShow extends ServerCommand {
  static override usage = 'server show NAME [FLAGS]';
  static override summary = 'Show a server profile and where its data is; never the access token.';
  static override description =
    'The standing settings are those that count in a run from here: of a flag, else of the environment (MXTOK_USES and the like), else of the profile, else built in.';

  static override examples = [
    '<%= config.bin %> server show main',
    '<%= config.bin %> server show main --json',
  ];
  static override args = nameArg;

  /** What counts for this server in a run like this one, and who says so: `default_uses`, `default_uses_source`. */
  private settingFields(profile: Profile): Record<string, string | null> {
    const settings = resolveSettings({
      flags: {timeout: this.globals.timeout},
      env: process.env,
      defaults: profile.defaults,
    });
    const fields: Record<string, string | null> = {};
    for (const name of SETTINGS) {
      const {value, source} = settings[name];
      if (this.format === 'table') {
        fields[`default_${name}`] = value === null ? null : `${value} (${source})`;
      } else {
        fields[`default_${name}`] = value;
        fields[`default_${name}_source`] = source;
      }
    }

    return fields;
  }

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
      ...this.settingFields(profile),
    });
  }
}
