import {strict as assert} from 'node:assert';

import type {Candidate, Completion} from '../../../src/lib/completion/complete.ts';
import {readQuestion, SCRIPTS, SHELLS} from '../../../src/lib/completion/shells.ts';

function completion(...candidates: Candidate[]): Completion {
  return {candidates, files: false, open: false};
}

describe('readQuestion', () => {
  it('reads the words that each shell hands over', () => {
    const words = ['list', '--label', 'spring w'];
    const base64 = Buffer.from([...words, 'spring w'].join('\0')).toString('base64');
    assert.deepEqual(readQuestion('bash', ['mxtok list --label "spring w', 'spring w']).words, words);
    assert.deepEqual(readQuestion('zsh', words).words, words);
    assert.deepEqual(readQuestion('fish', words).words, words);
    assert.deepEqual(readQuestion('powershell', [base64]).words, words);
  });

  it('tells bash what goes on from what is typed, quoted', () => {
    const question = readQuestion('bash', ['mxtok list --label sp', 'sp']);
    const found = completion({value: 'spring $x', description: 'what'}, {value: 'summer'});
    assert.equal(question.answer(found), 'done\nspring\\ \\$x\n');
    assert.equal(question.answer({...found, open: true}), 'open\nspring\\ \\$x\n');
    assert.equal(question.answer({...completion(), files: true}), 'files\n');
  });

  it('has bash complete files where output is redirected to', () => {
    assert.equal(
      readQuestion('bash', ['mxtok list > l', 'l']).answer(completion({value: 'list'})),
      'files\n',
    );
  });

  it('keeps colons and backslashes apart from those of zsh', () => {
    const question = readQuestion('zsh', ['']);
    assert.equal(
      question.answer(completion({value: 'a:b\\', description: 'c: d'}, {value: 'e'})),
      'done\na\\:b\\\\:c\\: d\ne\n',
    );
  });

  it('tells fish descriptions behind a tab, and no tilde that it would expand', () => {
    const found = completion({value: 'a', description: 'b'}, {value: '~root'});
    assert.equal(readQuestion('fish', ['']).answer(found), 'done\na\tb\n');
    assert.equal(readQuestion('fish', ['~']).answer(found), 'done\na\tb\n~root\n');
  });

  it('quotes for PowerShell, which takes typographic quotes for quotes too', () => {
    const ask = (value: string, current = '', replaced = current): unknown => {
      const input = Buffer.from(['list', current, replaced].join('\0')).toString('base64');
      return JSON.parse(readQuestion('powershell', [input]).answer(completion({value})));
    };
    const texts: [string, string][] = [
      ['json', 'json'],
      ['--output=json', '--output=json'],
      ['it’s $(x)', "'it’’s $(x)'"],
      ["a'b", "'a''b'"],
      ['a,b', "'a,b'"],
      ['@x', "'@x'"],
    ];
    for (const [value, text] of texts) assert.deepEqual(ask(value), [{text, shown: value, about: value}]);
    assert.deepEqual(
      ask('valid,expired', 'valid,ex', 'ex'),
      [{text: 'expired', shown: 'valid,expired', about: 'valid,expired'}],
      'only what PowerShell replaces',
    );
  });
});

describe('SCRIPTS', () => {
  it('ask mxtok for everything, and know no command or flag themselves', () => {
    for (const shell of SHELLS) {
      assert.match(SCRIPTS[shell], new RegExp(`mxtok __complete ${shell} -- `));
      assert.doesNotMatch(SCRIPTS[shell], /create|disable|--server|--json/);
      assert.doesNotMatch(SCRIPTS[shell], /\beval\b/);
    }
  });
});
