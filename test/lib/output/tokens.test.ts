import assert from 'node:assert/strict';

import {renderRecordFields, renderRecords, renderRecordTable} from '../../../src/lib/output/tokens.ts';
import {TOKEN_FIELDS, type TokenField, type TokenRecord} from '../../../src/lib/token-record.ts';
import {formatLocal} from '../../../src/lib/when.ts';

const NOW = Date.UTC(2026, 10, 20, 12);
const LONG = 'x'.repeat(64);

function record(changes: Partial<TokenRecord> = {}): TokenRecord {
  return {
    server: 'main',
    token: 'CrispOtter',
    status: 'valid',
    accepted: true,
    uses_allowed: 5,
    pending: 0,
    completed: 2,
    expiry_time: NOW + 7 * 86_400_000,
    expires_at: '2026-11-27T12:00:00.000Z',
    label: 'spring workshop',
    note: null,
    link: null,
    ...changes,
  };
}

async function table(records: TokenRecord[], width = 200, columns?: TokenField[]): Promise<string> {
  return [...(await renderRecordTable(records, {width, now: NOW, color: false}, columns))].join('');
}

describe('records for programs', () => {
  const tricky = record({
    token: '-a.b~_',
    label: 'a, "b"\t\u001b[31m\n=c',
    note: '=1+1',
    expiry_time: null,
    expires_at: null,
  });

  it('are TSV of all fields in their order, without a header', () => {
    assert.equal(
      [...renderRecords([record(), tricky], 'tsv')].join(''),
      'main\tCrispOtter\tvalid\ttrue\t5\t0\t2\t1795780800000\t2026-11-27T12:00:00.000Z\tspring workshop\t\t\n' +
        'main\t-a.b~_\tvalid\ttrue\t5\t0\t2\t\t\ta, "b"  [31m =c\t=1+1\t\n',
    );
  });

  it('are CSV with a header, quoted and guarded, each line ended as RFC 4180 has it', () => {
    assert.equal(
      [...renderRecords([tricky], 'csv')].join(''),
      `${TOKEN_FIELDS.join(',')}\r\nmain,'-a.b~_,valid,true,5,0,2,,,"a, ""b""  [31m =c",'=1+1,\r\n`,
    );
    assert.equal([...renderRecords([], 'csv', ['token'])].join(''), 'token\r\n');
  });

  it('are a JSON array one token a line, every field there', () => {
    const text = [...renderRecords([record(), tricky], 'json')].join('');
    assert.deepEqual(JSON.parse(text), [record(), tricky]);
    assert.equal(text.split('\n').length, 5);
    assert.deepEqual(Object.keys((JSON.parse(text) as TokenRecord[])[0] ?? {}), [...TOKEN_FIELDS]);
    assert.equal([...renderRecords([], 'json')].join(''), '[]\n');
  });

  it('are NDJSON: one object a line', () => {
    const lines = [...renderRecords([record(), tricky], 'ndjson')].join('').split('\n');
    assert.equal(lines.length, 3);
    assert.deepEqual(JSON.parse(lines[1] ?? ''), tricky);
    assert.doesNotMatch(lines.join(''), /[\u0000-\u001f]/);
  });

  it('have the columns asked for, in the order asked', () => {
    assert.equal(
      [...renderRecords([record()], 'tsv', ['label', 'token'])].join(''),
      'spring workshop\tCrispOtter\n',
    );
    assert.equal(
      [...renderRecords([record()], 'csv', ['label', 'token'])].join(''),
      'label,token\r\nspring workshop,CrispOtter\r\n',
    );
  });

  it('come as they are asked for, not all at once', () => {
    let made = 0;
    const endless = (function* () {
      for (;;) {
        made++;
        yield record();
      }
    })();
    const lines = renderRecords(endless, 'tsv');
    lines.next();
    lines.next();
    assert.equal(made, 2);
  });
});

describe('records for people', () => {
  it('are a table with relative times', async () => {
    const text = await table([record(), record({token: 'b', expiry_time: null, label: null})]);
    const [header = '', first = '', second = ''] = text.split('\n');
    assert.match(header, /^TOKEN +STATUS .*EXPIRES +LABEL$/);
    assert.match(first, /^CrispOtter +valid .* in 7 days +spring workshop$/);
    assert.match(second, /^b +valid .* never$/);
  });

  it('never have the token cut, however narrow the terminal', async () => {
    for (const width of [1000, 120, 100, 80, 60, 40, 10, 1]) {
      for (const count of [1, 250]) {
        const text = await table(
          Array.from({length: count}, () => record({token: LONG, label: '日本語'.repeat(60)})),
          width,
        );
        assert.equal(text.split(LONG).length - 1, count, `${count} in ${width}`);
      }
    }
  });

  it('say loudly of a disabled token that it is still accepted, and never show its 0 as a limit', async () => {
    const open = record({token: 'open', status: 'disabled', accepted: true, uses_allowed: 0});
    const closed = record({token: 'closed', status: 'disabled', accepted: false, uses_allowed: 0});
    const [, first = '', second = ''] = (await table([open, closed])).split('\n');
    assert.match(first, /disabled \(still accepted!\)/);
    assert.doesNotMatch(second, /accepted/);
    const [, uses = ''] = (await table([open], 80, ['uses_allowed'])).split('\n');
    assert.equal(uses.trim(), 'unlimited');
    assert.match(
      await renderRecordFields(open, {width: 80, now: NOW, color: false}),
      /status +disabled \(still accepted!\)\n/,
    );
  });

  it('have the columns asked for', async () => {
    assert.equal(
      await table([record()], 80, ['label', 'token', 'accepted']),
      'LABEL            TOKEN       ACCEPTED\nspring workshop  CrispOtter  yes\n',
    );
  });

  it('of one token are a line for each thing known, with the time in full', async () => {
    const text = await renderRecordFields(record({token: LONG, note: 'n'.repeat(300)}), {
      width: 40,
      now: NOW,
      color: false,
    });
    assert.match(text, new RegExp(`^token +${LONG}$`, 'm'));
    const time = formatLocal(NOW + 7 * 86_400_000).replace('+', '\\+');
    assert.match(text, new RegExp(`^expires +${time} \\(in 7 days\\)$`, 'm'));
    assert.match(text, /^note +n{300}$/m);
    assert.doesNotMatch(text, /^link/m);
  });

  it('of one token say that there is no limit and no end', async () => {
    const endless = record({uses_allowed: null, expiry_time: null, expires_at: null, label: null});
    const text = await renderRecordFields(endless, {width: 80, now: NOW, color: false});
    assert.match(text, /^uses +unlimited$/m);
    assert.match(text, /^expires +never$/m);
  });

  it('survive a time that no calendar has', async () => {
    const text = await table([record({expiry_time: 8.64e18, expires_at: null})]);
    assert.match(text, /CrispOtter/);
  });
});
