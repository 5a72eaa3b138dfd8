import {strict as assert} from 'node:assert';

import {
  formatIso,
  formatLocal,
  formatRelative,
  localZone,
  parseDuration,
  parseExpiry,
  parsePast,
  parseTimeout,
  readNaive,
  resolveExpiry,
} from '../../src/lib/when.ts';
import {errorIn} from '../helpers/mxtok-error.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Run with the operator in another time zone. */
function inZone<T>(zone: string, work: () => T): T {
  const before = process.env['TZ'];
  process.env['TZ'] = zone;
  try {
    return work();
  } finally {
    if (before === undefined) Reflect.deleteProperty(process.env, 'TZ');
    else process.env['TZ'] = before;
  }
}

/** A year that is ahead whenever the tests run; it begins and leaps as 2027 does. */
const YEAR = 2427;

/** The time that `--expiry INPUT` gives by a homeserver whose clock says `now`, in ISO 8601. */
function expiry(input: string, now = Date.UTC(YEAR, 0, 1)): string | null {
  const time = resolveExpiry(parseExpiry(input), now);
  return time === null ? null : new Date(time).toISOString();
}

describe('parseExpiry: durations', () => {
  const now = Date.UTC(2027, 0, 31, 12);
  const cases: [string, string][] = [
    ['90s', '2027-01-31T12:01:30.000Z'],
    ['90m', '2027-01-31T13:30:00.000Z'],
    ['12h', '2027-02-01T00:00:00.000Z'],
    ['7d', '2027-02-07T12:00:00.000Z'],
    ['2w', '2027-02-14T12:00:00.000Z'],
    ['1mo', '2027-02-28T12:00:00.000Z'],
    ['3mo', '2027-04-30T12:00:00.000Z'],
    ['1y', '2028-01-31T12:00:00.000Z'],
    ['1d12h', '2027-02-02T00:00:00.000Z'],
    ['1y1mo1d', '2028-03-01T12:00:00.000Z'],
  ];
  for (const [input, expected] of cases) {
    it(`counts ${input} from the homeserver's now`, () => {
      // Months keep the time of day of the operator's calendar, whose clocks may change on the way.
      const time = inZone('UTC', () => expiry(input, now));
      assert.equal(time, expected);
    });
  }

  it('takes never', () => {
    assert.equal(expiry('never'), null);
  });

  it('counts a day as 24 hours, and a month on the calendar, where the clocks change', () => {
    inZone('Europe/Berlin', () => {
      // 2027-03-27 12:00 +01:00; the clocks go forward in the night after.
      const before = Date.UTC(2027, 2, 27, 11);
      assert.equal(expiry('1d', before), '2027-03-28T11:00:00.000Z');
      assert.equal(expiry('1mo', before), '2027-04-27T10:00:00.000Z');
    });
  });

  it('refuses what is no duration, no time at all, or past the year 9999', () => {
    for (const input of ['', '7', '7 d', '-7d', '+7d', '1.5h', '7D', '7days', 'd', '0d', '0h0m', '0mo']) {
      assert.equal(errorIn(() => parseExpiry(input)).code, 'usage', input);
    }

    for (const input of ['9000y', '999999999y', '999999999mo', '999999999w999999999w']) {
      assert.match(errorIn(() => parseExpiry(input)).message, /past the year 9999/, input);
    }
  });
});

