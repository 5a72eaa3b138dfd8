/** `mxtok help [COMMAND]`, as oclif has it. */
import {Flags} from '@oclif/core';
import {commands} from '@oclif/plugin-help';

export default class Help extends commands.help {
  static override summary = 'Display the help of a command.';
  static override description = 'Without a command, all that there are.';
  static override examples = [
    '<%= config.bin %> help create',
    {description: 'All commands, those on servers too', command: '<%= config.bin %> help --nested-commands'},
  ];

  static override flags = {
    'nested-commands': Flags.boolean({char: 'n', summary: 'Those in topics too.'}),
  };
}
