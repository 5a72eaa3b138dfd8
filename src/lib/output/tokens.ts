/** Token records in each of the output forms. */
import type {TokenField, TokenRecord} from '../token-record.ts';
import {TOKEN_FIELDS} from '../token-record.ts';
import {csvLine, tsvLine} from './delimited.ts';
import {jsonArray, jsonLine} from './json.ts';
import type {TableCell, TableColumn} from './table.ts';

const COLUMNS: Record<TokenField, TableColumn> = {
  server: {header: 'SERVER'},
  token: {header: 'TOKEN'},
  status: {header: 'STATUS'},
  accepted: {header: 'ACCEPTED'},
  uses_allowed: {header: 'USES', align: 'right'},
  pending: {header: 'PENDING', align: 'right'},
  completed: {header: 'COMPLETED', align: 'right'},
  expiry_time: {header: 'EXPIRY TIME', align: 'right'},
  expires_at: {header: 'EXPIRES'},
  label: {header: 'LABEL', flexible: true},
  note: {header: 'NOTE', flexible: true},
  link: {header: 'LINK'},
};

/** Everything but the table: rows are written as they come. @param columns default: all. */
export function* renderRecords(
  records: Iterable<TokenRecord>,
  format: 'tsv' | 'csv' | 'json' | 'ndjson',
  columns: readonly TokenField[] = TOKEN_FIELDS,
): Generator<string> {
  if (format === 'json') {
    yield* jsonArray(records);
    return;
  }

  if (format === 'csv') yield `${csvLine(columns)}\r\n`;
  for (const record of records) {
    if (format === 'ndjson') yield `${jsonLine(record)}\n`;
    else if (format === 'tsv') yield `${tsvLine(columns.map((field) => record[field]))}\n`;
    else yield `${csvLine(columns.map((field) => record[field]))}\r\n`;
  }
}

export interface TableStyle {
  /** Width of the terminal in characters. */
  width: number;
  /** The homeserver's time, Unix ms, for relative times. */
  now: number;
  color: boolean;
  /** The rows are of several homeservers, and say of which. */
  several?: boolean;
}

/** A column that is no field of a record. */
export interface ExtraColumn {
  header: string;
  /** One for each record. */
  cells: readonly string[];
}

/**
 * The table for a person. Its libraries are loaded here, so that pipes do without.
 * @param columns default: what a person wants to see at once, with the three counts in one column.
 * @param extra further columns, on the right.
 */
export async function renderRecordTable(
  records: readonly TokenRecord[],
  {width, now, color, several = false}: TableStyle,
  columns?: readonly TokenField[],
  extra: readonly ExtraColumn[] = [],
): Promise<Iterable<string>> {
  const [{renderTable}, {coloursFor}, cell] = await Promise.all([
    import('./table.ts'),
    import('./colour.ts'),
    cellRenderer(now, color, false),
  ]);
  const usual: readonly TokenField[] = ['token', 'status', 'uses_allowed', 'expires_at', 'label'];
  const fields = columns ?? (several ? (['server', ...usual] as const) : usual);
  return renderTable(
    [...fields.map((field) => COLUMNS[field]), ...extra.map(({header}) => ({header}))],
    records.map((record, index) => [
      ...fields.map((field) =>
        field === 'uses_allowed' && !columns ? {text: compactUses(record)} : cell(record, field),
      ),
      ...extra.map(({cells}) => ({text: cells[index] ?? ''})),
    ]),
    width,
    coloursFor('stdout', color),
  );
}

/** `2/5`: two of five; `2+1/5`: and one sign-up under way; `2/∞`: of any number. */
function compactUses({completed, pending, uses_allowed, status, accepted}: TokenRecord): string {
  const used = pending > 0 ? `${completed}+${pending}` : String(completed);
  const unlimited = uses_allowed === null || (status === 'disabled' && accepted);
  return `${used}/${unlimited ? '∞' : uses_allowed}`;
}

/** All that is known of one token, a line each. */
export async function renderRecordFields(record: TokenRecord, {now, color}: TableStyle): Promise<string> {
  const [{renderFields}, {coloursFor}, cell] = await Promise.all([
    import('./table.ts'),
    import('./colour.ts'),
    cellRenderer(now, color, true),
  ]);
  const fields = TOKEN_FIELDS.filter((field) => field !== 'expiry_time' && (record[field] ?? '') !== '');
  const shown = new Set<TokenField>([...fields, 'uses_allowed', 'expires_at']);
  return renderFields(
    TOKEN_FIELDS.filter((field) => shown.has(field)).map((field) => [
      COLUMNS[field].header.toLowerCase(),
      cell(record, field),
    ]),
    coloursFor('stdout', color),
  );
}

async function cellRenderer(
  now: number,
  color: boolean,
  long: boolean,
): Promise<(record: TokenRecord, field: TokenField) => TableCell> {
  const [{coloursFor}, {formatLocal, formatRelative}] = await Promise.all([
    import('./colour.ts'),
    import('../when.ts'),
  ]);
  const colours = coloursFor('stdout', color);
  return (record, field) => {
    const value = record[field];
    switch (field) {
      case 'status': {
        if (record.status === 'disabled' && record.accepted) {
          return {text: 'disabled (still accepted!)', paint: colours.red.bold};
        }

        const paint = {
          disabled: colours.dim,
          expired: colours.yellow,
          exhausted: colours.yellow,
          reserved: colours.cyan,
          valid: colours.green,
        }[record.status];
        return {text: record.status, paint};
      }

      case 'uses_allowed':
        if (record.status === 'disabled') return {text: record.accepted ? 'unlimited' : '0'};
        return {text: value === null ? 'unlimited' : String(value)};
      case 'expires_at': {
        if (record.expiry_time === null) return {text: 'never'};
        const relative = formatRelative(record.expiry_time, now);
        return {text: long ? `${formatLocal(record.expiry_time)} (${relative})` : relative};
      }

      case 'accepted':
        return {text: value ? 'yes' : 'no'};
      default:
        return {text: value === null ? '' : String(value)};
    }
  };
}
