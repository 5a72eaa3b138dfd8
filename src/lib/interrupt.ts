/** Ctrl-C and SIGTERM: the first asks the work to stop and tidy up, the second ends the process at once. */
import {setMaxListeners} from 'node:events';

const controller = new AbortController();

// Every request under way listens to it, and there can be hundreds: Node would warn of a leak from the eleventh on.
setMaxListeners(0, controller.signal);

/** Aborted once the operator, or the system, wants us to end. */
export const interruptSignal: AbortSignal = controller.signal;

/**
 * A signal this soon after the first is the same one, milliseconds: npm passes on what the terminal has sent to all
 * already, and when-exit (under conf) sends a process its own signal once more.
 */
const SAME_SIGNAL = 250;

/** Called once, where the process starts. */
export function listenForInterrupts(): void {
  let first = 0;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (!controller.signal.aborted) {
        first = performance.now();
        controller.abort();
      } else if (performance.now() - first > SAME_SIGNAL) {
        process.exit(130);
      }
    });
  }
}

let endsWithoutReader = false;
let readerGone = false;

/** From now on, a reader of standard output that goes away (`head`) is a Ctrl-C: the work stops and tidies up. */
export function endWithoutReader(): void {
  endsWithoutReader = true;
}

export function isReaderGone(): boolean {
  return readerGone;
}

/** Nobody reads standard output any more. @returns whether the work comes to an end by itself. */
export function onReaderGone(): boolean {
  readerGone = true;
  if (endsWithoutReader) controller.abort();
  return endsWithoutReader;
}
