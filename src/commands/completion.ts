import {Args} from '@oclif/core';

import {MxtokCommand} from '../lib/command.ts';
import {SCRIPTS, SHELLS, type Shell} from '../lib/completion/shells.ts';

export default class Completion extends MxtokCommand {
  static override usage = `completion ${SHELLS.join('|')} [FLAGS]`;
  static override summary = 'Print a script that completes commands, flags and values at TAB.';
  static override description = `Load it when the shell starts:

bash, in ~/.bashrc: source <(mxtok completion bash), or for macOS’s bash 3.2: eval "$(mxtok completion bash)"
zsh, in ~/.zshrc after compinit: source <(mxtok completion zsh)
fish: mxtok completion fish > ~/.config/fish/completions/mxtok.fish
PowerShell, in $PROFILE: mxtok completion powershell | Out-String | Invoke-Expression

Servers and labels come from the local files; no homeserver is asked, and tokens are not completed. The script asks mxtok itself at each TAB, so it needs no renewal after an update.`;

  static override examples = [
    {description: 'For this bash, now', command: 'source <(<%= config.bin %> completion bash)'},
    {
      description: 'For zsh, as a file in $fpath',
      command: '<%= config.bin %> completion zsh > /usr/local/share/zsh/site-functions/_mxtok',
    },
    {
      description: 'For fish, from the next shell on',
      command: '<%= config.bin %> completion fish > ~/.config/fish/completions/mxtok.fish',
    },
    {
      description: 'For PowerShell, in $PROFILE',
      command: '<%= config.bin %> completion powershell | Out-String | Invoke-Expression',
    },
  ];

  static override args = {
    shell: Args.string({
      description: 'Shell that the script is for.',
      options: [...SHELLS],
      required: true,
      ignoreStdin: true,
    }),
  };

  async run(): Promise<void> {
    const {args} = await this.parseInput(Completion);
    const shell = args.shell as Shell;
    if (this.format === 'json' || this.format === 'ndjson')
      await this.writeJson({shell, script: SCRIPTS[shell]});
    else await this.write(SCRIPTS[shell]);
  }
}
