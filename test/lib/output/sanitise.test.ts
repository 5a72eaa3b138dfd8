import assert from 'node:assert/strict';

import {escapeControls, isUnsafe, sanitise} from '../../../src/lib/output/sanitise.ts';

const range = (from: number, to: number): number[] => Array.from({length: to - from + 1}, (_, i) => from + i);

const HOSTILE = {
  'C0 controls and DEL': [...range(0, 0x1f), 0x7f],
  'C1 controls (CSI, OSC and the like in one byte)': range(0x80, 0x9f),
  'line and paragraph separators': [0x2028, 0x2029],
  'bidirectional overrides, embeddings, isolates and marks': [
    0x61c,
    0x200e,
    0x200f,
    ...range(0x202a, 0x202e),
    ...range(0x2066, 0x2069),
  ],
  'what has no width and hides in a name': [0x200b, 0x2060, 0xfeff],
};

describe('text on its way to a terminal', () => {
  for (const [what, codes] of Object.entries(HOSTILE)) {
    it(`loses ${what}`, () => {
      for (const code of codes) {
        const text = `a${String.fromCodePoint(code)}b`;
        assert.equal(sanitise(text), 'a b', `U+${code.toString(16)}`);
        assert.equal(isUnsafe(text), true, `U+${code.toString(16)}`);
      }
    });
  }

  it('cannot move the cursor, colour, set a title, or write backwards', () => {
    for (const text of [
      '\u001b[31mred\u001b[0m',
      '\u001b[2J\u001b[H',
      '\u001b]0;title\u0007',
      '\u001b]8;;https://evil.example\u001b\\link\u001b]8;;\u001b\\',
      '\u009b31m',
      'a\rb',
      'a\bb',
      '\u202egnp.exe',
    ]) {
      assert.doesNotMatch(sanitise(text), /[\u0000-\u001f\u007f-\u009f\u202a-\u202e]/);
    }
  });

  it('keeps every script, combined characters and emoji as they are', () => {
    for (const text of [
      'spring workshop',
      'Grüße, e\u0301tude',
      '日本語のラベル',
      'नमस्ते',
      'עברית',
      'العربية',
      'می\u200cخواهم',
      '👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ 1️⃣',
      '',
    ]) {
      assert.equal(sanitise(text), text);
      assert.equal(isUnsafe(text), false);
    }
  });

  it('is judged anew each time', () => {
    for (let round = 0; round < 3; round++) assert.equal(isUnsafe('abc\n'), true);
  });

  it('as JSON has its controls escaped, and means the same', () => {
    const value = {label: `\u0000\u001b[31m\u007f\u0085\u009b\u2028\u2029 é 😀 ${String.fromCharCode(0x9f)}`};
    const json = escapeControls(JSON.stringify(value));
    assert.doesNotMatch(json, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
    assert.deepEqual(JSON.parse(json), value);
    assert.ok(json.includes('é 😀'));
    assert.ok(json.includes('\\u009b'));
  });
});
