/**
 * `npm run bench [-- --rounds N] [--only PART]`: the budgets of time and memory, measured on the built binary.
 *
 * In each part, all contestants run in turn, round after round, so that whatever else the machine does meets all of
 * them alike; what is judged are ratios of their medians. Nothing here depends on how fast the machine is. The heavy
 * ones run fewer rounds.
 */
import {readFileSync} from 'node:fs';
import {cpus} from 'node:os';
import {join} from 'node:path';
import {parseArgs} from 'node:util';

import {createRows} from './bench/creates.ts';
import {disableRows} from './bench/disable.ts';
import {labelRows} from './bench/labels.ts';
import {listRows} from './bench/lists.ts';
import {endChildren, root} from './bench/run.ts';
import {serverRows} from './bench/servers.ts';
import {startRows} from './bench/start.ts';
import {printTable, type Row} from './bench/table.ts';

const PARTS: Record<string, (rounds: number) => Promise<Row[]>> = {
  start: startRows,
  labels: labelRows,
  disable: disableRows,
  lists: listRows,
  servers: serverRows,
  creates: createRows,
};

async function bench(parts: readonly string[], rounds: number): Promise<number> {
  await import('./build.ts');
  const {version} = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {version: string};
  const machine = `${process.platform} ${process.arch}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}`;
  console.log(`mxtok ${version}, Node ${process.version}, ${machine}; medians of up to ${rounds} rounds`);
  const begun = performance.now();
  const rows: Row[] = [];
  for (const part of parts) {
    rows.push(...((await PARTS[part]?.(rounds)) ?? []));
    endChildren();
  }

  printTable(rows);
  console.log(`\n${Math.round((performance.now() - begun) / 1000)} s in all`);
  return rows.some(({within}) => within === false) ? 1 : 0;
}

const {rounds, only} = parseArgs({
  options: {rounds: {type: 'string', default: '10'}, only: {type: 'string', multiple: true}},
}).values;
const unknown = only?.find((part) => !Object.hasOwn(PARTS, part));
if (unknown !== undefined) {
  console.error(`--only takes ${Object.keys(PARTS).join(', ')}, not ${unknown}`);
  process.exit(2);
}

if (!/^[1-9]\d{0,3}$/.test(rounds)) {
  console.error(`--rounds takes a number from 1 on, not ${rounds}`);
  process.exit(2);
}

process.exit(await bench(only ?? Object.keys(PARTS), Number(rounds)));
