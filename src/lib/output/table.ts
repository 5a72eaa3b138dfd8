/** Tables for people: aligned columns, no borders, fitted to the width of the terminal. */
import Table from 'cli-table3';
import stringWidth from 'string-width';

import type {Colours} from './colour.ts';
import {sanitise} from './sanitise.ts';

export interface TableColumn {
  header: string;
  align?: 'right';
  /** May be cut with an ellipsis to fit; others never are. */
  flexible?: boolean;
}

export interface TableCell {
  text: string;
  paint?: (text: string) => string;
}

const GAP = 2;
/** A cut column keeps at least so many characters. */
const NARROWEST = 8;
/** cli-table3 takes time by the square of the rows; what nobody reads at once is laid out without it. */
const LAID_OUT = 200;
/** Latin text. Of some emoji and scripts cli-table3 has another idea of the width than terminals have. */
const MEASURED_ALIKE = /^[ -~\u00a1-\u00ac\u00ae-\u02ff\u2026\u221e]*$/;

/**
 * @param width of the terminal in characters; `Infinity` for no limit.
 * @returns the table's text, in pieces that end with a line break.
 */
export function* renderTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly TableCell[])[],
  width: number,
  colours: Colours,
): Generator<string> {
  const clean = rows.map((row) => row.map((cell) => ({...cell, text: sanitise(cell.text)})));
  const widths = fit(columns, clean, width);
  if (widths.reduce((sum, one) => sum + one + GAP, -GAP) > width) {
    // Even cut it would break across lines; as records it stays readable.
    yield* renderRecords(columns, clean, colours);
    return;
  }

  const headers = columns.map((column) => ({text: column.header, paint: colours.bold}));
  const lines = [headers, ...clean].map((row) =>
    row.map((cell, index) => {
      const text = cut(cell.text, widths[index] ?? 0);
      return {text, shown: cell.paint ? cell.paint(text) : text};
    }),
  );
  if (rows.length <= LAID_OUT && clean.flat().every(({text}) => MEASURED_ALIKE.test(text))) {
    const table = new Table({
      chars: NO_BORDERS,
      style: {'padding-left': 0, 'padding-right': GAP, head: [], border: [], compact: true},
      colAligns: columns.map(({align}) => align ?? 'left'),
    });
    table.push(...lines.map((line) => line.map(({shown}) => shown)));
    yield `${trimLines(table.toString())}\n`;
    return;
  }

  for (const line of lines) {
    const cells = line.map(({text, shown}, index) => {
      const padding = ' '.repeat(Math.max(0, (widths[index] ?? 0) - stringWidth(text)));
      return columns[index]?.align === 'right' ? padding + shown : shown + padding;
    });
    yield `${cells.join(' '.repeat(GAP)).trimEnd()}\n`;
  }
}

/** Names and values one below the other: `show` and the like. */
export function renderFields(fields: readonly (readonly [string, TableCell])[], colours: Colours): string {
  const table = new Table({
    chars: NO_BORDERS,
    style: {'padding-left': 0, 'padding-right': GAP, head: [], border: [], compact: true},
  });
  table.push(
    ...fields.map(([name, {text, paint}]) => {
      const clean = sanitise(text);
      return [colours.bold(name), paint ? paint(clean) : clean];
    }),
  );
  return `${trimLines(table.toString())}\n`;
}

function* renderRecords(
  columns: readonly TableColumn[],
  rows: readonly (readonly TableCell[])[],
  colours: Colours,
): Generator<string> {
  for (const [index, row] of rows.entries()) {
    const fields = columns.map(({header}, column): [string, TableCell] => [
      header,
      row[column] ?? {text: ''},
    ]);
    yield (
      (index > 0 ? '\n' : '') +
      renderFields(
        fields.filter(([, {text}]) => text !== ''),
        colours,
      )
    );
  }
}

const NO_BORDERS = Object.fromEntries(
  'top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid mid-mid right right-mid middle'
    .split(' ')
    .map((name) => [name, '']),
);

/** The width of each column: what its cells need, the flexible ones less where there is not enough room. */
function fit(
  columns: readonly TableColumn[],
  rows: readonly (readonly TableCell[])[],
  width: number,
): number[] {
  const widths = columns.map(({header}, index) =>
    rows.reduce((most, row) => Math.max(most, stringWidth(row[index]?.text ?? '')), stringWidth(header)),
  );
  let excess = widths.reduce((sum, one) => sum + one + GAP, -GAP) - width;
  const flexible = columns.flatMap((column, index) => (column.flexible ? [index] : []));
  while (excess > 0) {
    // The widest one gives, so that a short column beside a long one is left whole.
    const widest = flexible.reduce(
      (a, b) => ((widths[a] ?? 0) >= (widths[b] ?? 0) ? a : b),
      flexible[0] ?? -1,
    );
    const has = widths[widest] ?? 0;
    if (has <= NARROWEST) break;
    widths[widest] = has - 1;
    excess--;
  }

  return widths;
}

const segmenter = new Intl.Segmenter();

function cut(text: string, width: number): string {
  if (stringWidth(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const {segment} of segmenter.segment(text)) {
    used += stringWidth(segment);
    if (used > width - 1) break;
    kept += segment;
  }

  return `${kept}…`;
}

function trimLines(text: string): string {
  return text.replace(/[ \t]+$/gm, '');
}
