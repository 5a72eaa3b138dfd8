import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import {join} from 'node:path';
import {performance} from 'node:perf_hooks';

import type {AuditRecord} from '../../src/lib/operations/audit.ts';
import {fingerprint} from '../../src/lib/registration-token.ts';
import type {AuditEntry} from '../../src/lib/store/audit.ts';
import type {TokenMetadata} from '../../src/lib/store/metadata.ts';
import type {TokenRecord} from '../../src/lib/token-record.ts';
import {AdminApi} from '../helpers/admin-api.ts';
import {Operator} from '../helpers/binary.ts';
import {asRoot} from '../helpers/root.ts';
import {operatorOf, synapse, type TestSynapse, uniqueToken} from '../helpers/setup-e2e.ts';
import {tempDir} from '../helpers/temp.ts';

interface MetadataFile {
  version: number;
  server_name: string;
  tokens: TokenMetadata[];
}

function metadataPath(operator: Operator): string {
  const directory = join(operator.env['MXTOK_CONFIG_DIR'] ?? '', 'metadata');
  const [name, ...others] = readdirSync(directory).filter((file) => file.endsWith('.json'));
  assert.ok(name !== undefined && others.length === 0, 'the metadata of one homeserver');
  return join(directory, name);
}

function auditPath(operator: Operator): string {
  return join(operator.env['MXTOK_DATA_DIR'] ?? '', 'audit.jsonl');
}

/** What is in the files, past mxtok. */
function labelsOf(operator: Operator): Map<string, string | undefined> {
  const {tokens} = JSON.parse(readFileSync(metadataPath(operator), 'utf8')) as MetadataFile;
  return new Map(tokens.map(({token, label}) => [token, label]));
}

async function times(count: number, work: (index: number) => Promise<void>): Promise<void> {
  for (let index = 0; index < count; index++) await work(index);
}

describe('processes at once', function () {
  this.timeout(300_000);
  let server: TestSynapse;
  let api: AdminApi;
  before(function () {
    server = synapse(this);
    api = new AdminApi(server);
  });

  it('lose no label: 20 of them, a token each', async () => {
    const operator = await operatorOf(server);
    const tokens = Array.from({length: 20}, uniqueToken);
    for (const token of tokens) await api.create(token);
    await Promise.all(tokens.map((token) => operator.ok(['update', '--label', `of ${token}`, '--', token])));
    const labels = labelsOf(operator);
    assert.deepEqual(
      Object.fromEntries(labels),
      Object.fromEntries(tokens.map((token) => [token, `of ${token}`])),
    );
    const log = await operator.json<AuditRecord[]>(['audit', '--operation', 'update']);
    assert.deepEqual(log.map((record) => record.fingerprint).sort(), tokens.map(fingerprint).sort());
    assert.ok(log.every(({outcome}) => outcome === 'ok'));
  });

  it('lose no label: 2 of them writing one after the other', async () => {
    const operator = await operatorOf(server);
    const tokens = Array.from({length: 2 * 15}, uniqueToken);
    for (const token of tokens) await api.create(token);
    await Promise.all(
      [0, 1].map((half) =>
        times(15, async (index) => {
          const token = tokens[2 * index + half] ?? '';
          await operator.ok(['update', '--label', token, '--', token]);
        }),
      ),
    );
    assert.deepEqual(
      Object.fromEntries(labelsOf(operator)),
      Object.fromEntries(tokens.map((token) => [token, token])),
    );
  });
});

