/**
 * What can go wrong, as operators and scripts see it. The codes and exit codes are part of the contract
 * (README, "Exit codes"): codes are only ever added.
 */
export const EXIT_CODES = {
  /** The homeserver said no for a reason that has no code of its own. */
  refused: 1,
  /** A defect here, or an answer that makes no sense. */
  unexpected: 1,
  /** The local files cannot be read or written. */
  store: 1,
  /** The endpoints are not there: MAS, a worker, Dendrite, an old Synapse. */
  unsupported: 1,
  /** Somebody else has changed the token since it was looked at. */
  changed_meanwhile: 1,
  /** After disabling, the homeserver still accepts the token. */
  still_accepted: 1,
  usage: 2,
  /** Limits of a disabled token are not changed, only restored. */
  token_disabled: 2,
  declined: 3,
  no_credential: 4,
  unauthorized: 4,
  not_admin: 4,
  no_such_token: 5,
  no_such_server: 5,
  already_exists: 6,
  unreachable: 7,
  tls: 7,
  timeout: 7,
  rate_limited: 7,
  server_error: 7,
  /** Something between us and the homeserver answered in its place. */
  not_matrix: 7,
  some_failed: 8,
  not_accepted: 9,
  fault_found: 9,
  /** `list --exit-code`: there is such a token. */
  tokens_found: 9,
  interrupted: 130,
} as const;

export type ErrorCode = keyof typeof EXIT_CODES;

export interface ErrorDetails {
  /** What to do next, as a sentence or a command. */
  hint?: string | undefined;
  /** The Matrix error code of the homeserver's answer, like `M_FORBIDDEN`. */
  errcode?: string | undefined;
  /** The HTTP status of the homeserver's answer. */
  status?: number | undefined;
  /** The profile's name. */
  server?: string | undefined;
  /** The registration token it is about. */
  token?: string | undefined;
  /** Of a file: each row that is wrong. */
  problems?: readonly {line: number; message: string}[] | undefined;
  cause?: unknown;
}

/**
 * An error that is told to the operator as it stands. It is built field by field and never holds a request,
 * a response or an access token, so that showing the whole of it is safe.
 */
export class MxtokError extends Error {
  override readonly name = 'MxtokError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly errcode: string | undefined;
  readonly status: number | undefined;
  readonly problems: readonly {line: number; message: string}[] | undefined;
  server: string | undefined;
  token: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : {cause: details.cause});
    this.code = code;
    this.hint = details.hint;
    this.errcode = details.errcode;
    this.status = details.status;
    this.server = details.server;
    this.token = details.token;
    this.problems = details.problems;
  }

  get exitCode(): number {
    return EXIT_CODES[this.code];
  }

  /** The same, saying which token it is about; an error that knows already keeps its own. */
  about(token: string): this {
    this.token ??= token;
    return this;
  }
}

const LEAVES_OPEN: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unreachable',
  'timeout',
  'server_error',
  'not_matrix',
  'interrupted',
]);

/** Whether the homeserver may have done what was asked all the same. */
export function leavesOpen({code}: MxtokError): boolean {
  return LEAVES_OPEN.has(code);
}

const MEETS_ALL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'unauthorized',
  'not_admin',
  'unsupported',
  'unreachable',
  'tls',
  'timeout',
  'not_matrix',
  'rate_limited',
  'server_error',
  'store',
  'unexpected',
  'interrupted',
]);

/** Whether what has happened to one token would happen to every further one as well. */
export function meetsAll({code}: MxtokError): boolean {
  return MEETS_ALL.has(code);
}

/** The JSON of an error: a fixed list of fields, absent where they have no value. */
export interface ErrorJson {
  code: ErrorCode;
  message: string;
  hint?: string;
  errcode?: string;
  status?: number;
  server?: string;
  token?: string;
  problems?: readonly {line: number; message: string}[];
}

export function errorToJson(error: MxtokError): ErrorJson {
  return {
    code: error.code,
    message: error.message,
    ...(error.hint !== undefined && {hint: error.hint}),
    ...(error.errcode !== undefined && {errcode: error.errcode}),
    ...(error.status !== undefined && {status: error.status}),
    ...(error.server !== undefined && {server: error.server}),
    ...(error.token !== undefined && {token: error.token}),
    ...(error.problems !== undefined && {problems: error.problems}),
  };
}

/** A mistake in what was typed: exit 2, and nothing was sent. */
export function usageError(message: string, hint?: string): MxtokError {
  return new MxtokError('usage', message, {hint});
}

/**
 * Any thrown value as an error for the operator. Errors of our own pass; a foreign one keeps its message only,
 * for its other fields may hold a request with its Authorization header.
 */
export function toMxtokError(error: unknown): MxtokError {
  if (error instanceof MxtokError) return error;
  // Thrown by @inquirer/prompts on Ctrl-C.
  if (error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortPromptError')) {
    return interruptedError();
  }

  const message = error instanceof Error ? error.message : String(error);
  return new MxtokError('unexpected', message || 'something unexpected happened', {
    hint: 'This looks like a defect in mxtok. Run again with --debug and report what it prints.',
    cause: error,
  });
}

export function interruptedError(): MxtokError {
  return new MxtokError('interrupted', 'interrupted');
}
