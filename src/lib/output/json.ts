/** JSON: one object indented; an array with one element a line, so that it can be written as it comes. */
import {escapeControls} from './sanitise.ts';

export function jsonObject(value: unknown): string {
  return `${escapeControls(JSON.stringify(value, undefined, 2))}\n`;
}

export function jsonLine(value: unknown): string {
  return escapeControls(JSON.stringify(value));
}

/** Elements that are turned into text at once: one by one takes half as long again. */
const CHUNK = 500;

/** @returns the text of a JSON array of objects, one a line, in pieces. */
export function* jsonArray(values: Iterable<object>): Generator<string> {
  let before = '[\n';
  for (const chunk of chunksOf(values)) {
    // An object ends and the next begins: within a string every quote has a backslash before it, and after the one
    // that ends a string there is never a letter.
    yield (
      before +
      jsonLine(chunk)
        .slice(1, -1)
        .replace(/\},\{(?="[a-z])/gi, '},\n{')
    );
    before = ',\n';
  }

  yield before === '[\n' ? '[]\n' : '\n]\n';
}

function* chunksOf<T>(values: Iterable<T>): Generator<T[]> {
  let chunk: T[] = [];
  for (const value of values) {
    if (chunk.push(value) < CHUNK) continue;
    yield chunk;
    chunk = [];
  }

  if (chunk.length > 0) yield chunk;
}
