/** The local store under load: two processes at once, and one more label where there are very many. */
import {once} from 'node:events';
import {mkdirSync} from 'node:fs';
import {join} from 'node:path';

import {STUB_ACCESS_TOKEN, STUB_SERVER_NAME, stubToken} from '../stub-homeserver.ts';
import {writeLabels} from './lists.ts';
import {
  median,
  mxtok,
  operator,
  type Operator,
  run,
  start,
  startStub,
  surroundings,
  tellWrites,
} from './run.ts';
import {milliseconds, progress, type Row} from './table.ts';

const LABEL_WRITES = 200;
const LABELS = 100_000;

/** Two processes at the store at once; then the binary is asked what is left. */
async function contendedRow(): Promise<Row> {
  progress('label writes');
  const url = await startStub(10_000);
  const env = surroundings('labels');
  mkdirSync(env.MXTOK_CONFIG_DIR, {recursive: true});
  const begun = [0, LABEL_WRITES].map((first) => {
    const args = [String(first), String(LABEL_WRITES)];
    return start(join(import.meta.dirname, 'write-labels.ts'), args, env);
  });
  await Promise.all(begun.map((child) => once(child, 'message')));
  const since = performance.now();
  const ended = begun.map((child) => once(child, 'exit'));
  for (const child of begun) child.send('go');
  await Promise.all(ended);
  const seconds = (performance.now() - since) / 1000;
  const {stdout} = await run(mxtok('list', '--label', 'label*', '--json'), {
    env: {...env, MXTOK_URL: url, MXTOK_ACCESS_TOKEN: STUB_ACCESS_TOKEN},
    keepOutput: true,
  });
  const kept = (JSON.parse(stdout) as unknown[]).length;
  return {
    work: `2 processes × ${LABEL_WRITES} label writes`,
    budget: `${2 * LABEL_WRITES} kept`,
    measured: `${kept} kept (${seconds.toFixed(1)} s)`,
    within: kept === 2 * LABEL_WRITES,
  };
}

/** @param prepare makes the command of each round. */
async function oneMoreRow(
  work: string,
  rounds: number,
  env: Operator,
  prepare: (round: number) => string[],
): Promise<Row> {
  const writes: number[] = [];
  const times: number[] = [];
  const hook = tellWrites(`${STUB_SERVER_NAME}.json`);
  for (let round = 0; round < rounds; round++) {
    progress(`${work}, round ${round + 1} of ${rounds}`);
    const argv = prepare(round);
    const [command, ...rest] = mxtok(...argv);
    const {extra, ms} = await run([command, hook, ...rest], {env});
    writes.push(Number(extra));
    times.push(ms);
  }

  const [first = NaN] = writes;
  return {
    work: `${work}, 100,000 labels in the store`,
    budget: '1 write',
    measured: `${[...new Set(writes)].join(' or ')} write${first === 1 ? '' : 's'} (${milliseconds(median(times))})`,
    within: writes.every((count) => count === 1),
  };
}

export async function labelRows(rounds: number): Promise<Row[]> {
  const env = await operator('full', await startStub(LABELS));
  writeLabels(env, LABELS);
  const few = Math.min(rounds, 3);
  const rows = [
    await contendedRow(),
    await oneMoreRow('update TOKEN --label x', few, env, (round) => {
      return ['update', stubToken(round), '--label', `x ${round}`];
    }),
    await oneMoreRow('create --label x', few, env, (round) => ['create', '--label', `x ${round}`]),
  ];
  const {stdout} = await run(mxtok('list', '--label', 'x *', '--json'), {env, keepOutput: true});
  const kept = (JSON.parse(stdout) as unknown[]).length;
  if (kept !== 2 * few) throw new Error(`${kept} of ${2 * few} new labels are there`);
  return rows;
}
