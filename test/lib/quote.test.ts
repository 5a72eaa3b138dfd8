import {strict as assert} from 'node:assert';

import {quote} from '../../src/lib/quote.ts';

describe('quote', () => {
  it('cuts what is long', () => {
    assert.equal(quote('y'.repeat(80)), `"${'y'.repeat(80)}"`);
    assert.equal(quote('y'.repeat(81)), `"${'y'.repeat(80)}…"`);
  });

  it('escapes quotes, control characters and what turns or hides text', () => {
    assert.equal(quote('a"b\u202e\u009b\n\u001b[2J'), String.raw`"a\"b\u202e\u009b\n\u001b[2J"`);
    assert.equal(quote('zero\u200bwidth\ufeff'), String.raw`"zero\u200bwidth\ufeff"`);
  });

  it('leaves other languages readable', () => {
    assert.equal(quote('Grüße 日本 🎉'), '"Grüße 日本 🎉"');
  });
});
