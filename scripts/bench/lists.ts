/** Lists of many tokens with labels: time and memory must not grow faster than the number of tokens. */
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import {STUB_SERVER_NAME, stubToken} from '../stub-homeserver.ts';
import {
  type Contestant,
  type Figures,
  mxtok,
  operator,
  type Operator,
  race,
  startStub,
  synadm,
  TELL_MEMORY,
} from './run.ts';
import {megabytes, milliseconds, ratioRow, type Row, skippedRow, thousands} from './table.ts';

const SIZES = [1000, 10_000, 100_000] as const;

const WAYS: Record<string, string[]> = {
  list: ['list'],
  filter: ['list', '--label', 'a*', '--status', 'valid'],
  sort: ['list', '--sort', '-expiry_time'],
};

/** Label all tokens of a stub, in the form that the store itself writes. Half of the labels begin with an a. */
export function writeLabels({MXTOK_CONFIG_DIR}: Operator, count: number): void {
  const tokens = Array.from({length: count}, (_, index) => ({
    token: stubToken(index),
    label: `${index % 2 === 0 ? 'a' : 'b'} workshop ${index % 97}`,
    created_at: '2026-01-01T12:00:00.000Z',
    created_by: `@admin:${STUB_SERVER_NAME}`,
  }));
  const directory = join(MXTOK_CONFIG_DIR, 'metadata');
  mkdirSync(directory, {recursive: true, mode: 0o700});
  const text = JSON.stringify({version: 1, server_name: STUB_SERVER_NAME, tokens}, undefined, 1);
  writeFileSync(join(directory, `${STUB_SERVER_NAME}.json`), `${text}\n`, {mode: 0o600});
}

/** The command, telling its memory. */
function measured(argv: readonly string[]): [string, ...string[]] {
  const [command, ...rest] = mxtok(...argv);
  return [command, TELL_MEMORY, ...rest];
}

export async function listRows(rounds: number): Promise<Row[]> {
  const urls = await Promise.all(SIZES.map((size) => startStub(size)));
  const contestants: Record<string, Contestant> = {
    // What a list takes that has nothing in it.
    start: {command: measured(['list']), env: await operator('none', await startStub(0)), prints: ''},
  };
  let reason = '';
  for (const [index, size] of SIZES.entries()) {
    const url = urls[index] ?? '';
    const env = await operator(`labels-${size}`, url);
    writeLabels(env, size);
    for (const [way, argv] of Object.entries(WAYS)) {
      // The last one with an a.
      contestants[`${way} ${size}`] = {command: measured(argv), env, prints: stubToken(size - 2)};
    }

    const other = await synadm(url);
    if (typeof other === 'string') reason = other;
    else contestants[`synadm ${size}`] = {command: [...other, 'list'], prints: stubToken(size - 1)};
  }

  const figures = await race(contestants, Math.min(rounds, 5));
  const none: Figures = {ms: NaN, leastMs: NaN, bytes: NaN};
  const {start = none} = figures;
  const of = (way: string, size: number): Figures => figures[`${way} ${size}`] ?? none;
  const rows = Object.entries(WAYS).flatMap(([way, argv]) => {
    const all = SIZES.map((size) => of(way, size));
    const [, few = none, many = none] = all;
    const work = `${argv.join(' ')}: 100,000 / 10,000 labelled tokens, net of start-up`;
    const time = ratioRow(work, 10, many.leastMs - start.leastMs, few.leastMs - start.leastMs);
    const memory = ratioRow('', 10, many.bytes - start.bytes, few.bytes - start.bytes);
    const told = (each: (figures: Figures) => string): string => [start, ...all].map(each).join(', ');
    time.measured = `${time.measured.replace(/ .*/, '')} (${told(({leastMs}) => milliseconds(leastMs))} at 0, 1k, 10k, 100k)`;
    memory.work = '  its memory, in the same way';
    memory.measured = `${memory.measured.replace(/ .*/, '')} (${told(({bytes}) => megabytes(bytes))})`;
    return [time, memory];
  });
  return [
    ...rows,
    ...SIZES.map((size) => {
      const work = `list, ${thousands(size)} labelled tokens / synadm regtok list (it has no labels)`;
      if (reason !== '') return skippedRow(work, '≤ 1×', reason);
      return ratioRow(work, 1, of('list', size).ms, of('synadm', size).ms);
    }),
  ];
}
