import {strict as assert} from 'node:assert';

import {csvLine} from '../../../src/lib/output/delimited.ts';
import {readWantedRows} from '../../../src/lib/token-file/wanted-rows.ts';
import {formatLocal} from '../../../src/lib/when.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {ndjson, problemsOf} from '../../helpers/rows.ts';

describe('create --from', () => {
  const read = (text: string) => readWantedRows(text, 'guests.csv');
  const wrong = (text: string) => problemsOf(read(text));

  it('reads CSV with a header, the columns in any order', async () => {
    assert.deepEqual(
      await read(
        'label,token,uses_allowed,expiry,note\nAda,tok-1,5,7d,"a ""b"", c"\n,,,never,\nBob,,unlimited,,\n',
      ),
      [
        {
          line: 2,
          token: 'tok-1',
          uses_allowed: 5,
          expiry: {kind: 'duration', duration: {ms: 7 * 86_400_000, months: 0, years: 0}},
          label: 'Ada',
          note: 'a "b", c',
        },
        {line: 3, expiry: {kind: 'never'}},
        {line: 4, label: 'Bob', uses_allowed: null},
      ],
    );
  });

  it('reads NDJSON, in which null is no limit and no expiry', async () => {
    assert.deepEqual(
      await read(
        ndjson(
          {token: 'tok-1', uses_allowed: 5, expiry: '2427-01-31T18:00Z', label: 'Ada', note: 'n'},
          {uses_allowed: null, expiry: null, label: null, token: null, note: null},
          {uses_allowed: 'unlimited'},
          {uses_allowed: '7'},
        ),
      ),
      [
        {
          line: 1,
          token: 'tok-1',
          uses_allowed: 5,
          expiry: {kind: 'instant', time: Date.UTC(2427, 0, 31, 18)},
          label: 'Ada',
          note: 'n',
        },
        {line: 2, uses_allowed: null, expiry: {kind: 'never'}},
        {line: 3, uses_allowed: null},
        {line: 4, uses_allowed: 7},
      ],
    );
  });

  const forms: [string, string][] = [
    ['commas', 'token,label\nabc,"x;y"\n'],
    ['semicolons, as where the comma is in numbers', 'token;label\nabc;x;\n'],
    ['tabs', 'token\tuses_allowed\tlabel\nabc\t\tx\n'],
    ['a byte order mark', '\ufefftoken,label\nabc,x\n'],
    ['line ends of Windows', 'token,label\r\nabc,x\r\n'],
    ['line ends of old', 'token,label\rabc,x\r'],
    ['no end of the last line', 'token,label\nabc,x'],
    ['quotes around all', '"token","label"\n"abc","x"\n'],
    ['spaces around cells', ' token , label \n abc , x \n'],
    ['upper case in the header', 'TOKEN,Label\nabc,x\n'],
    ['blank lines', '\n\ntoken,label\n\n \nabc,x\n\n'],
    ['lines of separators', 'token,label\n,\nabc,x\n,\n'],
    ['separators at the end of lines', 'token,label,,\nabc,x,,\n'],
    ['more separators than the header has', 'token,label\nabc,x,,,\n'],
    ['NDJSON with a byte order mark, CRLF and blank lines', '\ufeff\r\n{"token":"abc","label":"x"}\r\n\r\n'],
  ];
  for (const [form, text] of forms) {
    it(`takes ${form}`, async () => {
      const [row, ...others] = await read(text);
      assert.equal(row?.token, 'abc');
      assert.match(row.label ?? '', form === 'commas' ? /^x;y$/ : /^x$/);
      assert.deepEqual(others, []);
    });
  }

  it('takes off the apostrophe that keeps a spreadsheet from calculating, and no other', async () => {
    const labels = ['=1+1', '+49 30', '-x', '@ada', "'quoted'", "it's"];
    const rows = labels.map((label, index) => csvLine([`-t${index}`, label]));
    assert.match(rows[0] ?? '', /^'-t0,'=1\+1$/);
    assert.deepEqual(
      (await read(['token,label', ...rows].join('\n'))).map(({token, label}) => [token, label]),
      labels.map((label, index) => [`-t${index}`, label]),
    );
  });

  it('has nothing to do in a file with a header alone, or with nothing', async () => {
    for (const text of ['', '\ufeff', '\n \n', 'token,label', 'token,label\r\n\r\n'])
      assert.deepEqual(await read(text), []);
  });

  it('names every row that is wrong with its line, and in it what', async () => {
    assert.deepEqual(
      await wrong(
        [
          'token,uses_allowed,expiry,label',
          'a b,1,7d,x',
          'ok-1,0,7d,x',
          '',
          'ok-2,1,2001-01-01,x',
          'ok-3,1,soon,x',
          'ok-4,2147483648,7d,x',
          'new,1,7d,x',
          `ok-5,1,7d,${'x'.repeat(201)}`,
          'ok-6,1,7d,"two\r\nlines"',
          'ok-1,1,7d,x,more',
          'ok-7,1.5,7d,x',
          'ok-8,1,7d,x',
          'ok-8,1,7d,x',
          `${'y'.repeat(65)},1,7d,x`,
        ].join('\r\n'),
      ),
      [
        '2: "a b" is not a registration token: only A-Z a-z 0-9 . _ ~ - may be in one',
        '3: uses_allowed 0 would not disable the token: Synapse takes 0 for "unlimited"',
        `5: expiry: ${formatLocal(new Date(2001, 0, 1, 23, 59).getTime())} has passed already`,
        '6: expiry "soon" is not a duration (90m, 12h, 7d, 2w, 3mo, 1y), a date (2027-01-31) or a date-time (2027-01-31T18:00, 2027-01-31T18:00Z), nor "never"',
        '7: uses_allowed "2147483648" is not a number from 1 to 2147483647, nor "unlimited"',
        '8: a token named "new" cannot be managed afterwards: its name has a meaning of its own in the admin API\'s paths',
        '9: label has 201 characters; up to 200 are kept',
        '10: label has line breaks, control characters or others that cannot be seen',
        '12: it has a cell that the header has no name for',
        '13: uses_allowed "1.5" is not a number from 1 to 2147483647, nor "unlimited"',
        '15: the token ok-8 stands on line 14 already',
        '16: that registration token has 65 characters; homeservers take up to 64',
      ],
    );
  });

  it('says how many lines are wrong, and that nothing was done', async () => {
    const error = await errorOf(read('token\na b\nab\na c\n'));
    assert.equal(error.message, 'guests.csv: 2 lines are wrong; nothing was created');
    assert.equal(
      (await errorOf(read('token\na b\n'))).message,
      'guests.csv: one line is wrong; nothing was created',
    );
  });

  it('takes the first row for the header where there is none, and says so', async () => {
    assert.deepEqual(await wrong('tok-1,5\ntok-2,6\n'), [
      '1: "tok-1" is no column; there are token, uses_allowed, expiry, label, note',
      '1: "5" is no column; there are token, uses_allowed, expiry, label, note',
    ]);
  });

  it('refuses columns that it does not know, each once, for what they say would be lost', async () => {
    assert.deepEqual(await wrong('\ntoken,uses\na,1\n'), [
      '2: "uses" is no column; there are token, uses_allowed, expiry, label, note',
    ]);
    assert.deepEqual(await wrong(ndjson({token: 'a', expires: 1}, {token: 'b', expires: 1})), [
      '1: "expires" is no column; there are token, uses_allowed, expiry, label, note',
    ]);
    assert.deepEqual(await wrong('{"__proto__":{"uses_allowed":1},"constructor":1}\n'), [
      '1: "__proto__" is no column; there are token, uses_allowed, expiry, label, note',
      '1: "constructor" is no column; there are token, uses_allowed, expiry, label, note',
    ]);
    assert.deepEqual(await wrong('__proto__,token\nx,abc\n'), [
      '1: "__proto__" is no column; there are token, uses_allowed, expiry, label, note',
    ]);
  });

  it('refuses a column that is there twice', async () => {
    assert.deepEqual(await wrong('token,label,Token\na,b,c\n'), [
      '1: the header names the column "token" twice',
    ]);
  });

  it('refuses a row with fewer cells than the header: a limit that is missing would be none', async () => {
    assert.deepEqual(await wrong('token,uses_allowed,expiry\nalpha,1,7d\nbet\ngamma,1\ndelta,1,\n'), [
      '3: it has fewer cells (1) than the header (3)',
      '4: it has fewer cells (2) than the header (3)',
    ]);
    const [row] = await read('token,label,,\nabc,x\n');
    assert.equal(row?.label, 'x', 'columns without a name count for nothing');
  });

  it('refuses a last row that is cut off', async () => {
    const whole = 'token,uses_allowed,expiry\nalpha,1,7d\nbeta,1,7d';
    for (let length = whole.indexOf('beta') + 1; length <= whole.lastIndexOf('1'); length++) {
      const [problem, ...others] = await wrong(whole.slice(0, length));
      assert.match(problem ?? '', /^3: .* than the header \(3\): the rest seems to be cut off$/);
      assert.deepEqual(others, []);
    }

    assert.equal((await read(whole)).length, 2, 'the last line break alone is no loss');
  });

  it('names the very lines whose quotes are wrong, with all else that is wrong', async () => {
    assert.deepEqual(await wrong('token,label\na"b,1\nok-1,2\n"x"y,3\na b,4\nz,"open\nq,1\n'), [
      '2: its quotes are not those of CSV (RFC 4180)',
      '4: its quotes are not those of CSV (RFC 4180)',
      '5: "a b" is not a registration token: only A-Z a-z 0-9 . _ ~ - may be in one',
      '6: its quotes are not those of CSV (RFC 4180)',
    ]);
  });

  it('names the lines of NDJSON that are none', async () => {
    assert.deepEqual(
      await wrong(
        '{"token":"a"}\n{"token":"b"\n[1]\n"x"\nnull\n{"token":5}\n{"uses_allowed":true}\n{"uses_allowed":1e400}\n{"uses_allowed":1.5}\n{"label":{}}\n',
      ),
      [
        '2: it is not a JSON object on one line',
        '3: it is not a JSON object on one line',
        '4: it is not a JSON object on one line',
        '5: it is not a JSON object on one line',
        '6: token is "5", not a text',
        '7: uses_allowed is "true", not a number',
        '8: uses_allowed "Infinity" is not a number from 1 to 2147483647, nor "unlimited"',
        '9: uses_allowed "1.5" is not a number from 1 to 2147483647, nor "unlimited"',
        '10: label is an object, not a text',
      ],
    );
  });

  it('says of a JSON list that it is one, once', async () => {
    const error = await errorOf(read(`[${'\n{},'.repeat(1000)}\n{}]`));
    assert.equal(error.message, 'guests.csv is a JSON list');
    assert.match(error.hint ?? '', /NDJSON: one object a line/);
  });

  it('takes no label with control characters, nor one that writes backwards', async () => {
    const labels = ['\u001b[31mred', 'a\tb', 'a\u0000b', 'x\u202ey', '\u009b31m', 'a\u2028b'];
    assert.deepEqual(
      await wrong(ndjson(...labels.map((label) => ({label})))),
      labels.map(
        (_, index) => `${index + 1}: label has line breaks, control characters or others that cannot be seen`,
      ),
    );
  });

  it('makes short work of what nobody should give it', async () => {
    const deep = `{"label":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`;
    for (const text of [
      deep,
      `token\n${'x'.repeat(10_000_000)}`,
      `{"label":"${'x'.repeat(10_000_000)}"}`,
      `"${'x'.repeat(1_000_000)}`,
    ]) {
      const error = await errorOf(read(text));
      assert.equal(error.code, 'usage');
      assert(JSON.stringify(error.problems).length < 1000, 'nor is it repeated');
    }
  });

  it('takes 100,000 rows, and no more', async () => {
    const rows = (count: number): string => `label\n${'x\n'.repeat(count)}`;
    assert.equal((await read(rows(100_000))).length, 100_000);
    const error = await errorOf(read(rows(100_001)));
    assert.equal(error.message, 'guests.csv has over 100000 rows; up to 100000 are taken at once');
  }).timeout(60_000);

  it('reads no further than that, whatever follows', async () => {
    for (const text of [
      '{}\n'.repeat(2_000_000),
      `{}\n${'{\n'.repeat(2_000_000)}`,
      `label\n${'x\n'.repeat(2_000_000)}`,
    ]) {
      const error = await errorOf(read(text));
      assert.equal(error.message, 'guests.csv has over 100000 rows; up to 100000 are taken at once');
      assert.equal(error.problems, undefined);
    }
  }).timeout(60_000);

  it('passes over any number of rows that have nothing in them', async () => {
    assert.equal((await read(`token,label\n${',\n'.repeat(150_000)}abc,x\n`)).length, 1);
    assert.equal((await read(`{"token":"abc"}\n${'\n'.repeat(150_000)}`)).length, 1);
  }).timeout(60_000);

  it('names the first hundred of very many that are wrong, and says how many more there are', async () => {
    const error = await errorOf(read(`token\n${'a b\n'.repeat(250)}`));
    assert.equal(error.message, 'guests.csv: 250 lines are wrong; nothing was created');
    assert.deepEqual(
      error.problems?.map(({line}) => line),
      Array.from({length: 100}, (_, index) => index + 2),
    );
    assert.equal(error.hint, 'And 150 more problems.');
    const one = await errorOf(read(`token\n${'a b\n'.repeat(101)}`));
    assert.equal(one.hint, 'And one more problem.');
    assert.equal((await errorOf(read(`token\n${'a b\n'.repeat(100)}`))).hint, undefined);
  });
});