describe('a process killed at any moment', function () {
  this.timeout(600_000);

  /** Directories that are shared by two who are killed at the same time. */
  const OPERATORS = 4;
  const RUNS = 25;

  /** One of those who are killed: what they tried, and what they were told. */
  interface Victim {
    operator: Operator;
    /** Has label 0 at first, and is relabelled with rising numbers. */
    labelled: string;
    /** Of the last label that a run said was kept. */
    kept: number;
    tried: number;
    /** The tokens that a run said were created. */
    created: string[];
    /** All that it tried to create. */
    wanted: string[];
    killed: number;
  }

  let server: TestSynapse;
  before(function () {
    server = synapse(this);
  });

  /** @returns whether the run came to its end, and well. */
  async function runAndKill(victim: Victim, argv: string[], longest: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const {code, signal, stderr} = await victim.operator.mxtok(argv, {
      onStart: (child) => {
        timer = setTimeout(() => child.kill('SIGKILL'), Math.random() * longest);
      },
    });
    clearTimeout(timer);
    if (signal === 'SIGKILL') victim.killed++;
    else assert.equal(code, 0, `${argv.join(' ')}: ${stderr}`);
    return code === 0;
  }

  async function suffer(victim: Victim, longest: number): Promise<void> {
    for (let run = 0; run < RUNS; run++) {
      if (run % 2 === 0) {
        victim.tried++;
        const argv = ['update', '--label', String(victim.tried), '--', victim.labelled];
        if (await runAndKill(victim, argv, longest)) victim.kept = victim.tried;
      } else {
        const token = uniqueToken();
        victim.wanted.push(token);
        const argv = ['create', '--token', token, '--uses', '1', '--label', `label of ${token}`];
        if (await runAndKill(victim, argv, longest)) victim.created.push(token);
      }
    }
  }

  it('leaves a store that opens, and a log that has all that was done and what was under way', async () => {
    const api = new AdminApi(server);
    const victims: Victim[] = [];
    for (let index = 0; index < OPERATORS; index++) {
      const operator = await operatorOf(server);
      for (const labelled of [uniqueToken(), uniqueToken()]) {
        await operator.ok(['create', '--token', labelled, '--label', '0']);
        victims.push({operator, labelled, kept: 0, tried: 0, created: [], wanted: [], killed: 0});
      }
    }

    // As long as a run takes while as many others run: what is killed later has been done already.
    const began = performance.now();
    await Promise.all(
      victims.map(({operator, labelled}) => operator.ok(['update', '--label', '0', '--', labelled])),
    );
    const longest = performance.now() - began;
    await Promise.all(victims.map((victim) => suffer(victim, longest)));

    const all = OPERATORS * 2 * RUNS;
    const killed = victims.reduce((sum, victim) => sum + victim.killed, 0);
    console.error(`      ${killed} of ${all} runs were killed within ${Math.round(longest)} ms`);
    assert.ok(killed > all / 10, `only ${killed} runs were killed`);

    const onServer = new Set((await api.list()).map(({token}) => token));
    for (const operator of new Set(victims.map((victim) => victim.operator))) {
      const own = victims.filter((victim) => victim.operator === operator);
      JSON.parse(readFileSync(join(operator.dir, 'config', 'config.json'), 'utf8'));
      const labels = labelsOf(operator);
      const log = await operator.json<AuditRecord[]>(['audit']);

      for (const {labelled, kept, tried, created, wanted} of own) {
        const label = Number(labels.get(labelled));
        assert.ok(label >= kept && label <= tried, `label ${label}; ${kept} was kept, ${tried} tried`);
        for (const token of created) {
          assert.ok(onServer.has(token), `${token} was said to be created`);
          assert.equal(labels.get(token), `label of ${token}`);
        }

        for (const token of wanted) {
          const [logged, ...more] = log.filter((record) => record.fingerprint === fingerprint(token));
          assert.deepEqual(more, []);
          if (onServer.has(token)) assert.equal(logged?.operation, 'create', `${token} is not in the log`);
          if (created.includes(token)) assert.equal(logged?.outcome, 'ok');
          if (logged?.outcome === 'ok') assert.ok(onServer.has(token));
        }
      }

      // What has a first line and no second, read past mxtok.
      const entries = readFileSync(auditPath(operator), 'utf8')
        .split('\n')
        .flatMap((line) => {
          try {
            return [JSON.parse(line) as AuditEntry];
          } catch {
            return [];
          }
        });
      const finished = new Set(entries.filter(({phase}) => phase === 'finished').map(({id}) => id));
      // A success of the same kind on the same token, later on, has settled what was cut short.
      const settled = ({fingerprint, operation}: AuditEntry, index: number): boolean =>
        entries
          .slice(index)
          .some(
            (later) =>
              later.outcome === 'ok' && later.operation === operation && later.fingerprint === fingerprint,
          );
      const open = entries
        .filter(
          (entry, index) => entry.phase === 'started' && !finished.has(entry.id) && !settled(entry, index),
        )
        .map(({id}) => id);
      const unfinished = await operator.json<AuditRecord[]>(['audit', '--unfinished']);
      assert.deepEqual(unfinished.map(({id}) => id).sort(), open.sort());
      assert.ok(unfinished.every(({outcome}) => outcome === 'unfinished'));

      // And on it goes, with what was left behind cleared away.
      for (const {labelled} of own) await operator.ok(['update', '--label', 'after', '--', labelled]);
      const created = (await operator.ok(['create', '--uses', '1', '--label', 'new'])).trim();
      const records = await operator.json<TokenRecord[]>(['list']);
      for (const {labelled} of own)
        assert.equal(records.find(({token}) => token === labelled)?.label, 'after');
      assert.equal(records.find(({token}) => token === created)?.label, 'new');
      // The guard of a take-over that was killed itself stays until there is something to take over again.
      const filesIn = (...path: string[]): string[] =>
        readdirSync(join(operator.dir, ...path))
          .filter((name) => !name.endsWith('.takeover.lock'))
          .sort();
      assert.deepEqual(filesIn('config'), ['config.json', 'metadata']);
      assert.equal(filesIn('config', 'metadata').length, 1);
      assert.deepEqual(filesIn('data'), ['audit.jsonl']);
    }
  });
});