describe('parseExpiry: dates and date-times', () => {
  it('takes ISO 8601 with a zone as it is, wherever the operator is', () => {
    for (const zone of ['UTC', 'America/New_York', 'Asia/Kolkata']) {
      inZone(zone, () => {
        assert.equal(expiry(`${YEAR}-01-31T18:00Z`), `${YEAR}-01-31T18:00:00.000Z`);
        assert.equal(expiry(`${YEAR}-01-31T18:00:05+05:30`), `${YEAR}-01-31T12:30:05.000Z`);
        assert.equal(expiry(`${YEAR}-01-31 18:00:05.123-0800`), `${YEAR}-02-01T02:00:05.123Z`);
        assert.equal(expiry(`${YEAR}-01-31t18:00z`), `${YEAR}-01-31T18:00:00.000Z`);
      });
    }
  });

  const local: [string, string, string][] = [
    ['UTC', `${YEAR}-01-31T18:00:00.000Z`, `${YEAR}-01-31T23:59:59.999Z`],
    ['Europe/Berlin', `${YEAR}-01-31T17:00:00.000Z`, `${YEAR}-01-31T22:59:59.999Z`],
    ['America/New_York', `${YEAR}-01-31T23:00:00.000Z`, `${YEAR}-02-01T04:59:59.999Z`],
    ['Asia/Kolkata', `${YEAR}-01-31T12:30:00.000Z`, `${YEAR}-01-31T18:29:59.999Z`],
  ];
  for (const [zone, clock, date] of local) {
    it(`takes a time without a zone as local, and a date alone through its day, in ${zone}`, () => {
      inZone(zone, () => {
        assert.equal(expiry(`${YEAR}-01-31T18:00`), clock);
        assert.equal(expiry(`${YEAR}-01-31`), date);
      });
    });
  }

  it('lets a date of 23 or 25 hours last to its own end', () => {
    inZone('Europe/Berlin', () => {
      assert.equal(expiry(`${YEAR}-03-28`), `${YEAR}-03-28T21:59:59.999Z`);
      assert.equal(expiry(`${YEAR}-10-31`), `${YEAR}-10-31T22:59:59.999Z`);
    });
  });

  it('lets a date last to its end where the clocks change at midnight', () => {
    // Cairo, last Thursday of October: at 24:00 it is 23:00 once more; the last Friday of April begins at 01:00.
    inZone('Africa/Cairo', () => {
      assert.equal(expiry(`${YEAR}-10-28`), `${YEAR}-10-28T21:59:59.999Z`);
      assert.equal(expiry(`${YEAR}-04-29`), `${YEAR}-04-29T21:59:59.999Z`);
      assert.equal(expiry(`${YEAR}-04-30`), `${YEAR}-04-30T20:59:59.999Z`);
      assert.equal(parsePast('2026-04-24', '--since'), Date.UTC(2026, 3, 23, 22));
    });
  });

  it('takes 24:00 as the end of the day', () => {
    inZone('Europe/Berlin', () => {
      assert.equal(expiry(`${YEAR}-01-31T24:00`), `${YEAR}-01-31T23:00:00.000Z`);
    });
  });

  it('refuses a local time that the clocks skip, and says how to give another', () => {
    const gaps: [string, string][] = [
      ['Europe/Berlin', `${YEAR}-03-28T02:30`],
      ['America/New_York', `${YEAR}-03-14T02:30`],
      ['Europe/London', `${YEAR}-03-28T01:00:00`],
    ];
    for (const [zone, input] of gaps) {
      inZone(zone, () => {
        assert.equal(localZone(), zone);
        const error = errorIn(() => parseExpiry(input));
        assert.equal(error.code, 'usage');
        assert.match(error.message, new RegExp(`does not exist in time zone ${zone}`));
        assert.match(error.hint ?? '', /with its zone/);
      });
    }
  });

  it('takes the same clock time in a zone that does not skip it, and with a zone anywhere', () => {
    inZone('Asia/Kolkata', () => {
      assert.equal(expiry(`${YEAR}-03-28T02:30`), `${YEAR}-03-27T21:00:00.000Z`);
    });
    inZone('Europe/Berlin', () => {
      assert.equal(expiry(`${YEAR}-03-28T02:30Z`), `${YEAR}-03-28T02:30:00.000Z`);
    });
  });

  it('refuses dates and times that do not exist', () => {
    const wrong = [
      `${YEAR}-02-31`,
      `${YEAR}-02-29`,
      `${YEAR}-13-01`,
      `${YEAR}-00-10`,
      `${YEAR}-01-31T25:00`,
      `${YEAR}-01-31T10:60`,
    ];
    for (const input of wrong) {
      const error = errorIn(() => parseExpiry(input));
      assert.equal(error.code, 'usage', input);
      assert.match(error.message, /no such date or time/, input);
    }

    assert.equal(expiry('2428-02-29T00:00Z'), '2428-02-29T00:00:00.000Z');
  });

  it('refuses what is no ISO 8601, and names the forms', () => {
    const wrong = [
      'tomorrow',
      '31.01.2427',
      '01/31/2427',
      '2427-1-31',
      '2427',
      '13822444800000',
      'Never',
      '2427-01-31T10:00+99:00',
    ];
    for (const input of wrong) {
      const error = errorIn(() => parseExpiry(input));
      assert.equal(error.code, 'usage', input);
      assert.match(error.message, /duration.*date.*never/, input);
    }
  });

  it('takes the last day of year 9999, and nothing after it', () => {
    const ends = [
      ['UTC', '9999-12-31T23:59:59.999Z'],
      ['Asia/Kolkata', '9999-12-31T18:29:59.999Z'],
      // Its own end is in year 10000 of UTC.
      ['America/New_York', '9999-12-31T23:59:59.999Z'],
    ] as const;
    for (const [zone, end] of ends)
      assert.equal(
        inZone(zone, () => expiry('9999-12-31')),
        end,
        zone,
      );
    assert.equal(errorIn(() => parseExpiry('10000-01-01')).code, 'usage');
    inZone('America/New_York', () => {
      assert.match(errorIn(() => parseExpiry('9999-12-31T20:00')).message, /past the year 9999/);
    });
  });

  it('refuses a date that has long passed before anything is sent, and names disable', () => {
    const error = errorIn(() => parseExpiry('2020-01-31'));
    assert.equal(error.code, 'usage');
    assert.match(error.message, /has passed already/);
    assert.match(error.hint ?? '', /mxtok disable/);
  });

  it('judges a time near now by the clock of the homeserver, not by ours', () => {
    const minuteAgo = new Date(Date.now() - 60_000).toISOString().slice(0, 19);
    const when = parseExpiry(`${minuteAgo}Z`);
    const time = Date.parse(`${minuteAgo}Z`);
    assert.equal(resolveExpiry(when, time - 1), time);
    assert.equal(errorIn(() => resolveExpiry(when, time)).code, 'usage');
  });
});

