import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';

const MODULE = new URL('../../../src/lib/output/colour.ts', import.meta.url).href;

/** What is written in red: in a process of its own, for the terminal is looked at when the modules are loaded. */
function red(env: Record<string, string>, options: {tty?: boolean; wanted?: boolean} = {}): string {
  const {tty = true, wanted = true} = options;
  const code = `
    process.stdout.isTTY = ${tty};
    const {coloursFor} = await import(${JSON.stringify(MODULE)});
    process.stdout.write(JSON.stringify(coloursFor('stdout', ${wanted}).red('x')));`;
  const argv = ['--import', 'tsx', '--input-type=module', '--eval', code];
  const surroundings = {PATH: process.env['PATH'] ?? '', TERM: 'xterm-256color', FORCE_COLOR: '1'};
  return JSON.parse(
    execFileSync(process.execPath, argv, {env: {...surroundings, ...env}, encoding: 'utf8'}),
  ) as string;
}

describe('colours', function () {
  this.timeout(60_000);

  it('are for a terminal', () => {
    assert.equal(red({}), '\u001b[31mx\u001b[39m');
  });

  it('are not for a pipe', () => {
    assert.equal(red({}, {tty: false}), 'x');
  });

  it('go with --no-color', () => {
    assert.equal(red({}, {wanted: false}), 'x');
  });

  it('go with NO_COLOR, whatever it says', () => {
    assert.equal(red({NO_COLOR: '1'}), 'x');
    assert.equal(red({NO_COLOR: '0'}), 'x');
  });

  it('stay with an empty NO_COLOR, as no-color.org has it', () => {
    assert.equal(red({NO_COLOR: ''}), '\u001b[31mx\u001b[39m');
  });

  it('are not for a dumb terminal', () => {
    assert.equal(red({TERM: 'dumb'}), 'x');
  });
});
