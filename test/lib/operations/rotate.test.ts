import {strict as assert} from 'node:assert';
import {existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, utimesSync} from 'node:fs';
import {dirname, join} from 'node:path';

import type {Connection} from '../../../src/lib/connection.ts';
import {type ErrorCode, interruptedError, MxtokError} from '../../../src/lib/errors.ts';
import {planNewToken, planRotation, rotate, type Rotation} from '../../../src/lib/operations/rotate.ts';
import type {RegistrationToken} from '../../../src/lib/registration-token.ts';
import {parseExpiry, type When} from '../../../src/lib/when.ts';
import {
  auditEnds,
  auditEntries,
  FakeHomeserver,
  fakeConnection,
  known,
  outcomeSummary,
} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';
import {errorIn, errorOf} from '../../helpers/mxtok-error.ts';
import {tempDir} from '../../helpers/temp.ts';

const T0 = Date.UTC(2035, 0, 8, 4);
const DAY = 86_400_000;

describe('rotate', () => {
  let time: FrozenTime;
  let homeserver: FakeHomeserver;
  let dir: string;
  let connection: Connection;

  beforeEach(() => {
    time = new FrozenTime();
    homeserver = new FakeHomeserver(T0);
    dir = tempDir();
    connection = connect();
  });

  afterEach(() => {
    time.restore();
  });

  /** As for any change: what cannot be noted here is not begun there. */
  function connect(): Connection {
    const one = fakeConnection(homeserver, dir);
    one.metadata.assertUsable();
    return one;
  }

  /** A token that was made here, so long ago. */
  async function add(
    token: string,
    age: number | undefined,
    fields: Partial<RegistrationToken> = {uses_allowed: 20},
    label = 'weekly',
  ): Promise<void> {
    homeserver.add(token, fields);
    await connection.metadata.update([token], (entry) => ({
      ...entry,
      label,
      ...(age !== undefined && {created_at: new Date(T0 - age).toISOString()}),
    }));
  }

  interface Wanted {
    token?: string;
    label?: string;
    uses_allowed?: number;
    expiry?: When;
    keep?: number;
    by?: Connection;
    startedAt?: number;
    signal?: AbortSignal;
    onWait?: () => void;
  }

  function run({
    keep = 1,
    by = connection,
    startedAt = Date.now(),
    signal,
    onWait,
    ...wanted
  }: Wanted = {}): Promise<Rotation> {
    const token = {
      token: 'new-token',
      label: 'weekly',
      uses_allowed: 20,
      expiry: parseExpiry('8d'),
      ...wanted,
    };
    return rotate(by, token, {keep, startedAt, signal, onWait});
  }

  /** The lock that a run holds while it is under way. */
  async function lockOfRun(): Promise<string> {
    const directory = dirname(connection.metadata.path);
    let lock: string | undefined;
    homeserver.before = () => {
      lock ??= readdirSync(directory).find((name) => name.includes('rotation'));
    };
    await run({token: 'before-all'});
    homeserver.before = () => undefined;
    homeserver.tokens.clear();
    homeserver.changes.length = 0;
    return join(directory, lock ?? assert.fail('there is no lock'));
  }

  /** Another run takes this one for dead; its lock is made first, so that it cannot get the inode of the old one. */
  function takeOver(lock: string): void {
    mkdirSync(`${lock}.other`);
    rmdirSync(lock);
    renameSync(`${lock}.other`, lock);
  }

  /** A rotation has made it, so long ago by the clock here. */
  async function markRotated(token: string, age: number): Promise<void> {
    const rotated_at = new Date(Date.now() - age).toISOString();
    await connection.metadata.update([token], (entry) => ({...entry, rotated_at}));
  }

  /** What the homeserver takes now. */
  function open(): string[] {
    return [...homeserver.tokens.values()]
      .filter((token) => homeserver.accepts(token))
      .map(({token}) => token)
      .sort();
  }

  it('makes the new one first, and then disables the older ones', async () => {
    await add('last-week', 7 * DAY);
    await add('before-that', 14 * DAY);
    homeserver.before = (change) => {
      if (change.startsWith('create')) assert.deepEqual(open(), ['before-that', 'last-week']);
      if (change.startsWith('close')) assert(open().includes('new-token'), 'there is none to hand out');
    };
    const {token, created, disabled} = await run();
    assert.equal(created, true);
    assert.deepEqual(
      [token.token, token.accepted, token.label, token.uses_allowed, token.expiry_time],
      ['new-token', true, 'weekly', 20, T0 + 8 * DAY],
    );
    assert.deepEqual(outcomeSummary(disabled), ['last-week: ok', 'before-that: ok']);
    assert.deepEqual(open(), ['new-token']);
    for (const old of ['last-week', 'before-that']) {
      assert.equal(homeserver.tokens.get(old)?.uses_allowed, 0);
      assert.equal(known(connection, old)?.disabled?.uses_allowed, 20);
    }

    assert.deepEqual(auditEnds(connection, ['new-token', 'last-week', 'before-that']), ['ok', 'ok', 'ok']);
  });

  it('makes the first one where there is none', async () => {
    const {created, disabled} = await run();
    assert.equal(created, true);
    assert.deepEqual(disabled, []);
    assert.deepEqual(open(), ['new-token']);
  });

  const failures: ErrorCode[] = [
    'already_exists',
    'not_admin',
    'unauthorized',
    'unreachable',
    'timeout',
    'refused',
  ];
  for (const code of failures) {
    it(`leaves all of them open where the new one fails: ${code}`, async () => {
      await add('last-week', 7 * DAY);
      homeserver.before = (change) => {
        if (change.startsWith('create')) throw new MxtokError(code, 'no');
      };
      assert.equal((await errorOf(run())).code, code);
      assert.deepEqual(open(), ['last-week']);
      assert.equal(homeserver.changes.length, 1);
      assert.deepEqual(auditEnds(connection, ['last-week']), ['not logged']);
      // Nothing is left that would hold up the next one.
      homeserver.before = () => undefined;
      assert.equal((await run({token: 'newer'})).created, true);
    });
  }

  it('leaves all of them open, and sends nothing, where the new one cannot be noted here', async () => {
    await add('last-week', 7 * DAY);
    connection.metadata.update = () => Promise.reject(new MxtokError('store', 'the disk is full'));
    assert.equal((await errorOf(run())).message, 'the disk is full');
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(open(), ['last-week']);
  });

  it('leaves all of them open where the expiry has passed by the homeserver’s clock', async () => {
    await add('last-week', 7 * DAY);
    assert.equal((await errorOf(run({expiry: {kind: 'instant', time: T0}}))).code, 'usage');
    assert.deepEqual(homeserver.changes, []);
  });

  describe('keeping', () => {
    beforeEach(async () => {
      // In no order.
      await add('week-2', 14 * DAY);
      await add('week-4', 28 * DAY);
      await add('week-1', 7 * DAY);
      await add('week-3', 21 * DAY);
    });

    const cases: [number, string[]][] = [
      [1, ['new-token']],
      [2, ['new-token', 'week-1']],
      [4, ['new-token', 'week-1', 'week-2', 'week-3']],
      [5, ['new-token', 'week-1', 'week-2', 'week-3', 'week-4']],
      [1000, ['new-token', 'week-1', 'week-2', 'week-3', 'week-4']],
    ];
    for (const [keep, expected] of cases) {
      it(`leaves ${keep} open, the new one and the newest before it`, async () => {
        await run({keep});
        assert.deepEqual(open(), expected);
      });
    }

    it('does not count those that are closed', async () => {
      for (const token of ['week-1', 'week-2'])
        homeserver.add(token, {uses_allowed: 20, expiry_time: T0 - 1});
      await run({keep: 2});
      assert.deepEqual(open(), ['new-token', 'week-3']);
    });

    it('takes one that was labelled, but not made here, for the oldest', async () => {
      await add('found', undefined);
      await run({keep: 5});
      assert.deepEqual(open(), ['new-token', 'week-1', 'week-2', 'week-3', 'week-4']);
    });
  });

  it('takes the label as it is: no pattern, no other case, no part of it', async () => {
    for (const label of ['weekly', 'Weekly', 'weekly 2', 'bi-weekly', '*', 'week*', '!weekly'])
      await add(`of-${label.replaceAll(/\W/g, '')}-${label.length}`, DAY, {}, label);
    homeserver.add('without-label');
    await run();
    assert.equal(homeserver.tokens.get('of-weekly-6')?.disabled, true);
    assert.equal(homeserver.changes.filter((change) => change.startsWith('close')).length, 1);

    homeserver.changes.length = 0;
    await run({token: 'star', label: '*'});
    assert.deepEqual(
      homeserver.changes.filter((change) => change.startsWith('close')),
      ['close of--1'],
    );
  });

  it('closes whatever could be registered with, and what would open again by itself', async () => {
    await add('unlimited', DAY, {});
    await add('reserved', DAY, {uses_allowed: 1, pending: 1});
    await add('at-zero', DAY, {uses_allowed: 0, completed: 3});
    await run();
    assert.deepEqual(open(), ['new-token']);
    for (const token of ['unlimited', 'reserved', 'at-zero']) {
      const row = homeserver.tokens.get(token) ?? assert.fail();
      // Also when the sign-up that holds the last use is given up.
      assert.equal(homeserver.accepts({...row, pending: 0}), false, token);
    }
  });

  it('keeps none at 0 that people register with without a limit, however many are to stay open', async () => {
    await add('week-1', 7 * DAY);
    await add('at-zero', DAY, {uses_allowed: 0, completed: 3});
    await add('week-2', 14 * DAY);
    const {disabled} = await run({keep: 3});
    assert.deepEqual(outcomeSummary(disabled), ['at-zero: ok']);
    assert.deepEqual(open(), ['new-token', 'week-1', 'week-2']);
  });

  it('closes also what came while the new one was made, and never the new one', async () => {
    await add('last-week', 7 * DAY);
    homeserver.before = async (change) => {
      // By a clock that is ahead.
      if (change.startsWith('create')) await add('meanwhile', -DAY);
    };
    const {disabled} = await run();
    assert.deepEqual(outcomeSummary(disabled), ['meanwhile: ok', 'last-week: ok']);
    assert.deepEqual(open(), ['new-token']);
  });

  it('leaves alone what nobody can register with any more', async () => {
    await add('expired', 9 * DAY, {uses_allowed: 20, expiry_time: T0 - DAY});
    await add('exhausted', 9 * DAY, {uses_allowed: 20, completed: 20});
    await add('disabled', 9 * DAY, {uses_allowed: 0, expiry_time: T0 - DAY});
    const {disabled} = await run();
    assert.deepEqual(disabled, []);
    assert.equal(homeserver.changes.length, 1);
  });

  describe('where an older one cannot be disabled', () => {
    beforeEach(async () => {
      await add('last-week', 7 * DAY);
      await add('before-that', 14 * DAY);
    });

    it('has the new one all the same, and says what became of each', async () => {
      homeserver.before = (change) => {
        if (change === 'close last-week') throw new MxtokError('refused', 'no');
      };
      const {token, created, disabled} = await run();
      assert.deepEqual([token.token, created], ['new-token', true]);
      assert.deepEqual(outcomeSummary(disabled), ['last-week: refused', 'before-that: ok']);
      assert.deepEqual(open(), ['last-week', 'new-token']);
    });

    it('has the new one all the same when it is interrupted in the middle', async () => {
      homeserver.before = (change) => {
        if (change === 'wait') throw interruptedError();
      };
      const {token, disabled} = await run();
      assert.equal(token.token, 'new-token');
      assert.deepEqual(outcomeSummary(disabled), ['last-week: interrupted', 'before-that: interrupted']);
      assert.deepEqual(auditEnds(connection, ['new-token', 'last-week']), ['ok', 'unknown interrupted']);
    });

    it('is made good by the next one', async () => {
      homeserver.before = (change) => {
        if (change.startsWith('close')) throw new MxtokError('server_error', 'no');
      };
      await run();
      homeserver.before = () => undefined;
      const {disabled} = await run({token: 'newer'});
      assert.equal(disabled.length, 3);
      assert.deepEqual(open(), ['newer']);
    });
  });

  describe('several at once', () => {
    it('make one, which all of them have, and leave one open', async () => {
      await add('last-week', 7 * DAY);
      const names = ['first', 'second', 'third'];
      const rotations = await Promise.all(names.map((token) => run({token, by: connect()})));
      const made = rotations.filter(({created}) => created);
      assert.equal(made.length, 1);
      const [winner] = open();
      assert(winner !== undefined && names.includes(winner));
      assert.deepEqual(open(), [winner]);
      assert.deepEqual(
        rotations.map(({token}) => token.token),
        [winner, winner, winner],
      );
      assert.equal(homeserver.changes.filter((change) => change.startsWith('create')).length, 1);
      for (const {created, disabled} of rotations)
        assert.deepEqual(outcomeSummary(disabled), created ? ['last-week: ok'] : []);
    });

    it('make one each where they want different ones, and leave the last one open', async () => {
      const rotations = await Promise.all([
        run({token: 'first', by: connect()}),
        run({token: 'second', uses_allowed: 5, by: connect()}),
      ]);
      assert(rotations.every(({created}) => created));
      assert.equal(open().length, 1);
    });

    it('of different labels keep out of each other’s way', async () => {
      const rotations = await Promise.all([
        run({token: 'first', by: connect()}),
        run({token: 'second', label: 'monthly', by: connect()}),
      ]);
      assert(rotations.every(({created}) => created));
      assert.deepEqual(open(), ['first', 'second']);
    });
  });

  describe('that began while another one was under way, and comes when that is over', () => {
    const during: [string, string][] = [
      ['before the other has made its token', 'create first '],
      ['while the other closes the older ones', 'close last-week'],
      ['while the other waits for that', 'wait'],
    ];
    for (const [name, moment] of during) {
      it(`has the same token, which alone is open: ${name}`, async () => {
        await add('last-week', 7 * DAY);
        let startedAt = Number.NaN;
        homeserver.before = (change) => {
          if (!change.startsWith(moment)) return;
          startedAt = Date.now();
          // What follows is later by the clock.
          while (Date.now() === startedAt);
        };
        await run({token: 'first'});
        homeserver.changes.length = 0;
        const {token, created, disabled} = await run({token: 'second', startedAt});
        assert.deepEqual([token.token, created, disabled], ['first', false, []]);
        assert.deepEqual(homeserver.changes, []);
        assert.deepEqual(open(), ['first']);
      });
    }

    it('has the same as one that had it from a third', async () => {
      const before = Date.now() - 1;
      await run({token: 'first'});
      const between = Date.now();
      while (Date.now() === between);
      assert.equal((await run({token: 'second', startedAt: before})).token.token, 'first');
      assert.equal((await run({token: 'third', startedAt: between})).token.token, 'first');
      assert.equal((await run({token: 'fourth'})).token.token, 'fourth');
    });

    it('keeps as many beside it as beside one of its own', async () => {
      for (const week of [1, 2, 3]) await add(`week-${week}`, week * 7 * DAY);
      const startedAt = Date.now() - 1;
      await run({token: 'first', keep: 4});
      await run({token: 'second', keep: 2, startedAt});
      assert.deepEqual(open(), ['first', 'week-1']);
    });

    const others: [string, Partial<RegistrationToken>, number | undefined][] = [
      ['that no rotation has made', {uses_allowed: 20, expiry_time: T0 + 8 * DAY}, undefined],
      ['with other uses', {uses_allowed: 5, expiry_time: T0 + 8 * DAY}, 1],
      ['with another expiry', {uses_allowed: 20, expiry_time: T0 + 7 * DAY}, 1],
      ['that is used up', {uses_allowed: 20, completed: 20, expiry_time: T0 + 8 * DAY}, 1],
      [
        'that was noted before the clock was set back',
        {uses_allowed: 20, expiry_time: T0 + 8 * DAY},
        -60_000,
      ],
    ];
    for (const [name, fields, age] of others) {
      it(`takes none ${name}`, async () => {
        await add('other', 0, fields);
        if (age !== undefined) await markRotated('other', age);
        const {token, created} = await run({startedAt: Date.now() - 1000});
        assert.deepEqual([token.token, created], ['new-token', true]);
        assert.deepEqual(open(), ['new-token']);
      });
    }
  });

  it('waits for another run to end, says so, and hears an interruption while it waits', async () => {
    const lock = await lockOfRun();
    await add('last-week', 7 * DAY);
    mkdirSync(lock);
    const controller = new AbortController();
    const onWait = (): void => {
      controller.abort();
    };
    assert.equal((await errorOf(run({signal: controller.signal, onWait}))).code, 'interrupted');
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(open(), ['last-week']);
    assert(existsSync(lock));
  });

  it('makes another one where it comes after the first, however soon', async () => {
    await run({token: 'first'});
    const {token, created} = await run({token: 'second'});
    assert.deepEqual([token.token, created], ['second', true]);
    assert.deepEqual(open(), ['second']);
  });

  describe('after another run that was killed', () => {
    /** What it has left behind: its lock, which nobody keeps fresh. */
    beforeEach(async () => {
      const lock = await lockOfRun();
      const then = Date.now() / 1000 - 60;
      mkdirSync(lock);
      utimesSync(lock, then, then);
    });

    it('makes one, where that one had not come so far', async () => {
      await add('last-week', 7 * DAY);
      const {token, created} = await run();
      assert.deepEqual([token.token, created], ['new-token', true]);
      assert.deepEqual(open(), ['new-token']);
    });

    it('takes the one that it had just made, and finishes its work', async () => {
      await add('last-week', 7 * DAY);
      await add('of-the-dead', 30_000, {uses_allowed: 20, expiry_time: T0 - 30_000 + 8 * DAY});
      await markRotated('of-the-dead', 30_000);
      const {token, created, disabled} = await run();
      assert.deepEqual([token.token, created], ['of-the-dead', false]);
      assert.deepEqual(outcomeSummary(disabled), ['last-week: ok']);
      assert.deepEqual(open(), ['of-the-dead']);
    });

    it('keeps as many beside the one that it takes as beside one of its own', async () => {
      for (const week of [1, 2, 3]) await add(`week-${week}`, week * 7 * DAY);
      await add('of-the-dead', 0, {uses_allowed: 20, expiry_time: T0 + 8 * DAY});
      await markRotated('of-the-dead', 5000);
      await run({keep: 2});
      assert.deepEqual(open(), ['of-the-dead', 'week-1']);
    });

    const others: [string, number, Partial<RegistrationToken>, Wanted][] = [
      ['that was made too long ago', 180_000, {uses_allowed: 20, expiry_time: T0 - 180_000 + 8 * DAY}, {}],
      ['with other uses', 0, {uses_allowed: 5, expiry_time: T0 + 8 * DAY}, {}],
      ['with another expiry', 0, {uses_allowed: 20, expiry_time: T0 + 7 * DAY}, {}],
      ['without an expiry', 0, {uses_allowed: 20}, {}],
      ['that is disabled again', 0, {uses_allowed: 0, expiry_time: T0 - 1}, {}],
    ];
    for (const [name, age, fields, wanted] of others) {
      it(`takes none ${name}, but makes its own`, async () => {
        await add('of-the-dead', age, fields);
        await markRotated('of-the-dead', age + 5000);
        const {token, created} = await run(wanted);
        assert.deepEqual([token.token, created], ['new-token', true]);
        assert.deepEqual(open(), ['new-token']);
      });
    }

    it('takes none that no rotation has made', async () => {
      await add('by-hand', 0, {uses_allowed: 20, expiry_time: T0 + 8 * DAY});
      assert.equal((await run()).token.token, 'new-token');
    });

    it('takes one of the same date, too', async () => {
      const expiry = {kind: 'instant', time: T0 + 2 * DAY} as const;
      await add('of-the-dead', 60_000, {uses_allowed: 20, expiry_time: T0 + 2 * DAY});
      await markRotated('of-the-dead', 60_000);
      assert.equal((await run({expiry})).token.token, 'of-the-dead');
    });
  });

  describe('that was held up so long that another run has taken it for dead', () => {
    let lock: string;
    beforeEach(async () => {
      lock = await lockOfRun();
    });

    it('makes none where it had made none', async () => {
      await add('last-week', 7 * DAY);
      const list = homeserver.list.bind(homeserver);
      homeserver.list = () => {
        takeOver(lock);
        return list();
      };
      const {code, message, hint} = await errorOf(run());
      assert.equal(code, 'store');
      assert.match(message, /^another mxtok took over .* meanwhile; nothing was written$/);
      assert.equal(hint, 'Run again.');
      assert.deepEqual(homeserver.changes, []);
      // The lock of the other one is not taken away.
      assert(existsSync(lock));
    });

    for (const old of [['last-week'], []]) {
      it(`has its token, leaves ${old.length} older ones to the other, and says what may be the case`, async () => {
        for (const token of old) await add(token, 7 * DAY);
        homeserver.before = (change) => {
          if (change.startsWith('create')) takeOver(lock);
        };
        const {token, created, disabled, unfinished} = await run();
        assert.deepEqual([token.token, created, disabled], ['new-token', true, []]);
        assert.deepEqual([unfinished?.code, unfinished?.token], ['store', 'new-token']);
        assert.match(unfinished?.message ?? '', /^the new token new-token exists, .* may be open still$/);
        assert.match(unfinished?.hint ?? '', /^Run again .*mxtok disable TOKEN$/);
        assert.deepEqual(open(), [...old, 'new-token']);
        assert.deepEqual(
          auditEnds(connection, ['new-token', ...old]),
          ['ok', 'not logged'].slice(0, 1 + old.length),
        );
        assert(existsSync(lock));
      });
    }
  });

  it('has its token where the older ones cannot be looked up any more', async () => {
    await add('last-week', 7 * DAY);
    homeserver.before = (change) => {
      if (!change.startsWith('create')) return;
      homeserver.list = () => Promise.reject(new MxtokError('unreachable', 'it is gone'));
    };
    const {token, created, disabled, unfinished} = await run();
    assert.deepEqual([token.token, created, disabled], ['new-token', true, []]);
    assert.equal(unfinished?.code, 'unreachable');
    assert.match(unfinished.message, /^the new token new-token exists, .*: it is gone$/);
  });
});

