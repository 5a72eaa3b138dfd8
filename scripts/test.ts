/** `npm test`: lint, types and formatting, then the unit tests, then the real binary against a real Synapse. */
import {spawnSync} from 'node:child_process';

const steps = [
  ['npm', 'run', '--silent', 'build'],
  ['npm', 'run', '--silent', 'lint'],
  ['npx', 'mocha'],
  ['npx', 'mocha', '--config', '.mocharc.e2e.json'],
] as const;

for (const [command, ...args] of steps) {
  console.log(`\n> ${[command, ...args].join(' ')}`);
  const {status} = spawnSync(command, args, {stdio: 'inherit', shell: process.platform === 'win32'});
  if (status !== 0) process.exit(status ?? 1);
}
