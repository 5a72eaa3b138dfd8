import {strict as assert} from 'node:assert';

import {changedDefaults} from '../../src/lib/defaults-flags.ts';
import {errorIn} from '../helpers/mxtok-error.ts';

describe('changedDefaults', () => {
  it('has what is given, and nothing where nothing is', () => {
    assert.equal(changedDefaults({}), undefined);
    assert.deepEqual(changedDefaults({'default-uses': ' 5 ', 'default-expiry': ''}), {uses: '5', expiry: ''});
  });

  it('takes length or words, or takes both away', () => {
    assert.deepEqual(changedDefaults({'default-length': '', 'default-words': ''}), {length: '', words: ''});
    assert.deepEqual(changedDefaults({'default-length': '20', 'default-words': ''}), {
      length: '20',
      words: '',
    });
    const {code, message} = errorIn(() => changedDefaults({'default-length': '20', 'default-words': '4'}));
    assert.equal(code, 'usage');
    assert.match(message, /--default-length and --default-words exclude each other/);
  });

  it('refuses what create would refuse', () => {
    assert.match(errorIn(() => changedDefaults({'default-uses': '0'})).message, /^--default-uses: 0 /);
  });
});
