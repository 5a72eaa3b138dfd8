/**
 * The rows of a file with many tokens: CSV with a header, or NDJSON. Every row is looked at, so that all that is wrong
 * with a file is told at once.
 */
import {MxtokError, usageError} from '../errors.ts';
import {unguardCell} from '../output/delimited.ts';
import {quote} from '../quote.ts';

/** As many as an event needs; each takes a request. */
export const MAX_TOKENS = 100_000;

/** Where reading stops: one row too many, and the line that an export begins with. */
const MAX_ROWS = MAX_TOKENS + 2;

/** So many problems of a file are told; nobody reads more. */
const MAX_PROBLEMS = 100;

/** What is wrong, and where. */
export interface RowProblem {
  /** From 1 on, the header's line counted. */
  line: number;
  message: string;
}

export interface Row {
  line: number;
  /** Which one it is, where many are on one line; for messages. */
  where?: string;
  /** Text where it is CSV, any JSON else. A cell that is left empty is absent. */
  fields: Record<string, unknown>;
}

export interface RowsRead {
  rows: Row[];
  problems: RowProblem[];
  /** Of CSV: what the header names. */
  columns?: {line: number; names: readonly string[]};
}

/** @throws {MxtokError} `usage` with the problems, where there are any. */
export function assertNone(problems: readonly RowProblem[], source: string, consequence: string): void {
  if (problems.length === 0) return;
  const sorted = problems.toSorted((a, b) => a.line - b.line);
  const lines = new Set(sorted.map(({line}) => line)).size;
  const more = sorted.length - MAX_PROBLEMS;
  throw new MxtokError(
    'usage',
    `${source}: ${lines === 1 ? 'one line is' : `${lines} lines are`} wrong; ${consequence}`,
    {
      problems: sorted.slice(0, MAX_PROBLEMS).map(({line, message}) => ({line, message})),
      hint: more > 0 ? `And ${more === 1 ? 'one more problem' : `${more} more problems`}.` : undefined,
    },
  );
}

/** @param what they are. @throws {MxtokError} `usage`, where there are more than {@link MAX_TOKENS}. */
export function assertNotTooMany(count: number, source: string, what: 'rows' | 'tokens'): void {
  if (count > MAX_TOKENS)
    throw usageError(`${source} has over ${MAX_TOKENS} ${what}; up to ${MAX_TOKENS} are taken at once`);
}

/** @returns all rows, or a few more than are taken at once. */
export async function readRows(text: string): Promise<RowsRead> {
  const lines = text.replace(/^\ufeff/, '').replaceAll(/\r\n?/g, '\n');
  const first = /\S/.exec(lines)?.[0];
  if (first === undefined) return {rows: [], problems: []};
  return first === '{' ? readJsonLines(lines) : readCsv(lines);
}

function readJsonLines(text: string): RowsRead {
  const read: RowsRead = {rows: [], problems: []};
  for (const {line, content} of linesOf(text)) {
    if (content.trim() === '') continue;
    const value = parseJson(content);
    if (isObject(value)) read.rows.push({line, fields: value});
    else read.problems.push({line, message: 'it is not a JSON object on one line'});
    if (read.rows.length + read.problems.length === MAX_ROWS) break;
  }

  return read;
}

/** One after the other: a list of all would take more memory than the file. */
function* linesOf(text: string): Generator<{line: number; content: string}> {
  for (let line = 1, start = 0; start <= text.length; line++) {
    const next = text.indexOf('\n', start);
    const end = next === -1 ? text.length : next;
    yield {line, content: text.slice(start, end)};
    start = end + 1;
  }
}

interface CsvRecord {
  /** On which it begins. */
  line: number;
  cells: string[];
}

