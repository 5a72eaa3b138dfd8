/** What every refused run has in common, whatever it was refused for. */
import {strict as assert} from 'node:assert';

import type {BinaryResult, Operator} from './binary.ts';

/** What moves a cursor, colours, writes backwards or cannot be seen; a line feed ends a line and is fine. */
const RAW_CONTROL =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

/** Fail where a text could do something to a terminal; tabs and CR are for TSV and CSV. */
export function assertPlain(text: string, allowed = ''): void {
  const rest = allowed === '' ? text : text.replaceAll(new RegExp(`[${allowed}]`, 'g'), '');
  assert.doesNotMatch(rest, RAW_CONTROL, `a control character in the output: ${JSON.stringify(text)}`);
}

export interface Refusal {
  /** The exit code; default 2. */
  code?: number;
  /** The error's code in JSON; default `usage`. */
  is?: string;
  /** What the message or its hint says. */
  says: RegExp;
  env?: Record<string, string>;
  input?: string;
}

/** The one message of a run that failed in text form. */
export function assertOneError(
  result: BinaryResult,
  {code = 2, says}: Refusal,
  otherLines = /^hint: ./,
): void {
  const shown = `exit ${result.code ?? result.signal ?? ''}: ${result.stderr}`;
  assert.equal(result.code, code, shown);
  assert.equal(result.stdout, '', 'stdout stays empty');
  assertPlain(result.stderr);
  assert(result.stderr.endsWith('\n'), 'the last line is ended');
  const lines = result.stderr.slice(0, -1).split('\n');
  const errors = lines.filter((line) => line.startsWith('error: '));
  assert.equal(errors.length, 1, `one error line: ${shown}`);
  const others = lines.filter((line) => line !== errors[0]);
  for (const line of others) assert.match(line, otherLines, `neither error nor hint: ${shown}`);
  assert.match(result.stderr, says);
  assert(
    lines.every((line) => line.length < 700),
    `a line that nobody reads: ${shown}`,
  );
  assert.doesNotMatch(
    result.stderr,
    /defect in mxtok|undefined|\[object|\bat .*:\d+:\d+/,
    'told, not blurted out',
  );
}

/** As {@link assertOneError}, for a run with --json. @returns the error. */
export function assertJsonError(
  result: BinaryResult,
  {code = 2, is = 'usage', says}: Refusal,
): Record<string, unknown> {
  const shown = `exit ${result.code ?? result.signal ?? ''}: ${result.stderr}`;
  assert.equal(result.code, code, shown);
  assert.equal(result.stdout, '', 'stdout stays empty');
  assertPlain(result.stderr);
  const {error, ...rest} = JSON.parse(result.stderr) as {error: Record<string, unknown>};
  assert.deepEqual(rest, {}, 'nothing beside the error');
  assert.equal(error['code'], is, shown);
  const known = new Set(['code', 'message', 'hint', 'errcode', 'status', 'server', 'token']);
  assert.deepEqual(
    Object.keys(error).filter((key) => !known.has(key)),
    [],
    'only documented fields',
  );
  assert.match(`${String(error['message'])}\n${String(error['hint'])}`, says);
  assert(result.stderr.length < 1500, `an error that nobody reads: ${shown}`);
  return error;
}

/** Put --json behind the command's name, where no flag can take it for its value. */
export function withJson(argv: readonly string[]): string[] {
  const words = argv[0] === 'server' ? 2 : 1;
  return [...argv.slice(0, words), '--json', ...argv.slice(words)];
}

/** Run twice, for people and with --json; both must be refused in the same way. */
export async function assertRefused(
  operator: Operator,
  argv: readonly string[],
  refusal: Refusal,
): Promise<void> {
  const options = {
    ...(refusal.env && {env: refusal.env}),
    ...(refusal.input !== undefined && {input: refusal.input}),
  };
  const [text, json] = await Promise.all([
    operator.mxtok([...argv], options),
    operator.mxtok(withJson(argv), options),
  ]);
  assertOneError(text, refusal);
  assertJsonError(json, refusal);
}
