import {Args, Flags} from '@oclif/core';

import {MxtokError, usageError} from '../../lib/errors.ts';
import {examine, type Finding, findSubject} from '../../lib/operations/doctor.ts';
import {sanitise} from '../../lib/output/sanitise.ts';
import {ServerCommand} from '../../lib/server-command.ts';

export default class ServerDoctor extends ServerCommand {
  static override usage = 'server doctor [NAME] [FLAGS]';
  static override summary = 'Find out what is wrong with a homeserver, or with the way to it.';
  static override description =
    'Looks at the local files, the access token, the network, the software, the clock, how registration is set up, and for tokens that read as disabled but are accepted. Changes nothing. Exits 9 where it finds a fault.';

  static override examples = [
    '<%= config.bin %> server doctor',
    {description: 'Before there is a profile', command: '<%= config.bin %> server doctor --url example.org'},
  ];

  static override args = {
    name: Args.string({
      description: 'Name of the server profile (default: the default one).',
      ignoreStdin: true,
    }),
  };

  static override flags = {
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
    if (args.name !== undefined && flags.url !== undefined)
      throw usageError('NAME and --url name two servers', 'Give one of them.');
    const environment = this.environment();
    const subject = await findSubject(environment, {
      server: args.name,
      url: flags.url,
      allowHttp: flags['allow-http'],
      caFile: flags['ca-file'],
    });
    this.server = subject.target?.server ?? undefined;
    const findings: Finding[] = [];
    const show = this.format === 'table' ? await this.finder() : undefined;
    for await (const found of subject.target ? examine(environment, subject.target) : [subject.finding]) {
      const hint = found.hint?.replace(/ NAME\b/, this.server === undefined ? ' NAME' : ` ${this.server}`);
      const finding = {...found, ...(hint !== undefined && {hint})};
      findings.push(finding);
      if (show) await this.write(show(finding));
    }

    if (this.format === 'json')
      await this.writeJson({
        server: this.server ?? null,
        url: subject.target?.profile.url ?? flags.url ?? null,
        findings,
      });
    else if (!show) await this.writeRows(['check', 'result', 'message', 'hint'], findings);
    const faults = findings.filter(({result}) => result === 'fault').length;
    if (faults > 0) process.exitCode = new MxtokError('fault_found', '').exitCode;
    if (show) this.note(faults > 0 ? `${faults} fault${faults === 1 ? '' : 's'} found.` : 'All is well.');
  }

  private async finder(): Promise<(finding: Finding) => string> {
    const {coloursFor} = await import('../../lib/output/colour.ts');
    const colours = coloursFor('stdout', !this.globals['no-color']);
    const marks = {
      ok: colours.green('ok     '),
      warning: colours.yellow('warning'),
      fault: colours.red('FAULT  '),
      skipped: colours.dim('skipped'),
    };
    return ({check, result, message, hint}) => {
      const advice = hint === undefined ? '' : `${' '.repeat(22)}${sanitise(hint)}\n`;
      return `${marks[result]}  ${check.padEnd(12)} ${sanitise(message)}\n${advice}`;
    };
  }
}
