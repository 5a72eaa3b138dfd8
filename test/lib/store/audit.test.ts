import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {setImmediate as turn} from 'node:timers/promises';

import {MxtokError} from '../../../src/lib/errors.ts';
import {fingerprint} from '../../../src/lib/registration-token.ts';
import {type AuditContext, type AuditEntry, AuditLog} from '../../../src/lib/store/audit.ts';
import {asRoot} from '../../helpers/root.ts';
import {tempDir} from '../../helpers/temp.ts';

const context: AuditContext = {server: 'main', server_name: 'example.org', actor: '@admin:example.org'};
const TOKEN = 'CrispOtterLampBravoStone';

function entryOf(id: string, server_name = 'example.org'): AuditEntry {
  return {
    version: 1,
    time: '2026-11-20T10:00:00.000Z',
    id,
    phase: 'started',
    server: null,
    server_name,
    actor: null,
    os_user: 'root',
    operation: 'create',
    token: null,
    fingerprint: null,
  };
}

describe('the audit log', () => {
  let dataDir: string;
  let warnings: string[];
  let log: AuditLog;
  beforeEach(() => {
    dataDir = join(tempDir(), 'data');
    warnings = [];
    log = new AuditLog(dataDir, (message) => warnings.push(message));
  });

  const text = (): string => readFileSync(log.path, 'utf8');
  const lines = (): AuditEntry[] =>
    text()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as AuditEntry);

  /** What was there before the test's append. */
  function write(content: string | Buffer): void {
    mkdirSync(dataDir, {recursive: true, mode: 0o700});
    writeFileSync(log.path, content, {mode: 0o600});
  }

  async function readAll(): Promise<AuditEntry[]> {
    const entries: AuditEntry[] = [];
    for await (const entry of log.read()) entries.push(entry);
    return entries;
  }

  it('has a line before and a line after each change, of the same id', async () => {
    const [operation] = await log.start(context, [
      {operation: 'update', token: TOKEN, before: {uses_allowed: 1}, after: {uses_allowed: 5}},
    ]);
    const [started] = lines();
    assert.equal(lines().length, 1);
    assert.ok(started && Math.abs(Date.parse(started.time) - Date.now()) < 60_000);
    const {time: _time, id, os_user: _osUser, ...rest} = started;
    assert.deepEqual(rest, {
      version: 1,
      phase: 'started',
      ...context,
      operation: 'update',
      token: 'Cris…',
      fingerprint: fingerprint(TOKEN),
      before: {uses_allowed: 1},
      after: {uses_allowed: 5},
    });
    await operation?.succeeded({uses_allowed: 5, completed: 0});
    const [, finished] = lines();
    assert.equal(lines().length, 2);
    assert.deepEqual([finished?.id, finished?.phase, finished?.outcome], [id, 'finished', 'ok']);
    assert.deepEqual(finished?.after, {uses_allowed: 5, completed: 0});
    assert.equal(finished.before, undefined);
    assert.deepEqual(await readAll(), lines());
  });

  it('never has the token, not even where an error names it', async () => {
    const [operation] = await log.start(context, [{operation: 'create', token: TOKEN}]);
    await operation?.failed(
      new MxtokError('already_exists', `there is ${TOKEN} already`, {
        token: TOKEN,
        errcode: 'M_INVALID_PARAM',
        status: 400,
        hint: TOKEN,
        cause: new Error(TOKEN),
      }),
    );
    assert.ok(!text().includes(TOKEN));
    assert.deepEqual(lines()[1]?.error, {code: 'already_exists', errcode: 'M_INVALID_PARAM', status: 400});
    assert.equal(lines()[1]?.outcome, 'failed');
  });

  for (const code of ['unreachable', 'timeout', 'server_error', 'interrupted', 'not_matrix'] as const) {
    it(`says of ${code} that nobody knows the outcome`, async () => {
      const [operation] = await log.start(context, [{operation: 'create', token: TOKEN}]);
      await operation?.failed(new MxtokError(code, 'x'));
      assert.equal(lines()[1]?.outcome, 'unknown');
    });
  }

  it('does not know how one has ended of which a part was done, whatever went wrong with the rest', async () => {
    for (const code of ['unauthorized', 'refused', 'still_accepted'] as const) {
      const [operation] = await log.start(context, [{operation: 'disable', token: TOKEN}]);
      await operation?.failed(new MxtokError(code, 'x'), true);
      const end = lines().at(-1);
      assert.deepEqual([end?.outcome, end?.error?.code], ['unknown', code]);
    }
  });

  it('is for its owner alone', async () => {
    const before = process.umask(0);
    try {
      await log.append([entryOf('a')]);
    } finally {
      process.umask(before);
    }

    assert.equal(statSync(log.path).mode & 0o777, 0o600);
    assert.equal(statSync(dataDir).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(dataDir), ['audit.jsonl']);
    chmodSync(log.path, 0o644);
    await log.append([entryOf('b')]);
    assert.equal(statSync(log.path).mode & 0o777, 0o600);
    assert.match(warnings.join('\n'), /could be accessed by others \(mode 644\)/);
  });

  it('of another user is neither written nor read', async function () {
    asRoot(this);
    write('');
    chownSync(log.path, 12_345, 12_345);
    const refused = {code: 'store', message: /belongs to another user/};
    await assert.rejects(log.append([entryOf('a')]), refused);
    await assert.rejects(readAll(), refused);
    await assert.rejects(log.purge('example.org'), refused);
    assert.equal(text(), '');
    assert.equal(statSync(log.path).uid, 12_345);
  });

  it('is not there until something is written, and reading makes none', async () => {
    assert.deepEqual(await readAll(), []);
    assert.deepEqual(await log.start(context, []), []);
    await log.purge('example.org');
    assert.equal(existsSync(dataDir), false);
  });

  it('loses none of 200 lines at once, nor of two logs open at once', async function () {
    this.timeout(60_000);
    const other = new AuditLog(dataDir, () => undefined);
    const ids = Array.from({length: 200}, (_, index) => `id-${index}`);
    await Promise.all(ids.map((id, index) => (index % 2 === 0 ? log : other).append([entryOf(id)])));
    assert.deepEqual(
      lines()
        .map(({id}) => id)
        .sort(),
      [...ids].sort(),
    );
  });

  it('has every line on the disk when its append returns', async () => {
    await Promise.all(
      Array.from({length: 200}, async (_, index) => {
        if (index % 3 === 0) await turn();
        await log.append([entryOf(`id-${index}`)]);
        assert.ok(text().includes(`"id-${index}"`));
      }),
    );
    assert.equal(lines().length, 200);
  });

  it('takes the ends of 150,000 changes that come one by one', async function () {
    // A few seconds; where each costs as much as there are before it, minutes.
    this.timeout(40_000);
    const changes = Array.from({length: 150_000}, (_, index) => ({
      operation: 'update',
      token: `token-${index}`,
    }));
    const operations = await log.start(context, changes);
    await Promise.all(operations.map((operation) => operation.succeeded()));
    const written = text().trimEnd().split('\n');
    assert.equal(written.length, 300_000);
    assert.equal(
      written.findLastIndex((line) => line.includes('"started"')),
      149_999,
    );
  });

  it('has a line if its append says so, and not if it does not', async () => {
    mkdirSync(log.path, {recursive: true});
    const first = log.append([entryOf('first')]);
    // What was in the way is gone with the first failure.
    const failed = first.catch(() => {
      rmdirSync(log.path);
    });
    // Appended while the first write waits for its lock.
    const others: [string, Promise<void>][] = [];
    for (let index = 0; index < 5; index++) {
      await turn();
      others.push([`other-${index}`, log.append([entryOf(`other-${index}`)])]);
    }

    await assert.rejects(first, {code: 'store', message: `${log.path} is not a file`});
    await failed;
    const written: string[] = [];
    for (const [id, append] of others) {
      await append.then(
        () => written.push(id),
        () => undefined,
      );
    }

    await log.append([entryOf('last')]);
    assert.deepEqual(
      lines().map(({id}) => id),
      [...written, 'last'],
    );
  });

  it('whose last line was cut off does not swallow the next', async () => {
    const torn = JSON.stringify(entryOf('torn')).slice(0, 40);
    write(`${JSON.stringify(entryOf('a'))}\n${torn}`);
    await log.append([entryOf('b')]);
    await log.append([entryOf('c')]);
    assert.equal(
      text(),
      `${JSON.stringify(entryOf('a'))}\n${torn}\n${JSON.stringify(entryOf('b'))}\n${JSON.stringify(entryOf('c'))}\n`,
    );
    assert.deepEqual(
      (await readAll()).map(({id}) => id),
      ['a', 'b', 'c'],
    );
    assert.deepEqual(warnings, [
      `${log.path}: 1 of 4 lines cannot be read (line 2); they are left as they are`,
    ]);
  });

  it('with broken lines is read past them, which are counted and left alone', async () => {
    const broken = ['nonsense', '{}', '[]', 'null', '{"version":2,"id":"x"}', '\u0000\u0000', '"'];
    const content = `${broken.join('\n')}\n${JSON.stringify(entryOf('good'))}\r\n\n${JSON.stringify(entryOf('last'))}`;
    write(content);
    assert.deepEqual(
      (await readAll()).map(({id}) => id),
      ['good', 'last'],
    );
    assert.deepEqual(warnings, [
      `${log.path}: 7 of 10 lines cannot be read (lines 1, 2, 3, 4, 5 …); they are left as they are`,
    ]);
    assert.equal(text(), content);
    await log.append([entryOf('next')]);
    assert.equal(text(), `${content}\n${JSON.stringify(entryOf('next'))}\n`);
  });

  it('keeps an entry on one line, whatever is in it', async () => {
    const label = 'a\nb\u2028c\u2029d\u0085e\u001b[31m\u009bf \ud83d\ude00';
    const [operation] = await log.start(context, [{operation: 'update', before: {label}}]);
    await operation?.succeeded({label});
    const [started, finished] = await readAll();
    assert.deepEqual([started?.before, finished?.after], [{label}, {label}]);
    assert.deepEqual(warnings, []);
    // A log is looked at with cat, too.
    assert.doesNotMatch(text(), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  });

  it('behind a symbolic link is written where it is', async () => {
    const target = join(tempDir(), 'central.jsonl');
    writeFileSync(target, '', {mode: 0o600});
    mkdirSync(dataDir, {mode: 0o700});
    symlinkSync(target, log.path);
    await log.append([entryOf('a', 'a.example'), entryOf('b', 'b.example')]);
    await log.purge('a.example');
    assert.ok(lstatSync(log.path).isSymbolicLink());
    assert.equal(readFileSync(target, 'utf8'), `${JSON.stringify(entryOf('b', 'b.example'))}\n`);
  });

  it('is purged of one homeserver, and of nothing else', async () => {
    const kept = [
      JSON.stringify(entryOf('b1', 'b.example')),
      'a broken line that names a.example',
      JSON.stringify({...entryOf('b2', 'b.example'), server: 'a.example', extra: {kept: true}}),
      JSON.stringify(entryOf('b3', 'xa.example')),
      '{"version":1,"server_name":"a.example"',
    ];
    const [a, b] = [entryOf('a1', 'a.example'), entryOf('a2', 'a.example')].map((e) => JSON.stringify(e));
    write([a, kept[0], kept[1], b, kept[2], kept[3], kept[4]].join('\n'));
    appendFileSync(log.path, '');
    await log.purge('a.example');
    assert.equal(text(), `${kept.join('\n')}\n`);
    assert.equal(statSync(log.path).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(dataDir), ['audit.jsonl']);
    await log.purge('b.example');
    await log.purge('xa.example');
    assert.equal(text(), `${kept[1] ?? ''}\n${kept[4] ?? ''}\n`);
  });
});
