/** Very many tokens at once: the real binary against a real Synapse, with a proxy between that holds answers back. */
import {strict as assert} from 'node:assert';
import type {ChildProcessWithoutNullStreams} from 'node:child_process';
import {spawnSync} from 'node:child_process';
import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import {fingerprint} from '../../src/lib/registration-token.ts';
import type {AuditRecord} from '../../src/lib/operations/audit.ts';
import type {TokenRecord} from '../../src/lib/token-record.ts';
import {AdminApi, type ApiToken} from '../helpers/admin-api.ts';
import {BINARY, type BinaryOptions, type BinaryResult, Operator} from '../helpers/binary.ts';
import {type Exchange, Proxy, type ProxyOptions} from '../helpers/proxy.ts';
import {operatorOf, synapse, type TestSynapse, uniqueToken} from '../helpers/setup-e2e.ts';
import {onTerminal} from '../helpers/terminal.ts';

interface Metadata {
  token: string;
  label?: string;
  note?: string;
}

interface ErrorJson {
  code: string;
  message: string;
  problems?: {line: number; message: string}[];
}

function errorOf({stderr}: BinaryResult): ErrorJson {
  return (JSON.parse(stderr) as {error: ErrorJson}).error;
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

function isCreation({method}: Exchange): boolean {
  return method === 'POST';
}

/** Answers to creations that are held back. The homeserver has made the token by then; nobody else knows. */
class Gate {
  /** Held now. */
  readonly held: (() => void)[] = [];
  most = 0;
  /** Told of each that is held. */
  onHeld: () => void = () => undefined;

  hold(): Promise<void> {
    return new Promise((resolve) => {
      this.held.push(resolve);
      this.most = Math.max(this.most, this.held.length);
      this.onHeld();
    });
  }

  /** Let those pass that are held, and with `forGood` all that come. */
  open(forGood = false): void {
    if (forGood) {
      this.onHeld = () => {
        this.open();
      };
    }

    for (const pass of this.held.splice(0)) pass();
  }
}

describe('create in bulk', function () {
  this.timeout(300_000);
  let server: TestSynapse;
  let api: AdminApi;
  let operator: Operator;
  let label: string;
  let old: Set<string>;

  before(function () {
    server = synapse(this);
    api = new AdminApi(server);
  });

  beforeEach(async function () {
    operator = await operatorOf(server);
    label = uniqueToken();
    old = new Set((await api.list()).map(({token}) => token));
  });

  /** What the homeserver has that it did not have before the test. */
  async function made(): Promise<ApiToken[]> {
    return (await api.list()).filter(({token}) => !old.has(token));
  }

  async function namesMade(): Promise<string[]> {
    return (await made()).map(({token}) => token).sort();
  }

  function metadata(): Map<string, Metadata> {
    const directory = join(operator.dir, 'config', 'metadata');
    const [file] = readdirSync(directory).filter((name) => name.endsWith('.json'));
    const {tokens} = JSON.parse(readFileSync(join(directory, file ?? ''), 'utf8')) as {tokens: Metadata[]};
    return new Map(tokens.map((entry) => [entry.token, entry]));
  }

  function audit(...flags: string[]): Promise<AuditRecord[]> {
    return operator.json<AuditRecord[]>(['audit', '--operation', 'create', ...flags]);
  }

  /** What the operator runs goes through a proxy. */
  async function through(options: ProxyOptions = {}): Promise<{proxy: Proxy; env: Record<string, string>}> {
    const proxy = await Proxy.start(server.url, options);
    return {proxy, env: {MXTOK_URL: proxy.url, MXTOK_ACCESS_TOKEN: server.accessToken}};
  }

  function file(text: string | Buffer): string {
    const path = join(operator.dir, 'guests.csv');
    writeFileSync(path, text);
    return path;
  }

  describe('--from', () => {
    it('makes a token for each row of CSV or NDJSON, from a file or standard input; flags fill the gaps', async () => {
      const name = uniqueToken();
      const csv = `\ufefftoken;uses_allowed;expiry;label;note\r\n${name}-1;5;2034-05-06T07:08Z;'=Ada;"a; b"\r\n\r\n${name}-2;unlimited;never;;\r\n;;;;\r\n;;;Bob;\r\n`;
      const flags = ['--uses', '3', '--expiry', '2035-01-01T00:00Z', '--label', 'rest', '--output', 'ndjson'];
      const printed = await operator.ok(['create', '--from', file(csv), ...flags]);
      const records = linesOf(printed).map((line) => JSON.parse(line) as TokenRecord);
      const of = (token: string): TokenRecord | undefined => records.find((one) => one.token === token);
      const bob = records.find((one) => one.label === 'Bob');
      const [first, second] = [of(`${name}-1`), of(`${name}-2`)];
      assert.deepEqual(
        [first, second, bob].map((one) => [one?.uses_allowed, one?.expires_at, one?.label, one?.note]),
        [
          [5, '2034-05-06T07:08:00.000Z', '=Ada', 'a; b'],
          [null, null, 'rest', null],
          [3, '2035-01-01T00:00:00.000Z', 'Bob', null],
        ],
      );
      assert.deepEqual(await namesMade(), records.map(({token}) => token).sort());
      assert.equal((await api.get(bob?.token ?? '')).uses_allowed, 3);

      const ndjson = `${JSON.stringify({token: `${name}-3`, uses_allowed: null, expiry: null, label: 'x'})}\n{}\n`;
      const more = linesOf(await operator.ok(['create', '--from', '-', '--uses', '2'], {input: ndjson}));
      assert.equal(more.length, 2);
      assert.ok(more.includes(`${name}-3`));
      assert.equal((await api.get(`${name}-3`)).uses_allowed, null);
      assert.equal((await api.get(more.find((token) => token !== `${name}-3`) ?? '')).uses_allowed, 2);
    });

    it('names every row that is wrong with its line before the first request', async () => {
      const {proxy, env} = await through();
      const path = file('token,uses_allowed,expiry\nok,1,7d\na b,1,7d\nb,0,7d\n\nc,1,soon\nok,1,7d\n');
      const {code, stdout, stderr} = await operator.mxtok(['create', '--from', path], {env});
      assert.equal(code, 2);
      assert.equal(stdout, '');
      const [head, ...lines] = linesOf(stderr);
      assert.equal(head, `error: ${path}: 4 lines are wrong; nothing was created`);
      assert.deepEqual(
        lines.map((line) => /^ {2}line (\d+): ./.exec(line)?.[1]),
        ['3', '4', '6', '7'],
      );
      const json = await operator.mxtok(['create', '--json', '--from', '-'], {
        env,
        input: readFileSync(path, 'utf8'),
      });
      assert.equal(json.code, 2);
      assert.equal(json.stdout, '');
      const {code: is, message, problems} = errorOf(json);
      assert.deepEqual([is, message], ['usage', 'standard input: 4 lines are wrong; nothing was created']);
      assert.deepEqual(
        problems?.map(({line}) => line),
        [3, 4, 6, 7],
      );
      assert.deepEqual(proxy.exchanges, []);
      assert.deepEqual(await audit(), []);
    });

    it('refuses what is no such file, and sends nothing', async () => {
      const {proxy, env} = await through();
      const rows = `label\n${'x\n'.repeat(100_001)}`;
      const wrong: [string, BinaryOptions, RegExp][] = [
        ['/nowhere/at-all.csv', {}, /"\/nowhere\/at-all\.csv" cannot be read: there is no such file/],
        [operator.dir, {}, /cannot be read: it is a directory/],
        [process.execPath, {}, /is not text in UTF-8 \(line 1\)/],
        ['-', {input: 'tok-1,5\n'}, /line 1: "tok-1" is no column/],
        ['-', {input: 'token,colour\na,red\n'}, /line 1: "colour" is no column/],
        ['-', {input: 'token\na\nb\na\n'}, /line 4: the token a stands on line 2 already/],
        ['-', {input: 'token,uses_allowed\na,1\nb'}, /line 3: .*: the rest seems to be cut off/],
        ['-', {input: rows}, /standard input has over 100000 rows; up to 100000/],
        ['-', {input: '[{"token":"a"}]'}, /standard input is a JSON list/],
        ['-', {input: '{"__proto__":{"token":"a"}}'}, /line 1: "__proto__" is no column/],
        [
          '-',
          {input: `{"label":${'['.repeat(200_000)}${']'.repeat(200_000)}}`},
          /line 1: label is a list, not a text/,
        ],
        [
          '-',
          {input: `token\n${'x'.repeat(10_000_000)}\n`},
          /line 2: that registration token has 10000000 char/,
        ],
        ['-', {input: '{"label":"\\u001b[2J"}'}, /line 1: label has line breaks, control characters/],
        ['-', {input: '{"uses_allowed":1e400}'}, /line 1: uses_allowed "Infinity" is not a number/],
        ['-', {input: 'token,expiry\na,2001-01-01\n'}, /line 2: expiry: 2001-01-01 .* has passed already/],
      ];
      for (const [source, options, message] of wrong) {
        const result = await operator.mxtok(['create', '--from', source], {...options, env});
        assert.equal(result.code, 2, String(message));
        assert.equal(result.stdout, '');
        assert.match(result.stderr, message);
        assert.ok(result.stderr.length < 1000, 'what was given is not repeated');
      }

      assert.deepEqual(proxy.exchanges, []);
    });

    it('has nothing to do for a header alone, or nothing at all', async () => {
      for (const input of ['', '\ufeff', 'token,label\r\n']) {
        const {code, stdout, stderr} = await operator.mxtok(['create', '--from', '-'], {input});
        assert.deepEqual([code, stdout], [0, '']);
        assert.equal(stderr, 'There is no row, so there is nothing to do.\n');
        assert.equal(await operator.ok(['create', '--from', '-', '--json'], {input}), '[]\n');
      }
    });

    it('done again makes none twice: what is there as its row wants it is done', async () => {
      const path = file(`token,uses_allowed,expiry,label\n${label}-a,5,7d,x\n${label}-b,unlimited,never,\n`);
      const first = linesOf(await operator.ok(['create', '--from', path])).sort();
      const {proxy, env} = await through();
      const {code, stdout, stderr} = await operator.mxtok(['create', '--from', path], {env});
      assert.equal(code, 0);
      assert.deepEqual(linesOf(stdout).sort(), first);
      assert.equal(stderr, '2 of 2 tokens are there already.\n');
      assert.ok(proxy.exchanges.every(({method}) => method === 'GET'));
      assert.deepEqual(await namesMade(), first);
    });

    it('makes a conflict of one that is there with other settings, says what differs, and makes the others', async () => {
      await operator.ok(['create', '--token', `${label}-a`, '--uses', '3', '--label', 'x']);
      const path = file(`token,uses_allowed,label\n${label}-a,5,y\n${label}-b,5,y\n`);
      const text = await operator.mxtok(['create', '--from', path]);
      assert.equal(text.code, 8);
      assert.equal(text.stdout, `${label}-b\n`);
      const message = `there is a token ${label}-a already: its uses are 3, not 5; its label here is "x", not "y"`;
      assert.ok(text.stderr.includes(`error: ${message}\n`), text.stderr);
      assert.equal((await api.get(`${label}-a`)).uses_allowed, 3);

      const json = await operator.mxtok(['create', '--from', path, '--json']);
      assert.equal(json.code, 8);
      const [done, conflict] = JSON.parse(json.stdout) as [TokenRecord, {token: string; error: ErrorJson}];
      assert.equal(done.token, `${label}-b`);
      assert.deepEqual([conflict.token, conflict.error.code], [`${label}-a`, 'already_exists']);
      assert.equal(conflict.error.message, message);
      assert.equal(errorOf(json).code, 'some_failed');
    });

    it('done twice at the same time makes each token once, and both runs count it', async () => {
      const names = Array.from({length: 60}, (_, index) => `${label}-${String(index).padStart(2, '0')}`);
      const rows = names.map((name) => `${name},1,7d,x`);
      const path = file(['token,uses_allowed,expiry,label', ...rows, ''].join('\n'));
      // Both have looked before either makes the first.
      const gate = new Gate();
      let lists = 0;
      gate.onHeld = () => {
        if (++lists === 2) gate.open(true);
      };
      const isList = ({method, path: asked}: Exchange): boolean =>
        method === 'GET' && asked.endsWith('/registration_tokens');
      const {env} = await through({onAnswer: async (one) => (isList(one) ? gate.hold() : undefined)});
      const both = await Promise.all([1, 2].map(() => operator.mxtok(['create', '--from', path], {env})));
      for (const {code, stdout, stderr} of both) {
        assert.equal(code, 0, stderr);
        assert.deepEqual(linesOf(stdout).sort(), names);
      }

      assert.deepEqual(await namesMade(), names);
      assert.equal((await audit()).filter(({outcome}) => outcome === 'ok').length, 60);
      const labels = metadata();
      assert.ok(names.every((name) => labels.get(name)?.label === 'x'));
      const again = await operator.mxtok(['create', '--from', path]);
      assert.deepEqual([again.code, again.stderr], [0, '60 of 60 tokens are there already.\n']);
    });

    it('stops where its reader goes away among those that are there already, and says so', async () => {
      const names = Array.from({length: 400}, (_, index) => `${label}-${index}`);
      await operator.ok(['create', '--from', file(['token', ...names].join('\n'))]);
      const path = file(['token', ...names, `${label}-more`].join('\n'));
      // More than a pipe holds.
      const {status, stderr} = headOf(['create', '--from', path, '--output', 'ndjson']);
      assert.equal(status, 130, stderr);
      assert.match(stderr, /nobody reads what is written any more: 400 of 401 tokens are there/);
      assert.equal((await namesMade()).length, 400);
      assert.deepEqual(await audit('--unfinished'), []);
    });

    for (const stalled of ['/account/whoami', '/registration_tokens'] as const) {
      it(`ends at once at Ctrl-C while ${stalled} is not answered`, async () => {
        let child: ChildProcessWithoutNullStreams | undefined;
        const {proxy, env} = await through({
          instead: ({path}) => {
            if (!path.endsWith(stalled)) return undefined;
            child?.kill('SIGINT');
            return 'silence';
          },
        });
        // From twenty on, all are listed.
        const path = file(
          ['token', ...Array.from({length: 20}, (_, index) => `${label}-${index}`)].join('\n'),
        );
        const {code, stdout, stderr} = await operator.mxtok(['create', '--from', path], {
          env,
          onStart: (started) => (child = started),
        });
        assert.deepEqual([code, stdout, stderr], [130, '', 'interrupted\n']);
        assert.deepEqual(proxy.of('POST'), []);
      });
    }

    it('ends at once at Ctrl-C while the command for the access token does not come to its end', async () => {
      const command = 'echo asking >&2; exec sleep 600';
      await operator.ok(['server', 'update', 'main', '--access-token-command', command, '--no-verify']);
      const {code, stdout} = await operator.mxtok(['create', '--count', '2'], {
        onStart: (child) => {
          child.stderr.once('data', () => child.kill('SIGINT'));
        },
      });
      assert.deepEqual([code, stdout], [130, '']);
    });

    it('names each that the homeserver has refused, and makes the others', async () => {
      const refused = {status: 400, body: JSON.stringify({errcode: 'M_UNKNOWN', error: 'no'})};
      const {env} = await through({
        instead: ({body}) =>
          (body as {token?: string} | undefined)?.token?.endsWith('-b') ? refused : undefined,
      });
      const path = file(`token\n${label}-a\n${label}-b\n${label}-c\n`);
      const {code, stdout, stderr} = await operator.mxtok(['create', '--from', path], {env});
      assert.equal(code, 8);
      assert.deepEqual(linesOf(stdout).sort(), [`${label}-a`, `${label}-c`]);
      assert.match(stderr, new RegExp(`^error: .*${label}-b`, 'm'));
      assert.match(stderr, /^error: .*2 of 3 tokens were created$/m);
    });

    it('makes rows without a token anew after a run that has come to its end', async () => {
      const path = file('label\nAda\nBob\n');
      const first = linesOf(await operator.ok(['create', '--from', path]));
      const second = linesOf(await operator.ok(['create', '--from', path]));
      assert.equal(new Set([...first, ...second]).size, 4);
      assert.deepEqual(await namesMade(), [...first, ...second].sort());
    });

    // The first batch that is logged ahead has 500.
    for (const killedAt of [1, 3, 250, 500, 501, 700]) {
      it(`resumes after a kill at request ${killedAt}: no row twice, no label lost`, async () => {
        const names = Array.from({length: 720}, (_, index) => `${label}-${index}`);
        const path = file(['label', ...names].join('\n'));
        await killAt(killedAt, ['create', '--from', path, '--uses', '1']);
        const there = await made();
        assert.ok(there.length >= killedAt - 8 && there.length < 720, `${there.length} are there`);
        await assertKnown(there);

        const printed = linesOf(await operator.ok(['create', '--from', path, '--uses', '1']));
        const all = await namesMade();
        assert.equal(all.length, 720);
        assert.deepEqual(printed.sort(), all);
        const labels = metadata();
        assert.deepEqual(all.map((token) => labels.get(token)?.label).sort(), names.toSorted());
        assert.equal(labels.size, 720, 'nothing else is left behind');
        // What the killed run had only logged ahead may stay open; of what there is, all ends are known.
        const open = new Set((await audit('--unfinished')).map((record) => record.fingerprint));
        assert.deepEqual(
          all.filter((token) => open.has(fingerprint(token))),
          [],
        );
      });
    }

    it('resumes after Ctrl-C, and is done after that', async () => {
      const names = Array.from({length: 40}, (_, index) => `${label}-${index}`);
      const path = file(['label', ...names].join('\n'));
      const gate = new Gate();
      const {env} = await through({onAnswer: async (one) => (isCreation(one) ? gate.hold() : undefined)});
      const {code, stdout} = await interrupted(gate, 8, ['create', '--from', path], env);
      assert.equal(code, 130);
      assert.deepEqual(linesOf(stdout).sort(), await namesMade());
      const printed = linesOf(await operator.ok(['create', '--from', path]));
      assert.deepEqual(printed.sort(), await namesMade());
      assert.equal(printed.length, 40);
      assert.ok(linesOf(stdout).every((token) => printed.includes(token)));
      const labels = metadata();
      assert.deepEqual(printed.map((token) => labels.get(token)?.label).sort(), names.toSorted());
    });
  });

  /** Run `mxtok ARGV | head -n 1`. */
  function headOf(argv: readonly string[]): {status: number | null; stdout: string; stderr: string} {
    const script = '"$@" | head -n 1; exit "${PIPESTATUS[0]}"';
    return spawnSync('bash', ['-c', script, 'bash', process.execPath, BINARY, ...argv], {
      env: operator.env,
      encoding: 'utf8',
    });
  }

  /** Run, and kill it outright when so many creations have been asked for; that one may or may not take effect. */
  async function killAt(count: number, argv: string[]): Promise<void> {
    let child: ChildProcessWithoutNullStreams | undefined;
    let asked = 0;
    const {proxy, env} = await through({
      instead: (one) => {
        if (isCreation(one) && ++asked === count) child?.kill('SIGKILL');
        return undefined;
      },
    });
    const {signal} = await operator.mxtok(argv, {env, onStart: (started) => (child = started)});
    assert.equal(signal, 'SIGKILL');
    // What had been sent by then reaches the homeserver, or does not.
    await proxy.settled();
  }

  /** Every one is in the log, and has its label. */
  async function assertKnown(tokens: readonly ApiToken[]): Promise<void> {
    const log = new Set((await audit()).map((record) => record.fingerprint));
    const labels = metadata();
    for (const {token} of tokens) {
      assert.ok(log.has(fingerprint(token)), `${token} is not in the log`);
      assert.match(labels.get(token)?.label ?? '', new RegExp(`^${label}`), `${token} has lost its label`);
    }
  }

  /** Interrupt a run that has so many requests under way; they are answered once it has heard of it. */
  async function interrupted(
    gate: Gate,
    underWay: number,
    argv: string[],
    env: Record<string, string>,
  ): Promise<BinaryResult> {
    let child: ChildProcessWithoutNullStreams | undefined;
    let sent = false;
    gate.onHeld = () => {
      if (gate.held.length !== underWay || sent) return;
      sent = true;
      child?.kill('SIGINT');
    };
    return operator.mxtok(argv, {
      env,
      onStart: (started) => {
        child = started;
        started.stderr.on('data', (text: string) => {
          if (text.includes('Stopping once')) gate.open(true);
        });
      },
    });
  }

  describe('--count', () => {
    it('makes so many, and prints each', async () => {
      const tokens = linesOf(
        await operator.ok(['create', '--count', '120', '--uses', '1', '--label', label]),
      );
      assert.equal(new Set(tokens).size, 120);
      assert.deepEqual(tokens.sort(), await namesMade());
      assert.ok((await made()).every(({uses_allowed}) => uses_allowed === 1));
      const labels = metadata();
      assert.ok(tokens.every((token) => labels.get(token)?.label === label));
    });

    for (const concurrency of [undefined, 1, 3, 32]) {
      const most = concurrency ?? 8;
      it(`has ${most} requests under way at once with ${concurrency === undefined ? 'no' : 'such a'} --concurrency, over as many kept-alive connections`, async () => {
        const count = 3 * most + 1;
        const gate = new Gate();
        let released = 0;
        gate.onHeld = () => {
          // One passes once as many wait as may: were there fewer, the run would never end.
          if (gate.held.length < Math.min(most, count - released)) return;
          released++;
          gate.held.shift()?.();
          if (count - released < most) gate.open(true);
        };
        const {proxy, env} = await through({
          onAnswer: async (one) => (isCreation(one) ? gate.hold() : undefined),
        });
        const flags = concurrency === undefined ? [] : ['--concurrency', String(concurrency)];
        const tokens = linesOf(await operator.ok(['create', '--count', String(count), ...flags], {env}));
        assert.equal(tokens.length, count);
        assert.equal(gate.most, most);
        assert.equal(proxy.connections, most);
      });
    }

    it('prints each token as soon as it exists, in every form that has lines', async () => {
      for (const form of [[], ['--output', 'csv'], ['--json']]) {
        const gate = new Gate();
        let creations = 0;
        const {env} = await through({
          // The first passes; the others wait for it to be printed.
          onAnswer: async (one) => (isCreation(one) && ++creations > 1 ? gate.hold() : undefined),
        });
        const printed = await operator.ok(['create', '--count', '20', ...form], {
          env,
          onStart: ({stdout}) => {
            stdout.once('data', () => {
              gate.open(true);
            });
          },
        });
        if (form[0] === '--json') assert.equal((JSON.parse(printed) as unknown[]).length, 20);
        else assert.equal(linesOf(printed).length, form.length === 0 ? 20 : 21);
      }
    });

    it('ends at Ctrl-C with those under way: stdout has exactly what the homeserver has', async () => {
      const gate = new Gate();
      let creations = 0;
      const {proxy, env} = await through({
        onAnswer: async (one) => (isCreation(one) && ++creations > 12 ? gate.hold() : undefined),
      });
      const result = await interrupted(gate, 8, ['create', '--count', '700', '--label', label], env);
      assert.equal(result.code, 130);
      const printed = linesOf(result.stdout).sort();
      assert.equal(printed.length, 20);
      assert.deepEqual(printed, await namesMade());
      assert.equal(proxy.of('POST').length, 20, 'no new requests');
      assert.match(result.stderr, /^interrupted: 20 of 700 tokens were created$/m);
      assert.deepEqual(await audit('--unfinished'), []);
      assert.equal((await audit()).filter(({outcome}) => outcome === 'ok').length, 20);
      const labels = metadata();
      assert.deepEqual([...labels.keys()].sort(), printed);
      assert.ok([...labels.values()].every((entry) => entry.label === label));
    });

    it('writes whole JSON at Ctrl-C, too, and one error', async () => {
      const gate = new Gate();
      let child: ChildProcessWithoutNullStreams | undefined;
      gate.onHeld = () => {
        if (gate.held.length !== 8) return;
        child?.kill('SIGINT');
        gate.open(true);
      };
      const {env} = await through({onAnswer: async (one) => (isCreation(one) ? gate.hold() : undefined)});
      const result = await operator.mxtok(['create', '--count', '2000', '--json'], {
        env,
        onStart: (started) => (child = started),
      });
      assert.equal(result.code, 130);
      const printed = (JSON.parse(result.stdout) as TokenRecord[]).map(({token}) => token).sort();
      assert.deepEqual(printed, await namesMade());
      assert.equal(errorOf(result).message, `interrupted: ${printed.length} of 2000 tokens were created`);
    });

    it('ends at once at the second signal, with nothing on the homeserver that the log does not know', async () => {
      const gate = new Gate();
      const {env} = await through({onAnswer: async (one) => (isCreation(one) ? gate.hold() : undefined)});
      let child: ChildProcessWithoutNullStreams | undefined;
      gate.onHeld = () => {
        if (gate.held.length === 8) child?.kill('SIGINT');
      };
      const {code, stdout} = await operator.mxtok(['create', '--count', '50', '--label', label], {
        env,
        onStart: (started) => {
          child = started;
          // The two within a quarter of a second are taken for one; so it is told until it ends.
          started.stderr.once('data', () => {
            const again = setInterval(() => started.kill('SIGINT'), 100);
            started.once('close', () => {
              clearInterval(again);
            });
          });
        },
      });
      assert.deepEqual([code, stdout], [130, '']);
      gate.open(true);
      const there = await made();
      assert.equal(there.length, 8);
      await assertKnown(there);
    });

    for (const killedAt of [1, 9, 499, 501, 1200]) {
      it(`killed outright at request ${killedAt}, every token that exists is in the log and has its label`, async () => {
        await killAt(killedAt, ['create', '--count', '1300', '--label', label]);
        const there = await made();
        assert.ok(there.length >= killedAt - 8 && there.length < 1300, `${there.length} are there`);
        await assertKnown(there);
      });
    }

    it('ends where its reader goes away: what is under way comes to its end, and the log knows all', async () => {
      const gate = new Gate();
      let creations = 0;
      const {proxy, env} = await through({
        onAnswer: async (one) => (isCreation(one) && ++creations > 1 ? gate.hold() : undefined),
      });
      const {code, stderr} = await operator.mxtok(['create', '--count', '600', '--label', label], {
        env,
        onStart: ({stdout}) => {
          stdout.once('data', () => {
            stdout.destroy();
          });
          stdout.once('close', () => {
            gate.open(true);
          });
        },
      });
      assert.equal(code, 130);
      const there = await made();
      assert.equal(there.length, proxy.of('POST').length);
      assert.ok(there.length < 600);
      assert.match(
        stderr,
        new RegExp(`^nobody reads what is written any more: ${there.length} of 600 tokens were created`),
      );
      await assertKnown(there);
      assert.deepEqual(await audit('--unfinished'), []);
      assert.equal((await audit()).filter(({outcome}) => outcome === 'ok').length, there.length);
    });

    it('is no failure where its reader goes away after the last', async () => {
      const {status, stdout} = headOf(['create', '--count', '1']);
      assert.equal(status, 0);
      assert.deepEqual(linesOf(stdout), await namesMade());
    });

    it('stops where the homeserver is gone in the middle, and says how many there are', async () => {
      let creations = 0;
      const {proxy, env} = await through({
        instead: (one) => (creations > 20 || (isCreation(one) && ++creations > 20) ? 'cut' : undefined),
      });
      const {code, stdout, stderr} = await operator.mxtok(['create', '--count', '700'], {env});
      assert.equal(code, 8);
      assert.deepEqual(linesOf(stdout).sort(), await namesMade());
      assert.match(stderr, new RegExp(`${linesOf(stdout).length} of 700 tokens were created`));
      assert.ok(proxy.of('POST').length < 40, `${proxy.of('POST').length} were tried`);
    });

    it('refuses a count or a concurrency that makes no sense', async () => {
      const {proxy, env} = await through();
      for (const flags of [
        ['--count', '0'],
        ['--count', '100001'],
        ['--count', '-1'],
        ['--count', '1e3'],
        ['--count', '5', '--concurrency', '0'],
        ['--count', '5', '--concurrency', '33'],
        ['--concurrency', '4'],
        ['--count', '5', '--token', 'x'],
        ['--count', '5', '--from', '-'],
      ])
        assert.equal((await operator.mxtok(['create', ...flags], {env})).code, 2, flags.join(' '));
      assert.deepEqual(proxy.exchanges, []);
    });
  });

  describe('the progress bar', () => {
    const BAR = /[█░]/;

    it('is on a terminal’s stderr, with rate and time left, and is gone at the end; stdout has the tokens', async () => {
      const {shown, stdout, code} = await onTerminal(operator, ['create', '--count', '150']);
      assert.equal(code, 0);
      assert.deepEqual(linesOf(stdout).sort(), await namesMade());
      assert.match(shown, /[█░]{24} {3}0\/150 tokens\u001b\[K/);
      assert.match(shown, /[█░]{24} +\d+\/150 tokens, [\d.]+\/s, \d:\d\d left\u001b\[K/);
      assert.ok(shown.endsWith('\r\u001b[K'), JSON.stringify(shown.slice(-100)));
      assert.equal(shown.includes('\n'), false, 'one line, always the same');
    });

    it('makes room for each token where both are on the same terminal', async () => {
      const {shown} = await onTerminal(operator, ['create', '--count', '30'], [], {together: true});
      const names = await namesMade();
      assert.match(shown, BAR);
      // What is left on the screen: each line as it is after the last time that it was cleared.
      const lines = shown.split('\n').map((line) => line.replace(/^.*\r\u001b\[K/s, '').replace(/\r$/, ''));
      assert.deepEqual(lines.filter((line) => line !== '').sort(), names);
    });

    it('fits a narrow terminal', async () => {
      const {shown} = await onTerminal(operator, ['create', '--count', '150'], [], {columns: 32});
      const drawn = shown.split('\r').map((line) => line.replace('\u001b[K', ''));
      assert.ok(drawn.some((line) => / *\d+\/150 tokens, /.test(line)));
      assert.ok(drawn.every((line) => line.length < 32));
    });

    it('is not there with --quiet, on a terminal that knows no cursor, for one token, or on a pipe', async () => {
      const quiet = await onTerminal(operator, ['create', '--count', '20', '--quiet']);
      assert.deepEqual([quiet.shown, quiet.code], ['', 0]);
      const dumb = await onTerminal(operator, ['create', '--count', '20'], [], {env: {TERM: 'dumb'}});
      assert.equal(dumb.shown, '');
      assert.equal((await onTerminal(operator, ['create', '--count', '1'])).shown, '');
      assert.equal((await operator.mxtok(['create', '--count', '20'])).stderr, '');
    });

    it('is gone before anything else is said', async () => {
      const refused = {status: 400, body: JSON.stringify({errcode: 'M_UNKNOWN', error: 'no'})};
      let creations = 0;
      const {env} = await through({
        instead: (one) => (isCreation(one) && ++creations > 15 ? refused : undefined),
      });
      const {shown, code} = await onTerminal(operator, ['create', '--count', '20'], [], {env});
      assert.equal(code, 8);
      assert.match(shown, /\r\u001b\[Kerror: /);
    });
  });
});
