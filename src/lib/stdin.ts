/** Standard input, read to its end. */
import type {Readable} from 'node:stream';

import {interruptedError, usageError} from './errors.ts';
import {interruptSignal} from './interrupt.ts';

/** More than any list of tokens, bytes. */
const MAX_INPUT = 64 * 1024 * 1024;

/** @throws {MxtokError} `usage`, where it has no end in sight; `interrupted`. */
export async function readStdin(): Promise<string> {
  return (await readStdinBytes()).toString('utf8');
}

/** As {@link readStdin}. */
export function readStdinBytes(): Promise<Buffer> {
  return readStream(process.stdin, MAX_INPUT, 'on standard input');
}

/**
 * A stream, read to its end.
 * @param most so many bytes are taken.
 * @param where it is, for messages.
 * @throws {MxtokError} `usage`, where it has no end in sight; `interrupted`.
 */
export async function readStream(stream: Readable, most: number, where = 'in that pipe'): Promise<Buffer> {
  if (interruptSignal.aborted) throw interruptedError();
  const chunks: Buffer[] = [];
  let size = 0;
  const stop = (): void => {
    stream.destroy(interruptedError());
  };
  interruptSignal.addEventListener('abort', stop, {once: true});
  for await (const chunk of stream) {
    const bytes = chunk as Buffer;
    size += bytes.length;
    if (size > most) throw usageError(`there is too much ${where} (over ${most / 1024 / 1024} MiB)`);
    chunks.push(bytes);
  }

  interruptSignal.removeEventListener('abort', stop);
  return Buffer.concat(chunks);
}

/** The first line of standard input, for a secret that is piped in. */
export async function readSecretFromStdin(): Promise<string> {
  return (await readStdin()).split('\n')[0]?.trim() ?? '';
}
