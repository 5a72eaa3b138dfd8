/** Tokens chosen by filters, and what is pruned: what would be done, the question, and what is done then. */
import {strict as assert} from 'node:assert';
import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

import {type LocalSynapse, startSynapse} from '../../scripts/synapse.ts';
import {AdminApi, type ApiLimits, type ApiToken} from '../helpers/admin-api.ts';
import type {BinaryResult, Operator} from '../helpers/binary.ts';
import {type Exchange, Proxy} from '../helpers/proxy.ts';
import {assertRefused as assertUsage} from '../helpers/refusal.ts';
import {register, SignUp} from '../helpers/registration.ts';
import {secret} from '../helpers/secrets.ts';
import {localSynapse, operatorOf, synapse, type TestSynapse, uniqueToken} from '../helpers/setup-e2e.ts';
import {CTRL_C, onTerminal} from '../helpers/terminal.ts';

type Shown = Record<string, unknown> & {token: string};

interface Planned extends Shown {
  dry_run: true;
  action: string;
  changes: Record<string, unknown>;
}

const EXPIRY = '2034-05-06T07:08:09.123Z';
const EXPIRY_TIME = Date.parse(EXPIRY);
const CHANGING = ['update', 'disable', 'enable', 'delete'];

/** The flags that a command needs besides those that choose. */
const OWN_FLAGS: Record<string, string[]> = {
  show: [],
  update: ['--uses', '9'],
  disable: [],
  enable: ['--uses', '9', '--expiry', EXPIRY],
  delete: [],
};

function labelFlag(command: string): string {
  return command === 'update' ? '--with-label' : '--label';
}

async function assertRefused(url: string, token: string): Promise<void> {
  const {userId, refusal} = await register(url, token);
  assert.equal(userId, undefined, `${token} let somebody in`);
  assert.equal(refusal.errcode, 'M_UNAUTHORIZED');
}

async function assertAccepted(url: string, token: string): Promise<void> {
  const {userId, refusal} = await register(url, token);
  assert.notEqual(userId, undefined, `${token} is refused: ${refusal?.error ?? ''}`);
}

/** What is in the local files, but for the profile. */
function filesOf({dir}: Operator): Record<string, string> {
  const names = readdirSync(dir, {recursive: true, encoding: 'utf8'});
  const files = names.filter((name) => /\.jsonl?$/.test(name)).sort();
  return Object.fromEntries(files.map((name) => [name, readFileSync(join(dir, name), 'utf8')]));
}

function changesTo(exchanges: readonly Exchange[]): string[] {
  return exchanges.filter(({method}) => method !== 'GET').map(({method, path}) => `${method} ${path}`);
}

