import {strict as assert} from 'node:assert';

import {readBashLine} from '../../../src/lib/completion/bash-line.ts';

describe('readBashLine', () => {
  it('takes words apart and quotes off, evaluating nothing', () => {
    const lines: [string, string[]][] = [
      ['mxtok ', ['mxtok', '']],
      ['mxtok  list', ['mxtok', 'list']],
      [String.raw`mxtok a\ b "c d" 'e f' $'g\'h' i"j"'k'`, ['mxtok', 'a b', 'c d', 'e f', "g'h", 'ijk']],
      [String.raw`mxtok "a\"b\$c\d" 'e\' $HOME $(x) `, ['mxtok', 'a"b$c\\d', 'e\\', '$HOME', '$(x)', '']],
      ['mxtok --label="spring w', ['mxtok', '--label=spring w']],
      ['mxtok a\\', ['mxtok', 'a']],
      ['mxtok "" x', ['mxtok', '', 'x']],
      ['mxtok list 2>err <in --js', ['mxtok', 'list', '--js']],
      ['mxtok zürich 日', ['mxtok', 'zürich', '日']],
    ];
    for (const [line, words] of lines) assert.deepEqual(readBashLine(line, '').words, words, line);
  });

  it('knows where a file is to be redirected to', () => {
    assert(readBashLine('mxtok list > fi', 'fi').redirected);
    assert(readBashLine('mxtok list >', '').redirected);
    assert(!readBashLine('mxtok list > file -', '-').redirected);
  });

  it('writes the part that bash replaces, for the quote that is open', () => {
    const written: [line: string, replaced: string, value: string, expected: string | undefined][] = [
      ['mxtok sp', 'sp', 'spring workshop', String.raw`spring\ workshop`],
      ['mxtok --label=sp', 'sp', '--label=spring $x', String.raw`spring\ \$x`],
      ['mxtok --label=sp', '--label=sp', '--label=spring', '--label=spring'],
      ['mxtok a:', '', 'a:b', 'b'],
      ['mxtok "sp', 'sp', 'sp$`"\\!!', 'sp\\$\\`\\"\\\\"\\!\\!""'],
      ["mxtok 'it", 'it', "it's", "it'\\''s"],
      ["mxtok $'it", 'it', "it's", "it\\'s"],
      ['mxtok x"sp', 'sp', 'xspring', 'spring'],
      ['mxtok ', '', '~#&;(){}<>|*?[]^!', String.raw`\~\#\&\;\(\)\{\}\<\>\|\*\?\[\]\^\!`],
      ['mxtok ', '', 'zürich ✓\u00a0日本', 'zürich\\ ✓\\\u00a0日本'],
      ['mxtok x:sp', 'sp', 'other', undefined],
      ['mxtok x', 'elsewhere', 'x', undefined],
    ];
    for (const [line, replaced, value, expected] of written)
      assert.equal(readBashLine(line, replaced).quoted(value), expected, `${line} → ${value}`);
  });

  it('keeps the quotes where bash takes the first or last character for one of them', () => {
    const written: [line: string, value: string, expected: string][] = [
      ['mxtok "', 'say "hi"', String.raw`say \"hi\""`],
      ['mxtok "', 'hi!', String.raw`hi"\!""`],
      ['mxtok "', '!!x', String.raw`""\!\!"x`],
      ["mxtok '", "'hi'", String.raw`''\''hi'\'''`],
    ];
    for (const [line, value, expected] of written)
      assert.equal(readBashLine(line, '').quoted(value), expected, value);
  });
});
