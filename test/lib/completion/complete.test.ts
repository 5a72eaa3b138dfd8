import {strict as assert} from 'node:assert';

import {complete, type KnownCommand, type Lookups, matching} from '../../../src/lib/completion/complete.ts';
import {AUDIT_OPERATIONS} from '../../../src/lib/operations/audit.ts';
import {TOKEN_STATUSES} from '../../../src/lib/registration-token.ts';
import {TOKEN_FIELDS} from '../../../src/lib/token-record.ts';

type Flags = KnownCommand['flags'];
type Args = KnownCommand['args'];

const option = (name: string, more: object = {}): Flags => ({[name]: {type: 'option', name, ...more}});
const boolean = (name: string, more: object = {}): Flags => ({
  [name]: {type: 'boolean', name, allowNo: false, ...more},
});
const arg = (name: string, more: object = {}): Args => ({[name]: {name, ...more}});

const GLOBAL: Flags = {
  ...boolean('json', {exclusive: ['output']}),
  ...option('output', {options: ['table', 'tsv', 'json']}),
  ...boolean('quiet', {char: 'q', summary: 'Say\u001b[31m less.'}),
};
const SERVER = option('server', {char: 's'});

function command(id: string, flags: Flags = {}, args: Args = {}, hidden = false): KnownCommand {
  return {id, summary: `The ${id}.`, flags: {...GLOBAL, ...flags}, args, hidden};
}

const COMMANDS = [
  command('audit', {...SERVER, ...option('operation')}),
  command('create', {...SERVER, ...option('label'), ...option('note'), ...option('from')}),
  command('help', {}, arg('command')),
  command('list', {
    ...SERVER,
    ...boolean('all-servers', {exclusive: ['server']}),
    ...boolean('accepted', {allowNo: true}),
    ...option('columns'),
    ...option('label', {aliases: ['with-label']}),
    ...option('secret', {hidden: true}),
    ...option('sort'),
    ...option('status', {multiple: true, delimiter: ','}),
  }),
  command('import', {}, arg('file')),
  command('server:add', option('ca-file'), arg('name')),
  command('server:show', {}, arg('name')),
  command(
    'server:update',
    {...option('default-columns'), ...option('key', {helpValue: 'FILE'})},
    arg('name'),
  ),
  command('shell', {}, arg('shell', {options: ['bash', 'zsh']})),
  command('show', {...SERVER, ...option('with-label')}, arg('token', {multiple: true})),
  command('__hidden', SERVER, {}, true),
];
const TOPICS = [{name: 'server', description: 'Servers.'}];

function lookups(labels: string[] = ['spring workshop', 'summer']): Lookups & {asked: unknown[]} {
  const asked: unknown[] = [];
  return {
    asked,
    profiles: () => [
      {name: 'main', description: 'https://matrix.example.org (default)'},
      {name: 'second', description: 'https://second.example.org'},
    ],
    labels(servers) {
      asked.push(servers);
      return labels;
    },
  };
}

function values(words: string[], known: Lookups = lookups()): string[] {
  return complete(words, COMMANDS, TOPICS, known).candidates.map(({value}) => value);
}

