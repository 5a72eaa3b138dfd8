/** Completion in real shells: what TAB puts into the line, and that nothing in a label is ever run. */
import {strict as assert} from 'node:assert';
import {execFileSync, spawnSync} from 'node:child_process';
import {chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

import {SHELLS} from '../../src/lib/completion/shells.ts';
import {metadataPath} from '../../src/lib/store/paths.ts';
import {BINARY, Operator} from '../helpers/binary.ts';
import {giveProfiles} from '../helpers/profiles.ts';
import {assertOneError} from '../helpers/refusal.ts';

const TERMINAL = fileURLToPath(new URL('../helpers/type-in-shell.py', import.meta.url));

/** Each would show if a shell took any of it for more than text; `touch pwned` would leave a file. */
const HOSTILE = [
  'spring workshop',
  '$(touch pwned)',
  '`touch pwned`',
  'a; touch pwned',
  'a" ; touch pwned; "',
  "a' ; touch pwned; '",
  'a & touch pwned | touch pwned > pwned',
  "it's",
  'say "hi"',
  '$HOME ${HOME} %HOME%',
  '!! bang!now',
  'back\\slash\\',
  'a:b:c',
  'a=b',
  'a,b',
  '~root',
  '=ls',
  '*',
  '?[a-z] {a,b}',
  '#hash',
  '<(touch pwned)',
  '%F{red}%f',
  '^a^b',
  '(touch pwned)',
  '’typographic‘',
  'zürich ✓ 日本',
  'no\u00a0break',
];

/** Profiles `p0`, `p1` …: each for a homeserver with one label. */
const LABELS = Object.fromEntries(HOSTILE.map((label, index) => [`p${index}`, label]));

/** An operator with `mxtok` on the PATH, which answers completions, and tells with what else it was run. */
class Typist extends Operator {
  readonly home: string;
  readonly #ran: string;

  constructor() {
    super();
    this.home = join(this.dir, 'home');
    this.#ran = join(this.dir, 'ran');
    const bin = join(this.dir, 'bin');
    for (const path of [this.home, bin]) mkdirSync(path);
    const node = quoted(process.execPath);
    const tell = `fs.appendFileSync(${JSON.stringify(this.#ran)}, JSON.stringify(process.argv.slice(1)) + "\\n"); console.log("RA" + "N")`;
    writeFileSync(
      join(bin, 'mxtok'),
      `#!/bin/sh\ncase $1 in\n__complete|completion) exec ${node} ${quoted(BINARY)} "$@" ;;\n*) exec ${node} -e ${quoted(tell)} -- "$@" ;;\nesac\n`,
    );
    chmodSync(join(bin, 'mxtok'), 0o755);
    Object.assign(this.env, {
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      HOME: this.home,
      LC_ALL: 'C.UTF-8',
      TERM: 'dumb',
    });
    const profiles = Object.keys(LABELS).map((name) => [
      name,
      {url: 'http://127.0.0.1:9', server_name: name},
    ]);
    giveProfiles(
      this,
      {
        main: {url: 'https://matrix.example.org', server_name: 'example.org'},
        ...(Object.fromEntries(profiles) as Record<string, {url: string}>),
      },
      'main',
    );
    this.giveLabels('example.org', ['spring workshop', 'summer', 'spring cleaning']);
    for (const [name, label] of Object.entries(LABELS)) this.giveLabels(name, [label]);
    writeFileSync(join(this.home, 'with space.pem'), '');
  }

  giveLabels(serverName: string, labels: string[]): void {
    const path = metadataPath(join(this.dir, 'config'), serverName);
    mkdirSync(join(path, '..'), {recursive: true, mode: 0o700});
    const tokens = labels.map((label, index) => ({token: `t${index}`, label}));
    writeFileSync(path, JSON.stringify({version: 1, server_name: serverName, tokens}), {mode: 0o600});
  }

  /** Run a shell to its end. @returns stdout. */
  shell(command: string, argv: string[]): string {
    return execFileSync(command, argv, {env: this.env, cwd: this.home, encoding: 'utf8', timeout: 100_000});
  }

  /** Type each line on a terminal, with TAB and Enter. @returns what mxtok was run with. */
  type(argv: string[], setup: string, lines: string[]): string[][] {
    const job = {argv, env: this.env, cwd: this.home, setup, lines};
    const {status, stdout, stderr} = spawnSync('python3', [TERMINAL], {
      input: JSON.stringify(job),
      encoding: 'utf8',
      timeout: 400_000,
    });
    assert.equal(status, 0, `${stderr}\n${stdout}`);
    const runs = readFileSync(this.#ran, 'utf8').trim().split('\n');
    return runs.map((line) => JSON.parse(line) as string[]);
  }

  /** Every file's content, mode and time. */
  files(): [string, string, number, number][] {
    const config = join(this.dir, 'config');
    return (readdirSync(config, {recursive: true}) as string[])
      .map((name) => join(config, name))
      .filter((path) => statSync(path).isFile())
      .sort()
      .map((path) => [path, readFileSync(path, 'utf8'), statSync(path).mode, statSync(path).mtimeMs]);
  }
}

/** For sh. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function needs(context: Mocha.Context, ...programs: string[]): void {
  for (const program of programs) {
    if (spawnSync(program, ['--version']).status === 0) continue;
    console.error(`      !!! SKIPPED, there is no ${program}: ${context.test?.title ?? ''}`);
    context.skip();
  }
}

const INTERACTIVE = {
  bash: {
    argv: ['bash', '--norc', '--noprofile', '-i'],
    setup: "PS1='$ '; source <(mxtok completion bash)",
  },
  zsh: {
    argv: ['zsh', '-f', '-i'],
    setup:
      "PS1='$ '; stty cols 300; setopt nolistbeep; autoload -Uz compinit; compinit -D -u; source <(mxtok completion zsh)",
  },
  fish: {argv: ['fish', '--no-config', '-i'], setup: 'mxtok completion fish | source'},
};

/** What is typed, and what mxtok is run with after TAB and Enter. */
const TYPED: [string, string[]][] = [
  ['mxtok serv', ['server']],
  ['mxtok server doc', ['server', 'doctor']],
  ['mxtok list --expiring', ['list', '--expiring-within']],
  ['mxtok list --no-acc', ['list', '--no-accepted']],
  ['mxtok list --output nd', ['list', '--output', 'ndjson']],
  ['mxtok list --output=nd', ['list', '--output=ndjson']],
  ['mxtok list --status valid,expi', ['list', '--status', 'valid,expired']],
  ['mxtok list --sort -expires', ['list', '--sort', '-expires_at']],
  ['mxtok list -s ma', ['list', '-s', 'main']],
  ['mxtok list -sma', ['list', '-smain']],
  ['mxtok server show ma', ['server', 'show', 'main']],
  ['mxtok list --label summ', ['list', '--label', 'summer']],
  ['mxtok list --label spring\\ w', ['list', '--label', 'spring workshop']],
  ['mxtok list --label "spring w', ['list', '--label', 'spring workshop']],
  ["mxtok list --label='spring w", ['list', '--label=spring workshop']],
  ['mxtok server add x --ca-file wi', ['server', 'add', 'x', '--ca-file', 'with space.pem']],
  ['mxtok server add x --ca-file=wi', ['server', 'add', 'x', '--ca-file=with space.pem']],
  ['mxtok show wi', ['show', 'wi']],
  ['mxtok show t', ['show', 't']],
];

describe('completion', function () {
  this.timeout(600_000);

  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    describe(`in ${shell}`, () => {
      const {argv, setup} = INTERACTIVE[shell];

      it('completes at TAB what is typed', function () {
        needs(this, shell, 'python3');
        const runs = new Typist().type(
          argv,
          setup,
          TYPED.map(([line]) => line),
        );
        assert.deepEqual(
          runs,
          TYPED.map(([, run]) => run),
        );
      });

      it('inserts every label as the text it is, and runs nothing that stands in it', function () {
        needs(this, shell, 'python3');
        const typist = new Typist();
        const names = Object.keys(LABELS);
        const quotes = ['', '"', "'"];
        const lines = names.flatMap((name) =>
          quotes.map((quote) => {
            // fish is offered nothing with a tilde before one is typed: it would not quote it.
            const start = shell === 'fish' && LABELS[name]?.startsWith('~') ? `${quote || '\\'}~` : quote;
            return `mxtok list -s ${name} --label ${start}`;
          }),
        );
        const expected = names.flatMap((name) =>
          quotes.map(() => ['list', '-s', name, '--label', LABELS[name] ?? '']),
        );
        assert.deepEqual(typist.type(argv, setup, lines), expected);
        assert(!existsSync(join(typist.home, 'pwned')), 'a label was run');
        assert.deepEqual(
          readdirSync(typist.home).filter((name) => !name.startsWith('.')),
          ['with space.pem'],
        );
      });
    });
  }

  describe('in bash, asked as other completions ask', () => {
    /** @param line up to the cursor. */
    function candidates(typist: Typist, line: string, words: string[], word = words.at(-1) ?? ''): string[] {
      const script = [
        'set -u',
        'source <(mxtok completion bash)',
        'COMP_LINE=$1 COMP_POINT=${#1} word=$2; shift 2',
        'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))',
        '_mxtok mxtok "$word" "${COMP_WORDS[COMP_CWORD-1]}" || echo FAILED',
        'printf "%s\\n" ${COMPREPLY[@]+"${COMPREPLY[@]}"}',
      ].join('\n');
      const argv = ['--norc', '--noprofile', '-c', script, 'bash', line, word, ...words];
      return typist
        .shell('bash', argv)
        .split('\n')
        .filter((one) => one !== '');
    }

    it('completes commands and values, quoted for what is typed', function () {
      needs(this, 'bash');
      const typist = new Typist();
      assert.deepEqual(candidates(typist, 'mxtok server l', ['mxtok', 'server', 'l']), [
        'list',
        'login',
        'logout',
      ]);
      const after = ['mxtok', 'list', '--label'];
      assert.deepEqual(candidates(typist, 'mxtok list --label spr', [...after, 'spr']), [
        'spring\\ cleaning',
        'spring\\ workshop',
      ]);
      assert.deepEqual(candidates(typist, 'mxtok list --label=spr', [...after, '=', 'spr']), [
        'spring\\ cleaning',
        'spring\\ workshop',
      ]);
    });

    it('does without COMP_LINE', function () {
      needs(this, 'bash');
      assert.deepEqual(candidates(new Typist(), '', ['mxtok', 'list', '--output', 'j']), ['json']);
    });

    it('offers files where bash cannot be told to', function () {
      needs(this, 'bash');
      const words = ['mxtok', 'server', 'add', '--ca-file', 'wi'];
      assert.deepEqual(candidates(new Typist(), words.join(' '), words), ['with\\ space.pem']);
    });
  });

  describe('in zsh, from a file in fpath', () => {
    it('completes from the first TAB on', function () {
      needs(this, 'zsh', 'python3');
      const typist = new Typist();
      const dir = join(typist.dir, 'functions');
      mkdirSync(dir);
      writeFileSync(join(dir, '_mxtok'), typist.shell('mxtok', ['completion', 'zsh']));
      const setup = `PS1='$ '; fpath=(${quoted(dir)} $fpath); autoload -Uz compinit; compinit -D -u`;
      const lines = ['mxtok server doc', 'mxtok list --output nd'];
      assert.deepEqual(typist.type(INTERACTIVE.zsh.argv, setup, lines), [
        ['server', 'doctor'],
        ['list', '--output', 'ndjson'],
      ]);
    });
  });

  describe('in fish', () => {
    it('describes what it offers', function () {
      needs(this, 'fish');
      const script = 'mxtok completion fish | source; complete -C $argv[1]';
      const shown = new Typist().shell('fish', ['--no-config', '-c', script, 'mxtok list --sta']);
      assert.match(shown, /^--status\tOf this status/m);
    });
  });

  describe('in PowerShell', () => {
    it('registers a completer that hands over what is typed in base64', async () => {
      const script = await new Operator().ok(['completion', 'powershell']);
      assert.match(script, /^Register-ArgumentCompleter -Native -CommandName mxtok -ScriptBlock \{$/m);
      assert.match(script, /& mxtok __complete powershell -- \$encoded/);
      assert.doesNotMatch(script, /Invoke-Expression(?! *$)/m, 'nothing of an answer is evaluated');
    });

    it('gets its candidates in ASCII, quoted', async () => {
      const typist = new Typist();
      typist.giveLabels('example.org', ['züri $(x)', 'it’s']);
      const ask = async (...words: string[]): Promise<unknown> => {
        const question = Buffer.from([...words, words.at(-1)].join('\0')).toString('base64');
        const answer = await typist.ok(['__complete', 'powershell', '--', question]);
        assert.match(answer, /^[\0-~]*$/);
        return JSON.parse(answer);
      };
      assert.deepEqual(await ask('list', '--label', ''), [
        {text: "'it’’s'", shown: 'it’s', about: 'it’s'},
        {text: "'züri $(x)'", shown: 'züri $(x)', about: 'züri $(x)'},
      ]);
      assert.deepEqual(await ask('list', '--output', 'j'), [{text: 'json', shown: 'json', about: 'json'}]);
    });
  });

  it('changes no file, not even a mode, and is silent about broken ones', async () => {
    const typist = new Typist();
    const config = join(typist.dir, 'config');
    chmodSync(join(config, 'config.json'), 0o644);
    const ask = (...words: string[]): Promise<unknown> =>
      typist.mxtok(['__complete', 'fish', '--', ...words]);
    const before = typist.files();
    const answer = {
      stdout: 'done\nspring cleaning\nspring workshop\nsummer\n',
      stderr: '',
      code: 0,
      signal: null,
    };
    assert.deepEqual(await ask('list', '--label', ''), answer);
    assert.deepEqual(typist.files(), before);
    assert(!existsSync(join(typist.dir, 'data')));
    const nothing = {...answer, stdout: 'done\n'};
    for (const broken of ['', '{', 'null', '{"version":1}', '{"version":1,"servers":7}', '{"version":2}']) {
      writeFileSync(join(config, 'config.json'), broken);
      assert.deepEqual(await ask('list', '--label', ''), nothing, broken);
      assert.deepEqual(await ask('audit', '--server', ''), nothing, broken);
      assert.equal(readFileSync(join(config, 'config.json'), 'utf8'), broken);
    }
  });

  it('has no answer for what is no question, and exits 0', async () => {
    const operator = new Operator();
    const silent = {stdout: '', stderr: '', code: 0, signal: null};
    for (const argv of [[], ['tcsh', '--', 'li'], ['fish'], ['fish', 'li']])
      assert.deepEqual(await operator.mxtok(['__complete', ...argv]), silent, argv.join(' '));
    const unknown = await operator.mxtok(['__complete', 'fish', '--', 'nonsense', '--help']);
    assert.deepEqual(unknown, {...silent, stdout: 'done\n'});
  });

  it('is not in the help, unlike mxtok completion', async () => {
    const help = await new Operator().ok(['--help']);
    assert.match(help, /^ {2}completion /m);
    assert.doesNotMatch(help, /__complete/);
  });

  it('names the shells where none is given, or another', async () => {
    const operator = new Operator();
    const says = new RegExp(SHELLS.join(', '));
    assertOneError(await operator.mxtok(['completion']), {says});
    assertOneError(await operator.mxtok(['completion', 'tcsh']), {says});
  });

  it('gives every script in JSON too', async () => {
    const operator = new Operator();
    for (const shell of SHELLS) {
      const script = await operator.ok(['completion', shell]);
      assert.deepEqual(await operator.json(['completion', shell]), {shell, script});
    }
  });
});
