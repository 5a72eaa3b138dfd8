import {strict as assert} from 'node:assert';

import {parseLabel, parseNote} from '../../src/lib/label.ts';
import {errorIn} from '../helpers/mxtok-error.ts';

describe('parseLabel and parseNote', () => {
  it('keep free text of any language, without the space around it', () => {
    assert.equal(parseLabel('  spring workshop '), 'spring workshop');
    assert.equal(parseNote('für Jürgen – 日本 🎉 =1+1'), 'für Jürgen – 日本 🎉 =1+1');
  });

  it('take the empty text, which clears one', () => {
    assert.equal(parseLabel(''), '');
    assert.equal(parseLabel('   '), '');
  });

  it('count characters, not bytes or halves of them', () => {
    assert.equal(parseLabel('🎉'.repeat(200)), '🎉'.repeat(200));
    assert.match(
      errorIn(() => parseLabel('🎉'.repeat(201))).message,
      /--label has 201 characters; up to 200/,
    );
    assert.equal(parseNote('x'.repeat(2000)).length, 2000);
    assert.match(errorIn(() => parseNote('x'.repeat(2001))).message, /--note has 2001 characters/);
  });

  it('refuse line breaks and what could play tricks on a terminal', () => {
    for (const input of ['two\nlines', 'a\tb', '\u001b[31mred', 'a\u0000b', 'a\u202eb', 'a\u2028b']) {
      const error = errorIn(() => parseLabel(input));
      assert.equal(error.code, 'usage', JSON.stringify(input));
      assert.match(error.message, /^--label has line breaks, control characters/);
    }
  });
});
