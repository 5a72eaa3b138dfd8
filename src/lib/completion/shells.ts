/**
 * The shells: the script that each is given once, and how the program talks to it at every TAB.
 *
 * The scripts know no command and no flag: they hand over what is typed to `mxtok __complete` and insert what it
 * answers, so that they fit every later version. The answer's first line says what is to be done (`files`, `open`,
 * `done`), each further line is a candidate.
 */
import {readBashLine} from './bash-line.ts';
import {type Candidate, type Completion, matching} from './complete.ts';

export const SHELLS = ['bash', 'zsh', 'fish', 'powershell'] as const;
export type Shell = (typeof SHELLS)[number];

/** What a script asks. */
export interface Question {
  /** Those before the cursor, without the program's name; the last is the one to complete. */
  words: string[];
  answer(completion: Completion): string;
}

/** @param input what the shell's script hands over. */
export function readQuestion(shell: Shell, input: readonly string[]): Question {
  switch (shell) {
    case 'bash':
      return bashQuestion(input[0] ?? '', input[1] ?? '');
    case 'zsh':
      return {words: [...input], answer: (completion) => lines(completion, zshLine)};
    case 'fish':
      return fishQuestion(input);
    case 'powershell':
      return powershellQuestion(input[0] ?? '');
  }
}

function lines(completion: Completion, line: (candidate: Candidate) => string): string {
  const what = completion.files ? 'files' : completion.open ? 'open' : 'done';
  return [what, ...completion.candidates.map(line)].map((one) => `${one}\n`).join('');
}

/** @param typed the line up to the cursor. @param replaced its end that bash replaces. */
function bashQuestion(typed: string, replaced: string): Question {
  const line = readBashLine(typed, replaced);
  const words = line.words.slice(1);
  return {
    words,
    answer: ({candidates, files, open}) => {
      if (line.redirected) return 'files\n';
      const quoted = matching(candidates, words.at(-1) ?? '').flatMap(({value}) => line.quoted(value) ?? []);
      return lines({candidates: quoted.map((value) => ({value})), files, open}, ({value}) => value);
    },
  };
}

/** For `_describe`: colons and backslashes are its own; zsh quotes what it inserts. */
function zshLine({value, description}: Candidate): string {
  const plain = value.replace(/[\\:]/g, '\\$&');
  return description === undefined ? plain : `${plain}:${description.replace(/[\\:]/g, '\\$&')}`;
}

/** fish quotes what it inserts, but not a tilde where nothing is typed yet, and would put a home directory there. */
function fishQuestion(words: readonly string[]): Question {
  const expands = ({value}: Candidate): boolean => value.startsWith('~') && !words.at(-1)?.startsWith('~');
  return {
    words: [...words],
    answer: (completion) =>
      lines({...completion, candidates: completion.candidates.filter((one) => !expands(one))}, fishLine),
  };
}

function fishLine({value, description}: Candidate): string {
  return description === undefined ? value : `${value}\t${description}`;
}

/**
 * To and from PowerShell in ASCII alone: old ones drop empty arguments, change quotes, and read the console's own code
 * page.
 * @param input base64 of the words, a NUL between them; the very last one is the part that PowerShell replaces.
 */
function powershellQuestion(input: string): Question {
  const all = Buffer.from(input, 'base64').toString('utf8').split('\0');
  const words = all.slice(0, -1);
  const [current, replaced] = [words.at(-1) ?? '', all.at(-1) ?? ''];
  const kept = current.endsWith(replaced) ? current.slice(0, current.length - replaced.length) : '';
  return {
    words,
    answer: ({candidates, files}) => {
      if (files) return '';
      const found = matching(candidates, current).map(({value, description}) => ({
        text: quoteForPowershell(value.slice(kept.length)),
        shown: value,
        // Neither may be empty.
        about: description || value,
      }));
      return `${toAscii(JSON.stringify(found))}\n`;
    },
  };
}

function quoteForPowershell(value: string): string {
  if (/^[A-Za-z0-9_./-]+$|^--[a-z-]+=[A-Za-z0-9_.-]+$/.test(value)) return value;
  // Typographic quotes end a string too.
  return `'${value.replace(/['\u2018-\u201b]/g, '$&$&')}'`;
}

