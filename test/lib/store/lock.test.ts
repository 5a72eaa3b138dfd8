import assert from 'node:assert/strict';
import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {setImmediate as turn} from 'node:timers/promises';

import {withLock} from '../../../src/lib/store/lock.ts';
import {HeldTimers} from '../../helpers/held-timers.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {tempDir} from '../../helpers/temp.ts';

/** A process that adds one to the number in each file that it is told of. */
const COUNTER = `
import {readFileSync, writeFileSync} from 'node:fs';
import {withLock} from ${JSON.stringify(new URL('../../../src/lib/store/lock.ts', import.meta.url).href)};
process.on('message', async (path) => {
  await withLock(path, () => {
    const count = Number(readFileSync(path, 'utf8'));
    // Long enough for another one to come between.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    writeFileSync(path, String(count + 1));
  });
  process.send('done');
});
process.send('ready');
`;

/** What a killed process leaves. */
function leaveLock(path: string, ageInSeconds: number): void {
  mkdirSync(`${path}.lock`);
  const then = Date.now() / 1000 - ageInSeconds;
  utimesSync(`${path}.lock`, then, then);
}

/** Somebody else takes a lock over; the new one is made first, so that it cannot get the inode of the old one. */
function replaceLock(path: string): void {
  mkdirSync(`${path}.other`);
  rmdirSync(`${path}.lock`);
  renameSync(`${path}.other`, `${path}.lock`);
}

/** A process that loses its lock while it works, and ends. */
const LOSER = `
import {mkdirSync, renameSync, rmdirSync} from 'node:fs';
import {withLock} from ${JSON.stringify(new URL('../../../src/lib/store/lock.ts', import.meta.url).href)};
const path = process.argv[1];
await withLock(path, () => {
  mkdirSync(path + '.other');
  rmdirSync(path + '.lock');
  renameSync(path + '.other', path + '.lock');
});
`;

/** Run `work` at a time that seems to be so much later. */
function later<T>(ms: number, work: () => T): T {
  const {now} = Date;
  Date.now = () => now() + ms;
  try {
    return work();
  } finally {
    Date.now = now;
  }
}

/** A message from each; a process that ends instead is an error. */
async function messagesOf(processes: ChildProcess[]): Promise<void> {
  await Promise.all(
    processes.map(async (child) => {
      const stop = new AbortController();
      const {signal} = stop;
      const ended = once(child, 'exit', {signal}).then(
        () => assert.fail('a process ended'),
        () => undefined,
      );
      await Promise.race([once(child, 'message', {signal}), ended]);
      stop.abort();
    }),
  );
}

