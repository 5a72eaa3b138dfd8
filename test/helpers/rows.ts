/** Files with many tokens, and what is said of those that are wrong. */
import {strict as assert} from 'node:assert';

import {errorOf} from './mxtok-error.ts';

/** One JSON object a line. */
export function ndjson(...rows: unknown[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** What reading a file throws: `line: message` of each problem. */
export async function problemsOf(reading: Promise<unknown>): Promise<string[]> {
  const {code, problems = []} = await errorOf(reading);
  assert.equal(code, 'usage');
  return problems.map(({line, message}) => `${line}: ${message}`);
}
