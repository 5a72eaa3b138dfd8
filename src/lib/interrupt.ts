/** Ctrl-C and SIGTERM: the first asks the work to stop and tidy up, the second ends the process at once. */
const controller = new AbortController();

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
