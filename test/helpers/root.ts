/** For tests of what only root can set up: files of other users, small file systems. */

/** Skip the test, saying so, where this is not root. */
export function asRoot(context: Mocha.Context): void {
  if (process.getuid?.() === 0) return;
  console.error(`      !!! SKIPPED, needs root: ${context.test?.title ?? ''}`);
  context.skip();
}
