/** Ctrl-C and SIGTERM: the first asks the work to stop and tidy up, the second ends the process at once. */
const controller = new AbortController();

/** Aborted once the operator, or the system, wants us to end. */
export const interruptSignal: AbortSignal = controller.signal;

/** Called once, where the process starts. */
export function listenForInterrupts(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130);
      controller.abort();
    });
  }
}
