/** Wrong input: refused with one clear message before anything is sent. */
import {strict as assert} from 'node:assert';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';

import type {Profile} from '../../src/lib/store/profiles.ts';
import {Operator} from '../helpers/binary.ts';
import {type BrokenServer, closeServers, httpServer} from '../helpers/broken-server.ts';
import {giveProfiles} from '../helpers/profiles.ts';
import {assertJsonError, assertOneError, assertRefused, type Refusal} from '../helpers/refusal.ts';
import {secret} from '../helpers/secrets.ts';

const ACCESS_TOKEN = secret('syt_YWRtaW4_badInputTestsOfMxtok_3xAmPl');
const RED = '\u001b[31mred\u001b[0m';
/** An 8-bit escape sequence, a change of direction, a zero-width space. */
const C1 = '\u009b31mred';
const BACKWARDS = 'abc\u202Ecba';
const INVISIBLE = 'a\u200bb';
const LONG = 'x'.repeat(65);

describe('wrong input', function () {
  this.timeout(60_000);
  let server: BrokenServer;
  let operator: Operator;

  beforeEach(async () => {
    server = await httpServer((_, response) => response.writeHead(500).end('{}'));
    operator = new Operator();
    giveProfiles(operator, {main: profile()}, 'main');
  });

  afterEach(closeServers);

  function profile(more: Partial<Profile> = {}): Profile {
    return {url: server.url, server_name: 'demo.test', access_token: ACCESS_TOKEN, ...more};
  }

  /** A test that a run is refused, in text and in JSON, and that the homeserver heard nothing. */
  function refuses(argv: string[], refusal: Refusal, prepare: () => void = () => undefined): void {
    const told = (word: string): string =>
      word.length > 70
        ? `(${word.length} characters)`
        : /^[\w./:=,~-]+$/.test(word)
          ? word
          : JSON.stringify(word);
    const env = Object.entries(refusal.env ?? {}).map(([name, value]) => `${name}=${told(value)}`);
    it(`refuses ${[...env, 'mxtok', ...argv.map(told)].join(' ')}`, async () => {
      prepare();
      await assertRefused(operator, argv, refusal);
      assert.equal(server.connections, 0, 'nobody was asked');
    });
  }

  /** Of the values all for the first command; some each for the rest, which share its checks. */
  function shareOut<T>(commands: string[][], values: T[]): [command: string[], value: T][] {
    return commands.flatMap((command, index) =>
      values
        .filter((_, place) => index === 0 || place % 6 === index % Math.min(6, values.length))
        .map((value): [string[], T] => [command, value]),
    );
  }

  /** Each of the values, given to the same flag of the commands. */
  function refusesValues(commands: string[][], flag: string, values: string[], says: RegExp): void {
    for (const [command, value] of shareOut(commands, values))
      refuses([...command, `${flag}=${value}`], {says});
  }

  describe('of limits', () => {
    const commands = [['create'], ['update', 'abc'], ['enable', 'abc']];
    refusesValues(commands, '--uses', ['0', '00'], /--uses 0 would not disable.*unlimited[^]*mxtok disable/);
    refusesValues(
      commands,
      '--uses',
      [
        '',
        ' ',
        '-1',
        '-0',
        '+5',
        '1.5',
        '1e3',
        '0x10',
        '5 ',
        'five',
        'Unlimited',
        'null',
        '٥',
        '５',
        RED,
        C1,
      ],
      /--uses ".*" is not a number from 1 to 2147483647, nor "unlimited"/,
    );
    refusesValues(
      commands,
      '--uses',
      ['2147483648', '4294967296', '9223372036854775808', '9'.repeat(400)],
      /is not a number from 1 to 2147483647/,
    );

    refusesValues(
      commands,
      '--expiry',
      ['', ' ', 'soon', 'Never', '7', '7 d', '-7d', '+7d', '1.5h', '7D', '7days', 'd', '1700000000', '٧d'],
      /--expiry ".*" is not a duration .* a date .* nor "never"/,
    );
    refusesValues(
      commands,
      '--expiry',
      [RED, C1, BACKWARDS, '7d\n', '2030-1-1', '2030/01/01', '01.02.2030', '2030-01-01T', '10000-01-01'],
      /--expiry ".*" is not a duration/,
    );
    refusesValues(commands, '--expiry', ['0d', '0s'], /no time at all[^]*never/);
    refusesValues(
      commands,
      '--expiry',
      ['2020-01-01', '2020-01-01T10:00Z', '1969-12-31'],
      /has passed already[^]*mxtok disable/,
    );
    refusesValues(
      commands,
      '--expiry',
      [
        '2031-02-31',
        '2031-02-29',
        '2031-13-01',
        '2031-00-10',
        '2031-01-00',
        '2031-01-01T25:00',
        '2031-01-01T10:60',
      ],
      /there is no such date or time/,
    );
    refusesValues(commands, '--expiry', ['9000y', '999999999y', '999999999w'], /past the year 9999/);

    refuses(['create', '--expiry', '2027-03-28T02:30'], {
      env: {TZ: 'Europe/Berlin'},
      says: /does not exist in time zone Europe\/Berlin: the clocks skip it[^]*with its zone/,
    });
    refuses(['update', 'abc', '--expiry', '2027-03-14T02:15'], {
      env: {TZ: 'America/New_York'},
      says: /does not exist in time zone America\/New_York/,
    });
  });

  describe('of a new token', () => {
    refusesValues(
      [['create']],
      '--token',
      [
        ' ',
        'a b',
        'a/b',
        'a%2fb',
        'a+b',
        'täst',
        '🎟',
        'a\nb',
        'a\tb',
        RED,
        C1,
        BACKWARDS,
        INVISIBLE,
        'abc\n',
      ],
      /is not a registration token: only A-Z a-z 0-9/,
    );
    refusesValues([['create']], '--token', ['.', '..', 'new'], /cannot be managed afterwards/);
    refuses(['create', '--token', ''], {says: /cannot be empty/});
    refuses(['create', '--token', LONG], {says: /has 65 characters; homeservers take up to 64/});
    refuses(['create', '--token', 'x'.repeat(100_000)], {says: /has 100000 characters/});
    refusesValues(
      [['create']],
      '--length',
      ['7', '65', '0', '-8', '', ' 16', '8.5', '1e1', '0x10', 'long', '99999999999999999999', '１６', RED],
      /--length takes a number from 8 to 64/,
    );
    refusesValues(
      [['create']],
      '--words',
      ['2', '9', '0', '-3', '', '4.0', 'four', '99999999999999999999', C1],
      /--words takes a number from 3 to 8/,
    );
    refusesValues(
      [['create']],
      '--count',
      ['0', '-1', '', '1.5', '1e3', 'many', '99999999999999999999', RED],
      /--count takes a number from 1 to \d+/,
    );
    refusesValues(
      [['create', '--count', '2']],
      '--concurrency',
      ['0', '33', '-1', '', 'all', RED],
      /--concurrency takes a number from 1 to 32/,
    );
    refuses(['create', '--concurrency', '2'], {says: /--concurrency is for --count and --from/});
    refuses(['create', '--count', '2', '--token', 'abc'], {
      says: /(?:--token|--count).*cannot also be provided/,
    });
    refuses(['create', '--token', 'abc', '--length', '16'], {
      says: /--length.*cannot also be provided.*--token/,
    });
    refuses(['create', '--token', 'abc', '--words', '5'], {
      says: /--words.*cannot also be provided.*--token/,
    });
    refuses(['create', '--length', '16', '--words', '5'], {
      says: /--words.*cannot also be provided.*--length/,
    });
    refuses(['create', 'abc'], {says: /unexpected argument "abc"/});
    refuses(['create', '--uses', '1', 'abc'], {says: /unexpected argument "abc"/});
  });

  describe('of labels and notes', () => {
    const commands = [['create'], ['update', 'abc']];
    for (const flag of ['--label', '--note']) {
      refusesValues(
        commands,
        flag,
        ['a\nb', 'a\tb', 'a\rb', RED, C1, BACKWARDS, INVISIBLE, 'a\u2028b', '\u0007'],
        new RegExp(`${flag} has line breaks, control characters`),
      );
    }

    refusesValues(commands, '--label', ['é'.repeat(201)], /--label has 201 characters; up to 200/);
    refusesValues(commands, '--note', ['🎟'.repeat(2001)], /--note has 2001 characters; up to 2000/);
  });

  describe('of the tokens to work on', () => {
    const commands = [
      ['show'],
      ['update', '--label', 'x'],
      ['disable'],
      ['enable'],
      ['delete', '--yes'],
      ['check'],
    ];
    const words = [' ', 'a b', 'a/b', '../x', 'a?b', 'a#b', 'täst', 'a\nb', RED, C1, BACKWARDS, INVISIBLE];
    for (const [command, word] of shareOut(commands, words))
      refuses([...command, word], {says: /is not a registration token/});
    for (const command of commands) {
      refuses(command, {says: /TOKEN is missing/});
      refuses([...command, ''], {says: /a registration token cannot be empty/});
      refuses([...command, LONG], {says: /has 65 characters/});
      refuses([...command, 'good', 'b@d'], {says: /"b@d" is not a registration token/});
      refuses([...command, '-abc'], {says: /there is no flag "-a(?:bc)?"[^]*after "--": mxtok show -- -abc/});
      refuses([...command, '-5abc'], {says: /there is no flag "-5abc"[^]*after "--"/});
      refuses([...command, '-'], {input: `good\n${RED}\n`, says: /is not a registration token/});
    }

    refuses(['update', 'abc'], {says: /there is nothing to change[^]*--uses, --expiry, --label and --note/});
    refuses(['delete', 'abc'], {says: /asks before it does so, and nobody can answer[^]*--yes/});
    refuses(['delete', '--no-input', 'abc'], {says: /nobody can answer[^]*--yes/});
  });

  describe('of a list', () => {
    refusesValues(
      [['list']],
      '--status',
      ['open', 'VALID', 'valid,open', RED],
      /--status ".*" is none of disabled/,
    );
    refuses(['list', '--status', ''], {says: /--status/});
    refusesValues(
      [['list']],
      '--expiring-within',
      ['', '3', '-3d', 'soon', '2031-01-01', 'never', '3d ', RED],
      /--expiring-within ".*" is not a duration/,
    );
    refusesValues(
      [['list']],
      '--expiring-within',
      ['999999999y', '999999999mo'],
      /--expiring-within ".*" is too long/,
    );
    refusesValues(
      [['list']],
      '--sort',
      ['', '-', 'name', 'TOKEN', '--token', 'token,label', RED],
      /--sort: ".*" is no column/,
    );
    refusesValues(
      [['list']],
      '--columns',
      ['', 'name', 'token,', 'token;label', RED],
      /--columns: ".*" is no column/,
    );
    refusesValues(
      [['list']],
      '--limit',
      ['', '0', '-1', '1.5', '1e2', 'all', '99999999999', RED],
      /--limit ".*" is not a number from 1 on/,
    );
    refuses(['list', 'abc'], {says: /unexpected argument "abc"/});
    refuses(['list', RED], {says: /unexpected argument/});
  });

  describe('of the log', () => {
    refusesValues(
      [['audit']],
      '--operation',
      ['', 'list', 'Create', RED],
      /--operation ".*" is none of create/,
    );
    refusesValues([['audit']], '--token', ['a b', RED], /is not a registration token/);
    for (const flag of ['--since', '--until']) {
      refusesValues(
        [['audit']],
        flag,
        ['', 'yesterday', '7', '-7d', '999999999y', RED],
        new RegExp(`${flag} ".*" is not a duration`),
      );
      refusesValues([['audit']], flag, ['2026-02-31'], /there is no such date/);
    }

    refusesValues(
      [['audit']],
      '--limit',
      ['', '0', '-1', 'all', RED],
      /--limit ".*" is not a number from 1 on/,
    );
  });

  describe('of a check without a profile', () => {
    refuses(['check', 'abc', '--url', 'https://matrix.test', '--server', 'main'], {
      says: /--url.*cannot also be provided.*--server|--server.*cannot also be provided.*--url/,
    });
    refuses(['check', 'abc', '--allow-http'], {says: /--[a-z-]+ needs --url/});
    refuses(['check', 'abc', '--ca-file', '/x'], {says: /--[a-z-]+ needs --url/});
  });

  describe('of an address', () => {
    const at = (url: string): string[][] => [
      ['check', 'abc', `--url=${url}`],
      ['server', 'doctor', `--url=${url}`],
      ['server', 'add', 'other', `--url=${url}`, '--access-token-stdin'],
      ['server', 'update', 'main', `--url=${url}`, '--access-token-stdin'],
    ];
    const refusals: [url: string, says: RegExp][] = [
      ['', /"" is neither a URL/],
      ['a b', /neither a URL, nor unix:PATH, nor a server name/],
      [RED, /neither a URL/],
      ['täst', /neither a URL/],
      ['ftp://matrix.test', /is not an https:\/\/ URL/],
      ['file:///etc/passwd', /is not an https:\/\/ URL/],
      ['https://matrix.test?x=1', /has a query or a fragment/],
      ['https://matrix.test/#/x', /has a query or a fragment/],
      ['https://admin:hunter2@matrix.test', /user name or password in it is not taken/],
      ['http://matrix.test', /is plain http: everybody on the way could read[^]*--allow-http/],
      ['http://127.0.0.1.matrix.test', /is plain http/],
      ['http://[2001:db8::1]:8008', /is plain http/],
      ['unix:', /needs an absolute path/],
      ['unix:run/main.sock', /needs an absolute path/],
      ['https://', /neither a URL/],
      ['https://matrix.test:99999', /neither a URL/],
    ];
    for (const [index, [url, says]] of refusals.entries()) {
      // What they share is seen in all by the first; the others show that they share it.
      for (const argv of index % 4 === 0 ? at(url) : at(url).slice(0, 1))
        refuses(argv, {says, input: ACCESS_TOKEN});
    }

    for (const name of ['MXTOK_URL']) {
      const env = {MXTOK_ACCESS_TOKEN: ACCESS_TOKEN};
      refuses(['list'], {
        env: {...env, [name]: 'http://matrix.test'},
        says: /is plain http[^]*MXTOK_ALLOW_HTTP=1/,
      });
      refuses(['list'], {env: {...env, [name]: 'matrix.test'}, says: /is not a URL like https:/});
      refuses(['list'], {env: {...env, [name]: RED}, says: /neither a URL/});
    }

    refuses(['list'], {
      env: {MXTOK_URL: 'https://matrix.test'},
      says: /MXTOK_URL is set, but MXTOK_ACCESS_TOKEN is not/,
    });
    refuses(['list'], {
      env: {MXTOK_ACCESS_TOKEN: ACCESS_TOKEN},
      says: /MXTOK_ACCESS_TOKEN is set, but MXTOK_URL is not/,
    });
    refuses(['list'], {
      env: {MXTOK_URL: 'https://matrix.test', MXTOK_ACCESS_TOKEN: secret('two words of a secret')},
      code: 4,
      is: 'no_credential',
      says: /MXTOK_ACCESS_TOKEN cannot be an access token/,
    });

    it('refuses an authority file that is not there, or holds no certificate', async () => {
      const empty = join(operator.dir, 'empty.pem');
      writeFileSync(empty, 'nothing');
      for (const [file, says] of [
        ['/nonexistent/ca.pem', /the CA file "\/nonexistent\/ca.pem" cannot be read/],
        ['', /--ca-file needs the path of a file|the CA file "" cannot be read/],
        [empty, /holds no certificate in PEM form/],
      ] as const) {
        const argv = ['check', 'abc', '--url', server.url, '--ca-file', file];
        await assertRefused(operator, argv, {says});
        const add = [
          'server',
          'add',
          'other',
          '--url',
          server.url,
          '--ca-file',
          file,
          '--access-token-stdin',
        ];
        await assertRefused(operator, add, {says, input: ACCESS_TOKEN});
      }

      assert.equal(server.connections, 0, 'nobody was asked');
    });
  });

  describe('of a server profile', () => {
    const none = {code: 5, is: 'no_such_server'};
    refuses(['server', 'add'], {
      says: /missing: NAME; --url; one of --access-token-stdin, --access-token-file, --access-token-command, --user/,
    });
    refuses(['server', 'add', 'other'], {says: /missing: --url; one of --access-token-stdin/});
    refuses(['server', 'add', 'other', '--url', 'https://matrix.test'], {
      says: /missing: one of --access-token-stdin/,
    });
    refuses(['server', 'add', '--user', 'admin'], {says: /missing: NAME; --url; --password-stdin/});
    refuses(['server', 'add', '--no-verify'], {says: /missing: NAME; --url\n/});
    for (const name of [
      '',
      ' ',
      'a b',
      '-a',
      '.',
      '..',
      '../x',
      'a/b',
      'täst',
      RED,
      C1,
      '__proto__',
      'constructor',
      LONG,
    ]) {
      refuses(['server', 'add', '--url', 'https://matrix.test', '--access-token-stdin', '--', name], {
        says: /cannot be the name of a server profile/,
        input: ACCESS_TOKEN,
      });
    }

    refuses(['server', 'add', 'main', '--url', 'https://matrix.test', '--access-token-stdin'], {
      code: 6,
      is: 'already_exists',
      says: /this server profile exists already/,
      input: ACCESS_TOKEN,
    });
    refuses(['server', 'add', 'a', 'b'], {says: /unexpected argument "b"/});

    /** A credential that is none is told before the homeserver hears of us. */
    const credentials: [argv: string[], refusal: Refusal][] = [
      [['--access-token-stdin'], {code: 4, is: 'no_credential', says: /on standard input is empty/}],
      [
        ['--access-token-stdin'],
        {code: 4, is: 'no_credential', input: 'two words\n', says: /cannot be an access token/},
      ],
      [
        ['--access-token-stdin'],
        {code: 4, is: 'no_credential', input: RED, says: /cannot be an access token/},
      ],
      [['--access-token-file='], {says: /--access-token-file needs the path/}],
      [['--access-token-command='], {says: /--access-token-command needs a command/}],
      [['--access-token-command= '], {says: /--access-token-command needs a command/}],
    ];
    for (const [argv, refusal] of credentials) {
      for (const command of [
        ['server', 'add', 'other'],
        ['server', 'update', 'main'],
      ]) {
        it(`refuses mxtok ${[...command, ...argv].join(' ')} with ${JSON.stringify(refusal.input ?? '')}`, async () => {
          await assertRefused(operator, [...command, '--url', server.url, ...argv], refusal);
          assert.equal(server.connections, 0, 'nobody was asked');
        });
      }
    }

    it('refuses a log-in without a user name or a password', async () => {
      const add = ['server', 'add', 'other', '--url', server.url, '--password-stdin'];
      const login = ['server', 'login', 'main', '--password-stdin'];
      for (const argv of [add, login]) {
        await assertRefused(operator, [...argv, '--user', ''], {input: 'pw', says: /--user cannot be empty/});
        await assertRefused(operator, [...argv, '--user', 'admin'], {
          input: '\n',
          says: /the password is empty/,
        });
      }

      assert.equal(server.connections, 0, 'nobody was asked');
    });

    const two: [string, string][] = [
      ['--access-token-stdin', '--access-token-file=/x'],
      ['--access-token-stdin', '--access-token-command=x'],
      ['--access-token-file=/x', '--access-token-command=x'],
      ['--access-token-stdin', '--user=admin'],
      ['--access-token-file=/x', '--user=admin'],
    ];
    for (const pair of two)
      refuses(['server', 'add', 'other', '--url', 'https://matrix.test', ...pair], {
        says: /cannot also be provided/,
      });
    refuses(['server', 'add', 'other', '--url', 'https://matrix.test', '--password-stdin'], {
      says: /--password-stdin needs --user/,
    });

    refuses(['server', 'update', 'main'], {says: /there is nothing to change/});
    refuses(['server', 'update', 'main', '--no-verify'], {says: /there is nothing to change/});
    refuses(['server', 'update', 'main', '--keep-access-token', '--allow-http'], {
      says: /--[a-z-]+ needs --url/,
    });
    refuses(['server', 'update', 'main', '--url', 'https://matrix.test'], {
      says: /another host[^]*nothing was sent[^]*--keep-access-token/,
    });

    for (const command of [
      ['server', 'update', '--allow-http'],
      ['server', 'show'],
      ['server', 'login', '--user', 'x', '--password-stdin'],
      ['server', 'logout'],
      ['server', 'remove', '--yes'],
    ]) {
      refuses(command, {says: /NAME is missing/});
      refuses([...command, 'other'], {...none, says: /there is no server profile "other"[^]*Known: main/});
      refuses([...command, '__proto__'], {...none, says: /there is no server profile "__proto__"/});
      refuses([...command, RED], {...none, says: /there is no server profile/});
      refuses([...command, 'main', 'more'], {says: /unexpected argument "more"/});
    }

    refuses(['server', 'default', 'other'], {...none, says: /there is no server profile "other"/});
    refuses(['server', 'doctor', 'other'], {...none, says: /there is no server profile "other"/});
    refuses(['server', 'doctor', 'main', '--url', 'https://matrix.test'], {says: /NAME and --url/});
    refuses(['server', 'doctor', '--allow-http'], {says: /--[a-z-]+ needs --url/});
    refuses(['server', 'login', 'main'], {says: /missing: --user, --password-stdin/});
    refuses(['server', 'login', 'main', '--user', 'admin'], {says: /missing: --password-stdin/});
    refuses(['server', 'login', 'main', '--password-stdin'], {says: /--password-stdin needs --user/});
    refuses(['server', 'remove', 'main'], {says: /nobody can answer[^]*--yes/});
    refuses(['server', 'logout', 'main'], {says: /comes from a file[^]*--local main/}, () => {
      const {access_token: _, ...rest} = profile();
      giveProfiles(operator, {main: {...rest, access_token_file: '/x'}});
    });
    refuses(
      ['server', 'logout', 'main'],
      {code: 4, is: 'no_credential', says: /not logged in to main/},
      () => {
        const {access_token: _, ...rest} = profile();
        giveProfiles(operator, {main: rest});
      },
    );
    refuses(['server', 'list', 'main'], {says: /unexpected argument "main"/});
  });

  describe('of the server to use', () => {
    const none = {code: 5, is: 'no_such_server'};
    const commands = [
      ['list'],
      ['create'],
      ['show', 'abc'],
      ['update', 'abc', '--label', 'x'],
      ['disable', 'abc'],
      ['enable', 'abc'],
      ['delete', '--yes', 'abc'],
      ['check', 'abc'],
      ['server', 'doctor'],
    ];
    for (const command of commands) {
      refuses(
        command,
        {...none, says: /no homeserver is known yet[^]*mxtok server (?:add NAME|doctor) --url/},
        () => {
          giveProfiles(operator, {});
        },
      );
      refuses(
        command,
        {says: /several homeservers are known, and none is the default: a, b[^]*--server NAME/},
        () => {
          giveProfiles(operator, {b: profile(), a: profile()});
        },
      );
      if (command[0] === 'server') continue;
      refuses([...command], {
        env: {MXTOK_SERVER: 'other'},
        ...none,
        says: /there is no server profile "other"/,
      });
    }

    const names = ['other', '', '__proto__', 'toString', 'MAIN', RED, C1];
    for (const [command, name] of shareOut(commands.slice(0, -1), names)) {
      refuses([...command, `--server=${name}`], {
        ...none,
        says: /there is no server profile ".*"[^]*Known: main/,
      });
    }

    refuses(['server', 'default'], {...none, says: /no server is the default/}, () => {
      giveProfiles(operator, {a: profile(), b: profile()});
    });
  });

  describe('of the flags that all commands have', () => {
    refusesValues(
      [['list'], ['show', 'abc'], ['create'], ['server', 'doctor'], ['check', 'abc']],
      '--timeout',
      ['', '0', '-1', 'soon', '1mo', '25h', '1e9', 'NaN', 'Infinity', '99999999999', '5 s', RED],
      /--timeout ".*" is not a number of seconds, nor a duration/,
    );

    for (const command of [['list'], ['audit'], ['server', 'list'], ['create']]) {
      it(`refuses mxtok ${command.join(' ')} with a form of output that there is not`, async () => {
        for (const form of ['xml', '', 'JSON', RED]) {
          const result = await operator.mxtok([...command, `--output=${form}`]);
          assertOneError(result, {says: /expected --output=.* to be one of: table, tsv, csv, json, ndjson/});
        }

        assert.equal(server.connections, 0, 'nobody was asked');
      });
    }

    it('refuses --json beside --output', async () => {
      const argv = ['list', '--json', '--output', 'csv'];
      const says = /--output=csv cannot also be provided when using --json/;
      assertJsonError(await operator.mxtok(argv), {says});
      assert.equal(server.connections, 0, 'nobody was asked');
    });

    refuses(['list', '--server'], {says: /flag --server expects a value/});
    refuses(['create', '--uses'], {says: /flag --uses expects a value/});
    refuses(['create', '--uses', '1', '--uses', '2'], {says: /--uses can only be specified once/});
    refuses(['list', '--server=main', '-s', 'main'], {says: /--server can only be specified once/});
  });

  describe('of flags and commands that there are not', () => {
    const commands = [
      ...['create', 'list', 'audit'].map((name) => [name]),
      ...['show', 'update', 'disable', 'enable', 'delete', 'check'].map((name) => [name, 'abc']),
      ...['add', 'show', 'update', 'login', 'logout', 'remove', 'default', 'doctor'].map((name) => [
        'server',
        name,
        'main',
      ]),
      ['server', 'list'],
    ];
    for (const command of commands) {
      refuses([...command, '--frob'], {says: /there is no flag "--frob"[^]*--help/});
    }

    refuses(['list', '--access-token', ACCESS_TOKEN], {says: /there is no flag "--access-token"/});
    refuses(['server', 'add', '--access-token', ACCESS_TOKEN], {says: /there is no flag "--access-token"/});
    refuses(['list', `--${RED}`], {says: /there is no flag/});
    refuses(['list', '-é'], {says: /there is no flag|unexpected argument/});
    refuses(['frob'], {says: /there is no command "frob"[^]*mxtok --help/});
    refuses(['lst'], {says: /there is no command "lst"[^]*Did you mean: mxtok list/});
    refuses(['LIST'], {says: /there is no command "LIST"/});
    refuses([''], {says: /there is no command ""/});
    refuses([RED], {says: /there is no command "\\u001b\[31mred/});
    refuses(['constructor'], {says: /there is no command "constructor"/});
    refuses(['server', 'frob'], {says: /there is no command "server frob"/});
    refuses(['server', 'lst'], {says: /there is no command "server lst"[^]*Did you mean: mxtok server list/});
    refuses(['server', RED], {says: /there is no command/});

    it('says where a flag goes that stands before the command', async () => {
      for (const argv of [
        ['--frob'],
        ['--server', 'main', 'list'],
        ['-s', 'main', 'list'],
        ['--', 'list'],
        ['server', '-q'],
      ])
        assertOneError(await operator.mxtok(argv), {says: /stands before any command/});
      assert.equal(server.connections, 0, 'nobody was asked');
    });
  });

  it('does not ask where nobody answers, and leaves the files alone', async () => {
    giveProfiles(operator, {});
    await assertRefused(operator, ['server', 'add'], {says: /missing/, env: {TERM: 'xterm'}});
    assert.equal(await operator.ok(['server', 'list']), '');
  });
});
