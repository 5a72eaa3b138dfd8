/**
 * `npm test`: lint, types and formatting, then the unit tests in three time zones, then the real binary against a real
 * Synapse.
 */
import {spawnSync} from 'node:child_process';

/** Without an offset; with one that is no whole hour, and clocks that change; and ahead by half an hour, with none. */
const TIME_ZONES = ['UTC', 'America/St_Johns', 'Asia/Kolkata'];

const steps: {command: string; args: string[]; env?: Record<string, string>}[] = [
  {command: 'npm', args: ['run', '--silent', 'build']},
  {command: 'npm', args: ['run', '--silent', 'lint']},
  ...TIME_ZONES.map((TZ) => ({command: 'npx', args: ['mocha'], env: {TZ}})),
  {command: 'npx', args: ['mocha', '--config', '.mocharc.e2e.json']},
];

for (const {command, args, env = {}} of steps) {
  const assignments = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  console.log(`\n> ${[...assignments, command, ...args].join(' ')}`);
  const {status} = spawnSync(command, args, {
    stdio: 'inherit',
    shell: process.platform === 'win32',
    env: {...process.env, ...env},
  });
  if (status !== 0) process.exit(status ?? 1);
}
