/** What homeservers have no place for: labels, notes, who created a token here, and the limits `enable` restores. */
import {dirname} from 'node:path';

import * as z from 'zod/mini';

import {assertWritable, type Warn} from './files.ts';
import {JsonFile} from './json-file.ts';
import {metadataPath} from './paths.ts';

const DisabledSchema = z.looseObject({
  /** The limits before, in the homeserver's own terms. */
  uses_allowed: z.nullable(z.int()),
  expiry_time: z.nullable(z.int()),
  /** The homeserver's time when disabling began, Unix ms. */
  at: z.int(),
  /** Whether it came to its end. */
  done: z.boolean(),
});

/** What a disabled token had before. */
export type LimitsBeforeDisabling = z.output<typeof DisabledSchema>;

const TokenMetadataSchema = z.looseObject({
  token: z.string(),
  label: z.optional(z.string()),
  note: z.optional(z.string()),
  /** ISO 8601, by the homeserver's clock, and the Matrix user; only for tokens created with this store. */
  created_at: z.optional(z.string()),
  created_by: z.optional(z.string()),
  /** ISO 8601, by the clock here: when a rotation made it, or had it for its result, for the last time. */
  rotated_at: z.optional(z.string()),
  /** The row of a file that it was made for, while the run that reads the file has not come to its end. */
  row: z.optional(z.string()),
  disabled: z.optional(DisabledSchema),
});

export type TokenMetadata = z.output<typeof TokenMetadataSchema>;

/**
 * Nothing but text, as most entries are: that is told by hand, for there may be a hundred thousand of them, and zod would
 * take as long over them as all the rest of a list does, and make a second object of each.
 */
function isText(entry: unknown): boolean {
  if (typeof entry !== 'object' || entry === null) return false;
  const {token, disabled} = entry as Record<string, unknown>;
  return (
    typeof token === 'string' &&
    disabled === undefined &&
    Object.values(entry).every((value) => typeof value === 'string')
  );
}

const EntriesSchema = z
  .custom<z.output<typeof TokenMetadataSchema>[]>(Array.isArray, {abort: true})
  .check(({value: entries, issues}) => {
    for (const [index, entry] of entries.entries()) {
      if (isText(entry)) continue;
      const [issue] = TokenMetadataSchema.safeParse(entry).error?.issues ?? [];
      if (issue) issues.push({...issue, path: [index, ...issue.path], input: undefined});
    }
  });

// A list, not an object by token: `__proto__` is a token like any other.
const MetadataSchema = z.looseObject({
  version: z.literal(1),
  server_name: z.string(),
  tokens: EntriesSchema,
});

export class MetadataStore {
  readonly #file: JsonFile<z.output<typeof MetadataSchema>>;

  /** @param serverName of the homeserver: whatever profile or address leads to it, its data is in one place. */
  constructor(configDir: string, serverName: string, warn: Warn) {
    this.#file = new JsonFile(
      metadataPath(configDir, serverName),
      MetadataSchema,
      () => ({version: 1, server_name: serverName, tokens: []}),
      warn,
    );
  }

  get path(): string {
    return this.#file.path;
  }

  /** That it can be read and changed. @throws {MxtokError} `store` */
  assertUsable(): void {
    this.#file.read();
    assertWritable(dirname(this.path));
  }

  /** All that is known, by token. */
  read(): Map<string, TokenMetadata> {
    return byToken(this.#file.read().tokens);
  }

  /**
   * Change what is known of several tokens in one write.
   * @param change gets what is known, or an empty entry; returns what is to be known, or `undefined` for nothing.
   */
  async update(
    tokens: readonly string[],
    change: (entry: TokenMetadata) => TokenMetadata | undefined,
  ): Promise<void> {
    if (tokens.length === 0) return;
    await this.#file.update((data) => {
      const entries = byToken(data.tokens);
      let changed = false;
      for (const token of tokens) {
        const before = entries.get(token);
        const after = change(before ?? {token});
        if (after === before) continue;
        changed = true;
        if (after && Object.keys(after).length > 1) entries.set(token, after);
        else entries.delete(token);
      }

      if (!changed) return false;
      data.tokens = [...entries.values()];
      return undefined;
    });
  }

  /** Remove everything; for `server remove --purge`. */
  async purge(): Promise<void> {
    await this.#file.remove();
  }
}

function byToken(entries: readonly TokenMetadata[]): Map<string, TokenMetadata> {
  const map = new Map<string, TokenMetadata>();
  for (const entry of entries) map.set(entry.token, entry);
  return map;
}
