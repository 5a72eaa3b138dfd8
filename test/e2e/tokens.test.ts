/** The token verbs as scripts use them: the real binary, on pipes, against a real Synapse. */
import {strict as assert} from 'node:assert';
import {createHash} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {createServer} from 'node:net';

import {AdminApi} from '../helpers/admin-api.ts';
import {type BinaryResult, Operator} from '../helpers/binary.ts';
import {Proxy, type ProxyOptions} from '../helpers/proxy.ts';
import {register, SignUp} from '../helpers/registration.ts';
import {secret} from '../helpers/secrets.ts';
import {localSynapse, operatorOf, synapse, type TestSynapse, uniqueToken} from '../helpers/setup-e2e.ts';

type Shown = Record<string, unknown> & {token: string};

interface Failure {
  error: {
    code: string;
    message: string;
    hint?: string;
    errcode?: string;
    status?: number;
    server?: string;
    token?: string;
  };
}

const FIELDS = [
  'server',
  'token',
  'status',
  'accepted',
  'uses_allowed',
  'pending',
  'completed',
  'expiry_time',
  'expires_at',
  'label',
  'note',
  'link',
];

const EXPIRY = '2034-05-06T07:08:09.123Z';
const EXPIRY_TIME = Date.parse(EXPIRY);

/** A port that nothing listens at. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}

/** The error of a run with --json, whose stdout must be empty. */
function failureOf({stdout, stderr}: BinaryResult): Failure['error'] {
  assert.equal(stdout, '');
  return (JSON.parse(stderr) as Failure).error;
}