describe('planNewToken', () => {
  it('says how it would be, by the homeserver’s clock', () => {
    const time = new FrozenTime();
    try {
      const connection = fakeConnection(new FakeHomeserver(T0));
      const wanted = {token: '', label: 'weekly', note: 'by cron', uses_allowed: 20};
      const plan = planNewToken(connection, {...wanted, expiry: parseExpiry('8d')});
      assert.deepEqual([plan.action, plan.changes], ['create', {}]);
      assert.deepEqual(plan.record, {
        ...wanted,
        server: 'main',
        status: 'valid',
        accepted: true,
        pending: 0,
        completed: 0,
        expiry_time: T0 + 8 * DAY,
        expires_at: new Date(T0 + 8 * DAY).toISOString(),
        link: null,
      });
      const past = {...wanted, expiry: {kind: 'instant', time: T0} as const};
      assert.equal(errorIn(() => planNewToken(connection, past)).code, 'usage');
    } finally {
      time.restore();
    }
  });
});

describe('planRotation', () => {
  it('says what a rotation would disable, the newest first, and does nothing', async () => {
    const time = new FrozenTime();
    try {
      const homeserver = new FakeHomeserver(T0);
      const connection = fakeConnection(homeserver);
      for (const [name, age] of Object.entries({older: 2, newest: 1, oldest: 3})) {
        homeserver.add(name);
        const created_at = new Date(T0 - age * DAY).toISOString();
        await connection.metadata.update([name], (entry) => ({...entry, label: 'weekly', created_at}));
      }

      const names = (found: {token: RegistrationToken}[]) => found.map(({token}) => token.token);
      const plan = await planRotation(connection, 'weekly', 2);
      assert.deepEqual(names(plan.labelled), ['newest', 'older', 'oldest']);
      assert.deepEqual(names(plan.old), ['older', 'oldest']);
      assert.deepEqual(homeserver.changes, []);
      assert.deepEqual(auditEntries(connection), []);
    } finally {
      time.restore();
    }
  });
});
