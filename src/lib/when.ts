/**
 * Points in time as operators write them: a duration, an ISO 8601 date or date-time, or `never`.
 */
import {add} from 'date-fns/add';
import {formatDistanceStrict} from 'date-fns/formatDistanceStrict';
import {parseISO} from 'date-fns/parseISO';
import {sub} from 'date-fns/sub';

import {usageError} from './errors.ts';
import {quote} from './quote.ts';
import {MAX_EXPIRY_TIME} from './registration-token.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Exact lengths in milliseconds: a day is 24 hours also where the clocks change. */
const EXACT: Record<string, number> = {s: SECOND, m: MINUTE, h: HOUR, d: DAY, w: 7 * DAY};
const CALENDAR: Record<string, 'months' | 'years'> = {mo: 'months', y: 'years'};

export interface Duration {
  /** The exact part, milliseconds. */
  ms: number;
  /** Calendar months and years, counted on the local calendar (31 January + 1mo = the last of February). */
  months: number;
  years: number;
}

/**
 * A time as it was written, not yet resolved: a duration counts from the homeserver's now, which is known only
 * once it has answered.
 */
export type When = {kind: 'never'} | {kind: 'duration'; duration: Duration} | {kind: 'instant'; time: number};

const FORMS =
  'a duration (90m, 12h, 7d, 2w, 3mo, 1y), a date (2027-01-31) or a date-time (2027-01-31T18:00, 2027-01-31T18:00Z)';

/** @throws {MxtokError} `usage`, naming `flag`. */
export function parseDuration(input: string, flag: string): Duration {
  const duration = readDuration(input);
  if (!duration)
    throw usageError(`${flag} ${quote(input)} is not a duration like 90m, 12h, 7d, 2w, 3mo or 1y`);
  if (Number.isNaN(addDuration(Date.now(), duration)))
    throw usageError(`${flag} ${quote(input)} is too long: no calendar goes that far`);
  return duration;
}

function readDuration(input: string): Duration | undefined {
  if (!/^(?:\d{1,9}(?:mo|[smhdwy]))+$/.test(input)) return undefined;
  const duration: Duration = {ms: 0, months: 0, years: 0};
  for (const [, amount, unit = ''] of input.matchAll(/(\d+)(mo|[smhdwy])/g)) {
    const calendar = CALENDAR[unit];
    if (calendar) duration[calendar] += Number(amount);
    else duration.ms += Number(amount) * (EXACT[unit] ?? 0);
  }

  return duration;
}

/** @returns Unix milliseconds; may be NaN or huge where the calendar ends. */
export function addDuration(from: number, {ms, months, years}: Duration): number {
  return months || years ? add(from, {months, years}).getTime() + ms : from + ms;
}

/** @returns Unix milliseconds. */
export function subtractDuration(from: number, {ms, months, years}: Duration): number {
  return months || years ? sub(from, {months, years}).getTime() - ms : from - ms;
}

const ISO =
  /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?)(Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?)?$/i;

/**
 * @returns Unix milliseconds of an ISO 8601 date or date-time; a date alone is its first millisecond, or its last
 * with `endOfDay`. Without a zone it is local time.
 */
function readInstant(input: string, flag: string, endOfDay: boolean): number | undefined {
  const parts = ISO.exec(input);
  if (!parts) return undefined;
  const [, date = '', clock, zone = ''] = parts;
  const time = parseISO(`${date}T${clock ?? '00:00'}${zone.toUpperCase()}`);
  if (Number.isNaN(time.getTime()))
    throw usageError(`${flag} ${quote(input)}: there is no such date or time`);
  if (!clock && endOfDay) {
    // The moment before the next day: where the clocks go back at midnight, 23:59 comes twice.
    const end = new Date(time.getFullYear(), time.getMonth(), time.getDate() + 1).getTime() - 1;
    // West of Greenwich, the last day of all is not over when the calendar of UTC is.
    return Math.min(end, MAX_EXPIRY_TIME);
  }

  if (clock && !zone && clock.slice(0, 5).replace('24:', '00:') !== localClock(time)) {
    throw usageError(
      `${flag} ${quote(input)} does not exist in time zone ${localZone()}: the clocks skip it that day`,
      'Give another time, or one with its zone, like 2027-03-28T02:30Z.',
    );
  }

  return time.getTime();
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/**
 * A date-time of Python's, without a zone or with one that means nothing: `2027-01-31 18:00:00.123456`,
 * `Sun, 31 Jan 2027 18:00:00 GMT`. It is taken for local time.
 * @param name what it is, for the error.
 * @returns Unix milliseconds.
 * @throws {MxtokError} `usage`
 */
export function readNaive(input: string, name: string): number {
  const rfc = /^[a-z]{3}, (\d{2}) ([a-z]{3}) (\d{4}) (\d{2}:\d{2}:\d{2}) GMT$/i.exec(input);
  const month = rfc ? MONTHS.indexOf((rfc[2] ?? '').toLowerCase()) + 1 : 0;
  const iso = rfc ? `${rfc[3] ?? ''}-${two(month)}-${rfc[1] ?? ''}T${rfc[4] ?? ''}` : input;
  const parts = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?))?$/.exec(iso);
  const time = parts
    ? parseISO(`${parts[1] ?? ''}T${(parts[2] ?? '00:00').slice(0, 12)}`).getTime()
    : Number.NaN;
  if (Number.isNaN(time)) throw usageError(`${name} ${quote(input)} is not a date and time`);
  return time;
}

