/** Standard input, read to its end. */
import {interruptedError, usageError} from './errors.ts';
import {interruptSignal} from './interrupt.ts';

/** More than any list of tokens, bytes. */
const MAX_INPUT = 64 * 1024 * 1024;

/** @throws {MxtokError} `usage`, where it has no end in sight; `interrupted`. */
export async function readStdin(): Promise<string> {
  if (interruptSignal.aborted) throw interruptedError();
  const chunks: Buffer[] = [];
  let size = 0;
  const stop = (): void => {
    process.stdin.destroy(interruptedError());
  };
  interruptSignal.addEventListener('abort', stop, {once: true});
  for await (const chunk of process.stdin) {
    const bytes = chunk as Buffer;
    size += bytes.length;
    if (size > MAX_INPUT) throw usageError('there is too much on standard input (over 64 MiB)');
    chunks.push(bytes);
  }

  return Buffer.concat(chunks).toString('utf8');
}

/** The first line of standard input, for a secret that is piped in. */
export async function readSecretFromStdin(): Promise<string> {
  return (await readStdin()).split('\n')[0]?.trim() ?? '';
}