describe('the lock', () => {
  let path: string;
  beforeEach(() => {
    path = join(tempDir(), 'file');
  });

  it('lets one after the other in', async () => {
    const order: string[] = [];
    await Promise.all(
      ['a', 'b', 'c', 'd'].map((name) =>
        withLock(path, async () => {
          order.push(`${name} in`);
          await turn();
          await turn();
          order.push(`${name} out`);
        }),
      ),
    );
    assert.equal(order.length, 8);
    for (let index = 0; index < order.length; index += 2) {
      assert.equal(order[index]?.replace('in', 'out'), order[index + 1]);
    }
  });

  it('passes on the result, and leaves nothing behind', async () => {
    assert.equal(await withLock(path, () => 42), 42);
    assert.deepEqual(readdirSync(join(path, '..')), []);
  });

  it('is given back when the work fails', async () => {
    await assert.rejects(
      withLock(path, () => Promise.reject(new Error('failed'))),
      /failed/,
    );
    assert.equal(await withLock(path, () => 'next'), 'next');
  });

  it('of a killed process is taken over', async () => {
    leaveLock(path, 6);
    assert.equal(await withLock(path, () => 'mine'), 'mine');
    assert.deepEqual(readdirSync(join(path, '..')), []);
  });

  it('is taken over also where a process was killed while taking over', async function () {
    this.timeout(30_000);
    leaveLock(path, 6);
    leaveLock(`${path}.takeover`, 6);
    assert.equal(await withLock(path, () => 'mine'), 'mine');
    assert.deepEqual(readdirSync(join(path, '..')), []);
  });

  it('of a living process is respected', async () => {
    leaveLock(path, 1);
    let entered = false;
    const waiting = withLock(path, () => {
      entered = true;
    });
    for (let round = 0; round < 50; round++) await turn();
    assert.equal(entered, false);
    rmdirSync(`${path}.lock`);
    await waiting;
    assert.equal(entered, true);
  });

  it('that cannot be made is an error at once, not after a minute of trying', async () => {
    const nowhere = join(path, 'nowhere', 'file');
    await assert.rejects(
      withLock(nowhere, () => undefined),
      {code: 'store', message: new RegExp(`^${nowhere}\\.lock: `)},
    );
  });

  it('that somebody else took over while this process was suspended is noticed, and left to them', async () => {
    await assert.rejects(
      withLock(path, (assertHeld) => {
        assertHeld();
        replaceLock(path);
        assertHeld();
      }),
      {code: 'store', message: `another mxtok took over ${path} meanwhile; nothing was written`},
    );
    assert(existsSync(`${path}.lock`));
  });

  it('that somebody else took over is theirs also when the process ends', async function () {
    this.timeout(60_000);
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '--eval', LOSER, '--', path],
      {stdio: ['ignore', 'ignore', 'inherit']},
    );
    const [code] = (await once(child, 'exit')) as [number | null];
    assert.equal(code, 0);
    assert(existsSync(`${path}.lock`));
  });

  it('that was lost is not given back in the place of one that the same process has got since', async () => {
    const second: Promise<void>[] = [];
    let finish = (): void => undefined;
    await withLock(path, async () => {
      // The other one has come and gone.
      rmdirSync(`${path}.lock`);
      await new Promise<void>((entered) => {
        const work = withLock(path, async (assertHeld) => {
          await new Promise<void>((done) => {
            finish = done;
            entered();
          });
          assertHeld();
        });
        second.push(work);
      });
    });
    assert(existsSync(`${path}.lock`));
    finish();
    await Promise.all(second);
    assert.equal(existsSync(`${path}.lock`), false);
  });

  describe('of work that takes long', () => {
    const timers = new HeldTimers();
    beforeEach(() => {
      timers.hold();
    });
    afterEach(() => {
      timers.release();
    });

    it('is kept fresh, is not taken for lost because of that, and is given back', async () => {
      await withLock(path, async (assertHeld) => {
        for (let round = 0; round < 3; round++) {
          const before = statSync(`${path}.lock`).mtimeMs;
          while (statSync(`${path}.lock`).mtimeMs === before) {
            timers.pass(2500);
            await turn();
          }

          later(6000, assertHeld);
        }
      });
      assert.equal(existsSync(`${path}.lock`), false);
    });
  });

  it('is not taken from work of the same process, for however long that could not keep it fresh', async () => {
    const order: string[] = [];
    let second: Promise<void> | undefined;
    await withLock(path, async (assertHeld) => {
      const then = Date.now() / 1000 - 60;
      utimesSync(`${path}.lock`, then, then);
      await new Promise<void>((onWait) => {
        second = withLock(path, () => void order.push('second'), {onWait});
      });
      assertHeld();
      order.push('first');
    });
    await second;
    assert.deepEqual(order, ['first', 'second']);
  });

  it('of one that gives signs of life is respected, whatever its clock says', async () => {
    leaveLock(path, 60);
    const waited = new AbortController();
    const onWait = (): void => {
      waited.abort();
    };
    const waiting = withLock(path, () => 'mine', {onWait});
    for (let then = Date.now() / 1000 - 60; !waited.signal.aborted; then += 0.001) {
      utimesSync(`${path}.lock`, then, then);
      await turn();
    }

    rmdirSync(`${path}.lock`);
    assert.equal(await waiting, 'mine');
  });

  it('that has to be waited for is told once, and one that is free is not', async () => {
    let told = 0;
    const onWait = (): void => {
      told++;
      rmdirSync(`${path}.lock`);
    };
    leaveLock(path, 0);
    assert.equal(await withLock(path, (_, contended) => contended, {onWait}), true);
    assert.equal(told, 1);
    assert.equal(await withLock(path, (_, contended) => contended, {onWait}), false);
    assert.equal(told, 1);
  });

  it('is not waited for after an interruption, nor taken', async () => {
    const controller = new AbortController();
    const {signal} = controller;
    leaveLock(path, 0);
    let entered = false;
    const work = (): void => {
      entered = true;
    };
    const onWait = (): void => {
      controller.abort();
    };
    assert.equal((await errorOf(withLock(path, work, {signal, onWait}))).code, 'interrupted');
    assert(existsSync(`${path}.lock`));
    rmdirSync(`${path}.lock`);
    assert.equal((await errorOf(withLock(path, work, {signal}))).code, 'interrupted');
    assert.equal(entered, false);
    assert.deepEqual(readdirSync(join(path, '..')), []);
  });

  it('of a dead process goes to one only of many processes that find it', async function () {
    this.timeout(240_000);
    const processes = Array.from({length: 8}, (): ChildProcess =>
      spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', COUNTER], {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      }),
    );
    try {
      await messagesOf(processes);
      for (let round = 0; round < 25; round++) {
        const file = join(tempDir(), 'count');
        writeFileSync(file, '0');
        leaveLock(file, 10);
        const done = messagesOf(processes);
        for (const child of processes) child.send(file);
        await done;
        assert.equal(readFileSync(file, 'utf8'), '8', `round ${round}`);
      }
    } finally {
      for (const child of processes) child.kill();
    }
  });
});
