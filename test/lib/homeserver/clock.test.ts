import {strict as assert} from 'node:assert';

import {ServerClock} from '../../../src/lib/homeserver/clock.ts';
import {dateHeader, FrozenTime} from '../../helpers/frozen-time.ts';

const T = Date.UTC(2027, 0, 1, 12);

describe('ServerClock', () => {
  let time: FrozenTime;
  let clock: ServerClock;

  beforeEach(() => {
    time = new FrozenTime();
    clock = new ServerClock();
  });

  afterEach(() => {
    time.restore();
  });

  /** An answer that takes `ms` to come. */
  function answer(serverTime: number, ms = 0, headers: Record<string, string> = {}): void {
    const sent = performance.now();
    time.advance(ms);
    clock.observe({...dateHeader(serverTime), ...headers}, sent, performance.now());
  }

  it('lets the local clock stand in until the homeserver has answered', () => {
    assert.equal(clock.known, false);
    assert(Math.abs(clock.now() - Date.now()) < 60_000);
    assert.equal(clock.skew(), 0);
  });

  it('tells the homeserver’s time, however far from ours, and goes on by itself', () => {
    answer(T);
    assert.equal(clock.known, true);
    assert(Math.abs(clock.now() - T) <= 1);
    time.advance(5000);
    assert(Math.abs(clock.now() - (T + 5000)) <= 1);
  });

  it('takes no time for come that may not have: a slow answer was made when it arrived at the latest', () => {
    answer(T, 3000);
    assert(clock.now() <= T);
    // Made as it was sent, in the last millisecond of its second.
    assert(clock.latest() >= T + 3999);
  });

  it('grows more certain with every answer', () => {
    answer(T, 800);
    const before = clock.latest() - clock.now();
    time.advance(300);
    answer(T + 1000, 10);
    assert(clock.latest() - clock.now() < before);
    assert(clock.now() >= T + 1000);
  });

  it('grows no less certain with a slow answer', () => {
    answer(T, 10);
    time.advance(300);
    const [now, latest] = [clock.now(), clock.latest()];
    answer(T, 600);
    assert(clock.now() >= now + 600);
    assert(clock.latest() <= latest + 600);
    answer(T + 1000, 100);
    assert(clock.latest() <= latest + 700);
  });

  it('believes the newer answer where a clock was set', () => {
    answer(T);
    answer(T - 3_600_000);
    assert(Math.abs(clock.now() - (T - 3_600_000)) <= 1);
    answer(T + 3_600_000);
    assert(Math.abs(clock.now() - (T + 3_600_000)) <= 1);
  });

  it('takes no time from a cache, and none that is no date', () => {
    answer(T, 0, {age: '30'});
    clock.observe({date: 'yesterday'}, 0, 0);
    clock.observe({}, 0, 0);
    assert.equal(clock.known, false);
    answer(T, 0, {age: '0'});
    assert.equal(clock.known, true);
  });

  it('tells how far the local clock is ahead, or behind', () => {
    answer(Date.now() - 600_000);
    assert(Math.abs(clock.skew() - 600_000) < 30_000);
    answer(Date.now() + 600_000);
    assert(Math.abs(clock.skew() + 600_000) < 30_000);
  });

  it('tells no skew where the clocks cannot be told apart', () => {
    const now = Math.floor(Date.now() / 1000) * 1000;
    clock.observe(dateHeader(now), performance.now() - 30_000, performance.now() + 30_000);
    assert.equal(clock.skew(), 0);
  });
});
