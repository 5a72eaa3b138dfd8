import {strict as assert} from 'node:assert';

import {parseUses} from '../../src/lib/registration-token.ts';
import {
  BUILT_IN,
  checkForm,
  checkSetting,
  environmentVariable,
  parseLength,
  parseNumber,
  parseWords,
  readSetting,
  resolveSettings,
  type Setting,
  type SettingName,
  SETTINGS,
  type SettingSource,
} from '../../src/lib/settings.ts';
import {parseColumns} from '../../src/lib/token-record.ts';
import {parseExpiry, parseTimeout} from '../../src/lib/when.ts';
import {errorIn} from '../helpers/mxtok-error.ts';

type Values = Partial<Record<SettingName, string>>;

/** All settings, from the places where they are given; environment variables by their settings' names. */
function resolve({flags = {}, env = {}, defaults}: {flags?: Values; env?: Values; defaults?: Values}) {
  const variables = Object.fromEntries(
    Object.entries(env).map(([name, value]) => [environmentVariable(name as SettingName), value]),
  );
  return resolveSettings({flags, env: variables, defaults});
}

describe('resolveSettings', () => {
  it('has a value and its source for each setting where nothing is given', () => {
    assert.deepEqual(resolve({}), {
      uses: {value: 'unlimited', source: 'built-in'},
      expiry: {value: 'never', source: 'built-in'},
      length: {value: '16', source: 'built-in'},
      words: {value: null, source: 'built-in'},
      columns: {value: null, source: 'built-in'},
      timeout: {value: '30s', source: 'built-in'},
    });
  });

  it('reads the environment by names that are fixed', () => {
    assert.deepEqual(SETTINGS.map(environmentVariable), [
      ...['MXTOK_USES', 'MXTOK_EXPIRY', 'MXTOK_LENGTH', 'MXTOK_WORDS', 'MXTOK_COLUMNS', 'MXTOK_TIMEOUT'],
    ]);
  });

  for (const name of SETTINGS) {
    it(`takes --${name}, else ${environmentVariable(name)}, else the profile's, else what is built in`, () => {
      const [flags, env, defaults] = [{[name]: 'f'}, {[name]: 'e'}, {[name]: 'p'}];
      assert.deepEqual(resolve({flags, env, defaults})[name], {value: 'f', source: 'flag'});
      assert.deepEqual(resolve({env, defaults})[name], {value: 'e', source: 'environment'});
      assert.deepEqual(resolve({defaults})[name], {value: 'p', source: 'profile'});
      assert.deepEqual(resolve({flags, defaults})[name], {value: 'f', source: 'flag'});
      // What is set to nothing is not set, as everywhere in a shell.
      assert.deepEqual(resolve({env: {[name]: ''}, defaults})[name], {value: 'p', source: 'profile'});
      assert.deepEqual(resolve({env: {[name]: ''}})[name], {value: BUILT_IN[name], source: 'built-in'});
    });

    it(`leaves the other settings alone where --${name} is given`, () => {
      const rival = {length: 'words', words: 'length'}[name as string];
      const given = resolve({flags: {[name]: 'f'}});
      for (const other of SETTINGS) {
        if (other !== name && other !== rival) assert.deepEqual(given[other], resolve({})[other]);
      }
    });
  }

  describe('of length and words', () => {
    const layers: [SettingSource, 'flags' | 'env' | 'defaults'][] = [
      ['flag', 'flags'],
      ['environment', 'env'],
      ['profile', 'defaults'],
    ];
    const pairs: ['length' | 'words', 'length' | 'words'][] = [
      ['length', 'words'],
      ['words', 'length'],
    ];
    for (const [wanted, other] of pairs) {
      for (const [near, [source, place]] of layers.entries()) {
        it(`takes ${wanted} where the ${source} has it, and no ${other} from anywhere behind that`, () => {
          const behind = Object.fromEntries(layers.slice(near + 1).map(([, far]) => [far, {[other]: '5'}]));
          const resolved = resolve({[place]: {[wanted]: '6'}, ...behind});
          assert.deepEqual(resolved[wanted], {value: '6', source});
          assert.deepEqual(resolved[other], {value: null, source});
        });
      }
    }

    it('takes words from the profile where nothing nearer wants a length', () => {
      const {length, words} = resolve({flags: {uses: '1'}, env: {expiry: '1d'}, defaults: {words: '4'}});
      assert.deepEqual(words, {value: '4', source: 'profile'});
      assert.deepEqual(length, {value: null, source: 'profile'});
    });
  });
});

describe('checkForm', () => {
  const both = {length: '20', words: '4'};

  it('refuses length and words in one place, which is named', () => {
    const environment = errorIn(() => {
      checkForm(resolve({env: both, defaults: {words: '5'}}), 'main');
    });
    assert.equal(environment.code, 'usage');
    assert.match(environment.message, /^MXTOK_LENGTH and MXTOK_WORDS/);
    assert.match(environment.hint ?? '', /Unset/);

    const profile = errorIn(() => {
      checkForm(resolve({defaults: both}), 'main');
    });
    assert.equal(profile.code, 'usage');
    assert.match(profile.message, /standing --length and --words of the profile main/);
    assert.match(profile.hint ?? '', /mxtok server update main --default-length ''/);
  });

  it('lets both pass where a nearer place has one, or each is in a place of its own', () => {
    checkForm(resolve({flags: {words: '4'}, env: both, defaults: both}), 'main');
    checkForm(resolve({env: {length: '20'}, defaults: both}), 'main');
    checkForm(resolve({env: {length: '20'}, defaults: {words: '4'}}), 'main');
    checkForm(resolve({}), null);
  });
});

