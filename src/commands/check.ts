import {Flags} from '@oclif/core';

import {serverFlag, tokensArg} from '../lib/command.ts';
import {chooseTarget, openHttp, resolveUrl} from '../lib/connection.ts';
import {MxtokError} from '../lib/errors.ts';
import {checkTokens} from '../lib/operations/check.ts';
import {parseToken} from '../lib/registration-token.ts';
import {TokenCommand} from '../lib/token-command.ts';

const ANSWERS = {
  valid: 'accepted',
  invalid: 'not accepted (unknown, expired or used up)',
  registration_disabled: 'not accepted (this homeserver takes no registrations)',
};

export default class Check extends TokenCommand {
  static override usage = 'check TOKEN... [FLAGS]';
  static override summary = 'Ask the homeserver whether it would accept a registration token.';
  static override description =
    'Asks as somebody who registers would, without any access token. Exits 0 where each is accepted, 9 where one is not.';

  static override examples = [
    '<%= config.bin %> check CrispOtterLampBravoStone',
    {
      description: 'Without a profile',
      command: '<%= config.bin %> check --url https://matrix.example.org CrispOtterLampBravoStone',
    },
    {description: 'In a script', command: 'if <%= config.bin %> check -q "$TOKEN"; then echo open; fi'},
  ];

  static override args = tokensArg;
  static override flags = {
    ...serverFlag,
    url: Flags.string({
      summary: 'Base URL, unix:PATH or server name, in place of a profile.',
      helpValue: 'URL',
      exclusive: ['server'],
    }),
    'allow-http': Flags.boolean({summary: 'Let --url be plain http.', dependsOn: ['url']}),
    'ca-file': Flags.string({
      summary: 'Trust the authorities in this PEM file instead.',
      helpValue: 'FILE',
      dependsOn: ['url'],
    }),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(Check);
    const tokens = await this.tokens(args.token, parseToken);
    const environment = this.environment();
    const {server, profile} =
      flags.url === undefined
        ? chooseTarget(environment, flags.server, false)
        : {
            server: null,
            profile: {
              url: await resolveUrl(environment, flags.url, flags['allow-http'], flags['ca-file']),
              allow_http: flags['allow-http'],
              ca_file: flags['ca-file'],
            },
          };
    this.server = server ?? undefined;
    const http = openHttp(environment, profile, server);
    this.closeAtEnd(http);
    const outcomes = await checkTokens(http, server, tokens);
    await this.writeItems(
      [{server: server ?? '', connection: undefined, outcome: {ok: true, value: outcomes}}],
      args.token,
      ['server', 'token', 'accepted', 'reason'],
      ({token, reason}) => `${token}: ${ANSWERS[reason]}`,
    );
    if (outcomes.some(({outcome}) => outcome.ok && !outcome.value.accepted)) {
      process.exitCode = new MxtokError('not_accepted', '').exitCode;
    }
  }
}
