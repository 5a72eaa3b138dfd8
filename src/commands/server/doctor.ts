import {Args, Flags} from '@oclif/core';

import {serversFlags} from '../../lib/command.ts';
import {chooseTargets} from '../../lib/connection.ts';
import {MxtokError, usageError} from '../../lib/errors.ts';
import {examine, examineEach, findSubject} from '../../lib/operations/doctor.ts';
import type {Finding} from '../../lib/operations/finding.ts';
import {coloursFor} from '../../lib/output/colour.ts';
import {
  FINDING_FIELDS,
  isFault,
  renderFindings,
  summariseFindings,
  summariseServers,
} from '../../lib/output/findings.ts';
import {ServerCommand} from '../../lib/server-command.ts';

export default class ServerDoctor extends ServerCommand {
  static override usage = 'server doctor [NAME] [FLAGS]';
  static override summary = 'Find out what is wrong with a homeserver, or with the way to it.';
  static override description =
    'Looks at the local files, the access token, the network, the software, the clock, how registration is set up, and for tokens that read as disabled but are accepted. Changes nothing. Exits 9 where it finds a fault.';

  static override examples = [
    '<%= config.bin %> server doctor',
    {description: 'Before there is a profile', command: '<%= config.bin %> server doctor --url example.org'},
    {description: 'All at once, from cron', command: '<%= config.bin %> server doctor --all-servers --quiet'},
  ];

  static override args = {
    name: Args.string({
      description: 'Name of the server profile (default: the default one).',
      ignoreStdin: true,
    }),
  };

  static override flags = {
    ...serversFlags,
    url: Flags.string({summary: 'Look at this address in place of a profile.', helpValue: 'URL'}),
    'allow-http': Flags.boolean({summary: 'Let --url be plain http.', dependsOn: ['url']}),
    'ca-file': Flags.string({
      summary: 'Trust the authorities in this PEM file instead.',
      helpValue: 'FILE',
      dependsOn: ['url'],
    }),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parseInput(ServerDoctor);
    const {url, 'allow-http': allowHttp, 'ca-file': caFile} = flags;
    const named = [
      ...(args.name === undefined ? [] : ['NAME']),
      ...(['server', 'all-servers', 'url'] as const).filter((flag) => flags[flag]).map((flag) => `--${flag}`),
    ];
    if (named.length > 1) throw usageError(`${named.join(' and ')} name two servers`, 'Give one of them.');
    const environment = this.environment();
    const server = args.name ?? flags.server;
    if (flags['all-servers'] || server?.includes(',')) {
      await this.examineSeveral({server, 'all-servers': flags['all-servers']});
      return;
    }

    const subject = await findSubject(environment, {server, url, allowHttp, caFile});
    this.server = subject.target?.server ?? undefined;
    const findings: Finding[] = [];
    const colours = this.format === 'table' && coloursFor('stdout', !this.globals['no-color']);
    for await (const finding of subject.target ? examine(environment, subject.target) : [subject.finding]) {
      findings.push(finding);
      if (colours) await this.write(renderFindings(this.told([finding]), colours));
    }

    if (this.format === 'json')
      await this.writeJson({
        server: this.server ?? null,
        url: subject.target?.profile.url ?? url ?? null,
        findings,
      });
    else if (!colours) await this.writeRows(FINDING_FIELDS, this.told(findings));
    exitWith(findings);
    if (colours) this.note(summariseFindings(findings));
  }

  /** Those of each server together, in the order of their names, once it is known of all. */
  private async examineSeveral(flags: {server: string | undefined; 'all-servers': boolean}): Promise<void> {
    const environment = this.environment();
    const {targets} = chooseTargets(environment, flags);
    const colours = this.format === 'table' && coloursFor('stdout', !this.globals['no-color']);
    const examined = (await examineEach(environment, targets)).map(({target, findings}) => ({
      server: target.server ?? '',
      url: target.profile.url,
      findings,
    }));
    if (this.format === 'json') {
      await this.writeJson(examined);
    } else if (colours) {
      for (const {server, findings} of examined)
        await this.write(renderFindings(this.told(findings), colours, server));
    } else {
      const rows = examined.flatMap(({server, findings}) =>
        this.told(findings).map((finding) => ({server, ...finding})),
      );
      await this.writeRows(['server', ...FINDING_FIELDS], rows);
    }

    const all = examined.flatMap(({findings}) => findings);
    exitWith(all);
    if (colours || all.some(isFault)) this.note(summariseServers(examined));
  }

  /** With --quiet, only what is wrong: cron mails what is printed. */
  private told(findings: Finding[]): Finding[] {
    return findings.filter(({result}) => !this.silent || result === 'fault' || result === 'warning');
  }
}

function exitWith(findings: readonly Finding[]): void {
  if (findings.some(isFault)) process.exitCode = new MxtokError('fault_found', '').exitCode;
}
