/** A homeserver in memory, with Synapse's rule of acceptance, for what the operations do around it. */
import {strict as assert} from 'node:assert';
import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

import type {Connection} from '../../src/lib/connection.ts';
import {MxtokError} from '../../src/lib/errors.ts';
import {ServerClock} from '../../src/lib/homeserver/clock.ts';
import type {
  DisabledToken,
  DisableOptions,
  Homeserver,
  Outcome,
  TokenLimits,
} from '../../src/lib/homeserver/homeserver.ts';
import {HttpClient} from '../../src/lib/homeserver/http.ts';
import {findTokens, type FoundToken, type TokenOutcome} from '../../src/lib/operations/batch.ts';
import {fingerprint, type RegistrationToken} from '../../src/lib/registration-token.ts';
import {settle, settleEach} from '../../src/lib/settle.ts';
import {type AuditEntry, AuditLog} from '../../src/lib/store/audit.ts';
import {MetadataStore, type TokenMetadata} from '../../src/lib/store/metadata.ts';
import {dateHeader} from './frozen-time.ts';
import {tempDir} from './temp.ts';

export class FakeHomeserver implements Homeserver {
  readonly clock = new ServerClock();
  readonly tokens = new Map<string, RegistrationToken>();
  /** Each change asked for, in order: `create TOKEN {…}`. */
  readonly changes: string[] = [];
  /** Each token whose expiry was asked to be proven past. */
  readonly probes: string[] = [];
  /**
   * Before a change takes effect: may look around, throw, or never return. Told too of `probe TOKEN`, which changes
   * nothing, and of the `wait` between the two steps of disabling.
   */
  before: (change: string) => void | Promise<void> = () => undefined;
  /** How far the Date of its answers, a reverse proxy's, is ahead of its own clock: milliseconds, whole seconds. */
  dateAhead = 0;
  #now: number;

  /** @param now Unix ms, whole seconds. */
  constructor(now: number) {
    this.#now = now;
    this.pass(0);
  }

  get now(): number {
    return this.#now;
  }

