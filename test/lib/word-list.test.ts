import {strict as assert} from 'node:assert';

import {loadWords} from '../../src/lib/word-list.ts';

describe('loadWords', () => {
  it('has enough of them for 12.9 bits each, all different', async () => {
    const words = await loadWords();
    assert.equal(new Set(words).size, words.length);
    assert(Math.log2(words.length) > 12.9, `${words.length} words`);
  });

  it('leaves out what nobody wants to hand to a guest', async () => {
    const words = new Set(await loadWords());
    for (const word of ['racism', 'islamist', 'caucasian', 'womb']) assert(!words.has(word), word);
    for (const word of ['otter', 'hazelnut']) assert(words.has(word), word);
  });
});
