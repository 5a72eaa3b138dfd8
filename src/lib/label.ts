/** Labels and notes: free text, on one line. */
import {usageError} from './errors.ts';
import {isUnsafe} from './output/sanitise.ts';

const MAX_LABEL = 200;
const MAX_NOTE = 2000;

/** @returns the label without space around it; empty clears one. @throws {MxtokError} `usage` */
export function parseLabel(input: string): string {
  return parseText(input, '--label', MAX_LABEL);
}

/** @returns the note without space around it; empty clears one. @throws {MxtokError} `usage` */
export function parseNote(input: string): string {
  return parseText(input, '--note', MAX_NOTE);
}

function parseText(input: string, flag: string, most: number): string {
  const text = input.trim();
  if (isUnsafe(text)) {
    throw usageError(
      `${flag} has line breaks, control characters or others that cannot be seen`,
      'Keep it to visible text on one line.',
    );
  }

  const length = Array.from(text).length;
  if (length > most) throw usageError(`${flag} has ${length} characters; up to ${most} are kept`);
  return text;
}
