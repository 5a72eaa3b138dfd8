/** What kind of value a flag or an argument takes. New flags of these names need nothing more. */
import {AUDIT_OPERATIONS} from '../operations/audit.ts';
import {TOKEN_STATUSES} from '../registration-token.ts';
import {TOKEN_FIELDS} from '../token-record.ts';

export type ValueKind =
  /** Nobody can tell; tokens among them, which are nobody's business on a screen. */
  | {of: 'anything'}
  | {of: 'file'}
  /** Profiles by name. */
  | {of: 'server'}
  /** Labels that are kept here. */
  | {of: 'label'}
  | {
      of: 'fixed';
      values: readonly string[];
      /** Several may be given, with commas. */
      list?: boolean;
      /** May have a hyphen before it. */
      descending?: boolean;
    };

const ANYTHING: ValueKind = {of: 'anything'};

/** By the name of the flag; also with `default-` before it. */
const FLAGS: Record<string, ValueKind> = {
  'access-token-file': {of: 'file'},
  'ca-file': {of: 'file'},
  columns: {of: 'fixed', values: TOKEN_FIELDS, list: true},
  from: {of: 'file'},
  label: {of: 'label'},
  operation: {of: 'fixed', values: AUDIT_OPERATIONS},
  server: {of: 'server'},
  sort: {of: 'fixed', values: TOKEN_FIELDS, descending: true},
  status: {of: 'fixed', values: TOKEN_STATUSES, list: true},
  'with-label': {of: 'label'},
};

/** By the name of the argument; `help` is a case of its own. */
const ARGUMENTS: Record<string, ValueKind> = {file: {of: 'file'}, name: {of: 'server'}};

/** Whose NAME is a new one. */
const NAMES_ANEW = new Set(['server:add']);

export function flagValues(
  name: string,
  {options, helpValue}: {options?: readonly string[] | undefined; helpValue?: string | string[] | undefined},
): ValueKind {
  if (options) return {of: 'fixed', values: options};
  const key = name.replace(/^default-/, '');
  const known = Object.hasOwn(FLAGS, key) ? FLAGS[key] : undefined;
  return known ?? (helpValue === 'FILE' ? {of: 'file'} : ANYTHING);
}

/** @param id of the command. */
export function argumentValues(id: string, name: string, options: readonly string[] | undefined): ValueKind {
  if (options) return {of: 'fixed', values: options};
  if (NAMES_ANEW.has(id)) return ANYTHING;
  return (Object.hasOwn(ARGUMENTS, name) ? ARGUMENTS[name] : undefined) ?? ANYTHING;
}