describe('complete', () => {
  describe('commands', () => {
    it('are those that there are, and topics, with what they do; hidden ones are not', () => {
      const {candidates} = complete([''], COMMANDS, TOPICS, lookups());
      assert.deepEqual(
        candidates.map(({value}) => value),
        ['audit', 'create', 'help', 'list', 'import', 'server', 'shell', 'show'],
      );
      assert.equal(candidates.find(({value}) => value === 'list')?.description, 'The list.');
      assert.equal(candidates.find(({value}) => value === 'server')?.description, 'Servers.');
    });

    it('of a topic come after it', () => {
      assert.deepEqual(values(['server', '']), ['add', 'show', 'update']);
    });

    it('come after help', () => {
      assert(values(['help', '']).includes('server'));
      assert.deepEqual(values(['help', 'server', '']), ['add', 'show', 'update']);
    });

    it('that are unknown have nothing after them', () => {
      for (const words of [
        ['nonsense', ''],
        ['nonsense', '--'],
        ['server', 'nonsense', ''],
        ['--json', ''],
      ])
        assert.deepEqual(values(words), [], words.join(' '));
    });

    it('have --help and --version before them', () => {
      assert.deepEqual(values(['-']), ['--help', '--version']);
      assert.deepEqual(values(['server', '-']), ['--help']);
    });
  });

  describe('flags', () => {
    it('are those of the command, long and short, with --no-x where there is one; hidden ones are not', () => {
      assert.deepEqual(values(['list', '-']), [
        ...[
          '--json',
          '--output',
          '-q',
          '--quiet',
          '-s',
          '--server',
          '--all-servers',
          '--accepted',
          '--no-accepted',
        ],
        ...['--columns', '--label', '--sort', '--status', '--help'],
      ]);
      const long = values(['audit', '--']);
      assert.deepEqual(long, ['--json', '--output', '--quiet', '--server', '--operation', '--help']);
    });

    it('are offered only where one is begun', () => {
      assert.deepEqual(values(['list', '']), []);
      assert.deepEqual(values(['show', '']), [], 'tokens are not completed');
      assert.deepEqual(values(['show', '--', '-']), [], 'after -- there are none');
    });

    it('are not offered again, nor beside one that excludes them; what may be repeated is', () => {
      const left = values([
        'list',
        '--no-accepted',
        '-qs',
        'main',
        '--status',
        'valid',
        '--output=json',
        '--',
      ]);
      assert.deepEqual(left, ['--columns', '--label', '--sort', '--status', '--help']);
    });

    it('are offered while they are typed to the end', () => {
      assert(values(['list', '--json']).includes('--json'));
      assert(values(['list', '-q']).includes('-q'));
    });

    it('are described on one line, without anything that a terminal obeys', () => {
      const {candidates} = complete(['list', '-'], COMMANDS, TOPICS, lookups());
      assert.equal(candidates.find(({value}) => value === '-q')?.description, 'Say [31m less.');
    });
  });

  describe('values', () => {
    it('are the options of a flag', () => {
      assert.deepEqual(values(['list', '--output', '']), ['table', 'tsv', 'json']);
      assert.deepEqual(values(['list', '--output=j']), ['--output=table', '--output=tsv', '--output=json']);
      assert.deepEqual(values(['shell', '']), ['bash', 'zsh']);
    });

    it('are those that the commands take for a status, a column, an order and an operation', () => {
      assert.deepEqual(values(['list', '--status', '']), TOKEN_STATUSES);
      assert.deepEqual(values(['list', '--columns', '']), TOKEN_FIELDS);
      assert.deepEqual(values(['list', '--sort', '']), TOKEN_FIELDS);
      assert.deepEqual(
        values(['list', '--sort', '-']),
        TOKEN_FIELDS.map((field) => `-${field}`),
      );
      assert.deepEqual(values(['audit', '--operation', '']), AUDIT_OPERATIONS);
      assert.deepEqual(values(['server', 'update', 'x', '--default-columns', '']), TOKEN_FIELDS);
    });

    it('go on after a comma, each once, and leave the word open', () => {
      const {candidates, open} = complete(['list', '--status', 'valid,ex'], COMMANDS, TOPICS, lookups());
      assert.deepEqual(
        matching(candidates, 'valid,ex').map(({value}) => value),
        ['valid,expired', 'valid,exhausted'],
      );
      assert(!candidates.some(({value}) => value === 'valid,valid'));
      assert(open);
      assert(values(['list', '--columns=token,']).includes('--columns=token,label'));
      assert(!complete(['list', '--output', ''], COMMANDS, TOPICS, lookups()).open);
    });

    it('are profiles, several of them where all servers can be meant', () => {
      for (const words of [
        ['list', '-s', ''],
        ['audit', '--server', ''],
        ['server', 'show', ''],
        ['server', 'update', ''],
      ])
        assert.deepEqual(values(words), ['main', 'second'], words.join(' '));
      assert.deepEqual(values(['list', '-s=']), ['-s=main', '-s=second']);
      assert.deepEqual(values(['list', '-qsm']), ['-qsmain', '-qssecond']);
      assert.deepEqual(values(['list', '--server', 'main,']), ['main,second']);
      assert.deepEqual(values(['audit', '--server', 'main,']), ['main', 'second']);
      assert.deepEqual(values(['server', 'add', '']), [], 'a new name');
      assert.deepEqual(values(['server', 'show', 'main', '']), [], 'one is enough');
    });

    it('are labels of the servers that are chosen', () => {
      const known = lookups();
      for (const words of [
        ['list', '--label', ''],
        ['list', '-s', 'main,second', '--label', ''],
        ['list', '--server=second', '--label', ''],
        ['list', '-qssecond', '--label', ''],
        ['list', '--all-servers', '--label', ''],
        ['show', '--with-label', ''],
        ['list', '--with-label', ''],
        ['create', '--label', 'spr'],
      ])
        assert.deepEqual(values(words, known), ['spring workshop', 'summer'], words.join(' '));
      assert.deepEqual(known.asked, [[], ['main', 'second'], ['second'], ['second'], 'all', [], [], []]);
    });

    it('are files where a path belongs', () => {
      for (const words of [
        ['server', 'add', '--ca-file', ''],
        ['server', 'add', '--ca-file=x'],
        ['server', 'update', '--key', ''],
        ['create', '--from', ''],
        ['import', ''],
      ])
        assert.deepEqual(complete(words, COMMANDS, TOPICS, lookups()), {
          candidates: [],
          files: true,
          open: false,
        });
      assert(!complete(['create', '--note', ''], COMMANDS, TOPICS, lookups()).files);
    });

    it('are none that would be taken for a flag, or that a line or a terminal does not bear', () => {
      const hostile = lookups(['--yes', 'two\nlines', 'tab\there', '\u001b[31m', '\u202eturned', '', 'good']);
      assert.deepEqual(values(['list', '--label', ''], hostile), ['good']);
      assert.deepEqual(values(['list', '--label='], hostile), ['--label=--yes', '--label=good']);
    });
  });

  it('is not led astray by names that every object has', () => {
    for (const words of [
      ['constructor', ''],
      ['list', '--constructor', ''],
      ['list', '--toString='],
      ['__proto__', '-'],
    ])
      assert.deepEqual(values(words), [], words.join(' '));
  });
});