function toAscii(json: string): string {
  return json.replace(/[^\0-~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const BASH = `# bash completion for mxtok. Load it with: source <(mxtok completion bash)
_mxtok() {
  local line="\${COMP_LINE:0:\${COMP_POINT:-0}}" word="\${2-\${COMP_WORDS[COMP_CWORD]}}" what='' candidate
  [ -n "$line" ] || line="\${COMP_WORDS[*]:0:COMP_CWORD+1}"
  COMPREPLY=()
  while IFS= read -r candidate; do
    if [ -z "$what" ]; then
      what=$candidate
    else
      COMPREPLY+=("$candidate")
    fi
  done < <(command mxtok __complete bash -- "$line" "$word" 2>/dev/null </dev/null)
  if [ "$what" = files ]; then
    # Before version 4, bash cannot be told to go on as usual.
    if ! compopt -o default 2>/dev/null; then
      while IFS= read -r candidate; do
        printf -v candidate %q "$candidate"
        COMPREPLY+=("$candidate")
      done < <(compgen -f -- "$word")
    fi
  elif [ "$what" = open ]; then
    compopt -o nospace 2>/dev/null
  fi
  return 0
}
complete -F _mxtok mxtok
`;

const ZSH = `#compdef mxtok
# zsh completion for mxtok. Load it after compinit with: source <(mxtok completion zsh)
# or save it as a file named _mxtok in a directory of $fpath.
_mxtok() {
  local -a answer candidates
  local what
  answer=("\${(@f)$(command mxtok __complete zsh -- "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null </dev/null)}")
  what=$answer[1]
  candidates=("\${(@)answer[2,-1]}")
  if [[ $what == files ]]; then
    [[ $PREFIX == --*=* ]] && compset -P '*='
    _files
  elif (( $#candidates == 0 )); then
    return 1
  elif [[ $what == open ]]; then
    _describe -V mxtok candidates -qS ,
  else
    _describe -V mxtok candidates
  fi
}
if [[ $funcstack[1] == _mxtok ]]; then
  _mxtok "$@"
elif (( $+functions[compdef] )); then
  compdef _mxtok mxtok
else
  print -u2 'mxtok: completion needs compinit first: autoload -Uz compinit && compinit'
fi
`;

const FISH = `# fish completion for mxtok. Save it as ~/.config/fish/completions/mxtok.fish
function __mxtok_complete
    set -l words (commandline -opc)
    set -e words[1]
    set -l typed (commandline -ct)
    set -l current (string unescape -- "$typed")
    set -l answer (command mxtok __complete fish -- $words "$current" 2>/dev/null </dev/null)
    if test "$answer[1]" = files
        set -l flag (string match -r -- '^--[^=]+=' "$typed")
        for path in (__fish_complete_path (string replace -r -- '^--[^=]+=' '' "$typed"))
            printf '%s\\n' "$flag$path"
        end
    else if set -q answer[2]
        printf '%s\\n' $answer[2..-1]
    end
end
complete -c mxtok -e
complete -c mxtok -f -k -a '(__mxtok_complete)'
`;

const POWERSHELL = `# PowerShell completion for mxtok. Add this line to $PROFILE:
#   mxtok completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName mxtok -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $current = ''
    $words = @(foreach ($element in @($commandAst.CommandElements | Select-Object -Skip 1)) {
        if ($element.Extent.StartOffset -ge $cursorPosition) { break }
        if ($element.Extent.EndOffset -ge $cursorPosition) {
            $length = $cursorPosition - $element.Extent.StartOffset
            $current = $element.Extent.Text.Substring(0, $length) -replace '^[''"]' -replace '[''"]$'
        } elseif ($element -is [System.Management.Automation.Language.StringConstantExpressionAst]) {
            $element.Value
        } else {
            $element.Extent.Text
        }
    })
    $replaced = $wordToComplete -replace '^[''"]' -replace '[''"]$'
    $question = (@($words) + @($current, $replaced)) -join [string][char]0
    $encoded = [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($question))
    $answer = & mxtok __complete powershell -- $encoded 2>$null
    if (-not $answer) { return }
    foreach ($candidate in ($answer | Out-String | ConvertFrom-Json)) {
        [System.Management.Automation.CompletionResult]::new(
            $candidate.text, $candidate.shown, 'ParameterValue', $candidate.about)
    }
}
`;

/** What `mxtok completion SHELL` prints. */
export const SCRIPTS: Record<Shell, string> = {bash: BASH, zsh: ZSH, fish: FISH, powershell: POWERSHELL};
