import {strict as assert} from 'node:assert';

import type {PlannedChange} from '../../../src/lib/operations/batch.ts';
import {PLAN_FIELDS, renderPlanTable, toPlanRow} from '../../../src/lib/output/plans.ts';
import {TOKEN_FIELDS, type TokenRecord} from '../../../src/lib/token-record.ts';

const NOW = Date.UTC(2035, 0, 1, 12);
const DAY = 86_400_000;

function record(changes: Partial<TokenRecord> = {}): TokenRecord {
  return {
    server: 'main',
    token: 'CrispOtter',
    status: 'valid',
    accepted: true,
    uses_allowed: 5,
    pending: 0,
    completed: 2,
    expiry_time: NOW + 7 * DAY,
    expires_at: '2035-01-08T12:00:00.000Z',
    label: 'spring workshop',
    note: null,
    link: null,
    ...changes,
  };
}

function plan(
  action: PlannedChange['action'],
  changes: PlannedChange['changes'] = {},
  token: Partial<TokenRecord> = {},
): PlannedChange {
  return {record: record(token), action, changes};
}

async function table(plans: PlannedChange[], several = false, width = 200): Promise<string[]> {
  const text = [...(await renderPlanTable(plans, {width, now: NOW, color: false, several}))].join('');
  return text.trimEnd().split('\n');
}

describe('plans for programs', () => {
  it('are the token as it is now, then what would be done and how', () => {
    assert.deepEqual(PLAN_FIELDS, [...TOKEN_FIELDS, 'action', 'changes']);
    const row = toPlanRow(plan('update', {uses_allowed: 9}));
    assert.deepEqual(row, {...record(), action: 'update', changes: 'uses_allowed=9'});
    assert.deepEqual(Object.keys(row), [...PLAN_FIELDS]);
  });

  const cases: [string, PlannedChange['changes'], string][] = [
    ['nothing', {}, ''],
    ['a limit', {uses_allowed: 9}, 'uses_allowed=9'],
    ['no limit', {uses_allowed: null}, 'uses_allowed=unlimited'],
    [
      'an expiry once, as a time that can be read',
      {expiry_time: NOW, expires_at: '2035-01-01T12:00:00.000Z'},
      'expires_at=2035-01-01T12:00:00.000Z',
    ],
    ['no expiry', {expiry_time: null, expires_at: null}, 'expires_at=never'],
    ['a label', {label: 'autumn fair'}, 'label=autumn fair'],
    ['a label and a note that are taken away', {label: null, note: null}, 'label= note='],
    [
      'all at once',
      {uses_allowed: 1, expiry_time: null, expires_at: null, label: 'x', note: 'y'},
      'uses_allowed=1 expires_at=never label=x note=y',
    ],
  ];
  for (const [name, changes, expected] of cases) {
    it(`tell of ${name}`, () => {
      assert.equal(toPlanRow(plan('update', changes)).changes, expected);
    });
  }
});

describe('plans for people', () => {
  it('are a table of the tokens as they are, with what would be done beside each', async () => {
    const [header = '', first = '', second = '', ...rest] = await table([
      plan('disable'),
      plan('none', {}, {token: 'off', status: 'disabled', accepted: false, uses_allowed: 0}),
    ]);
    assert.match(header, /^TOKEN +STATUS +USES +EXPIRES +LABEL +ACTION$/);
    assert.match(first, /^CrispOtter +valid +2\/5 +in 7 days +spring workshop +disable$/);
    assert.match(second, /^off +disabled .* none$/);
    assert.deepEqual(rest, []);
  });

  it('have a column for how, where anything of one would be another', async () => {
    const [header = '', first = '', second = ''] = await table([
      plan('update', {uses_allowed: null, label: 'x'}),
      plan('none', {}, {token: 'same'}),
    ]);
    assert.match(header, /ACTION +CHANGES$/);
    assert.match(first, /update +uses_allowed=unlimited label=x$/);
    assert.match(second, /^same .* none$/);
  });

  it('say which server each is of, where there are several', async () => {
    const [header = '', first = '', second = ''] = await table(
      [plan('delete'), plan('delete', {}, {server: 'other'})],
      true,
    );
    assert.match(header, /^SERVER +TOKEN /);
    assert.match(first, /^main +CrispOtter .* delete$/);
    assert.match(second, /^other +CrispOtter .* delete$/);
  });

  it('never have the token cut, nor what would be done, however narrow the terminal', async () => {
    const token = 'x'.repeat(64);
    for (const width of [200, 80, 40, 1]) {
      const text = (await table([plan('disable', {}, {token, label: 'y'.repeat(100)})], false, width)).join(
        '\n',
      );
      assert(text.includes(token), `token in ${width}`);
      assert(text.includes('disable'), `action in ${width}`);
    }
  });

  it('show no control characters that a label brings along', async () => {
    const text = (await table([plan('update', {label: 'a\u001b[31m\nb'}, {label: '\u001b[2Jx'})])).join('\n');
    assert.equal(text.split('\n').length, 2);
    assert(!text.includes('\u001b'));
  });
});
