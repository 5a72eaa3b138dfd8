import {strict as assert} from 'node:assert';

import {shorten} from '../../src/lib/shorten.ts';

describe('shorten', () => {
  it('names all where they are few', () => {
    assert.equal(shorten([], ', '), '');
    assert.equal(shorten(['a'], ', '), 'a');
    assert.equal(shorten(['a', 'b', 'c', 'd', 'e'], ' '), 'a b c d e');
  });

  it('names the first five of more, and shows that there are more', () => {
    assert.equal(shorten([1, 2, 3, 4, 5, 6], ', '), '1, 2, 3, 4, 5 …');
  });

  it('names as many as it is told', () => {
    assert.equal(shorten(['a', 'b', 'c'], ', ', 2), 'a, b …');
    assert.equal(shorten(['a', 'b'], ', ', 2), 'a, b');
  });
});
