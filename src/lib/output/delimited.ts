/** TSV for pipes, CSV for spreadsheets. */
import {sanitise} from './sanitise.ts';

export type Cell = string | number | boolean | null;

/** One line without a header: tabs and line breaks in a cell become spaces, `null` is empty. */
export function tsvLine(cells: readonly Cell[]): string {
  return cells
    .map((cell) => (cell === null ? '' : typeof cell === 'string' ? sanitise(cell) : String(cell)))
    .join('\t');
}

/** RFC 4180, and safe to open: a text that a spreadsheet would take for a formula gets an apostrophe in front. */
export function csvLine(cells: readonly Cell[]): string {
  return cells.map(csvCell).join(',');
}

/** What a cell held before {@link csvLine} guarded it. */
export function unguardCell(cell: string): string {
  return /^'+[=+\-@]/.test(cell) ? cell.slice(1) : cell;
}

function csvCell(cell: Cell): string {
  if (cell === null) return '';
  if (typeof cell !== 'string') return String(cell);
  const text = sanitise(cell);
  // With an apostrophe already, it gets another, so that reading takes away no more than was put there.
  const guarded = /^'*[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}
