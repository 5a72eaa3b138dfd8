import {Args} from '@oclif/core';

import {MxtokCommand} from '../lib/command.ts';
import {complete} from '../lib/completion/complete.ts';
import {localLookups} from '../lib/completion/local-files.ts';
import {readQuestion, SHELLS} from '../lib/completion/shells.ts';

export default class Complete extends MxtokCommand {
  static override hidden = true;
  static override usage = '__complete SHELL -- WORD...';
  static override summary = 'Tell what could stand where the cursor is; for the scripts of mxtok completion.';
  static override examples = [
    '<%= config.bin %> __complete fish -- list --output ""',
    {
      description: 'bash hands over the line as it is',
      command: '<%= config.bin %> __complete bash -- "mxtok li" li',
    },
  ];

  static override args = {
    shell: Args.string({description: 'Shell that asks.', options: [...SHELLS], ignoreStdin: true}),
  };

  static override strict = false;

  /** Raw words, unfinished flags among them: nothing is parsed. Whatever goes wrong, nobody has asked to be told. */
  async run(): Promise<void> {
    try {
      const [name, end, ...input] = this.argv;
      const shell = SHELLS.find((known) => known === name);
      if (shell === undefined || end !== '--') return;
      const question = readQuestion(shell, input);
      const {commands, topics} = this.config;
      const lookups = localLookups(this.environment().configDir, process.env);
      await this.write(question.answer(complete(question.words, commands, topics, lookups)));
    } catch {
      // No candidates.
    }
  }
}