describe('parsePast', () => {
  it('takes a duration as so long ago', () => {
    const at = parsePast('7d', '--since');
    assert(Math.abs(Date.now() - 7 * DAY - at) < HOUR);
  });

  it('takes a date as its first moment, or its last', () => {
    inZone('Europe/Berlin', () => {
      assert.equal(parsePast('2026-06-01', '--since'), Date.UTC(2026, 4, 31, 22));
      assert.equal(parsePast('2026-06-01', '--until', true), Date.UTC(2026, 5, 1, 22) - 1);
    });
  });

  it('takes years that have passed', () => {
    assert.equal(parsePast('2020-01-31T10:00Z', '--since'), Date.UTC(2020, 0, 31, 10));
  });

  it('names the flag in what it refuses', () => {
    assert.match(errorIn(() => parsePast('yesterday', '--since')).message, /^--since "yesterday"/);
    assert.equal(errorIn(() => parsePast('999999999y', '--until')).code, 'usage');
  });
});

describe('parseDuration', () => {
  it('takes durations only', () => {
    assert.deepEqual(parseDuration('1mo2d', '--expiring'), {ms: 2 * DAY, months: 1, years: 0});
    assert.match(errorIn(() => parseDuration('2027-01-01', '--expiring')).message, /^--expiring/);
  });
});

describe('parseTimeout', () => {
  it('takes seconds, also parts of one, and short durations', () => {
    assert.equal(parseTimeout('30'), 30_000);
    assert.equal(parseTimeout('0.5'), 500);
    assert.equal(parseTimeout('30s'), 30_000);
    assert.equal(parseTimeout('2m'), 120_000);
  });

  it('refuses none, too much, and calendars', () => {
    for (const input of ['0', '0s', '-1', '', '1mo', '1y', '25h', 'forever', '1e3']) {
      assert.equal(errorIn(() => parseTimeout(input)).code, 'usage', input);
    }
  });
});