async function readCsv(text: string): Promise<RowsRead> {
  const {records, problems} = await parseCsv(text);
  const [header, ...others] = records;
  if (!header) return {rows: [], problems};
  const columns = header.cells.map((name) => name.toLowerCase());
  const read: RowsRead = {rows: [], problems, columns: {line: header.line, names: columns}};
  const named = columns.filter((name) => name !== '');
  const twice = named.length > new Set(named).size && named.find((name, at) => named.indexOf(name) !== at);
  if (twice) {
    problems.push({line: header.line, message: `the header names the column ${quote(twice)} twice`});
    return read;
  }

  const width = columns.findLastIndex((name) => name !== '') + 1;
  for (const {line, cells} of others) {
    // What spreadsheets leave behind at a line's end: separators with nothing between them.
    const given = cells
      .map((cell, index) => [columns[index] ?? '', unguardCell(cell)] as const)
      .filter(([, cell]) => cell !== '');
    if (given.some(([name]) => name === '')) {
      problems.push({line, message: 'it has a cell that the header has no name for'});
    } else if (cells.length < width) {
      // No program writes that. What is missing would be no limit, were it left out for good.
      const cutOff = line === others.at(-1)?.line && !text.endsWith('\n');
      const what = `it has fewer cells (${cells.length}) than the header (${width})`;
      problems.push({line, message: `${what}${cutOff ? ': the rest seems to be cut off' : ''}`});
    } else if (given.length > 0) {
      read.rows.push({line, fields: Object.fromEntries(given)});
    }
  }

  return read;
}

async function parseCsv(text: string): Promise<{records: CsvRecord[]; problems: RowProblem[]}> {
  const {parse} = await loadCsvParser();
  // Spreadsheets write the separator of their language.
  const start = text.slice(text.search(/\S/));
  const end = start.indexOf('\n');
  const head = end === -1 ? start : start.slice(0, end);
  const delimiter = [';', '\t'].find((candidate) => head.includes(candidate) && !head.includes(',')) ?? ',';
  const options = {
    delimiter,
    relax_column_count: true,
    skip_empty_lines: true,
    // Spreadsheets write these where something has been deleted.
    skip_records_with_empty_values: true,
    trim: true,
  } as const;
  try {
    // The header is one of them.
    const parsed = parse(text, {...options, info: true, to: MAX_ROWS}) as unknown as {
      record: string[];
      info: {lines: number};
    }[];
    const records = parsed.map(({record, info}) => ({
      line: info.lines - (record.join('').match(/\n/g)?.length ?? 0),
      cells: record,
    }));
    return {records, problems: []};
  } catch {
    // After a quote that stands where none may, nobody knows what belongs to what. No cell that is any good has a
    // line break in it, so each line tells by itself whether it is the one.
    const records: CsvRecord[] = [];
    const problems: RowProblem[] = [];
    for (const {line, content} of linesOf(text)) {
      try {
        records.push(...parse(content, options).map((cells) => ({line, cells})));
      } catch {
        problems.push({line, message: 'its quotes are not those of CSV (RFC 4180)'});
      }

      if (records.length + problems.length === MAX_ROWS) break;
    }

    return {records, problems};
  }
}

async function loadCsvParser(): Promise<typeof import('csv-parse/sync')> {
  const loaded = (await import('csv-parse/sync')) as typeof import('csv-parse/sync') & {
    default?: typeof import('csv-parse/sync');
  };
  // In the bundle it has a default export only.
  return loaded.default ?? loaded;
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** @throws {MxtokError} `usage` */
export function readText(value: unknown, column: string): string {
  if (typeof value === 'string') return value;
  throw usageError(`${column} is ${describe(value)}, not a text`);
}

/** For messages. What has parts is not shown: they may be many, one in the other. */
export function describe(value: unknown): string {
  if (typeof value === 'object') return Array.isArray(value) ? 'a list' : 'an object';
  return quote(typeof value === 'string' ? value : `${value as number | boolean}`);
}

/** @returns what `read` does; where it throws, a problem is noted instead. */
export function attempt<T>(line: number, problems: RowProblem[], read: () => T, where = ''): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof MxtokError)) throw error;
    // Nobody has typed a flag here.
    const message = error.message.replace('--uses', 'uses_allowed').replace(/--(?=expiry|label|note)/, '');
    problems.push({line, message: `${where}${message}`});
    return undefined;
  }
}