describe('the token verbs', function () {
  let server: TestSynapse;
  let api: AdminApi;
  let operator: Operator;

  before(function () {
    server = synapse(this);
    api = new AdminApi(server);
  });

  beforeEach(async function () {
    operator = await operatorOf(server);
  });

  /** The operator's runs go through a proxy with these. */
  async function throughProxy(
    options: ProxyOptions = {},
  ): Promise<{proxy: Proxy; env: Record<string, string>}> {
    const proxy = await Proxy.start(server.url, options);
    return {proxy, env: {MXTOK_URL: proxy.url, MXTOK_ACCESS_TOKEN: server.accessToken}};
  }

  describe('create', function () {
    it('prints on a pipe the token alone, so that TOKEN=$(mxtok create) holds it', async function () {
      const {stdout, stderr, code} = await operator.mxtok(['create']);
      assert.equal(code, 0);
      assert.equal(stderr, '');
      assert.match(stdout, /^[A-Za-z2-9]{16}\n$/);
      const {pending, completed, uses_allowed, expiry_time} = await api.get(stdout.trim());
      assert.deepEqual([pending, completed, uses_allowed, expiry_time], [0, 0, null, null]);
      assert.notEqual((await register(server.url, stdout.trim())).userId, undefined);
    });

    it('generates tokens of the length or of the words asked for', async function () {
      assert.match(await operator.ok(['create', '--length', '40']), /^[A-Za-z2-9]{40}\n$/);
      const words = await operator.ok(['create', '--words', '4']);
      assert.match(words, /^(?:[A-Z][a-z-]+){4}\n$/);
      assert.equal(await api.count(words.trim()), 1);
    });

    it('prints the whole object with --json, and sets the limits to the millisecond', async function () {
      const token = uniqueToken();
      const shown = await operator.json<Shown>(
        `create --token ${token} --uses 5 --expiry ${EXPIRY} --label Spring --note`
          .split(' ')
          .concat('for the school'),
      );
      assert.deepEqual(Object.keys(shown), FIELDS);
      assert.deepEqual(shown, {
        server: 'main',
        token,
        status: 'valid',
        accepted: true,
        uses_allowed: 5,
        pending: 0,
        completed: 0,
        expiry_time: EXPIRY_TIME,
        expires_at: EXPIRY,
        label: 'Spring',
        note: 'for the school',
        link: null,
      });
      const {uses_allowed, expiry_time} = await api.get(token);
      assert.deepEqual([uses_allowed, expiry_time], [5, EXPIRY_TIME]);
    });

    it('writes the columns of list with --output tsv, csv and ndjson', async function () {
      const [tsv, csv, ndjson] = [uniqueToken(), uniqueToken(), uniqueToken()];
      const limits = ['--uses', '2147483647', '--label', '=1+1, "x"'];
      const row = ['2147483647', '0', '0', '', ''];
      assert.deepEqual(
        await operator.ok(['create', '--token', tsv, ...limits, '--output', 'tsv']),
        `${['main', tsv, 'valid', 'true', ...row, '=1+1, "x"', '', ''].join('\t')}\n`,
      );
      assert.deepEqual(
        await operator.ok(['create', '--token', csv, ...limits, '--output', 'csv']),
        `${FIELDS.join(',')}\r\n${['main', csv, 'valid', 'true', ...row, `"'=1+1, ""x"""`, '', ''].join(',')}\r\n`,
      );
      const line = await operator.ok(['create', '--token', ndjson, ...limits, '--output=ndjson']);
      assert.match(line, /^\{.*\}\n$/);
      assert.equal((JSON.parse(line) as Shown)['uses_allowed'], 2_147_483_647);
      assert.equal((await api.get(tsv)).uses_allowed, 2_147_483_647);
    });

    it('counts a duration from now by the clock of the homeserver', async function () {
      const week = 7 * 86_400_000;
      const earliest = Math.floor(Date.now() / 1000) * 1000;
      const shown = await operator.json<Shown>(['create', '--expiry', '7d']);
      const {expiry_time} = await api.get(shown.token);
      assert.equal(shown['expiry_time'], expiry_time);
      assert.ok(expiry_time !== null && expiry_time >= earliest + week && expiry_time <= Date.now() + week);
    });

    it('takes a date as the whole of that day, and a time without a zone as local', async function () {
      const env = {TZ: 'Europe/Berlin'};
      const day = (await operator.ok(['create', '--expiry', '2034-01-31'], {env})).trim();
      assert.equal((await api.get(day)).expiry_time, Date.parse('2034-01-31T22:59:59.999Z'));
      const time = (await operator.ok(['create', '--expiry', '2034-07-31T18:00'], {env})).trim();
      assert.equal((await api.get(time)).expiry_time, Date.parse('2034-07-31T16:00:00Z'));
    });

    it('refuses a token that is there already with exit 6, and leaves it as it is', async function () {
      const token = uniqueToken();
      const before = await api.create(token, {uses_allowed: 3});
      const result = await operator.mxtok([
        'create',
        '--token',
        token,
        '--uses',
        '9',
        '--label',
        'x',
        '--json',
      ]);
      assert.equal(result.code, 6);
      const error = failureOf(result);
      assert.deepEqual(
        [error.code, error.errcode, error.status, error.server, error.token],
        ['already_exists', 'M_INVALID_PARAM', 400, 'main', token],
      );
      assert.deepEqual(await api.get(token), before);
      assert.equal((await operator.json<Shown>(['show', token]))['label'], null);
    });

    it('refuses with exit 2 what makes no sense, before anything is sent', async function () {
      const {proxy, env} = await throughProxy();
      const wrong = [
        ['--uses', '0'],
        ['--uses', '2147483648'],
        ['--expiry', '2001-01-01'],
        ['--expiry', 'tomorrow'],
        ['--token', '.'],
        ['--token', '..'],
        ['--token', 'new'],
        ['--token', 'a b'],
        ['--token', 'x'.repeat(65)],
        ['--length', '7'],
        ['--token', 'x', '--words', '3'],
      ];
      for (const flags of wrong) {
        const result = await operator.mxtok(['create', ...flags, '--json'], {env});
        assert.equal(result.code, 2, flags.join(' '));
        assert.equal(failureOf(result).code, 'usage');
      }

      assert.deepEqual(proxy.exchanges, []);
    });

    it('asks the homeserver where the answer was cut off, and makes exactly one token', async function () {
      const {proxy, env} = await throughProxy({loseAnswer: ({method}) => method === 'POST'});
      const before = await api.list();
      const token = (
        await operator.ok(['create', '--uses', '2', '--expiry', EXPIRY, '--label', 'cut'], {env})
      ).trim();
      const made = (await api.list()).filter((one) => !before.some(({token: old}) => old === one.token));
      assert.deepEqual(made, [{token, uses_allowed: 2, pending: 0, completed: 0, expiry_time: EXPIRY_TIME}]);
      assert.equal(proxy.of('POST').length, 1);
      assert.equal((await operator.json<Shown>(['show', token]))['label'], 'cut');
      const [logged] = await operator.json<{outcome: string}[]>(['audit', '--token', token]);
      assert.equal(logged?.outcome, 'ok');
    });

    it('exits 7 where the request never came through, and there is no token', async function () {
      const {env} = await throughProxy({instead: ({method}) => (method === 'POST' ? 'cut' : undefined)});
      const token = uniqueToken();
      const result = await operator.mxtok(['create', '--token', token, '--json'], {env});
      assert.equal(result.code, 7);
      assert.equal(failureOf(result).code, 'unreachable');
      assert.equal(await api.count(token), 0);
    });
  });

  describe('list', function () {
    it('has the same columns in TSV, CSV, JSON and NDJSON, and the status that each token has', async function () {
      const label = uniqueToken();
      const make = (...flags: string[]): Promise<string> =>
        operator.ok(['create', '--label', label, ...flags]).then((token) => token.trim());
      const valid = await make(
        '--token',
        `${label}-a`,
        '--uses',
        '3',
        '--expiry',
        EXPIRY,
        '--note',
        'a note',
      );
      const exhausted = await make('--token', `${label}-b`, '--uses', '1');
      await register(server.url, exhausted);
      const reserved = await make('--token', `${label}-c`, '--uses', '1');
      await SignUp.begin(server.url, reserved);
      const {expiry_time} = await api.createExpired(`${label}-d`, 2);
      await operator.ok(['update', `${label}-d`, '--label', label, '--quiet']);
      const open = await make('--token', `${label}-e`);
      await api.put(open, {uses_allowed: 0});

      const expired = [expiry_time, new Date(expiry_time ?? 0).toISOString()];
      const rows = [
        ['main', valid, 'valid', true, 3, 0, 0, EXPIRY_TIME, EXPIRY, label, 'a note', null],
        ['main', exhausted, 'exhausted', false, 1, 0, 1, null, null, label, null, null],
        ['main', reserved, 'reserved', false, 1, 1, 0, null, null, label, null, null],
        ['main', `${label}-d`, 'expired', false, 2, 0, 0, ...expired, label, null, null],
        ['main', open, 'disabled', true, 0, 0, 0, null, null, label, null, null],
      ];
      const cells = rows.map((row) => row.map((cell) => String(cell ?? '')));

      const tsv = await operator.mxtok(['list', '--label', label]);
      assert.equal(tsv.stdout, cells.map((row) => `${row.join('\t')}\n`).join(''));
      assert.match(tsv.stderr, /^warning: 1 token is at 0 uses, .*still accepts it/);
      assert.ok(tsv.stderr.includes(`mxtok disable -- ${open}`));

      const csv = await operator.ok(['list', '--label', label, '--output', 'csv']);
      assert.equal(csv, [FIELDS, ...cells].map((row) => `${row.join(',')}\r\n`).join(''));

      const objects = rows.map((row) =>
        Object.fromEntries(FIELDS.map((field, index) => [field, row[index]])),
      );
      assert.deepEqual(await operator.json(['list', '--label', label]), objects);
      const ndjson = await operator.ok(['list', '--label', label, '--output', 'ndjson']);
      assert.deepEqual(
        ndjson
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as unknown),
        objects,
      );

      const table = await operator.ok(['list', '--label', label, '--output', 'table', '--no-color']);
      assert.match(table, /^TOKEN +STATUS +USES /m);
      assert.match(table, new RegExp(`${open} +disabled \\(still accepted!\\)`));
      assert.equal(table.includes('\u001b'), false);

      const quiet = await operator.mxtok(['list', '--label', label, '-q', '--columns', 'token,status']);
      assert.equal(quiet.stdout, cells.map((row) => `${row[1] ?? ''}\t${row[2] ?? ''}\n`).join(''));
      assert.equal(quiet.stderr, '');
    });

    it('chooses and orders as told', async function () {
      const label = uniqueToken();
      for (const uses of ['3', '1', '2']) {
        await operator.ok(['create', '--token', `${label}-${uses}`, '--uses', uses, '--label', label]);
      }

      await register(server.url, `${label}-1`);
      const list = async (...flags: string[]): Promise<string> =>
        (await operator.ok(['list', '--search', label, '--columns', 'uses_allowed', ...flags]))
          .trimEnd()
          .replaceAll('\n', ' ');
      assert.equal(await list(), '1 2 3');
      assert.equal(await list('--sort', '-uses_allowed', '--limit', '2'), '3 2');
      assert.equal(await list('--status', 'exhausted,expired'), '1');
      assert.equal(await list('--accepted'), '2 3');
      assert.equal(await list('--no-accepted'), '1');
      assert.equal(await list('--unused'), '2 3');
      assert.equal(await list('--label', 'nothing*'), '');
    });
  });

  describe('show', function () {
    it('prints one object for one token, and an array for several or for -', async function () {
      const [one, two] = [uniqueToken(), uniqueToken()];
      await api.create(one, {uses_allowed: 1});
      await api.create(two, {uses_allowed: 2});
      const shown = await operator.json<Shown>(['show', one]);
      assert.deepEqual(Object.keys(shown), FIELDS);
      assert.equal(shown.token, one);
      const both = await operator.json<Shown[]>(['show', two, one]);
      assert.deepEqual(
        both.map(({uses_allowed}) => uses_allowed),
        [2, 1],
      );
      const read = await operator.json<Shown[]>(['show', '-'], {input: `${one}\n`});
      assert.deepEqual(read, [shown]);
      const tsv = await operator.ok(['show', one]);
      assert.equal(tsv, `${['main', one, 'valid', 'true', 1, 0, 0, '', '', '', '', ''].join('\t')}\n`);
      const fields = await operator.ok(['show', one, '--output', 'table']);
      assert.match(fields, new RegExp(`^token +${one}$`, 'm'));
      assert.match(fields, /^expires +never$/m);
    });

    it('reads standard input to its end, however long it takes, and with any line ends', async function () {
      const [one, two] = [uniqueToken(), uniqueToken()];
      await api.create(one);
      await api.create(two);
      const shown = await operator.json<Shown[]>(['show', '-'], {
        feed: async (stdin) => {
          stdin.write(`${one}\r\n\r\n${two.slice(0, 4)}`);
          // As long as a whole run takes.
          await operator.ok(['list', '--limit', '1']);
          stdin.write(two.slice(4));
        },
      });
      assert.deepEqual(
        shown.map(({token}) => token),
        [one, two],
      );
    });

    it('has nothing to do where standard input is empty, which is no failure under cron', async function () {
      const {code, stdout, stderr} = await operator.mxtok(['show', '-']);
      assert.deepEqual([code, stdout], [0, '']);
      assert.match(stderr, /no token on standard input/);
      assert.deepEqual(await operator.json<unknown[]>(['disable', '-']), []);
      assert.deepEqual(await operator.mxtok(['disable', '-q', '-']), {
        code: 0,
        signal: null,
        stdout: '',
        stderr: '',
      });
    });

    it('exits 5 where there is no such token, with the error as JSON on stderr', async function () {
      const token = uniqueToken();
      const result = await operator.mxtok(['show', token, '--json']);
      assert.equal(result.code, 5);
      const {message, hint, ...rest} = failureOf(result);
      assert.deepEqual(rest, {
        code: 'no_such_token',
        errcode: 'M_NOT_FOUND',
        status: 404,
        server: 'main',
        token,
      });
      assert.ok(message.includes(token));
      assert.match(hint ?? '', /mxtok list/);
      const text = await operator.mxtok(['show', token]);
      assert.deepEqual([text.code, text.stdout], [5, '']);
      assert.match(text.stderr, /^error: main: there is no registration token /);
    });

    it('exits 8 where some of several are not there, each error in its place', async function () {
      const [here, gone] = [uniqueToken(), uniqueToken()];
      await api.create(here);
      const {code, stdout, stderr} = await operator.mxtok(['show', gone, here, '--json']);
      assert.equal(code, 8);
      const [first, second] = JSON.parse(stdout) as [Failure & {token: string}, Shown];
      assert.deepEqual([first.token, first.error.code], [gone, 'no_such_token']);
      assert.equal(second.token, here);
      assert.equal((JSON.parse(stderr) as Failure).error.code, 'some_failed');
    });
  });

  describe('update', function () {
    it('changes what is given and nothing else, and says what it is then', async function () {
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--uses', '5', '--expiry', EXPIRY, '--label', 'old']);
      const {proxy, env} = await throughProxy();
      const shown = await operator.json<Shown>(['update', token, '--uses', '6'], {env});
      assert.deepEqual(Object.keys(shown), [...FIELDS, 'changed']);
      assert.deepEqual([shown['uses_allowed'], shown['label'], shown['changed']], [6, 'old', true]);
      assert.deepEqual(
        proxy.of('PUT').map(({body}) => body),
        [{uses_allowed: 6}],
      );
      const {uses_allowed, expiry_time} = await api.get(token);
      assert.deepEqual([uses_allowed, expiry_time], [6, EXPIRY_TIME]);
    });

    it('clears by unlimited, never and an empty text', async function () {
      const token = uniqueToken();
      await operator.ok(
        `create --token ${token} --uses 5 --expiry ${EXPIRY} --label old --note old`.split(' '),
      );
      await operator.ok([
        'update',
        token,
        '--uses',
        'unlimited',
        '--expiry',
        'never',
        '--label',
        '',
        '--note',
        '',
      ]);
      const {uses_allowed, expiry_time} = await api.get(token);
      assert.deepEqual([uses_allowed, expiry_time], [null, null]);
      const shown = await operator.json<Shown>(['show', token]);
      assert.deepEqual([shown['label'], shown['note']], [null, null]);
    });

    it('sends nothing for a label, nor where all is so already', async function () {
      const token = uniqueToken();
      await api.create(token, {uses_allowed: 2});
      const {proxy, env} = await throughProxy();
      await operator.ok(['update', token, '--label', 'mine'], {env});
      const {stdout, stderr, code} = await operator.mxtok(['update', token, '--uses', '2', '--json'], {env});
      assert.equal(code, 0);
      assert.match(stderr, /so already/);
      assert.equal((JSON.parse(stdout) as Shown)['changed'], false);
      assert.deepEqual(proxy.of('PUT'), []);
      assert.equal((await operator.json<Shown>(['show', token]))['label'], 'mine');
    });

    it('does not open a disabled token by the back door', async function () {
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--uses', '2']);
      await operator.ok(['disable', token]);
      const before = await api.get(token);
      const result = await operator.mxtok(['update', token, '--expiry', '7d', '--json']);
      assert.equal(result.code, 2);
      assert.equal(failureOf(result).code, 'token_disabled');
      assert.deepEqual(await api.get(token), before);
      assert.equal((await register(server.url, token)).userId, undefined);
    });

    it('exits 8 where one of several is not there, and changes the others', async function () {
      const [here, gone] = [uniqueToken(), uniqueToken()];
      await api.create(here, {uses_allowed: 2});
      const {code, stdout, stderr} = await operator.mxtok(['update', here, gone, '--uses', '4']);
      assert.equal(code, 8);
      assert.equal(stdout.split('\n').length, 2);
      assert.ok(stderr.includes(gone));
      assert.equal((await api.get(here)).uses_allowed, 4);
    });
  });

  describe('delete', function () {
    it('without --yes and nobody to ask, exits 2 before anything is sent', async function () {
      const token = uniqueToken();
      await api.create(token);
      const {proxy, env} = await throughProxy();
      const {code, stderr} = await operator.mxtok(['delete', token], {env});
      assert.equal(code, 2);
      assert.match(stderr, /--yes/);
      assert.deepEqual(proxy.exchanges, []);
      assert.equal(await api.count(token), 1);
    });

    it('deletes one, several and those on standard input', async function () {
      const [one, two, three, four] = [uniqueToken(), uniqueToken(), uniqueToken(), uniqueToken()];
      for (const token of [one, two, three, four]) await api.create(token);
      assert.deepEqual(await operator.json(['delete', one, '--yes']), {
        server: 'main',
        token: one,
        deleted: true,
      });
      const some = await operator.mxtok(['delete', '-y', two, one, '--json']);
      assert.equal(some.code, 8);
      const [first, second] = JSON.parse(some.stdout) as [unknown, Failure & {token: string}];
      assert.deepEqual(first, {server: 'main', token: two, deleted: true});
      assert.deepEqual([second.token, second.error.code], [one, 'no_such_token']);
      const piped = await operator.ok(['delete', '-y', '-'], {input: `${three}\n${four}\n`});
      assert.equal(piped, `${three}\n${four}\n`);
      for (const token of [one, two, three, four]) assert.equal(await api.count(token), 0);
      assert.equal((await operator.mxtok(['delete', '-y', one])).code, 5);
    });

    it('forgets the label, so that a new token of that name does not have it', async function () {
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--label', 'first']);
      await operator.ok(['delete', '-y', token]);
      await api.create(token);
      assert.equal((await operator.json<Shown>(['show', token]))['label'], null);
    });

    it('warns where somebody is in the middle of signing up with it', async function () {
      const token = uniqueToken();
      await api.create(token, {uses_allowed: 2});
      await SignUp.begin(server.url, token);
      const {code, stderr} = await operator.mxtok(['delete', '-y', token]);
      assert.equal(code, 0);
      assert.match(stderr, /1 sign-up is under way/);
    });
  });

  describe('check', function () {
    it('exits 0 where it is accepted and 9 where it is not, and sends no credential', async function () {
      const [good, bad] = [uniqueToken(), uniqueToken()];
      await api.create(good, {uses_allowed: 1});
      const {proxy, env} = await throughProxy();
      const yes = await operator.mxtok(['check', good], {env});
      assert.deepEqual([yes.stdout, yes.stderr, yes.code], [`\t${good}\ttrue\tvalid\n`, '', 0]);
      const no = await operator.mxtok(['check', bad, '--json'], {env});
      assert.equal(no.code, 9);
      assert.deepEqual(JSON.parse(no.stdout), {server: null, token: bad, accepted: false, reason: 'invalid'});
      const several = await operator.mxtok(['check', good, bad], {env});
      assert.deepEqual(
        [several.stdout, several.code],
        [`\t${good}\ttrue\tvalid\n\t${bad}\tfalse\tinvalid\n`, 9],
      );
      const quiet = await operator.mxtok(['check', '-q', bad], {env});
      assert.deepEqual([quiet.stdout, quiet.stderr, quiet.code], ['', '', 9]);
      assert.equal(proxy.exchanges.length, 5);
      assert.ok(proxy.exchanges.every(({headers}) => headers.authorization === undefined));
    });

    it('needs no profile with --url, and names the profile where there is one', async function () {
      const token = uniqueToken();
      await api.create(token);
      const stranger = new Operator();
      assert.deepEqual(await stranger.json(['check', token, '--url', server.url]), {
        server: null,
        token,
        accepted: true,
        reason: 'valid',
      });
      assert.equal((await operator.json<Shown>(['check', token]))['server'], 'main');
    });

    it('tells that a token at 0 is accepted, which other tools call disabled', async function () {
      const token = uniqueToken();
      await api.create(token, {uses_allowed: 0});
      assert.equal((await operator.mxtok(['check', token])).code, 0);
      await operator.ok(['disable', token]);
      assert.equal((await operator.mxtok(['check', token])).code, 9);
    });
  });

  describe('names with a meaning of their own', function () {
    it('a token that begins with - goes after --, or comes on standard input; ~ is one like any other', async function () {
      const [hyphen, digit, tilde] = ['-', '-5', '~'].map((start) => start + uniqueToken()) as [
        string,
        string,
        string,
      ];
      await operator.ok(['create', `--token=${hyphen}`, '--uses', '2']);
      await operator.ok(['create', `--token=${digit}`]);
      await operator.ok(['create', '--token', tilde]);
      for (const token of [hyphen, digit]) {
        const flag = await operator.mxtok(['show', token]);
        assert.equal(flag.code, 2);
        assert.match(flag.stderr, /goes after "--"/);
        assert.equal((await operator.json<Shown>(['show', '--', token])).token, token);
      }

      const input = `${hyphen}\n${digit}\n${tilde}\n`;
      assert.equal((await operator.json<Shown[]>(['show', '-'], {input})).length, 3);
      assert.equal((await operator.json<Shown>(['show', tilde])).token, tilde);
      await operator.ok(['update', '--uses', '3', '--', hyphen]);
      assert.equal((await api.get(hyphen)).uses_allowed, 3);
      assert.equal((await operator.mxtok(['check', '--', hyphen])).code, 0);
      await operator.ok(['disable', '--', hyphen]);
      await operator.ok(['enable', '--', hyphen]);
      await operator.ok(['delete', '-y', '--', hyphen, digit, tilde]);
      for (const token of [hyphen, digit, tilde]) assert.equal(await api.count(token), 0);
    });

    it('tokens named . and .. can be seen and not changed, and no request goes to another path', async function () {
      localSynapse(this);
      await api.create('.', {uses_allowed: 3});
      await api.create('..', {uses_allowed: 3});
      const everything = await api.list();
      const {proxy, env} = await throughProxy();
      for (const token of ['.', '..']) {
        assert.equal((await operator.json<Shown>(['show', token], {env})).token, token);
        assert.equal((await operator.mxtok(['check', token], {env})).code, 0);
        for (const change of [['update', '--uses', '4'], ['disable'], ['delete', '-y']]) {
          const result = await operator.mxtok([...change, token, '--json'], {env});
          assert.equal(result.code, 2, change.join(' '));
          assert.match(failureOf(result).message, /cannot be changed/);
        }

        assert.equal((await operator.json<Shown>(['enable', token], {env}))['changed'], false);
      }

      assert.ok(proxy.exchanges.every(({method}) => method === 'GET'));
      assert.deepEqual(await api.list(), everything);
    });

    it('a token named new can be seen, changed, closed and deleted, and none is created by that', async function () {
      const all = new Set((await api.list()).map(({token}) => token));
      await api.create('new', {uses_allowed: 3});
      assert.equal((await operator.json<Shown>(['show', 'new']))['uses_allowed'], 3);
      await operator.ok(['update', 'new', '--uses', '4', '--label', 'odd']);
      const before = await api.get('new');
      assert.equal(before.uses_allowed, 4);
      await operator.ok(['disable', 'new']);
      assert.equal((await register(server.url, 'new')).userId, undefined);
      await operator.ok(['enable', 'new']);
      assert.deepEqual(await api.get('new'), before);
      await operator.ok(['delete', '-y', 'new']);
      assert.deepEqual(new Set((await api.list()).map(({token}) => token)), all);
    });
  });

  describe('errors of the homeserver and of the way to it', function () {
    it('exit 4 where the access token is no good', async function () {
      const env = {MXTOK_URL: server.url, MXTOK_ACCESS_TOKEN: secret('syt_wrong_access_token')};
      for (const argv of [['list'], ['show', 'x'], ['create'], ['disable', 'x']]) {
        const result = await operator.mxtok([...argv, '--json'], {env});
        assert.equal(result.code, 4, argv.join(' '));
        const {code, errcode, status} = failureOf(result);
        assert.deepEqual([code, errcode, status], ['unauthorized', 'M_UNKNOWN_TOKEN', 401]);
      }
    });

    it('exit 4 where there is none', async function () {
      await operator.ok(['server', 'add', 'bare', '--url', server.url, '--no-verify']);
      const result = await operator.mxtok(['list', '--server', 'bare', '--json']);
      assert.equal(result.code, 4);
      const {code, server: profile} = failureOf(result);
      assert.deepEqual([code, profile], ['no_credential', 'bare']);
    });

    it('exit 5 where there is no such profile, or none at all', async function () {
      const result = await operator.mxtok(['list', '--server', 'nope', '--json']);
      assert.equal(result.code, 5);
      assert.equal(failureOf(result).code, 'no_such_server');
      assert.equal((await new Operator().mxtok(['list'])).code, 5);
    });

    it('exit 7 where nothing listens', async function () {
      const env = {
        MXTOK_URL: `http://127.0.0.1:${await closedPort()}`,
        MXTOK_ACCESS_TOKEN: server.accessToken,
      };
      const result = await operator.mxtok(['create', '--json'], {env});
      assert.equal(result.code, 7);
      assert.equal(failureOf(result).code, 'unreachable');
    });

    const failing: {title: string; options: ProxyOptions; flags?: string[]; code: string}[] = [
      {
        title: 'no answer comes in time',
        options: {instead: () => 'silence'},
        flags: ['--timeout', '0.2'],
        code: 'timeout',
      },
      {
        title: 'the homeserver asks for more patience than anybody has',
        options: {
          instead: () => ({
            status: 429,
            headers: {'retry-after': '3600'},
            body: '{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":3600000}',
          }),
        },
        code: 'rate_limited',
      },
      {
        title: 'the homeserver fails',
        options: {
          instead: () => ({status: 500, body: '{"errcode":"M_UNKNOWN","error":"Internal server error"}'}),
        },
        code: 'server_error',
      },
      {
        title: 'a web page answers in its place',
        options: {
          instead: () => ({status: 200, headers: {'content-type': 'text/html'}, body: '<!doctype html>'}),
        },
        code: 'not_matrix',
      },
    ];
    for (const {title, options, flags = [], code} of failing) {
      it(`exit 7 where ${title}`, async function () {
        const {env} = await throughProxy(options);
        const result = await operator.mxtok(['list', ...flags, '--json'], {env});
        assert.equal(result.code, 7);
        assert.equal(failureOf(result).code, code);
      });
    }
  });

  describe('local data', function () {
    it('is that of the homeserver, whichever profile or variable leads to it', async function () {
      const {socketPath, serverName} = localSynapse(this);
      await operator.ok(['server', 'add', 'socket', '--url', `unix:${socketPath}`, '--access-token-stdin'], {
        input: server.accessToken,
      });
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--uses', '2', '--label', 'shared', '--server', 'main']);
      const other = await operator.json<Shown>(['show', token, '--server', 'socket']);
      assert.deepEqual([other['server'], other['label']], ['socket', 'shared']);
      await operator.ok(['update', token, '--label', 'changed', '--server', 'socket']);
      assert.equal((await operator.json<Shown>(['show', token]))['label'], 'changed');

      const env = {MXTOK_URL: server.url, MXTOK_ACCESS_TOKEN: server.accessToken};
      const bare = await operator.json<Shown>(['show', token], {env});
      assert.deepEqual([bare['server'], bare['label']], [serverName, 'changed']);
      await operator.ok(['disable', token], {env});
      await operator.ok(['enable', token, '--server', 'socket']);
      assert.equal((await api.get(token)).uses_allowed, 2);
    });

    it('needs no profile for MXTOK_URL with MXTOK_ACCESS_TOKEN, and one alone is refused', async function () {
      const ci = new Operator({MXTOK_URL: server.url, MXTOK_ACCESS_TOKEN: server.accessToken});
      const token = (await ci.ok(['create', '--uses', '1'])).trim();
      assert.equal((await api.get(token)).uses_allowed, 1);
      assert.equal((await ci.mxtok(['list'], {env: {MXTOK_ACCESS_TOKEN: ''}})).code, 2);
      assert.equal((await ci.mxtok(['list'], {env: {MXTOK_URL: ''}})).code, 2);
    });
  });

  describe('audit', function () {
    it('tells of each change what was before and after, by whom, and not the token', async function () {
      const token = uniqueToken();
      await operator.ok(['create', '--token', token, '--uses', '3', '--label', 'logged']);
      await operator.ok(['update', token, '--uses', '4']);
      await operator.ok(['disable', token]);
      await operator.ok(['enable', token]);
      await operator.ok(['delete', '-y', token]);
      await operator.mxtok(['create', '--token', 'a b']);
      await operator.mxtok(['update', token, '--uses', '4']);

      const file = readFileSync(`${operator.dir}/data/audit.jsonl`, 'utf8');
      assert.equal(file.includes(token), false);
      const lines = file.trimEnd().split('\n');
      assert.equal(lines.length, 10, 'two lines for each change, none for what never came to one');

      interface Logged {
        time: string;
        server: string;
        server_name: string;
        actor: string;
        operation: string;
        token: string;
        fingerprint: string;
        outcome: string;
        before: Record<string, unknown> | null;
        after: Record<string, unknown> | null;
      }
      const records = await operator.json<Logged[]>(['audit', '--token', token]);
      assert.deepEqual(
        records.map(({operation, outcome}) => [operation, outcome]),
        ['create', 'update', 'disable', 'enable', 'delete'].map((operation) => [operation, 'ok']),
      );
      const [created, updated, disabled, enabled, deleted] = records;
      const fingerprint = createHash('sha256').update(token).digest('hex');
      const [actor] = await operator.json<{user_id: string}[]>(['server', 'list']);
      for (const record of records) {
        assert.equal(record.fingerprint, fingerprint);
        assert.equal(record.server, 'main');
        assert.equal(record.actor, actor?.user_id);
        assert.equal(record.server_name, actor?.user_id.replace(/^[^:]*:/, ''));
        assert.ok(token.startsWith(record.token.replace('…', '')) && record.token.length <= 5);
      }

      const unused = {pending: 0, completed: 0, expiry_time: null, label: 'logged'};
      assert.equal(created?.before, null);
      assert.deepEqual(created.after, {...unused, uses_allowed: 3});
      assert.deepEqual(
        [updated?.before, updated?.after].map((state) => state?.['uses_allowed']),
        [3, 4],
      );
      assert.deepEqual(
        [disabled?.before, disabled?.after].map((state) => state?.['uses_allowed']),
        [4, 0],
      );
      assert.deepEqual(
        [enabled?.before, enabled?.after].map((state) => state?.['uses_allowed']),
        [0, 4],
      );
      assert.deepEqual(deleted?.before, {...unused, uses_allowed: 4});

      const tsv = await operator.ok(['audit', '--operation', 'disable']);
      assert.equal(tsv.split('\n').length, 2);
      assert.deepEqual(tsv.split('\t').slice(1, 5), ['main', 'disable', disabled?.token, 'ok']);
    });

    it('has a change that the homeserver refused, or that nobody knows the outcome of', async function () {
      const token = uniqueToken();
      await api.create(token);
      await operator.mxtok(['create', '--token', token]);
      const {env} = await throughProxy({instead: ({method}) => (method === 'PUT' ? 'cut' : undefined)});
      assert.equal((await operator.mxtok(['update', token, '--uses', '5'], {env})).code, 7);
      const records = await operator.json<{operation: string; outcome: string; error: {code: string}}[]>([
        'audit',
        '--token',
        token,
      ]);
      assert.deepEqual(
        records.map(({operation, outcome, error}) => [operation, outcome, error.code]),
        [
          ['create', 'failed', 'already_exists'],
          ['update', 'unknown', 'unreachable'],
        ],
      );
    });
  });
});
