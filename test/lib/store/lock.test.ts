import assert from 'node:assert/strict';
import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {setImmediate as turn} from 'node:timers/promises';

import {withLock} from '../../../src/lib/store/lock.ts';
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
        rmdirSync(`${path}.lock`);
        leaveLock(path, 1);
        later(6000, assertHeld);
      }),
      {code: 'store', message: `another mxtok took over ${path} meanwhile; nothing was written`},
    );
  });

  it('is not taken for lost because the work took long', async () => {
    await withLock(path, (assertHeld) => {
      later(60_000, assertHeld);
    });
    assert.equal(existsSync(`${path}.lock`), false);
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