describe('showing times', () => {
  it('shows scripts UTC, and people their local time with its offset', () => {
    const time = Date.UTC(2027, 0, 31, 17);
    assert.equal(formatIso(time), '2027-01-31T17:00:00.000Z');
    const shown = (zone: string): string => inZone(zone, () => formatLocal(time));
    assert.equal(shown('UTC'), '2027-01-31 17:00 UTC');
    assert.equal(shown('Europe/Berlin'), '2027-01-31 18:00 +01:00');
    assert.equal(shown('America/St_Johns'), '2027-01-31 13:30 -03:30');
    assert.equal(shown('Asia/Kolkata'), '2027-01-31 22:30 +05:30');
  });

  it('shows how far off a time is by the homeserver’s now', () => {
    const now = Date.UTC(2027, 0, 1);
    assert.equal(formatRelative(now + 7 * DAY, now), 'in 7 days');
    assert.equal(formatRelative(now - 3 * HOUR, now), '3 hours ago');
  });

  it('survives times of other tools that no calendar has', () => {
    for (const time of [8.64e15 + 1, -8.64e15 - 1, Number.MAX_SAFE_INTEGER]) {
      assert.equal(formatIso(time), `@${time}`);
      assert.equal(formatLocal(time), `@${time}`);
      assert.equal(formatRelative(time, 0), 'in a time no calendar has');
    }

    // Microseconds taken for milliseconds: year 50,000 and more.
    assert.match(formatIso(1.8e15), /^\+059009-/);
  });
});

describe('readNaive', () => {
  const read = (input: string, zone = 'UTC'): string =>
    inZone(zone, () => new Date(readNaive(input, 'expiration_date')).toISOString());

  it('takes what Python prints of a datetime for local time', () => {
    assert.equal(read('2027-01-31 18:00:00'), '2027-01-31T18:00:00.000Z');
    assert.equal(read('2027-01-31 18:00:00', 'Europe/Berlin'), '2027-01-31T17:00:00.000Z');
    assert.equal(read('2027-07-31 18:00:00', 'Europe/Berlin'), '2027-07-31T16:00:00.000Z');
    assert.equal(read('2027-01-31 18:00:00', 'America/St_Johns'), '2027-01-31T21:30:00.000Z');
    assert.equal(read('2027-01-31T18:00:00', 'Asia/Kolkata'), '2027-01-31T12:30:00.000Z');
  });

  it('takes microseconds, and a date alone as its first moment: that is when Python takes it to be over', () => {
    assert.equal(read('2027-01-31 18:00:00.123456'), '2027-01-31T18:00:00.123Z');
    assert.equal(read('2027-01-31 18:00:00.5', 'Europe/Berlin'), '2027-01-31T17:00:00.500Z');
    assert.equal(read('2027-01-31', 'Europe/Berlin'), '2027-01-30T23:00:00.000Z');
  });

  it('pays no heed to the GMT that Flask writes behind a local time', () => {
    assert.equal(read('Sun, 31 Jan 2027 18:00:00 GMT'), '2027-01-31T18:00:00.000Z');
    assert.equal(read('Sun, 31 Jan 2027 18:00:00 GMT', 'Europe/Berlin'), '2027-01-31T17:00:00.000Z');
    assert.equal(read('Sat, 31 Jul 2027 18:00:00 GMT', 'America/New_York'), '2027-07-31T22:00:00.000Z');
  });

  it('takes a time that the clocks skip, for Python compares it all the same', () => {
    assert.equal(read('2027-03-28 02:30:00', 'Europe/Berlin'), '2027-03-28T01:30:00.000Z');
  });

  it('refuses what is no date, and names what it is', () => {
    for (const input of [
      '',
      'soon',
      '2027-02-30 10:00:00',
      '2027-13-01',
      'Sun, 31 Foo 2027 18:00:00 GMT',
      '1',
    ]) {
      const error = errorIn(() => readNaive(input, 'expiration_date'));
      assert.equal(error.code, 'usage', input);
      assert.match(error.message, /^expiration_date ".*" is not a date and time$/);
    }

    assert.equal(errorIn(() => readNaive('2027-01-31T18:00:00+01:00', 'x')).code, 'usage');
  });
});
