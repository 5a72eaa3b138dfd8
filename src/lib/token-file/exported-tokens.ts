/** `import`: the tokens of another homeserver, or of another time. */
import * as z from 'zod/mini';

import {usageError} from '../errors.ts';
import {parseLabel, parseNote} from '../label.ts';
import {isUnsafe} from '../output/sanitise.ts';
import {MAX_USES, parseNewToken} from '../registration-token.ts';
import {readNaive} from '../when.ts';
import {
  assertNone,
  assertNotTooMany,
  attempt,
  describe,
  isGiven,
  isObject,
  parseJson,
  readRows,
  readText,
  type RowsRead,
} from './rows.ts';

/** A token of another homeserver, or of another time. */
export interface ExportedToken {
  line: number;
  token: string;
  uses_allowed: number | null;
  completed: number;
  /** Unix ms. */
  expiry_time: number | null;
  disabled: boolean;
  label?: string;
  note?: string;
}

/** The version of our NDJSON that this release writes, and the newest that it can read. */
export const EXPORT_VERSION = 1;

/** The first line of an export. */
export interface ExportHeader {
  mxtok_export: typeof EXPORT_VERSION;
  server_name: string;
  /** ISO 8601, UTC. */
  exported_at: string;
  /** How many lines follow. */
  tokens: number;
}

/**
 * `import`: what `export` writes (NDJSON or CSV), `list --json`, the answer of Synapse's admin API, or that of
 * matrix-registration (`GET /api/token`).
 * @throws {MxtokError} `usage` with every row that is wrong.
 */
export async function readExportedTokens(text: string, source: string): Promise<ExportedToken[]> {
  // What a failed export leaves behind; one of no tokens has a header, or is an empty list.
  if (/^[\ufeff\s]*$/.test(text)) throw usageError(`${source} is empty; nothing was imported`);
  const {rows, problems, columns} = readWhole(text, source) ?? (await readRows(text));
  const [first] = rows;
  const header = first && 'mxtok_export' in first.fields ? first.fields : undefined;
  assertNotTooMany(rows.length + problems.length - (header ? 1 : 0), source, 'tokens');
  if (header) {
    checkHeader(header, rows.length + problems.length - 1, source);
    rows.shift();
  }

  const missing = columns && NEEDED.filter((name) => !columns.names.includes(name));
  if (missing && missing.length > 0) {
    problems.push({line: columns.line, message: `the header does not name ${missing.join(', ')}`});
    assertNone(problems, source, 'nothing was imported');
  }

  const tokens: ExportedToken[] = [];
  const places = new Map<string, string>();
  for (const {line, where = '', fields} of rows) {
    // An empty cell is none.
    const empty = columns && Object.fromEntries(columns.names.map((name) => [name, null]));
    const token = attempt(line, problems, () => readExportedToken(line, {...empty, ...fields}), where);
    if (!token) continue;
    const earlier = places.get(token.token);
    if (earlier !== undefined)
      problems.push({line, message: `${where}the token ${token.token} stands ${earlier} already`});
    places.set(token.token, where === '' ? `on line ${line}` : `in ${where.replace(': ', '')}`);
    tokens.push(token);
  }

  assertNone(problems, source, 'nothing was imported');
  return tokens;
}

/** Without any of these, more people could register than before. */
const NEEDED = ['token', 'uses_allowed', 'completed', 'expiry_time'] as const;

