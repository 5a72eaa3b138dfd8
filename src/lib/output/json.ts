/** JSON: one object indented; an array with one element a line, so that it can be written as it comes. */
import {escapeControls} from './sanitise.ts';

export function jsonObject(value: unknown): string {
  return `${escapeControls(JSON.stringify(value, undefined, 2))}\n`;
}

export function jsonLine(value: unknown): string {
  return escapeControls(JSON.stringify(value));
}

/** @returns the text of a JSON array, in pieces. */
export function* jsonArray(values: Iterable<unknown>): Generator<string> {
  let first = true;
  for (const value of values) {
    yield first ? `[\n${jsonLine(value)}` : `,\n${jsonLine(value)}`;
    first = false;
  }

  yield first ? '[]\n' : '\n]\n';
}
