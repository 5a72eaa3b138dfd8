import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import {dirname, join} from 'node:path';

import * as z from 'zod/mini';

import {MxtokError} from '../../../src/lib/errors.ts';
import {JsonFile} from '../../../src/lib/store/json-file.ts';
import {asRoot} from '../../helpers/root.ts';
import {tempDir} from '../../helpers/temp.ts';

const Schema = z.looseObject({
  version: z.literal(1),
  items: z.record(z.string(), z.looseObject({text: z.string()})),
});
type Data = z.output<typeof Schema>;

function put(name: string, text = name): (data: Data) => undefined {
  return (data) => {
    data.items[name] = {text};
    return undefined;
  };
}

describe('a JSON file of the store', () => {
  let path: string;
  let warnings: string[];
  let file: JsonFile<Data>;
  beforeEach(() => {
    path = join(tempDir(), 'below', 'data.json');
    warnings = [];
    file = new JsonFile(
      path,
      Schema,
      () => ({version: 1, items: {}}),
      (message) => warnings.push(message),
    );
  });

  /** What was there before the test's update. */
  function write(text: string | Buffer): void {
    mkdirSync(dirname(path), {recursive: true});
    writeFileSync(path, text, {mode: 0o600});
  }

  const items = (): Data['items'] => (JSON.parse(readFileSync(path, 'utf8')) as Data).items;

  it('is empty where there is none, and reading makes none', () => {
    assert.deepEqual(file.read(), {version: 1, items: {}});
    assert.deepEqual(readdirSync(dirname(dirname(path))), []);
  });

  it('is made for its owner only, whatever the umask', async () => {
    const before = process.umask(0);
    try {
      await file.update(put('a'));
    } finally {
      process.umask(before);
    }

    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(path)).mode & 0o777, 0o700);
    assert.deepEqual(items(), {a: {text: 'a'}});
    assert.deepEqual(readdirSync(dirname(path)), ['data.json']);
  });

  it('keeps every one of many changes at once', async () => {
    const names = Array.from({length: 60}, (_, index) => `n${index}`);
    await Promise.all(names.map((name) => file.update(put(name))));
    assert.deepEqual(Object.keys(items()).sort(), names.sort());
  });

  it('keeps names with dots, and what it does not know, at every depth', async () => {
    write('{"version":1,"theme":{"a":1},"items":{"a.b.c":{"text":"x","colour":"red"}},"list":[null,1.5]}');
    await file.update(put('d.e'));
    assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), {
      version: 1,
      theme: {a: 1},
      items: {'a.b.c': {text: 'x', colour: 'red'}, 'd.e': {text: 'd.e'}},
      list: [null, 1.5],
    });
  });

  it('is not written where the change says that there is none', async () => {
    const text = '{"version":1,  "items":{}}';
    write(text);
    await file.update(() => false);
    assert.equal(readFileSync(path, 'utf8'), text);
  });

  it('is left as it was by a change that fails', async () => {
    const text = '{"version":1,"items":{}}';
    write(text);
    await assert.rejects(
      file.update((data) => {
        put('half')(data);
        throw new MxtokError('already_exists', 'it is there');
      }),
      {code: 'already_exists'},
    );
    assert.equal(readFileSync(path, 'utf8'), text);
    assert.deepEqual(readdirSync(dirname(path)), ['data.json']);
  });

  const whole = '{"version":1,"items":{"a":{"text":"SECRET"}}}';
  const broken: Record<string, [string | Buffer, RegExp]> = {
    'no JSON': ['version: 1', /is broken: it is not JSON/],
    empty: ['', /is broken: it is empty/],
    'blank lines': ['\n\n', /is broken: it is empty/],
    'cut off': [whole.slice(0, -9), /is broken: it is not JSON \(cut off/],
    'two of them': [whole + whole, /is broken: it is not JSON/],
    'zero bytes, as after a power cut': [Buffer.alloc(64), /is broken: it is not JSON/],
    'of something else': ['{"items":{}}', /is broken: it is not one of mxtok’s files \(it has no version\)/],
    'a list': ['[1]', /it has no version/],
    null: ['null', /it has no version/],
    'version 0': ['{"version":0,"items":{}}', /it has no version/],
    'version as text': ['{"version":"1","items":{}}', /it has no version/],
    'without its content': ['{"version":1}', /is broken: items is not as it should be/],
    'with a list in place of names': ['{"version":1,"items":["SECRET"]}', /items is not as it should be/],
    'with one wrong value': [
      '{"version":1,"items":{"a":{"text":["SECRET"]}}}',
      /items\.a\.text is not as it should be/,
    ],
    'of a newer mxtok': ['{"version":2,"things":"SECRET"}', /was written by a newer mxtok \(version 2\)/],
  };
  for (const [what, [content, message]] of Object.entries(broken)) {
    it(`that is broken (${what}) is reported and left alone`, async () => {
      write(content);
      const check = (error: unknown): boolean => {
        assert.ok(error instanceof MxtokError);
        assert.equal(error.code, 'store');
        assert.match(error.message, message);
        assert.ok(error.message.startsWith(path));
        assert.match(error.hint ?? '', /left as it is/);
        // The value may be an access token.
        assert.doesNotMatch(`${error.message} ${error.stack ?? ''} ${String(error.cause)}`, /SECRET/);
        return true;
      };
      assert.throws(() => file.read(), check);
      await assert.rejects(file.update(put('b')), check);
      assert.deepEqual(readFileSync(path), Buffer.from(content));
      assert.deepEqual(readdirSync(dirname(path)), ['data.json']);
    });
  }

  it('is made private, with a warning, where others could read it', async () => {
    write(whole);
    chmodSync(path, 0o644);
    await file.update(put('b'));
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(warnings, [`${path} could be accessed by others (mode 644); it is private now (600)`]);
  });

  it('of another user is neither read nor replaced', async function () {
    asRoot(this);
    write(whole);
    chownSync(path, 12_345, 12_345);
    assert.throws(() => file.read(), {code: 'store', message: /belongs to another user/});
    await assert.rejects(file.update(put('b')), {code: 'store', message: /belongs to another user/});
    assert.equal(statSync(path).uid, 12_345);
    assert.equal(readFileSync(path, 'utf8'), whole);
  });

  it('behind a symbolic link is written where it is, and the link stays', async () => {
    const target = join(tempDir(), 'dotfiles.json');
    writeFileSync(target, whole, {mode: 0o600});
    mkdirSync(dirname(path));
    symlinkSync(target, path);
    await file.update(put('b'));
    assert.ok(lstatSync(path).isSymbolicLink());
    assert.ok(lstatSync(target).isFile());
    assert.deepEqual(Object.keys((JSON.parse(readFileSync(target, 'utf8')) as Data).items), ['a', 'b']);
    await file.remove();
    assert.equal(lstatSync(target, {throwIfNoEntry: false}), undefined);
    assert.equal(lstatSync(path, {throwIfNoEntry: false}), undefined);
  });

  it('behind a link that leads nowhere is not begun anew', async () => {
    mkdirSync(dirname(path));
    symlinkSync(join(path, '..', '..', 'unmounted', 'data.json'), path);
    assert.throws(() => file.read(), {code: 'store', message: /is a link to a file that is not there/});
    await assert.rejects(file.update(put('b')), {code: 'store'});
    assert.ok(lstatSync(path).isSymbolicLink());
  });

  it('clears away what a killed process left half written', async () => {
    write(whole);
    const directory = dirname(path);
    // The data of homeservers with names like these is not ours to clear away.
    const others = [
      'data.json.new.json',
      'data.json.new.tmp-1.json',
      'data.json.newer.json',
      'other.json.new',
    ];
    for (const name of ['data.json.new', 'data.json.new.tmp-1234', ...others])
      writeFileSync(join(directory, name), '{"vers');
    await file.update(put('b'));
    assert.deepEqual(readdirSync(directory).sort(), ['data.json', ...others]);
    assert.deepEqual(Object.keys(items()), ['a', 'b']);
    writeFileSync(join(directory, 'data.json.new.tmp-1234'), '{"vers');
    await file.remove();
    assert.deepEqual(readdirSync(directory).sort(), others);
  });

  it('is removed, broken or not, and removing none is no error', async () => {
    await file.remove();
    write('{"version":');
    await file.remove();
    assert.deepEqual(readdirSync(dirname(path)), []);
  });

  it('in a place that is no directory is an error that says so', async () => {
    writeFileSync(dirname(path), '');
    await assert.rejects(file.update(put('a')), {code: 'store', message: /it is a file, not a directory/});
  });
});