/** One JSON value over all lines: a list, or an object that has one. `undefined` where it is none. */
function readWhole(text: string, source: string): RowsRead | undefined {
  const value = /^[\ufeff\s]*[[{]/.test(text) ? parseJson(text.replace(/^\ufeff/, '')) : undefined;
  const list = isObject(value) ? value['registration_tokens'] : value;
  if (!Array.isArray(list)) return undefined;
  assertNotTooMany(list.length, source, 'tokens');
  const read: RowsRead = {rows: [], problems: []};
  const lines = linesOfObjects(text).slice(isObject(value) ? 1 : 0);
  for (const [index, element] of (list as unknown[]).entries()) {
    // Where each begins a line of its own, that is told; else, and where all is on one line, which of them it is.
    const line = lines.length === list.length ? (lines[index] ?? 1) : 1;
    const where = lines.length === list.length ? '' : `element ${index + 1}: `;
    if (isObject(element)) read.rows.push({line, where, fields: element});
    else read.problems.push({line, message: `${where}it is not a JSON object`});
  }

  return read;
}

/** Lines that begin with an object, from 1 on. */
function linesOfObjects(text: string): number[] {
  return text.split('\n').flatMap((line, index) => (line.trimStart().startsWith('{') ? [index + 1] : []));
}

function checkHeader(header: Record<string, unknown>, found: number, source: string): void {
  const {mxtok_export: version, tokens} = header;
  if (typeof version === 'number' && version > EXPORT_VERSION) {
    throw usageError(
      `${source} was written by a newer mxtok (version ${version} of the form); nothing was imported`,
      'Update mxtok.',
    );
  }

  if (version !== EXPORT_VERSION || typeof tokens !== 'number')
    throw usageError(`${source} is no export of mxtok: its first line is not as it should be`);
  if (found !== tokens) {
    throw usageError(
      `${source} is not ${found < tokens ? 'whole' : 'as it was written'}: it had ${tokens} tokens and has ${found}; nothing was imported`,
      'Export again. To take what is there, remove the first line.',
    );
  }
}

function readExportedToken(line: number, fields: Record<string, unknown>): ExportedToken {
  return 'name' in fields && !('token' in fields)
    ? readMatrixRegistration(line, fields)
    : readOurs(line, fields);
}

function readOurs(line: number, fields: Record<string, unknown>): ExportedToken {
  const {token, label, note} = fields;
  if ('mxtok_export' in fields) throw usageError('another export begins here: import them one by one');
  if (!isGiven(token)) throw usageError('it has no token');
  const missing = NEEDED.filter((name) => fields[name] === undefined);
  if (missing.length > 0) throw usageError(`it has no ${missing.join(' and no ')}`);
  const uses_allowed = readCount(fields, 'uses_allowed');
  const text = (value: unknown, column: string): string | undefined =>
    isGiven(value) && value !== '' ? cleanText(readText(value, column)) : undefined;
  const [labelled, noted] = [text(label, 'label'), text(note, 'note')];
  return {
    line,
    token: parseNewToken(readText(token, 'token')),
    uses_allowed,
    completed: readCount(fields, 'completed') ?? 0,
    expiry_time: readCount(fields, 'expiry_time'),
    disabled: uses_allowed === 0,
    ...(labelled !== undefined && {label: parseLabel(labelled)}),
    ...(noted !== undefined && {note: parseNote(noted)}),
  };
}

function cleanText(text: string): string {
  if (isUnsafe(text))
    throw usageError('a label or note has control characters, or others that cannot be seen');
  return text;
}

/** Other tools have put times on tokens that no calendar has (microseconds). They are kept: Synapse takes an int8. */
const MAX_FOREIGN_EXPIRY = 9_223_372_036_854_774_784;

/** A whole number from 0 on, as JSON or as text; `null` where there is none. */
function readCount(
  fields: Record<string, unknown>,
  column: 'uses_allowed' | 'completed' | 'expiry_time',
): number | null {
  const value = fields[column];
  if (value === undefined || value === null || value === '') return null;
  const number = typeof value === 'string' && /^\d{1,19}$/.test(value) ? Number(value) : value;
  const most = column === 'expiry_time' ? MAX_FOREIGN_EXPIRY : MAX_USES;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= most) return number;
  throw usageError(`${column} is ${describe(value)}, not a number from 0 to ${most}`);
}

/** `Token.toDict` of matrix_registration/tokens.py; SQLite may give booleans for numbers. */
const makeMatrixRegistrationSchema = () =>
  z.object({
    name: z.string(),
    max_usage: z.union([z.int().check(z.minimum(0)), z.boolean()]),
    used: z.int().check(z.minimum(0)),
    expiration_date: z.optional(z.nullable(z.string())),
    disabled: z.optional(z.boolean()),
  });

let matrixRegistrationSchema: ReturnType<typeof makeMatrixRegistrationSchema> | undefined;

/**
 * matrix-registration: 0 uses are no limit, and a date is local time without a zone, also where its API's JSON writes
 * "GMT" behind it (matrix_registration/tokens.py compares it with datetime.now()).
 */
function readMatrixRegistration(line: number, fields: Record<string, unknown>): ExportedToken {
  matrixRegistrationSchema ??= makeMatrixRegistrationSchema();
  const parsed = z.safeParse(matrixRegistrationSchema, fields);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw usageError(`${String(issue?.path[0] ?? 'it')} is not as matrix-registration has it`);
  }

  const {name, max_usage, used, expiration_date, disabled = false} = parsed.data;
  const allowed = Math.min(Number(max_usage), MAX_USES);
  return {
    line,
    token: parseNewToken(name),
    uses_allowed: allowed === 0 ? null : allowed,
    completed: used,
    expiry_time: expiration_date ? readNaive(expiration_date, 'expiration_date') : null,
    disabled,
  };
}
