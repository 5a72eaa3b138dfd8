import {strict as assert} from 'node:assert';

import {EXPORT_FIELDS, exportTokens} from '../../../src/lib/operations/export.ts';
import {csvLine} from '../../../src/lib/output/delimited.ts';
import {readExportedTokens} from '../../../src/lib/token-file/exported-tokens.ts';
import {FakeHomeserver, fakeConnection} from '../../helpers/fake-homeserver.ts';
import {FrozenTime} from '../../helpers/frozen-time.ts';

const T0 = Date.UTC(2435, 0, 1, 12);

describe('an export', () => {
  let time: FrozenTime;
  beforeEach(() => {
    time = new FrozenTime();
  });

  afterEach(() => {
    time.restore();
  });

  it('has all tokens by name, with all that is known of them, and says how many there are', async () => {
    const homeserver = new FakeHomeserver(T0);
    const connection = fakeConnection(homeserver);
    homeserver.add('b', {uses_allowed: 0, completed: 2, pending: 1, expiry_time: T0});
    homeserver.add('a');
    await connection.metadata.update(['b', 'gone'], (entry) => ({
      ...entry,
      label: 'x',
      note: 'y',
      created_at: '2034-01-01T00:00:00.000Z',
      created_by: '@ada:example.org',
      disabled: {uses_allowed: 5, expiry_time: T0 + 1, at: T0, done: true},
    }));
    const none = {created_at: null, created_by: null, uses_allowed_before: null, expiry_time_before: null};
    assert.deepEqual(await exportTokens(connection), {
      header: {
        mxtok_export: 1,
        server_name: 'example.org',
        exported_at: '2435-01-01T12:00:00.000Z',
        tokens: 2,
      },
      records: [
        {
          token: 'a',
          uses_allowed: null,
          pending: 0,
          completed: 0,
          expiry_time: null,
          expires_at: null,
          label: null,
          note: null,
          ...none,
        },
        {
          token: 'b',
          uses_allowed: 0,
          pending: 1,
          completed: 2,
          expiry_time: T0,
          expires_at: '2435-01-01T12:00:00.000Z',
          label: 'x',
          note: 'y',
          created_at: '2034-01-01T00:00:00.000Z',
          created_by: '@ada:example.org',
          uses_allowed_before: 5,
          expiry_time_before: T0 + 1,
        },
      ],
    });
  });

  it('is what import can read, in either form', async () => {
    const homeserver = new FakeHomeserver(T0);
    const connection = fakeConnection(homeserver);
    const tokens = ['-a', 'b', '~c', '__proto__', 'D.e_f'];
    for (const [index, token] of tokens.entries())
      homeserver.add(token, {
        uses_allowed: index || null,
        completed: index,
        expiry_time: index ? T0 + index : null,
      });
    homeserver.add('far', {expiry_time: 1_800_000_000_000_000});
    await connection.metadata.update(tokens, (entry) => ({...entry, label: '=SUM("a", 1)', note: '+1; 😀'}));
    const {header, records} = await exportTokens(connection);
    const ndjson = [header, ...records].map((value) => JSON.stringify(value)).join('\n');
    const csv = [EXPORT_FIELDS, ...records.map((record) => EXPORT_FIELDS.map((field) => record[field]))]
      .map((cells) => `${csvLine(cells)}\r\n`)
      .join('');
    const [fromNdjson, fromCsv] = [await readExportedTokens(ndjson, 'x'), await readExportedTokens(csv, 'x')];
    assert.deepEqual(fromCsv, fromNdjson);
    for (const {token, uses_allowed, completed, expiry_time, label} of fromCsv) {
      const {
        disabled: _disabled,
        pending: _pending,
        ...there
      } = homeserver.tokens.get(token) ?? assert.fail(token);
      assert.deepEqual({token, uses_allowed, completed, expiry_time}, there);
      assert.equal(label, token === 'far' ? undefined : '=SUM("a", 1)');
    }

    assert.equal(fromCsv.length, homeserver.tokens.size);
  });
});