  /** Let time pass here. */
  pass(ms: number): void {
    this.#now += ms;
    this.clock.observe(dateHeader(this.#now + this.dateAhead), performance.now(), performance.now());
  }

  add(token: string, fields: Partial<RegistrationToken> = {}): RegistrationToken {
    const row = {
      token,
      uses_allowed: null,
      pending: 0,
      completed: 0,
      expiry_time: null,
      ...fields,
      disabled: fields.uses_allowed === 0,
    };
    this.tokens.set(token, row);
    return row;
  }

  accepts(
    {uses_allowed, pending, completed, expiry_time}: RegistrationToken,
    now: number = this.clock.now(),
  ): boolean {
    if (expiry_time !== null && expiry_time <= now) return false;
    return !uses_allowed || pending + completed < uses_allowed;
  }

  verifyAccess(): Promise<void> {
    return Promise.resolve();
  }

  list(): Promise<RegistrationToken[]> {
    return Promise.resolve([...this.tokens.values()].map((token) => ({...token})));
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- so that what it throws is a rejection.
  async get(token: string): Promise<RegistrationToken> {
    return {...this.#find(token)};
  }

  async getMany(tokens: readonly string[]): Promise<Map<string, RegistrationToken>> {
    const all = await this.list();
    return new Map(all.filter(({token}) => tokens.includes(token)).map((token) => [token.token, token]));
  }

  async create(token: string, limits: TokenLimits): Promise<RegistrationToken> {
    await this.#change(`create ${token} ${JSON.stringify(limits)}`);
    if (this.tokens.has(token)) throw new MxtokError('already_exists', 'there is one already', {token});
    return {...this.add(token, limits)};
  }

  async update(token: string, limits: Partial<TokenLimits>): Promise<RegistrationToken> {
    await this.#change(`update ${token} ${JSON.stringify(limits)}`);
    return {...this.#set(token, limits)};
  }

  async delete(token: string): Promise<void> {
    await this.#change(`delete ${token}`);
    this.#find(token);
    this.tokens.delete(token);
  }

  /** The two steps of Synapse's, with a second between. What `before` throws at the wait ends all of it. */
  async disable(
    tokens: readonly RegistrationToken[],
    _options?: DisableOptions,
  ): Promise<Outcome<DisabledToken>[]> {
    const closed = await settleEach(tokens, ({token}) => this.#close(token));
    await this.before('wait');
    if (closed.some((one) => one.ok && !this.#isOver(one.value))) this.pass(1000);
    const outcomes: Outcome<DisabledToken>[] = [];
    for (const one of closed) {
      const marked = one.ok ? await settle(() => this.#mark(one.value)) : one;
      if (marked.ok) outcomes.push({ok: true, value: {token: marked.value, confirmed_by: 'validity'}});
      else outcomes.push(one.ok ? {...marked, partly: true} : marked);
    }

    return outcomes;
  }

  async #close(token: string): Promise<RegistrationToken> {
    await this.#change(`close ${token}`);
    const row = this.#find(token);
    if (this.#isOver(row)) return row;
    return this.#set(token, {
      uses_allowed: Math.max(1, row.completed + row.pending),
      expiry_time: this.now + 1000,
    });
  }

  async #mark({token}: RegistrationToken): Promise<RegistrationToken> {
    await this.#change(`mark ${token}`);
    return {...this.#set(token, {uses_allowed: 0})};
  }

  /** By its own clock, whatever the Date of its answers says. */
  #isOver({expiry_time}: RegistrationToken): boolean {
    return expiry_time !== null && expiry_time <= this.now;
  }

  async isPast({token}: RegistrationToken): Promise<boolean> {
    this.probes.push(token);
    await this.before(`probe ${token}`);
    return this.#isOver(this.#find(token));
  }

  async #change(change: string): Promise<void> {
    this.changes.push(change);
    await this.before(change);
  }

  #find(token: string): RegistrationToken {
    const found = this.tokens.get(token);
    if (!found) throw new MxtokError('no_such_token', `there is no ${token}`, {token, status: 404});
    return found;
  }

  #set(token: string, limits: Partial<TokenLimits>): RegistrationToken {
    const row = Object.assign(this.#find(token), limits);
    row.disabled = row.uses_allowed === 0;
    return row;
  }
}

/** What an operation works with, its files in a directory of its own, or in that of an earlier run. */
export function fakeConnection(homeserver: Homeserver, dir: string = tempDir()): Connection {
  const warn = (message: string): void => {
    assert.fail(message);
  };
  return {
    server: 'main',
    homeserver,
    metadata: new MetadataStore(join(dir, 'config'), 'example.org', warn),
    audit: new AuditLog(join(dir, 'data'), warn),
    auditContext: {server: 'main', server_name: 'example.org', actor: '@admin:example.org'},
    http: new HttpClient({
      baseUrl: 'https://matrix.example.org',
      timeout: 30_000,
      userAgent: 'mxtok/test',
    }),
  };
}

/** What is in the audit log now; it fails where a token stands in it as it is. */
export function auditEntries({audit, homeserver}: Connection): AuditEntry[] {
  if (!existsSync(audit.path)) return [];
  const text = readFileSync(audit.path, 'utf8');
  const known = homeserver instanceof FakeHomeserver ? [...homeserver.tokens.keys()] : [];
  for (const token of known) assert(!text.includes(token), `the audit log holds ${token}`);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as AuditEntry);
}

/** `phase operation outcome` of each entry. */
export function auditSummary(connection: Connection): string[] {
  return auditEntries(connection).map(({phase, operation, outcome, error}) =>
    [phase, operation, outcome, error?.code].filter(Boolean).join(' '),
  );
}

/** How the log says that the last operation on each token has ended: `ok`, or `failed` or `unknown` and a code. */
export function auditEnds(connection: Connection, names: readonly string[]): string[] {
  const entries = auditEntries(connection);
  return names.map((name) => {
    const last = entries.findLast((entry) => entry.fingerprint === fingerprint(name));
    if (!last) return 'not logged';
    if (last.phase === 'started') return 'unfinished';
    return [last.outcome, last.error?.code].filter(Boolean).join(' ');
  });
}

/** What is known of a token here. */
export function known({metadata}: Connection, token: string): TokenMetadata | undefined {
  return metadata.read().get(token);
}

/** The named tokens as a command finds them before it works on them. */
export function find(connection: Connection, ...names: string[]): Promise<TokenOutcome<FoundToken>[]> {
  return findTokens(connection, names);
}

/** `TOKEN: ok`, or the code of its error, of each in their order. */
export function outcomeSummary(outcomes: readonly TokenOutcome<unknown>[]): string[] {
  return outcomes.map(({token, outcome}) => `${token}: ${outcome.ok ? 'ok' : outcome.error.code}`);
}

/** What became of the only token that was asked for; its error is thrown. */
export function onlyOf<T>(outcomes: readonly TokenOutcome<T>[]): T {
  const [only, ...others] = outcomes;
  assert(only && others.length === 0);
  if (!only.outcome.ok) throw only.outcome.error;
  return only.outcome.value;
}

/** Break the local store while a run is under way. */
export const BROKEN = 'not JSON';
