import assert from 'node:assert/strict';

import {jsonArray, jsonLine, jsonObject} from '../../../src/lib/output/json.ts';

const HOSTILE = '\u001b[2J\u009b1m\u007f\u2028\n"\\';

describe('JSON output', () => {
  it('of one object is indented and ends its line', () => {
    assert.equal(jsonObject({a: 1, b: null}), '{\n  "a": 1,\n  "b": null\n}\n');
  });

  it('of an array has one element a line', () => {
    const values = [{a: 1}, {a: [1, 2], b: {c: '},{"x},{}'}}, {d: 1}];
    const text = [...jsonArray(values)].join('');
    assert.equal(text, '[\n{"a":1},\n{"a":[1,2],"b":{"c":"},{\\"x},{}"}},\n{"d":1}\n]\n');
    assert.deepEqual(JSON.parse(text), values);
  });

  it('is not broken by text that looks like the end of an element', () => {
    const texts = ['x},{', '},{', '},{}', '"},{"', '},{"a', '\\},{', '},{\\', '[{},{', '},\n{'];
    const values = texts.flatMap((text) => [
      {label: text, note: null},
      {a: 1, last: text},
      {[`k${text}`]: [text]},
    ]);
    const lines = [...jsonArray(values)].join('').split('\n');
    assert.deepEqual(JSON.parse(lines.join('\n')), values);
    assert.deepEqual(
      lines.slice(1, -2).map((line) => JSON.parse(line.replace(/,$/, '')) as unknown),
      values,
    );
  });

  it('of an empty array is one', () => {
    assert.equal([...jsonArray([])].join(''), '[]\n');
  });

  it('of one element is an array too', () => {
    assert.equal([...jsonArray([{}])].join(''), '[\n{}\n]\n');
  });

  it('is made as its values come, not before', () => {
    let asked = 0;
    const pieces = jsonArray(
      (function* () {
        for (;;) yield {n: ++asked};
      })(),
    );
    assert.match(String(pieces.next().value), /^\[\n\{"n":1\},\n\{"n":2\},\n/);
    assert(asked <= 1000, `${asked} were asked for at once`);
    pieces.return(undefined);
  });

  it('has every control character escaped, and keeps its line', () => {
    const value = {label: HOSTILE};
    for (const text of [jsonLine(value), jsonObject(value), [...jsonArray([value])].join('')]) {
      assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029]/);
      assert.ok(JSON.stringify(JSON.parse(text)).includes(JSON.stringify(value)));
    }

    assert.ok(!jsonLine(value).includes('\n'));
    assert.equal([...jsonArray([value, value])].join('').split('\n').length, 5);
  });
});
