import {strict as assert} from 'node:assert';

import {Progress} from '../../../src/lib/output/progress.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';

/** What a terminal would show of one line: a carriage return goes back to its beginning, `ESC [K` clears the rest. */
class Terminal {
  shown = '';
  writes = 0;
  readonly columns: number;

  constructor(columns: number) {
    this.columns = columns;
  }

  write(text: string): void {
    this.writes++;
    assert.match(text, /^\r[^\r\n\u001b]*\u001b\[K$/, 'one line, cleared to its end');
    this.shown = text.slice(1, -'\u001b[K'.length);
  }
}

describe('the progress bar', () => {
  let time: FrozenTime;
  beforeEach(() => {
    time = new FrozenTime();
  });

  afterEach(() => {
    time.restore();
  });

  function ticks(progress: Progress, count: number, ms: number): void {
    for (let index = 0; index < count; index++) {
      time.advance(ms);
      progress.tick();
    }
  }

  it('is there before the first answer, without a rate that nobody knows yet', () => {
    const terminal = new Terminal(80);
    new Progress(200, 'tokens', terminal);
    assert.equal(terminal.shown, `${'░'.repeat(24)}   0/200 tokens`);
  });

  it('shows how many are done, how fast it goes, and how long it takes still', () => {
    const terminal = new Terminal(80);
    const progress = new Progress(200, 'tokens', terminal);
    ticks(progress, 50, 100);
    assert.equal(terminal.shown, `${'█'.repeat(6)}${'░'.repeat(18)}  50/200 tokens, 10/s, 0:15 left`);
    ticks(progress, 150, 100);
    assert.equal(terminal.shown, `${'█'.repeat(24)} 200/200 tokens, 10/s, 0:00 left`);
  });

  it('tells slow rates by the tenth, and long times in hours', () => {
    const terminal = new Terminal(80);
    const progress = new Progress(10_000, 'tokens', terminal);
    ticks(progress, 1, 2000);
    assert.match(terminal.shown, / {4}1\/10000 tokens, 0\.5\/s, 5:33:18 left$/);
  });

  it('is drawn ten times a second at most', () => {
    const terminal = new Terminal(80);
    const progress = new Progress(1000, 'tokens', terminal);
    ticks(progress, 1000, 1);
    assert.equal(terminal.writes, 1 + 10);
  });

  it('makes room for other output, and is drawn again with the next', () => {
    const terminal = new Terminal(80);
    const progress = new Progress(3, 'tokens', terminal);
    progress.clear();
    assert.equal(terminal.shown, '');
    progress.clear();
    assert.equal(terminal.writes, 2, 'cleared once');
    ticks(progress, 1, 1);
    assert.match(terminal.shown, /1\/3 tokens/);
  });

  for (const columns of [80, 46, 40, 30, 12, 1]) {
    it(`stays on one line of ${columns} columns`, () => {
      const terminal = new Terminal(columns);
      const progress = new Progress(1000, 'tokens', terminal);
      ticks(progress, 500, 100);
      assert(terminal.shown.length < Math.max(columns, 1), terminal.shown);
      assert.equal(terminal.shown.includes('█'), columns > 40, terminal.shown);
      assert(terminal.shown.includes(' 500/1000 tokens, 10/s, 0:50 left'.slice(1, columns - 1)));
    });
  }
});