function localClock(time: Date): string {
  return `${String(time.getHours()).padStart(2, '0')}:${String(time.getMinutes()).padStart(2, '0')}`;
}

/** The IANA name of the local time zone. */
export function localZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/**
 * `--expiry`. What can be refused without asking the homeserver is refused here.
 * @throws {MxtokError} `usage`
 */
export function parseExpiry(input: string): When {
  const flag = '--expiry';
  if (input === 'never') return {kind: 'never'};
  const duration = readDuration(input);
  if (duration) {
    // Against our own clock, only to refuse nonsense before anything is sent; resolveExpiry judges by the homeserver's.
    const roughly = addDuration(Date.now(), duration);
    if (!(roughly <= MAX_EXPIRY_TIME)) throw usageError(`${flag} ${quote(input)} is past the year 9999`);
    if (duration.ms + duration.months + duration.years === 0) {
      throw usageError(
        `${flag} ${quote(input)} is no time at all`,
        'Give a duration above zero, or "never".',
      );
    }

    return {kind: 'duration', duration};
  }

  const time = readInstant(input, flag, true);
  if (time === undefined) throw usageError(`${flag} ${quote(input)} is not ${FORMS}, nor "never"`);
  if (time > MAX_EXPIRY_TIME) throw usageError(`${flag} ${quote(input)} is past the year 9999`);
  // A day of grace for clocks that are off: the homeserver's own is asked later.
  if (time < Date.now() - DAY) throw pastError(time);
  return {kind: 'instant', time};
}

/**
 * @param now the homeserver's time, Unix ms.
 * @returns Unix ms, or `null` for never.
 * @throws {MxtokError} `usage`, where it has passed by the homeserver's clock.
 */
export function resolveExpiry(when: When, now: number): number | null {
  if (when.kind === 'never') return null;
  const time = when.kind === 'duration' ? addDuration(now, when.duration) : when.time;
  if (time <= now) throw pastError(time);
  return time;
}

function pastError(time: number): ReturnType<typeof usageError> {
  return usageError(
    `--expiry: ${formatLocal(time)} has passed already`,
    'Give a later time, or "never". To close a token now: mxtok disable TOKEN',
  );
}

/** `--since`, `--until`: a duration back from now, or a date or date-time. @returns Unix ms. */
export function parsePast(input: string, flag: string, endOfDay = false): number {
  const duration = readDuration(input);
  const time = duration ? subtractDuration(Date.now(), duration) : readInstant(input, flag, endOfDay);
  if (time === undefined || Number.isNaN(time)) throw usageError(`${flag} ${quote(input)} is not ${FORMS}`);
  return time;
}

/** ISO 8601 in UTC, as scripts want it. */
export function formatIso(time: number): string {
  // Other tools can put times on a token that no calendar holds (microseconds taken for milliseconds).
  if (!(Math.abs(time) <= 8.64e15)) return `@${time}`;
  // A Date's own way takes a microsecond, most of it for the day, which many tokens have in common.
  const day = Math.floor(time / DAY);
  if (day !== lastDay.day)
    lastDay = {day, text: new Date(day * DAY).toISOString().slice(0, -'00:00:00.000Z'.length)};
  const ms = time - day * DAY;
  const [hours, minutes, seconds] = [
    Math.floor(ms / HOUR),
    Math.floor(ms / MINUTE) % 60,
    Math.floor(ms / SECOND) % 60,
  ];
  return `${lastDay.text}${two(hours)}:${two(minutes)}:${two(seconds)}.${String(ms % SECOND).padStart(3, '0')}Z`;
}

let lastDay = {day: 0, text: '1970-01-01T'};

function two(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}

/** Local time with its offset, as people want it: `2027-01-31 18:00 +01:00`. */
export function formatLocal(time: number): string {
  if (!(Math.abs(time) <= 8.64e15)) return `@${time}`;
  const date = new Date(time);
  const pad = (value: number, digits = 2): string => String(value).padStart(digits, '0');
  const offset = -date.getTimezoneOffset();
  const zone =
    offset === 0
      ? 'UTC'
      : `${offset < 0 ? '-' : '+'}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  return `${pad(date.getFullYear(), 4)}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${localClock(date)} ${zone}`;
}

/** `in 7 days`, `3 hours ago`. */
export function formatRelative(time: number, now: number): string {
  if (!(Math.abs(time) <= 8.64e15)) return 'in a time no calendar has';
  return formatDistanceStrict(time, now, {addSuffix: true});
}

/** `--timeout`: seconds, or a duration in seconds, minutes or hours. @returns milliseconds. */
export function parseTimeout(input: string, name = '--timeout'): number {
  const duration = /^\d+(?:\.\d+)?$/.test(input)
    ? {ms: Number(input) * SECOND, months: 0, years: 0}
    : readDuration(input);
  if (!duration || duration.months || duration.years || duration.ms < 1 || duration.ms > DAY) {
    throw usageError(`${name} ${quote(input)} is not a number of seconds, nor a duration like 30s or 2m`);
  }

  return Math.ceil(duration.ms);
}
