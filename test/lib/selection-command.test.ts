import {strict as assert} from 'node:assert';

import {isFiltering, parseFilter} from '../../src/lib/selection-command.ts';
import {errorIn} from '../helpers/mxtok-error.ts';

describe('the filters', () => {
  it('let everything through where none is given', () => {
    assert.equal(isFiltering(parseFilter({}, undefined)), false);
  });

  for (const [name, flags] of Object.entries({
    status: {status: ['valid']},
    accepted: {accepted: true},
    'not accepted': {accepted: false},
    search: {search: 'x'},
    'expiring within': {'expiring-within': '3d'},
    'uses left': {'uses-left': '0'},
    unused: {unused: true},
  })) {
    it(`choose: ${name}`, () => {
      assert.equal(isFiltering(parseFilter(flags, undefined)), true);
    });
  }

  it('choose: label', () => {
    assert.equal(isFiltering(parseFilter({}, '*')), true);
  });

  for (const empty of ['', ' ']) {
    it(`refuse what would choose all, for it is a variable that is not set: ${JSON.stringify(empty)}`, () => {
      assert.match(errorIn(() => parseFilter({search: empty}, undefined)).message, /^--search is empty$/);
      assert.match(errorIn(() => parseFilter({}, empty)).message, /^--label is empty$/);
    });
  }

  it('refuse what is no status, no duration, no number', () => {
    assert.match(errorIn(() => parseFilter({status: ['open']}, undefined)).message, /--status "open"/);
    assert.match(
      errorIn(() => parseFilter({'expiring-within': 'soon'}, undefined)).message,
      /--expiring-within/,
    );
    assert.match(errorIn(() => parseFilter({'uses-left': '-1'}, undefined)).message, /--uses-left/);
  });
});
