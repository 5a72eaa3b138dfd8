/** Text of somebody else's on its way to a terminal or a spreadsheet. */

/** Control characters (ESC and the C1 set among them), line separators, and those that turn the reading direction. */
const UNSAFE = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff]/gu;

/** On one line, and unable to move the cursor, colour, or write backwards. */
export function sanitise(text: string): string {
  return text.replace(UNSAFE, ' ');
}

/** @returns whether {@link sanitise} would change it; such a text is not taken as a label. */
export function isUnsafe(text: string): boolean {
  UNSAFE.lastIndex = 0;
  return UNSAFE.test(text);
}

/** JSON leaves DEL, the C1 controls and changes of direction as they are; a terminal obeys them. */
export function escapeControls(json: string): string {
  // Nearly all of it is plain ASCII, which is found out faster than what is to be replaced.
  if (!/[^\u0000-\u007e]/.test(json)) return json;
  return json.replace(
    /[\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