describe('a full disk', function () {
  this.timeout(300_000);
  let server: TestSynapse;
  let api: AdminApi;
  let disk: string;
  let token: string;

  before(function () {
    server = synapse(this);
    api = new AdminApi(server);
  });

  beforeEach(function () {
    asRoot(this);
    disk = join(tempDir(), 'disk');
    mkdirSync(disk);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=700,nr_inodes=64', 'tmpfs', disk], {
        stdio: 'pipe',
      });
    } catch (error) {
      console.error(`      !!! SKIPPED, no small file system can be mounted here: ${String(error)}`);
      this.skip();
    }

    token = uniqueToken();
  });

  afterEach(() => {
    if (existsSync(disk)) execFileSync('umount', [disk], {stdio: 'pipe'});
    disk = '';
  });

  /** Take all that is free. */
  function fill(): void {
    const fd = openSync(join(disk, 'filler'), 'a');
    try {
      for (;;) writeSync(fd, Buffer.alloc(4096, 'x'));
    } catch (error) {
      assert.equal((error as {code?: string}).code, 'ENOSPC');
    } finally {
      closeSync(fd);
    }
  }

  /** Give back so much of it. */
  function free(bytes: number): void {
    const filler = join(disk, 'filler');
    truncateSync(filler, statSync(filler).size - bytes);
  }

  /** An operator with a labelled token, and the parts of their store on the disk that will be full. */
  async function operatorOn(parts: {config: boolean; data: boolean}): Promise<Operator> {
    const operator = await operatorOf(server, {
      ...(parts.config && {MXTOK_CONFIG_DIR: join(disk, 'config')}),
      ...(parts.data && {MXTOK_DATA_DIR: join(disk, 'data')}),
    });
    await operator.ok(['create', '--token', token, '--uses', '3', '--label', 'before']);
    return operator;
  }

  /** Make the log so long that its last page of memory has so many bytes left. */
  function padLog(operator: Operator, left: number): void {
    const log = auditPath(operator);
    const [line = ''] = readFileSync(log, 'utf8').split('\n');
    const lineOf = (padding: string): string =>
      `${JSON.stringify({...(JSON.parse(line) as AuditEntry), id: 'long', padding})}\n`;
    const missing = 2 * 4096 - left - statSync(log).size - Buffer.byteLength(lineOf(''));
    writeFileSync(log, lineOf('x'.repeat(missing)), {flag: 'a'});
    assert.equal(statSync(log).size, 2 * 4096 - left);
  }

  function labelFiles(operator: Operator): string[] {
    return [join(operator.env['MXTOK_CONFIG_DIR'] ?? '', 'config.json'), metadataPath(operator)];
  }

  /** What is in the files, byte for byte; each is whole. */
  function contents(operator: Operator, paths = [...labelFiles(operator), auditPath(operator)]): Buffer[] {
    return paths.map((path) => {
      const bytes = readFileSync(path);
      const texts = path.endsWith('.jsonl') ? bytes.toString().trimEnd().split('\n') : [bytes.toString()];
      for (const text of texts) JSON.parse(text);
      return bytes;
    });
  }

  async function fails(operator: Operator, argv: string[], message: RegExp): Promise<void> {
    const {code, stdout, stderr} = await operator.mxtok(argv);
    assert.equal(code, 1, stderr);
    assert.equal(stdout, '');
    assert.match(stderr, message);
    assert.match(stderr, /^hint: /m);
    assert.doesNotMatch(stderr, /^ +at /m);
  }

  /** With room again, the same works. */
  async function recovers(operator: Operator): Promise<void> {
    rmSync(join(disk, 'filler'), {force: true});
    await operator.ok(['update', '--label', 'after', '--', token]);
    assert.equal((await operator.json<TokenRecord>(['show', '--', token])).label, 'after');
    assert.equal(labelsOf(operator).get(token), 'after');
    assert.deepEqual(readdirSync(join(metadataPath(operator), '..')).length, 1);
  }

  it('keeps all that is there, and nothing is sent that could not be logged', async () => {
    const operator = await operatorOn({config: true, data: true});
    padLog(operator, 0);
    fill();
    const before = contents(operator);
    const fresh = uniqueToken();
    await fails(operator, ['update', '--label', 'after', '--uses', '9', '--', token], /the disk is full/);
    await fails(operator, ['create', '--token', fresh], /the disk is full/);
    await fails(operator, ['delete', '--yes', '--', token], /the disk is full/);
    assert.equal(await api.count(fresh), 0);
    assert.equal((await api.get(token)).uses_allowed, 3);
    assert.deepEqual(contents(operator), before);
    await recovers(operator);
  });

  it('that has room for a part of a line of the log only, takes none of it', async () => {
    const operator = await operatorOn({config: false, data: true});
    // So many are left for a line to begin in, and no more.
    padLog(operator, 100);
    fill();
    const before = contents(operator);
    const fresh = uniqueToken();
    await fails(operator, ['create', '--token', fresh], /the disk is full/);
    await fails(operator, ['update', '--label', 'after', '--uses', '9', '--', token], /the disk is full/);
    assert.equal(await api.count(fresh), 0);
    assert.equal((await api.get(token)).uses_allowed, 3);
    assert.deepEqual(contents(operator), before);
    await recovers(operator);
  });

  for (const room of [0, 4096]) {
    it(`where the labels are, with ${room} bytes free: the old ones stay, and the log says what was done`, async () => {
      const operator = await operatorOn({config: true, data: false});
      // More than what is free, so that a part of it can be written.
      for (const label of ['a', 'b', 'c'])
        await operator.ok(['create', '--uses', '1', '--label', label, '--note', label.repeat(2000)]);
      assert.ok(statSync(metadataPath(operator)).size > 4096);
      fill();
      free(room);
      const before = contents(operator, labelFiles(operator));
      const same = (): void => {
        assert.deepEqual(contents(operator, labelFiles(operator)), before);
      };

      await fails(operator, ['update', '--label', 'after', '--', token], /\.json: the disk is full/);
      same();
      const [update] = await operator.json<AuditRecord[]>(['audit', '--operation', 'update']);
      assert.deepEqual([update?.outcome, update?.error?.code], ['failed', 'store']);

      const fresh = uniqueToken();
      await fails(operator, ['create', '--token', fresh, '--label', 'fresh'], /\.json: the disk is full/);
      same();
      assert.equal(await api.count(fresh), 0, 'what cannot be labelled is not made');
      const [create] = await operator.json<AuditRecord[]>(['audit', '--token', fresh]);
      assert.deepEqual([create?.operation, create?.outcome], ['create', 'failed']);
      // To read needs no room.
      assert.equal((await operator.json<TokenRecord>(['show', '--', token])).label, 'before');
      await recovers(operator);
    });
  }

  it('that has no room for a lock is an error at once', async () => {
    const operator = await operatorOn({config: true, data: true});
    const before = contents(operator);
    for (let index = 0; ; index++) {
      try {
        writeFileSync(join(disk, `inode-${index}`), '');
      } catch {
        break;
      }
    }

    const began = performance.now();
    await fails(operator, ['update', '--label', 'after', '--', token], /\.lock: the disk is full/);
    await fails(operator, ['create', '--token', uniqueToken()], /\.lock: the disk is full/);
    // Not a promise of speed: to wait for a lock that nobody holds takes 40 s.
    assert.ok(performance.now() - began < 30_000);
    assert.deepEqual(contents(operator), before);
    for (const name of readdirSync(disk)) if (name.startsWith('inode-')) rmSync(join(disk, name));
    await recovers(operator);
  });
});
