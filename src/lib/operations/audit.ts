import type {AuditEntry, AuditLog} from '../store/audit.ts';

/** An operation: its start and its end put together. */
export interface AuditRecord {
  /** When it started, ISO 8601, UTC. */
  time: string;
  id: string;
  server: string | null;
  server_name: string;
  actor: string | null;
  os_user: string;
  operation: string;
  /** Masked. */
  token: string | null;
  fingerprint: string | null;
  outcome: 'ok' | 'failed' | 'unknown' | 'unfinished';
  finished_at: string | null;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
  error: AuditEntry['error'] | null;
}

/** Of a person's table, TSV and CSV; JSON has the whole record. */
export const AUDIT_FIELDS = ['time', 'server', 'operation', 'token', 'outcome', 'actor', 'os_user'] as const;

/** What is logged. */
export const AUDIT_OPERATIONS = ['create', 'update', 'disable', 'enable', 'delete', 'login', 'logout'];

export interface AuditQuery {
  /** A profile's name, or a homeserver's. */
  server?: string | undefined;
  operation?: string | undefined;
  fingerprint?: string | undefined;
  /** Unix ms. */
  since?: number | undefined;
  until?: number | undefined;
  unfinished?: boolean | undefined;
  /** The last so many. */
  limit?: number | undefined;
}

/** @returns operations in the order in which they started. */
export async function findOperations(log: AuditLog, query: AuditQuery): Promise<AuditRecord[]> {
  const records = new Map<string, AuditRecord>();
  /** Started and not chosen: neither is their end, although that may lie within the time asked for. */
  const others = new Set<string>();
  const open = new OpenOperations();
  for await (const entry of log.read()) {
    const started = records.get(entry.id);
    if (entry.phase === 'finished' && started) finish(started, entry);
    else if (others.has(entry.id)) continue;
    else if (matches(entry, query)) records.set(entry.id, toRecord(entry));
    else if (entry.phase === 'started') others.add(entry.id);
    if (query.unfinished) open.see(entry);
  }

  const found = [...records.values()].filter(({id}) => !query.unfinished || open.has(id));
  return query.limit === undefined ? found : found.slice(-query.limit);
}

/** These leave a token in a state that does not depend on what was cut short before. */
const SETTLING = new Set(['disable', 'enable', 'delete']);

/** Operations without an end that anybody knows, and that no later success on the same token has settled. */
class OpenOperations {
  /** By homeserver and token: the operation by its id. */
  readonly #byToken = new Map<string, Map<string, string>>();
  readonly #ids = new Set<string>();

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  see({id, server_name, fingerprint, operation, phase, outcome}: AuditEntry): void {
    const key = fingerprint === null ? id : `${server_name} ${fingerprint}`;
    const open = this.#byToken.get(key) ?? new Map<string, string>();
    this.#byToken.set(key, open);
    if (phase === 'started') {
      open.set(id, operation);
      this.#ids.add(id);
      return;
    }

    if (outcome === 'unknown') return;
    // It has been done again, or undone.
    const settles = outcome === 'ok' ? SETTLING.has(operation) : false;
    for (const [other, kind] of open) {
      if (other !== id && !settles && !(outcome === 'ok' && kind === operation)) continue;
      open.delete(other);
      this.#ids.delete(other);
    }
  }
}

function matches(entry: AuditEntry, {server, operation, fingerprint, since, until}: AuditQuery): boolean {
  const time = Date.parse(entry.time);
  return (
    (server === undefined || entry.server === server || entry.server_name === server) &&
    (operation === undefined || entry.operation === operation) &&
    (fingerprint === undefined || entry.fingerprint === fingerprint) &&
    (since === undefined || time >= since) &&
    (until === undefined || time <= until)
  );
}

function toRecord(entry: AuditEntry): AuditRecord {
  const {time, id, server, server_name, actor, os_user, operation, token, fingerprint} = entry;
  const record: AuditRecord = {
    time,
    id,
    server,
    server_name,
    actor,
    os_user,
    operation,
    token,
    fingerprint,
    outcome: 'unfinished',
    finished_at: null,
    before: entry.before ?? null,
    after: entry.after ?? null,
    error: null,
  };
  if (entry.phase === 'finished') finish(record, entry);
  return record;
}

function finish(record: AuditRecord, {time, server_name, outcome, after, error}: AuditEntry): void {
  // Of a log-in to a homeserver that was not known before, only its end knows the name.
  record.server_name = server_name;
  record.outcome = outcome ?? 'unknown';
  record.finished_at = time;
  if (after) record.after = after;
  record.error = error ?? null;
}
