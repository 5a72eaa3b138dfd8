/** `create --from`: what tokens are to be made. */
import {usageError} from '../errors.ts';
import {parseLabel, parseNote} from '../label.ts';
import {quote} from '../quote.ts';
import {parseNewToken, parseUses} from '../registration-token.ts';
import {parseExpiry, type When} from '../when.ts';
import {
  assertNone,
  assertNotTooMany,
  attempt,
  describe,
  isGiven,
  readRows,
  readText,
  type Row,
} from './rows.ts';

/** A token that is to be made; what its row leaves out is absent. */
export interface WantedRow {
  line: number;
  token?: string;
  uses_allowed?: number | null;
  expiry?: When;
  label?: string;
  note?: string;
}

const WANTED_COLUMNS = ['token', 'uses_allowed', 'expiry', 'label', 'note'];

/**
 * `create --from`: columns `token, uses_allowed, expiry, label, note`, each of which a row may leave out.
 * @param source the file's name, for messages.
 * @throws {MxtokError} `usage` with every row that is wrong.
 */
export async function readWantedRows(text: string, source: string): Promise<WantedRow[]> {
  if (/^[\ufeff\s]*\[/.test(text))
    throw usageError(`${source} is a JSON list`, 'Give CSV with a header, or NDJSON: one object a line.');
  const {rows, problems, columns} = await readRows(text);
  assertNotTooMany(rows.length + problems.length, source, 'rows');
  const wanted: WantedRow[] = [];
  const lines = new Map<string, number>();
  const unknown = new Set<string>();
  const checkNames = (line: number, names: readonly string[]): void => {
    for (const name of names) {
      if (name === '' || WANTED_COLUMNS.includes(name) || unknown.has(name)) continue;
      unknown.add(name);
      problems.push({line, message: `${quote(name)} is no column; there are ${WANTED_COLUMNS.join(', ')}`});
    }
  };
  // Where there is no header, the first row is taken for it, and told.
  if (columns) checkNames(columns.line, columns.names);
  for (const {line, fields} of rows) {
    checkNames(line, Object.keys(fields));
    const row = attempt(line, problems, () => readWantedRow(line, fields));
    if (!row) continue;
    const earlier = row.token === undefined ? undefined : lines.get(row.token);
    if (earlier !== undefined)
      problems.push({line, message: `the token ${row.token ?? ''} stands on line ${earlier} already`});
    if (row.token !== undefined) lines.set(row.token, line);
    wanted.push(row);
  }

  assertNone(problems, source, 'nothing was created');
  return wanted;
}

function readWantedRow(line: number, {token, uses_allowed, expiry, label, note}: Row['fields']): WantedRow {
  return {
    line,
    ...(isGiven(token) && {token: parseNewToken(readText(token, 'token'))}),
    ...(uses_allowed !== undefined && {uses_allowed: readUses(uses_allowed)}),
    ...(expiry !== undefined && {
      expiry: expiry === null ? {kind: 'never'} : parseExpiry(readText(expiry, 'expiry')),
    }),
    ...(isGiven(label) && {label: parseLabel(readText(label, 'label'))}),
    ...(isGiven(note) && {note: parseNote(readText(note, 'note'))}),
  };
}

/** As in our JSON, `null` is no limit. @throws {MxtokError} `usage` */
function readUses(value: unknown): number | null {
  if (value === null) return null;
  if (typeof value !== 'string' && typeof value !== 'number')
    throw usageError(`uses_allowed is ${describe(value)}, not a number`);
  return parseUses(String(value));
}
