import assert from 'node:assert/strict';
import {stripVTControlCharacters} from 'node:util';

import {Chalk} from 'chalk';
import stringWidth from 'string-width';

import {renderFields, renderTable, type TableCell, type TableColumn} from '../../../src/lib/output/table.ts';

const plain = new Chalk({level: 0});
const coloured = new Chalk({level: 1});
const TOKEN = 'x'.repeat(64);

const COLUMNS: TableColumn[] = [
  {header: 'TOKEN'},
  {header: 'USES', align: 'right'},
  {header: 'LABEL', flexible: true},
];

function cells(...texts: string[]): TableCell[] {
  return texts.map((text) => ({text}));
}

function render(rows: TableCell[][], width = Infinity, columns = COLUMNS, colours = plain): string {
  return [...renderTable(columns, rows, width, colours)].join('');
}

/** The lines of a table that has many rows like these: all ways to lay it out must look the same. */
function lineOfEach(row: TableCell[], width: number, colours = plain): string[] {
  return [1, 200, 201].map((count) => {
    const lines = render(Array<TableCell[]>(count).fill(row), width, COLUMNS, colours).split('\n');
    return lines.slice(0, 2).join('\n');
  });
}

describe('a table', () => {
  it('has headers, aligned columns and no borders', () => {
    assert.equal(
      render([cells('abc', '5', 'spring workshop'), cells('abcdefgh', '1000', ''), cells('x', '', 'l')]),
      [
        'TOKEN     USES  LABEL',
        'abc          5  spring workshop',
        'abcdefgh  1000',
        'x               l',
        '',
      ].join('\n'),
    );
  });

  it('of no rows is its headers', () => {
    assert.equal(render([]), 'TOKEN  USES  LABEL\n');
  });

  it('has no spaces at the ends of lines', () => {
    for (const count of [3, 300]) {
      const rows = Array.from({length: count}, (_, index) =>
        cells('t', '1', index === 0 ? 'long label' : ''),
      );
      assert.doesNotMatch(render(rows), / $/m);
    }
  });

  for (const width of [200, 100, 80]) {
    it(`fits a terminal of ${width}: the label gives way, the token never does`, () => {
      const text = render([cells(TOKEN, '5', 'label '.repeat(30)), cells('short', '12', 'short')], width);
      for (const line of text.split('\n')) assert.ok(stringWidth(line) <= width, line);
      assert.ok(text.includes(TOKEN));
      assert.match(text, /label.*…$/m);
      assert.match(text, /12 {2}short$/m);
    });
  }

  for (const width of [79, 40, 20, 8, 1, 0]) {
    it(`on a terminal of ${width}, too narrow for it, becomes records that lose nothing`, () => {
      const label = 'label '.repeat(20).trim();
      assert.equal(
        render([cells(TOKEN, '5', label), cells('short', '', '')], width),
        `TOKEN  ${TOKEN}\nUSES   5\nLABEL  ${label}\n\nTOKEN  short\n`,
      );
      const many = render(
        Array.from({length: 250}, () => cells(TOKEN, '5', label)),
        width,
      );
      assert.equal(many.split(TOKEN).length - 1, 250);
      assert.equal(many.split('\n\n')[7], `TOKEN  ${TOKEN}\nUSES   5\nLABEL  ${label}`);
    });
  }

  it('takes from the longest of several columns that can give, so that short ones stay whole', () => {
    const columns: TableColumn[] = [
      {header: 'T'},
      {header: 'LABEL', flexible: true},
      {header: 'NOTE', flexible: true},
    ];
    const text = render([cells('t', 'a short label', 'n'.repeat(100))], 50, columns);
    assert.match(text, /a short label {2}n+…$/m);
    assert.equal(stringWidth(text.split('\n')[1] ?? ''), 50);
  });

  const LABELS = [
    'plain',
    '日本語のラベル',
    '한국어',
    'ｱｲｳ',
    'e\u0301tude',
    '👩‍👩‍👧‍👦 family',
    '🇩🇪 flag',
    '1️⃣ key',
    '❤️ heart',
    '👍🏽 tone',
    '🫠 new',
    'नमस्ते',
    'ไทย',
    '𠮷野家',
    'soft\u00adhyphen',
    '½ · × …',
  ];

  it('is aligned with wide characters, emoji and combined ones in it', () => {
    const columns: TableColumn[] = [{header: 'LABEL', flexible: true}, {header: 'END'}];
    for (const count of [1, 20]) {
      const rows = Array.from({length: count}, () => LABELS.map((label) => cells(label, '|'))).flat();
      const ends = render(rows, 80, columns)
        .trimEnd()
        .split('\n')
        .slice(1)
        .map((line) => stringWidth(line.slice(0, line.indexOf('|'))));
      assert.deepEqual(new Set(ends), new Set([ends[0]]), `${rows.length} rows`);
    }
  });

  it('never cuts a character in half, nor a wide one into the next column', () => {
    for (const label of ['日本語のラベルです', '👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦', 'e\u0301'.repeat(30), '🇩🇪'.repeat(12)]) {
      const graphemes = new Set([...new Intl.Segmenter().segment(label)].map(({segment}) => segment));
      for (let width = 24; width < 32; width++) {
        const [, line = ''] = render([cells('tokentok', '5', label)], width).split('\n');
        assert.ok(stringWidth(line) <= width, `${line} in ${width}`);
        const shown = line.slice('tokentok     5  '.length);
        if (shown === label) continue;
        assert.ok(shown.endsWith('…'), line);
        for (const {segment} of new Intl.Segmenter().segment(shown.slice(0, -1)))
          assert.ok(graphemes.has(segment), `${JSON.stringify(segment)} of ${label}`);
      }
    }
  });

  for (const label of ['', 'short', 'label '.repeat(30), ...LABELS]) {
    it(`looks the same with 200 rows and with 201 (${label.slice(0, 12)})`, () => {
      for (const width of [80, 30, 10]) {
        const painted = [
          {text: 'token'},
          {text: '5', paint: coloured.green},
          {text: label, paint: coloured.red},
        ];
        const [first, ...others] = lineOfEach(cells('token', '5', label), width);
        for (const other of others) assert.equal(other, first);
        const [firstPainted, ...othersPainted] = lineOfEach(painted, width, coloured);
        for (const other of othersPainted) assert.equal(other, firstPainted);
        assert.equal(stripVTControlCharacters(firstPainted ?? ''), first);
      }
    });
  }

  it('lets no text colour, move, break lines or turn the direction', () => {
    const hostile = 'a\u001b[31mb\u009b2Jc\nd\re\u202ef\u2028g\th';
    for (const [count, width] of [
      [1, 100],
      [250, 100],
      [1, 5],
    ] as const) {
      const text = render(
        Array.from({length: count}, () => cells(hostile, hostile, hostile)),
        width,
      );
      assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2028\u2029]/);
      assert.ok(text.split('\n').length <= count + 4);
    }
  });

  it('colours what is shown, headers bold', () => {
    const text = render(
      [[{text: 't', paint: coloured.red}, {text: '1'}, {text: 'l'}]],
      80,
      COLUMNS,
      coloured,
    );
    assert.ok(text.includes('\u001b[31mt\u001b[39m'));
    assert.ok(text.startsWith('\u001b[1mTOKEN\u001b[22m'));
  });
});

describe('fields', () => {
  it('are names and values one below the other, never cut', () => {
    const label = 'label '.repeat(40).trim();
    assert.equal(
      renderFields(
        [
          ['token', {text: TOKEN}],
          ['expires', {text: 'never'}],
          ['label', {text: label}],
        ],
        plain,
      ),
      `token    ${TOKEN}\nexpires  never\nlabel    ${label}\n`,
    );
  });

  it('are stripped of what a terminal obeys', () => {
    assert.equal(renderFields([['label', {text: 'a\u001b[31m\nb\u202e'}]], plain), 'label  a [31m b\n');
  });
});