describe('readSetting', () => {
  const at = (value: string | null, source: SettingSource): Setting => ({value, source});

  it('reads a value, and none', () => {
    assert.equal(readSetting('uses', at('5', 'environment'), parseUses, 'main'), 5);
    assert.equal(readSetting('uses', at('unlimited', 'profile'), parseUses, 'main'), null);
    assert.equal(readSetting('words', at(null, 'built-in'), parseWords, 'main'), undefined);
  });

  it('reads all that is built in', () => {
    const built = resolve({});
    assert.equal(readSetting('uses', built.uses, parseUses, null), null);
    assert.deepEqual(readSetting('expiry', built.expiry, parseExpiry, null), {kind: 'never'});
    assert.equal(readSetting('length', built.length, parseLength, null), 16);
    assert.equal(readSetting('timeout', built.timeout, parseTimeout, null), 30_000);
  });

  const mistakes: [SettingName, string, (value: string) => unknown][] = [
    ['uses', '0', parseUses],
    ['uses', 'many', parseUses],
    ['expiry', 'soon', parseExpiry],
    ['expiry', '2001-01-01', parseExpiry],
    ['length', '7', parseLength],
    ['words', '2', parseWords],
    ['columns', 'token,colour', parseColumns],
    ['timeout', 'soon', parseTimeout],
  ];
  for (const [name, value, parse] of mistakes) {
    it(`says of ${name} ${value} where it stands`, () => {
      const from = (source: SettingSource) =>
        errorIn(() => readSetting(name, at(value, source), parse, 'main'));
      const flag = from('flag');
      assert.equal(flag.code, 'usage');
      assert.match(flag.message, new RegExp(`^--${name}`));

      const environment = from('environment');
      assert.equal(environment.code, 'usage');
      assert.match(environment.message, new RegExp(`^${environmentVariable(name)}: `));
      // Nobody has typed a flag, so none is named.
      assert.doesNotMatch(environment.message, new RegExp(`--${name}`));
      assert.equal(environment.message.slice(environmentVariable(name).length + 2).trim().length > 10, true);

      const profile = from('profile');
      assert.equal(profile.code, 'usage');
      assert.match(profile.message, new RegExp(`^the standing --${name} of the profile main: `));
      assert.equal(profile.hint, `Change it: mxtok server update main --default-${name} …`);
    });
  }

  it('lets a defect of the reader through as it is', () => {
    const defect = (): never => {
      throw new TypeError('odd');
    };
    assert.throws(() => readSetting<number>('uses', at('5', 'profile'), defect, 'main'), TypeError);
  });
});

describe('checkSetting', () => {
  const good: [SettingName, string][] = [
    ['uses', '5'],
    ['uses', 'unlimited'],
    ['expiry', '7d'],
    ['expiry', '1y'],
    ['expiry', 'never'],
    ['length', '8'],
    ['words', '8'],
    ['columns', 'token,label'],
    ['timeout', '2m'],
    ['timeout', '5'],
  ];
  for (const [name, value] of good) {
    it(`takes --default-${name} ${value}`, () => {
      checkSetting(name, value);
    });
  }

  it('takes nothing at all: that takes the setting away', () => {
    for (const name of SETTINGS) checkSetting(name, '');
  });

  const bad: [SettingName, string][] = [
    ['uses', '0'],
    ['uses', '-1'],
    ['expiry', 'tomorrow'],
    ['expiry', '0d'],
    ['length', '65'],
    ['length', '8.5'],
    ['words', '9'],
    ['columns', 'token,'],
    ['timeout', '0'],
    ['timeout', '3mo'],
  ];
  for (const [name, value] of bad) {
    it(`refuses --default-${name} ${value}, and names that flag alone`, () => {
      const error = errorIn(() => {
        checkSetting(name, value);
      });
      assert.equal(error.code, 'usage');
      assert.match(error.message, new RegExp(`^--default-${name}: `));
      assert.doesNotMatch(error.message, new RegExp(`--${name}`));
    });
  }

  it('says what to do instead, where the value has a hint', () => {
    const error = errorIn(() => {
      checkSetting('uses', '0');
    });
    assert.match(error.hint ?? '', /mxtok disable/);
  });

  for (const value of ['2999-01-31', '2999-01-31T18:00', '2999-01-31T18:00Z']) {
    it(`refuses the date ${value} as a standing expiry: it passes one day, and nothing could be created then`, () => {
      const error = errorIn(() => {
        checkSetting('expiry', value);
      });
      assert.equal(error.code, 'usage');
      assert.match(error.message, /^--default-expiry "2999-01-31.*would be past one day/);
      assert.match(error.hint ?? '', /7d/);
    });
  }
});

describe('parseNumber', () => {
  it('takes the least and the most, and nothing beside', () => {
    assert.equal(parseNumber('3', '--words', 3, 8), 3);
    assert.equal(parseNumber('08', '--words', 3, 8), 8);
    for (const input of [
      '2',
      '9',
      '',
      ' 4',
      '4 ',
      '+4',
      '-4',
      '4.0',
      '4e0',
      '0x4',
      'four',
      '٤',
      '4000000000',
    ]) {
      const error = errorIn(() => parseNumber(input, '--words', 3, 8));
      assert.equal(error.code, 'usage', input);
      assert.match(error.message, /^--words takes a number from 3 to 8, not "/, input);
    }
  });

  it('is what --length and --words go by', () => {
    assert.deepEqual([parseLength('8'), parseLength('64'), parseWords('3'), parseWords('8')], [8, 64, 3, 8]);
    for (const input of ['7', '65']) assert.equal(errorIn(() => parseLength(input)).code, 'usage');
    for (const input of ['2', '9']) assert.equal(errorIn(() => parseWords(input)).code, 'usage');
  });
});