describe('a selection', function () {
  let server: TestSynapse;
  let api: AdminApi;
  let operator: Operator;
  /** Before each, so that no test meets the tokens of another. */
  let label: string;

  before(function () {
    server = synapse(this);
    api = new AdminApi(server);
  });

  beforeEach(async function () {
    operator = await operatorOf(server);
    label = `event ${uniqueToken()}`;
  });

  /** Make tokens with the label; those of the homeserver's making are labelled here. */
  async function makeLabelled(tokens: Record<string, ApiLimits>): Promise<string[]> {
    const names = Object.keys(tokens);
    await Promise.all(names.map((name) => api.create(name, tokens[name])));
    await operator.ok(['update', '-', '--label', label, '--quiet'], {input: names.join('\n')});
    return names;
  }

  async function someTokens(count: number, limits: ApiLimits = {uses_allowed: 5}): Promise<string[]> {
    const prefix = uniqueToken();
    const names = Array.from({length: count}, (_, index) => `${prefix}-${String(index).padStart(2, '0')}`);
    return makeLabelled(Object.fromEntries(names.map((name) => [name, limits])));
  }

  /** All the tokens of the test as they are now. */
  async function stateOf(names: readonly string[]): Promise<ApiToken[]> {
    const all = new Map((await api.list()).map((token) => [token.token, token]));
    return names.flatMap((name) => all.get(name) ?? []);
  }

  /** The same operator, through a proxy that sees what is sent. */
  async function watched(instead?: (exchange: Exchange) => 'silence' | undefined): Promise<{
    proxy: Proxy;
    env: Record<string, string>;
  }> {
    const proxy = await Proxy.start(server.url, instead && {instead});
    return {proxy, env: {MXTOK_URL: proxy.url, MXTOK_ACCESS_TOKEN: server.accessToken}};
  }

  describe('by filters', function () {
    /** A token of every kind. */
    async function oneOfEach(): Promise<Record<string, string>> {
      const prefix = uniqueToken();
      const of = (kind: string): string => `${prefix}-${kind}`;
      await makeLabelled({
        [of('valid')]: {uses_allowed: 5},
        [of('unlimited')]: {},
        [of('soon')]: {uses_allowed: 5, expiry_time: Date.now() + 3_600_000},
        [of('used')]: {uses_allowed: 1},
        [of('partly')]: {uses_allowed: 3},
        [of('reserved')]: {uses_allowed: 1},
        [of('zero')]: {uses_allowed: 0},
      });
      await assertAccepted(server.url, of('used'));
      await assertAccepted(server.url, of('partly'));
      await SignUp.begin(server.url, of('reserved'));
      await api.createExpired(of('expired'), 4);
      await operator.ok(['update', of('expired'), '--label', label, '--note', 'Remember ME']);
      await operator.ok(['create', '--token', of('stranger'), '--label', `${label} II`]);
      const kinds = [
        'valid',
        'unlimited',
        'soon',
        'used',
        'partly',
        'reserved',
        'zero',
        'expired',
        'stranger',
      ];
      return Object.fromEntries(kinds.map((kind) => [kind, of(kind)]));
    }

    it('is the same in every command, and that which list shows', async function () {
      const tokens = await oneOfEach();
      const cases: [filter: string[], kinds: string[]][] = [
        [[], ['expired', 'partly', 'reserved', 'soon', 'unlimited', 'used', 'valid', 'zero']],
        [
          ['--status', 'expired,exhausted'],
          ['expired', 'used'],
        ],
        [
          ['--status', 'reserved', '--status', 'disabled'],
          ['reserved', 'zero'],
        ],
        [['--accepted'], ['partly', 'soon', 'unlimited', 'valid', 'zero']],
        [['--no-accepted'], ['expired', 'reserved', 'used']],
        [['--status', 'disabled', '--accepted'], ['zero']],
        [['--search', 'remember me'], ['expired']],
        [['--search', '-PARTLY'], ['partly']],
        [['--expiring-within', '2h'], ['soon']],
        [['--expiring-within', '30m'], []],
        [['--uses-left', '2'], ['partly']],
        [
          ['--unused', '--accepted'],
          ['soon', 'unlimited', 'valid', 'zero'],
        ],
      ];
      const before = await stateOf(Object.values(tokens));
      const files = filesOf(operator);
      const {proxy, env} = await watched();
      for (const [filter, kinds] of cases) {
        const expected = kinds.map((kind) => tokens[kind]);
        const results = await Promise.all(
          ['list', 'show', ...CHANGING].map(async (command) => {
            const own = command === 'list' ? [] : [...(OWN_FLAGS[command] ?? [])];
            const dry = CHANGING.includes(command) ? ['--dry-run'] : [];
            const argv = [command, labelFlag(command), label, ...filter, ...own, ...dry, '--json'];
            const {code, stdout, stderr} = await operator.mxtok(argv, {env});
            // Limits of a disabled token cannot be changed, which is told as it would be in the end.
            const failing = command === 'update' && code === 8;
            assert.ok(code === 0 || failing, `${argv.join(' ')}: ${stderr}`);
            return {command, names: (JSON.parse(stdout) as Shown[]).map(({token}) => token)};
          }),
        );
        for (const {command, names} of results)
          assert.deepEqual(names, expected, `${command} ${filter.join(' ')}`);
      }

      assert.deepEqual(changesTo(proxy.exchanges), []);
      assert.deepEqual(await stateOf(Object.values(tokens)), before);
      assert.deepEqual(filesOf(operator), files);
    });

    it('takes * for anything in a label, and nothing else for more than it is', async function () {
      const tokens = await oneOfEach();
      const names = async (glob: string): Promise<string[]> =>
        (await operator.json<Shown[]>(['show', '--label', glob])).map(({token}) => token);
      assert.equal((await names(`${label.toUpperCase()}*`)).length, 9);
      assert.deepEqual(await names(`*${label.slice(6)} II`), [tokens['stranger']]);
      assert.deepEqual(await names(label.replace('event', '?????')), []);
      assert.deepEqual(
        await operator.json(['show', '--with-label', `${label} II`]),
        await operator.json(['show', '--label', `${label} II`]),
      );
    });

    it('of update is by --with-label, while --label is the new one', async function () {
      const names = await someTokens(3);
      const {proxy, env} = await watched();
      await operator.ok(['update', '--with-label', label, '--label', `${label} moved`, '--yes'], {env});
      assert.deepEqual(changesTo(proxy.exchanges), [], 'a label is no business of the homeserver');
      assert.deepEqual(await operator.json(['list', '--label', label]), []);
      const moved = await operator.json<Shown[]>(['list', '--label', `${label} moved`]);
      assert.deepEqual(
        moved.map(({token}) => token),
        names,
      );
      // Without anything that chooses, it is no selection.
      await assertUsage(operator, ['update', '--label', 'x'], {says: /TOKEN is missing[^]*--all/});
    });

    it('that finds nothing is no failure, and says so', async function () {
      const {proxy, env} = await watched();
      for (const command of ['show', ...CHANGING]) {
        const argv = [command, labelFlag(command), label, ...(OWN_FLAGS[command] ?? [])];
        const yes = command === 'show' ? [] : ['--yes'];
        const plain = await operator.mxtok([...argv, ...yes], {env});
        assert.deepEqual([plain.code, plain.stdout], [0, ''], plain.stderr);
        assert.match(plain.stderr, /^No token matches\.$/m, command);
        assert.equal(await operator.ok([...argv, ...yes, '--json'], {env}), '[]\n');
        const quiet = await operator.mxtok([...argv, ...yes, '--quiet'], {env});
        assert.deepEqual([quiet.code, quiet.stdout, quiet.stderr], [0, '', '']);
        if (command === 'show') continue;
        const dry = await operator.mxtok([...argv, '--dry-run'], {env});
        assert.deepEqual([dry.code, dry.stdout], [0, ''], dry.stderr);
        assert.match(dry.stderr, /^0 tokens would be /m);
      }

      const prune = await operator.mxtok(['prune', '--label', label, '--yes'], {env});
      assert.deepEqual([prune.code, prune.stdout], [0, '']);
      assert.match(prune.stderr, /nothing to prune/);
      assert.deepEqual(changesTo(proxy.exchanges), []);
    });
  });

  describe('is refused before anything is sent,', function () {
    async function assertNothingSent(argv: string[], says: RegExp): Promise<void> {
      const {proxy, env} = await watched();
      await assertUsage(operator, argv, {says, env});
      assert.deepEqual(proxy.exchanges, [], argv.join(' '));
    }

    for (const command of ['show', ...CHANGING]) {
      const own = OWN_FLAGS[command] ?? [];
      const filter = [labelFlag(command), 'some*'];

      it(`where ${command} gets names and filters, or neither`, async function () {
        const both = /at the same time/;
        await assertNothingSent([command, 'abc', ...filter, ...own], both);
        await assertNothingSent([command, 'abc', '--all', ...own], both);
        await assertNothingSent([command, 'abc', '--accepted', ...own], both);
        await assertNothingSent([command, 'abc', '--no-accepted', ...own], both);
        await assertNothingSent([command, 'abc', '--unused', ...own], both);
        await assertNothingSent([command, '-', '--uses-left', '0', ...own], both);
        await assertNothingSent([command, '--all', ...filter, ...own], /--all leaves nothing/);
        await assertNothingSent([command, ...own], /TOKEN is missing[^]*--all/);
        await assertNothingSent([command, '--status', 'open', ...own], /--status "open" is none of/);
        await assertNothingSent([command, '--expiring-within', 'soon', ...own], /--expiring-within "soon"/);
        await assertNothingSent([command, '--uses-left', '-1', ...own], /--uses-left takes a number/);
      });
    }

    for (const command of CHANGING) {
      it(`where ${command} would change what matches, and nobody is there to say yes`, async function () {
        const own = OWN_FLAGS[command] ?? [];
        const says = /asks before it changes all that match[^]*nothing was changed[^]*--dry-run[^]*--yes/;
        await assertNothingSent([command, labelFlag(command), 'some*', ...own], says);
        await assertNothingSent([command, '--all', ...own], says);
        await assertNothingSent([command, '--status', 'expired', ...own, '--no-input'], says);
      });
    }

    it('where prune would delete what is of no use, and nobody is there to say yes', async function () {
      await assertNothingSent(['prune'], /asks before[^]*nobody can answer[^]*--dry-run[^]*--yes/);
      await assertNothingSent(['prune', '--older-than', 'long'], /--older-than "long"/);
      await assertNothingSent(['prune', 'abc', '--yes'], /unexpected argument "abc"/);
    });
  });

  describe('on a terminal', function () {
    it('is told with its number and a few of it, and left alone at a no', async function () {
      const names = await someTokens(7);
      const before = await stateOf(names);
      const files = filesOf(operator);
      const {code, shown, stdout} = await onTerminal(
        operator,
        ['disable', '--label', label],
        [['Disable 7 tokens on main\\?', 'n\r']],
      );
      assert.deepEqual([code, stdout], [3, '']);
      assert.match(shown, /nothing was changed/);
      assert.match(shown, /… and 2 more/);
      for (const [index, name] of names.entries()) assert.equal(shown.includes(name), index < 5, name);
      assert.deepEqual(await stateOf(names), before);
      assert.deepEqual(filesOf(operator), files);
    });

    it('is left alone where Enter alone is pressed, and at Ctrl-C, which exits 130', async function () {
      const names = await someTokens(2);
      const before = await stateOf(names);
      const question = 'Delete 2 tokens on main for good\\?';
      const enter = await onTerminal(operator, ['delete', '--label', label], [[question, '\r']]);
      assert.deepEqual([enter.code, enter.stdout], [3, '']);
      const interrupted = await onTerminal(operator, ['delete', '--label', label], [[question, CTRL_C]]);
      assert.deepEqual([interrupted.code, interrupted.stdout], [130, '']);
      assert.deepEqual(await stateOf(names), before);
    });

    it('is changed at a yes', async function () {
      const names = await someTokens(3);
      const {code, shown, stdout} = await onTerminal(
        operator,
        ['update', '--with-label', label, '--uses', '9', '--output', 'csv'],
        [['Update 3 tokens on main\\?', 'y\r']],
      );
      assert.equal(code, 0, shown);
      assert.match(shown, /uses_allowed=9/);
      assert.equal(stdout.split('\r\n').length, 5, 'a header and a row each');
      assert.deepEqual(
        (await stateOf(names)).map(({uses_allowed}) => uses_allowed),
        [9, 9, 9],
      );
    });

    it('is not asked about with --yes, nor for --dry-run, nor where all is so already', async function () {
      const names = await someTokens(2);
      const dry = await onTerminal(operator, ['delete', '--label', label, '--dry-run']);
      assert.equal(dry.code, 0, dry.shown);
      assert.match(dry.shown, /2 tokens would be deleted; nothing was changed/);
      assert.doesNotMatch(dry.shown, /\?/);
      const same = await onTerminal(operator, ['update', '--with-label', label, '--uses', '5']);
      assert.equal(same.code, 0, same.shown);
      assert.match(same.shown, /is so already/);
      const yes = await onTerminal(operator, ['delete', '--label', label, '--yes']);
      assert.equal(yes.code, 0, yes.shown);
      assert.doesNotMatch(yes.shown, /\?/);
      assert.deepEqual(await stateOf(names), []);
    });

    it('cannot be asked about with --no-input or with --json, and is refused', async function () {
      for (const flag of ['--no-input', '--json']) {
        const {code, shown, stdout} = await onTerminal(operator, ['disable', '--label', label, flag]);
        assert.deepEqual([code, stdout], [2, ''], shown);
      }
    });
  });

  describe('with --dry-run', function () {
    interface Exact {
      command: string;
      flags: string[];
      /** Make the tokens. */
      make: () => Promise<string[]>;
    }

    /** One with a limit, one without, one used up, one over, one closed, and one that is open at 0. */
    async function mixed(): Promise<string[]> {
      const prefix = uniqueToken();
      const names = await makeLabelled({
        [`${prefix}-a`]: {uses_allowed: 5, expiry_time: EXPIRY_TIME},
        [`${prefix}-b`]: {},
        [`${prefix}-c`]: {uses_allowed: 1},
        [`${prefix}-e`]: {uses_allowed: 7},
        [`${prefix}-f`]: {uses_allowed: 0},
      });
      await assertAccepted(server.url, `${prefix}-c`);
      await api.createExpired(`${prefix}-d`, 2);
      await operator.ok(['update', `${prefix}-d`, '--label', label]);
      await operator.ok(['disable', `${prefix}-e`]);
      return [...names, `${prefix}-d`].sort();
    }

    const exact: Exact[] = [
      {command: 'disable', flags: [], make: mixed},
      {command: 'delete', flags: [], make: mixed},
      {command: 'update', flags: ['--note', 'all of them'], make: mixed},
      {command: 'update', flags: ['--uses', '5', '--expiry', EXPIRY], make: mixed},
      {command: 'enable', flags: ['--uses', '3', '--expiry', EXPIRY], make: mixed},
      {command: 'enable', flags: ['--expiry', EXPIRY], make: () => disabledTokens(3)},
    ];

    async function disabledTokens(count: number): Promise<string[]> {
      const names = await someTokens(count, {uses_allowed: 5, expiry_time: EXPIRY_TIME});
      await operator.ok(['disable', '--label', label, '--yes']);
      return names;
    }

    for (const {command, flags, make} of exact) {
      it(`${[command, ...flags].join(' ')} tells exactly what is done without it, and does nothing`, async function () {
        const names = await make();
        const argv = [command, labelFlag(command), label, ...flags];
        const before = await stateOf(names);
        const files = filesOf(operator);
        const {proxy, env} = await watched();
        const dry = await operator.mxtok([...argv, '--dry-run', '--json'], {env});
        const plans = JSON.parse(dry.stdout) as (Planned & {error?: {code: string}})[];
        assert.deepEqual(changesTo(proxy.exchanges), []);
        assert.deepEqual(await stateOf(names), before);
        assert.deepEqual(filesOf(operator), files);
        // The limits of a disabled token are nothing that update changes, so a filter passes it over.
        const passedOver = (name: string): boolean => flags.includes('--uses') && name.endsWith('-e');
        assert.deepEqual(
          plans.map(({token}) => token),
          command === 'update' ? names.filter((name) => !passedOver(name)) : names,
        );

        const left = /^One disabled token that matches stays as it is\.$/m.test(dry.stderr);
        assert.equal(left, plans.length < names.length);
        assert.doesNotMatch(dry.stderr, /No token matches/);

        // The same in every form.
        const tsv = await operator.mxtok([...argv, '--dry-run'], {env});
        const csv = await operator.mxtok([...argv, '--dry-run', '--output', 'csv'], {env});
        const ndjson = await operator.mxtok([...argv, '--dry-run', '--output', 'ndjson'], {env});
        const table = await operator.mxtok([...argv, '--dry-run', '--output', 'table'], {env});
        assert.deepEqual(changesTo(proxy.exchanges), []);
        for (const {code} of [tsv, csv, ndjson, table]) assert.equal(code, dry.code);
        const rows = plans.filter(({error}) => !error);
        const cells = (text: string, separator: string): string[][] =>
          text
            .trimEnd()
            .split(/\r?\n/)
            .map((line) => [line.split(separator)[1] ?? '', line.split(separator)[12] ?? '']);
        const actions = rows.map(({token, action}) => [token, action]);
        assert.deepEqual(cells(tsv.stdout, '\t'), actions);
        assert.deepEqual(cells(csv.stdout, ','), [['token', 'action'], ...actions]);
        assert.deepEqual(
          ndjson.stdout
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line) as unknown),
          plans,
        );
        const tableLines = table.stdout.trimEnd().split('\n').slice(1);
        assert.equal(tableLines.length, rows.length);
        for (const [index, {token, action}] of rows.entries())
          assert.match(tableLines[index] ?? '', new RegExp(`${token} .* ${action}\\b`));
        const changing = rows.filter(({action}) => action !== 'none').length;
        const counted = new RegExp(`^${changing} tokens? would be ${command}d; nothing was changed`, 'm');
        assert.match(dry.stderr, counted);

        // And that is what happens.
        const run = await operator.mxtok([...argv, '--yes', '--json']);
        assert.equal(run.code, dry.code, run.stderr);
        const done = JSON.parse(run.stdout) as (Shown & {error?: {code: string}})[];
        const after = new Map((await stateOf(names)).map((token) => [token.token, token]));
        for (const [index, {token, action, changes, error, uses_allowed, expiry_time}] of plans.entries()) {
          const result = done[index];
          assert.equal(result?.token, token);
          assert.equal(result.error?.code, error?.code);
          const state = after.get(token);
          if (action === 'delete') {
            assert.equal(state, undefined);
            continue;
          }

          assert.ok(state);
          if (error) assert.deepEqual(state, before[index], 'what fails is left alone');
          if (error) continue;
          assert.equal(result['changed'], action !== 'none', `${token}: ${action}`);
          if (action === 'disable') {
            assert.deepEqual([result['status'], result['accepted']], ['disabled', false]);
          } else {
            const wanted = {uses_allowed, expiry_time, ...changes};
            const {expires_at: _same, note, ...limits} = wanted as Record<string, unknown>;
            const {uses_allowed: uses, expiry_time: time} = state;
            assert.deepEqual({uses_allowed: uses, expiry_time: time}, limits, token);
            assert.equal(result['note'], note ?? null);
          }
        }
      });
    }

    it('of one named token is one object, and of one that is not there its error alone', async function () {
      const [token = ''] = await someTokens(1);
      const plan = await operator.json<Planned>(['disable', token, '--dry-run']);
      assert.deepEqual([plan.token, plan.action, plan.dry_run], [token, 'disable', true]);
      for (const command of CHANGING) {
        for (const form of ['json', 'ndjson']) {
          const argv = [command, uniqueToken(), ...(OWN_FLAGS[command] ?? []), '--output', form];
          for (const flag of ['--dry-run', '--yes']) {
            const {code, stdout, stderr} = await operator.mxtok([...argv, flag]);
            assert.deepEqual([code, stdout], [5, ''], `${argv.join(' ')}: ${stderr}`);
            assert.match(stderr, /no_such_token/);
          }
        }
      }
    });
  });

  describe('that is disabled', function () {
    it('waits once for all of it', async function () {
      const names = await someTokens(30);
      const {stdout, stderr, code} = await operator.mxtok(['disable', '--label', label, '--yes', '--json']);
      assert.equal(code, 0, stderr);
      assert.equal(stderr.match(/^Waiting /gm)?.length, 1);
      assert.equal((JSON.parse(stdout) as Shown[]).length, 30);
      assert.ok((await stateOf(names)).every(({uses_allowed}) => uses_allowed === 0));
      await assertRefused(server.url, names[0] ?? '');
      await assertRefused(server.url, names[29] ?? '');
    });

    const moments: {title: string; held: (exchange: Exchange, taken: readonly Exchange[]) => boolean}[] = [
      {
        title: 'while it closes them',
        held: ({method}, taken) => method === 'PUT' && taken.length >= 3,
      },
      {
        title: 'while it marks them',
        held: ({body}, taken) =>
          isMark(body) && taken.filter(({body: earlier}) => isMark(earlier)).length >= 3,
      },
    ];

    function isMark(body: unknown): boolean {
      return (body as ApiLimits | undefined)?.uses_allowed === 0;
    }

    for (const {title, held} of moments) {
      it(`and killed ${title}, lets nobody in who was not let in before; a second run ends it, and enable restores all`, async function () {
        const prefix = uniqueToken();
        const limits: ApiLimits[] = [
          {uses_allowed: 5, expiry_time: EXPIRY_TIME},
          {},
          {uses_allowed: 1},
          {expiry_time: EXPIRY_TIME},
        ];
        const names = await makeLabelled(
          Object.fromEntries(
            Array.from({length: 12}, (_, index) => [
              `${prefix}-${String(index).padStart(2, '0')}`,
              limits[index % limits.length] ?? {},
            ]),
          ),
        );
        await assertAccepted(server.url, names[0] ?? '');
        const before = await stateOf(names);
        const rooms = await Promise.all(names.map((name) => api.room(name)));

        let kill = (): void => undefined;
        let holding = 0;
        const {proxy, env} = await watched((exchange) => {
          const taken = proxy.of('PUT').filter(({status}) => status === 200);
          if (!held(exchange, taken)) return undefined;
          if (++holding === 1) kill();
          return 'silence';
        });
        const {signal} = await operator.mxtok(['disable', '--label', label, '--yes'], {
          env,
          onStart: (child) => {
            kill = () => child.kill('SIGKILL');
          },
        });
        assert.equal(signal, 'SIGKILL');
        const between = await stateOf(names);
        assert.notDeepEqual(between, before, 'something was done');
        assert.ok(!between.every(({uses_allowed}) => uses_allowed === 0), 'and not all of it');
        for (const [index, name] of names.entries()) {
          const room = await api.room(name);
          assert.ok(
            room <= (rooms[index] ?? 0),
            `${name} has room for ${room}, and had ${String(rooms[index])}`,
          );
        }

        const again = await operator.mxtok(['disable', '--label', label, '--yes', '--json']);
        assert.equal(again.code, 0, again.stderr);
        const done = JSON.parse(again.stdout) as Shown[];
        assert.ok(done.every(({status, accepted}) => status === 'disabled' && accepted === false));
        assert.equal(done.length, 12);
        for (const name of names) await assertRefused(server.url, name);
        assert.deepEqual(await operator.json(['audit', '--unfinished']), []);

        await operator.ok(['enable', '--label', label, '--yes']);
        assert.deepEqual(await stateOf(names), before);
        await assertAccepted(server.url, names[11] ?? '');
      });
    }

    it('and interrupted by Ctrl-C, exits 130 with what is begun closed', async function () {
      const names = await someTokens(12);
      let interrupt = (): void => undefined;
      const {proxy, env} = await watched((exchange) => {
        if (exchange.method !== 'PUT' || proxy.of('PUT').filter(({status}) => status === 200).length < 3)
          return undefined;
        interrupt();
        return 'silence';
      });
      const {code, stderr} = await operator.mxtok(['disable', '--label', label, '--yes'], {
        env,
        onStart: (child) => {
          interrupt = () => child.kill('SIGINT');
        },
      });
      assert.equal(code, 130, stderr);
      await operator.ok(['enable', '--label', label, '--yes', '--uses', '5', '--expiry', 'never']);
      assert.ok((await stateOf(names)).every(({uses_allowed}) => uses_allowed === 5));
    });
  });

  describe('--all', function () {
    let own: LocalSynapse;
    let ownApi: AdminApi;

    before(async function () {
      this.timeout(180_000);
      localSynapse(this);
      own = await startSynapse({serverName: 'all.test'});
      secret(own.accessToken);
      secret(own.adminPassword);
      ownApi = new AdminApi(own);
    });

    after(async function () {
      await (own as LocalSynapse | undefined)?.stop();
    });

    it('is every token of the homeserver, in every command', async function () {
      const all = await operatorOf(own);
      await all.ok(['create', '--count', '3', '--uses', '2']);
      await ownApi.create(uniqueToken(), {});
      const count = async (argv: string[]): Promise<number> => (await all.json<Shown[]>(argv)).length;
      assert.equal(await count(['show', '--all']), 4);
      assert.equal(await count(['update', '--all', '--uses', '6', '--yes']), 4);
      assert.ok((await ownApi.list()).every(({uses_allowed}) => uses_allowed === 6));
      assert.equal(await count(['disable', '--all', '--yes']), 4);
      assert.ok((await ownApi.list()).every(({uses_allowed}) => uses_allowed === 0));
      assert.equal(await count(['enable', '--all', '--yes']), 4);
      assert.ok((await ownApi.list()).every(({uses_allowed}) => uses_allowed === 6));
      assert.equal(await count(['delete', '--all', '--yes']), 4);
      assert.deepEqual(await ownApi.list(), []);
    });
  });

  describe('of prune', function () {
    /** Of each kind: which of them prune takes. */
    async function makePrunable(): Promise<Record<string, string>> {
      const prefix = uniqueToken();
      const of = (kind: string): string => `${prefix}-${kind}`;
      await operator.ok(['create', '--token', of('used'), '--uses', '1', '--label', label]);
      await assertAccepted(server.url, of('used'));
      await makeLabelled({
        [of('valid')]: {uses_allowed: 5},
        [of('reserved')]: {uses_allowed: 1},
        [of('elsewhere')]: {uses_allowed: 1},
        [of('open')]: {uses_allowed: 0},
        [of('closed')]: {uses_allowed: 3},
      });
      await assertAccepted(server.url, of('elsewhere'));
      await SignUp.begin(server.url, of('reserved'));
      await api.create(of('pending'), {uses_allowed: 2});
      await SignUp.begin(server.url, of('pending'));
      await api.put(of('pending'), {expiry_time: Math.ceil(Date.now() / 1000) * 1000 + 999});
      await api.createExpired(of('expired'), 2);
      await api.untilRefused(of('pending'));
      const late = [of('expired'), of('pending')];
      await operator.ok(['update', ...late, '--label', label]);
      await operator.ok(['disable', of('closed')]);
      const kinds = ['used', 'valid', 'reserved', 'elsewhere', 'open', 'closed', 'pending', 'expired'];
      return Object.fromEntries(kinds.map((kind) => [kind, of(kind)]));
    }

    async function prune(flags: string[]): Promise<{names: string[]; result: BinaryResult}> {
      const result = await operator.mxtok(['prune', '--label', label, '--json', ...flags]);
      assert.equal(result.code, 0, result.stderr);
      return {names: (JSON.parse(result.stdout) as Shown[]).map(({token}) => token), result};
    }

    it('is what nobody can register with any more, disabled ones and those with sign-ups only where told', async function () {
      const tokens = await makePrunable();
      const of = (...kinds: string[]): string[] => kinds.map((kind) => tokens[kind] ?? '').sort();
      const all = Object.values(tokens);
      const before = await stateOf(all);

      const dry = await prune(['--dry-run']);
      assert.deepEqual(dry.names, of('used', 'elsewhere', 'expired'));
      assert.match(
        dry.result.stderr,
        new RegExp(`kept for sign-ups under way .*: ${tokens['pending'] ?? ''}$`, 'm'),
      );
      assert.deepEqual(
        (await prune(['--dry-run', '--include-disabled'])).names,
        of('used', 'elsewhere', 'expired', 'closed'),
      );
      assert.deepEqual(
        (await prune(['--dry-run', '--include-pending'])).names,
        of('used', 'elsewhere', 'expired', 'pending'),
      );
      assert.deepEqual(await stateOf(all), before);

      const {names} = await prune(['--yes']);
      assert.deepEqual(names, dry.names, 'what was foretold');
      const left = async (): Promise<string[]> => (await stateOf(all)).map(({token}) => token).sort();
      assert.deepEqual(await left(), of('valid', 'reserved', 'open', 'closed', 'pending'));
      assert.deepEqual((await prune(['--yes'])).names, [], 'a second time there is nothing');

      await prune(['--yes', '--include-disabled', '--include-pending']);
      assert.deepEqual(await left(), of('valid', 'reserved', 'open'));
      await assertAccepted(server.url, tokens['valid'] ?? '');
      await assertAccepted(server.url, tokens['open'] ?? '');
      const known = await operator.json<Shown[]>(['list', '--label', label]);
      assert.equal(known.length, 3);
    });

    it('--older-than counts from the expiry, the disabling or the making, and keeps what nobody knows the age of', async function () {
      const tokens = await makePrunable();
      const of = (...kinds: string[]): string[] => kinds.map((kind) => tokens[kind] ?? '').sort();
      const everything = ['--dry-run', '--include-disabled', '--include-pending'];
      const none = await prune([...everything, '--older-than', '1d']);
      assert.deepEqual(none.names, []);
      const ageless = new RegExp(
        `kept, for it is not known here when they were created: ${tokens['elsewhere'] ?? ''}$`,
        'm',
      );
      assert.match(none.result.stderr, ageless);

      // Two days later, by the homeserver's clock.
      const later = async (flags: string[]): Promise<{names: string[]; stderr: string}> => {
        const proxy = await Proxy.start(server.url, {
          onAnswer: (_exchange, headers) => {
            headers.date = new Date(Date.now() + 2 * 86_400_000).toUTCString();
            return Promise.resolve();
          },
        });
        const env = {MXTOK_URL: proxy.url, MXTOK_ACCESS_TOKEN: server.accessToken};
        const argv = ['prune', '--label', label, '--json', ...flags];
        const {code, stdout, stderr} = await operator.mxtok(argv, {env});
        assert.equal(code, 0, stderr);
        return {names: (JSON.parse(stdout) as Shown[]).map(({token}) => token), stderr};
      };

      const old = await later([...everything, '--older-than', '1d']);
      assert.deepEqual(old.names, of('used', 'expired', 'closed', 'pending'));
      assert.match(old.stderr, ageless);
      assert.deepEqual((await later([...everything, '--older-than', '3d'])).names, []);
      assert.deepEqual((await later(['--dry-run', '--older-than', '1d'])).names, of('used', 'expired'));
      await later(['--yes', '--older-than', '1d']);
      assert.equal((await stateOf(of('used', 'expired'))).length, 0);
      assert.equal((await stateOf(of('elsewhere', 'closed', 'pending'))).length, 3);
    });

    it('is asked about on a terminal', async function () {
      const prefix = uniqueToken();
      await api.createExpired(`${prefix}-a`, 1);
      await operator.ok(['update', `${prefix}-a`, '--label', label]);
      const question = `Delete ${prefix}-a on main for good\\?`;
      const no = await onTerminal(operator, ['prune', '--label', label], [[question, 'n\r']]);
      assert.equal(no.code, 3, no.shown);
      assert.equal((await stateOf([`${prefix}-a`])).length, 1);
      const yes = await onTerminal(operator, ['prune', '--label', label], [[question, 'y\r']]);
      assert.equal(yes.code, 0, yes.shown);
      assert.equal(yes.stdout, `main\t${prefix}-a\n`);
      assert.equal((await stateOf([`${prefix}-a`])).length, 0);
    });
  });
});
