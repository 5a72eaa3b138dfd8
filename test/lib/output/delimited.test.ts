import assert from 'node:assert/strict';

import {csvLine, tsvLine, unguardCell} from '../../../src/lib/output/delimited.ts';

/** RFC 4180, as a spreadsheet reads it. */
function parseCsv(line: string): string[] {
  const cells: string[] = [];
  const pattern = /(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/gy;
  for (let match = pattern.exec(line); match; match = pattern.exec(line)) {
    cells.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? '');
    if (pattern.lastIndex >= line.length) return cells;
  }

  throw new Error(`not CSV: ${line}`);
}

const EVIL = ['a\tb', 'a\nb', 'a\r\nb', '\u001b[31m', 'a\u0085b', 'a\u2028b', '\ttab', 'x\n'];

describe('TSV', () => {
  it('is the cells between tabs, null as nothing, numbers and booleans as they are', () => {
    assert.equal(tsvLine(['main', 'T', true, 5, 0, null, false, '']), 'main\tT\ttrue\t5\t0\t\tfalse\t');
  });

  it('quotes and guards nothing', () => {
    assert.equal(
      tsvLine(['"a"', "it's", '=1+1', '-token', 'a,b', '日本']),
      '"a"\tit\'s\t=1+1\t-token\ta,b\t日本',
    );
  });

  for (const text of EVIL) {
    it(`has one line of as many cells with ${JSON.stringify(text)} in one`, () => {
      const line = tsvLine(['T', text, 'end']);
      assert.equal(line.split('\t').length, 3);
      assert.doesNotMatch(line.replaceAll('\t', ''), /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
    });
  }

  it('never cuts a cell', () => {
    const long = 'x'.repeat(5000);
    assert.equal(tsvLine([long]), long);
  });
});

describe('CSV', () => {
  it('is the cells between commas, null as nothing', () => {
    assert.equal(csvLine(['main', 'T', true, 5, null, false]), 'main,T,true,5,,false');
  });

  it('quotes what has a comma or a quote, and doubles the quotes', () => {
    assert.equal(csvLine(['a,b', 'say "hi"', "it's", 'a b', '"']), '"a,b","say ""hi""",it\'s,a b,""""');
  });

  it('is read back by a spreadsheet as it was', () => {
    const cells = ['a,b', '"', '""', 'x","y', 'plain', '', ',', "'quoted'", '日本, "語"'];
    assert.deepEqual(parseCsv(csvLine(cells)), cells);
  });

  for (const text of [
    '=1+1',
    '+1',
    '-1',
    '@SUM(A1)',
    "=cmd|'/C calc'!A0",
    '=HYPERLINK("https://x","y")',
    '-',
  ]) {
    it(`does not let ${text} be a formula`, () => {
      assert.deepEqual(parseCsv(csvLine(['T', text])), ['T', `'${text}`]);
    });
  }

  it('is read again as it was written, apostrophes of somebody else’s too', () => {
    for (const text of ['=1', "'=1", "''-a", '-abc', "'quoted'", "don't", ''])
      assert.equal(unguardCell(parseCsv(csvLine([text]))[0] ?? ''), text, text);
  });

  it('does not let one hide behind a tab or a line break', () => {
    for (const text of ['\t=1+1', '\r=1+1', '\n=1+1', '\u0000=1+1'])
      assert.match(csvLine([text]), /^ =1\+1$/, JSON.stringify(text));
  });

  it('leaves numbers alone, negative ones too', () => {
    assert.equal(csvLine([-1, 2]), '-1,2');
  });

  for (const text of EVIL) {
    it(`has one line of as many cells with ${JSON.stringify(text)} in one`, () => {
      const line = csvLine(['T', text, 'end']);
      assert.equal(parseCsv(line).length, 3);
      assert.doesNotMatch(line, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
    });
  }
});
