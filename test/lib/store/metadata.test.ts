import assert from 'node:assert/strict';
import {mkdirSync, readdirSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';

import {MetadataStore, type TokenMetadata} from '../../../src/lib/store/metadata.ts';
import {tempDir} from '../../helpers/temp.ts';

/** Tokens and server names that objects, files or dotted keys would trip over. */
const TRICKY = [
  '__proto__',
  'constructor',
  'toString',
  'a.b.c',
  '.',
  '..',
  'new',
  '-',
  '~',
  '-x',
  '0',
  'A',
  'a',
];

function label(text: string): (entry: TokenMetadata) => TokenMetadata {
  return (entry) => ({...entry, label: text});
}

describe('labels and notes', () => {
  let configDir: string;
  beforeEach(() => {
    configDir = tempDir();
  });

  function storeOf(serverName: string): MetadataStore {
    return new MetadataStore(configDir, serverName, (message) => {
      throw new Error(`no warning was expected: ${message}`);
    });
  }

  it('are kept by token, whatever its name', async () => {
    const store = storeOf('example.org');
    for (const token of TRICKY) await store.update([token], label(`label of ${token}`));
    const known = storeOf('example.org').read();
    assert.deepEqual([...known.keys()], TRICKY);
    for (const token of TRICKY) assert.deepEqual(known.get(token), {token, label: `label of ${token}`});
    assert.equal(known.get('hasOwnProperty'), undefined);
    assert.equal(({} as Record<string, unknown>)['label'], undefined);
  });

  it('of one homeserver never touch those of another, whatever their names', async () => {
    const names = [
      'a.example',
      'A.example',
      'a.example:8448',
      '[::1]:8008',
      '../config',
      'x/y',
      'x%2Fy',
      'x_y',
      '..',
      '__proto__',
    ];
    for (const name of names) await storeOf(name).update(['T'], label(name));
    for (const name of names) assert.equal(storeOf(name).read().get('T')?.label, name);
    assert.equal(readdirSync(join(configDir, 'metadata')).length, names.length);
    assert.deepEqual(readdirSync(configDir), ['metadata']);
  });

  it('are readable by their owner only', async () => {
    const store = storeOf('example.org');
    await store.update(['T'], label('x'));
    assert.equal(statSync(store.path).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(store.path)).mode & 0o777, 0o700);
  });

  it('are changed for many tokens in one write, and the others keep theirs', async () => {
    const store = storeOf('example.org');
    await store.update(['a', 'b', 'c'], (entry) => ({...entry, label: entry.token, note: 'n'}));
    await store.update(['a', 'c', 'd'], ({token, ...rest}) => ({token, ...rest, label: 'new'}));
    assert.deepEqual(
      [...store.read().values()],
      [
        {token: 'a', label: 'new', note: 'n'},
        {token: 'b', label: 'b', note: 'n'},
        {token: 'c', label: 'new', note: 'n'},
        {token: 'd', label: 'new'},
      ],
    );
  });

  it('of a token of which nothing is known any more leave nothing', async () => {
    const store = storeOf('example.org');
    await store.update(['a', 'b'], label('x'));
    await store.update(['a'], () => undefined);
    await store.update(['b'], ({token}) => ({token}));
    assert.equal(store.read().size, 0);
  });

  it('are not written where nothing changes', async () => {
    const store = storeOf('example.org');
    await store.update([], label('x'));
    assert.deepEqual(readdirSync(configDir), []);
    await store.update(['gone'], () => undefined);
    await store.update(['a'], label('x'));
    const {mtimeNs, ino} = statSync(store.path, {bigint: true});
    await store.update(['a'], (entry) => entry);
    const after = statSync(store.path, {bigint: true});
    assert.deepEqual([after.mtimeNs, after.ino], [mtimeNs, ino]);
  });

  it('keep what another version of mxtok has put beside them', async () => {
    const store = storeOf('example.org');
    const disabled = {uses_allowed: 5, expiry_time: null, at: 1, done: true, reason: 'left'};
    const text = JSON.stringify({
      version: 1,
      server_name: 'example.org',
      tokens: [
        {token: 'a', label: 'x', tags: ['t'], disabled},
        {token: 'b', owner: 'somebody'},
      ],
      templates: {link: 'https://example.org/'},
    });
    mkdirSync(dirname(store.path), {mode: 0o700});
    writeFileSync(store.path, text, {mode: 0o600});
    await store.update(['a', 'c'], label('y'));
    assert.deepEqual(JSON.parse(readFileSync(store.path, 'utf8')), {
      version: 1,
      server_name: 'example.org',
      tokens: [
        {token: 'a', label: 'y', tags: ['t'], disabled},
        {token: 'b', owner: 'somebody'},
        {token: 'c', label: 'y'},
      ],
      templates: {link: 'https://example.org/'},
    });
  });

  it('in a file that is broken are reported and left alone', async () => {
    const store = storeOf('example.org');
    mkdirSync(dirname(store.path), {mode: 0o700});
    for (const text of [
      '{"version":1,"server_name":"example.org","tokens":[{"token":"a","label":',
      '{"version":1,"server_name":"example.org","tokens":{"a":{"label":"x"}}}',
      '{"version":1,"server_name":"example.org","tokens":[{"label":"x"}]}',
      '{"version":1,"server_name":"example.org","tokens":[{"token":"a","disabled":true}]}',
      '{"version":2,"server_name":"example.org","tokens":[]}',
    ]) {
      writeFileSync(store.path, text, {mode: 0o600});
      assert.throws(() => store.read(), {code: 'store'});
      await assert.rejects(store.update(['a'], label('y')), {code: 'store'});
      assert.equal(readFileSync(store.path, 'utf8'), text);
    }
  });

  it('are purged with their homeserver, and no other', async () => {
    await storeOf('a.example').update(['T'], label('a'));
    await storeOf('b.example').update(['T'], label('b'));
    await storeOf('a.example').purge();
    await storeOf('never.example').purge();
    assert.equal(storeOf('a.example').read().size, 0);
    assert.equal(storeOf('b.example').read().get('T')?.label, 'b');
  });

  it('of 200 parallel changes are all kept', async function () {
    this.timeout(60_000);
    const names = Array.from({length: 200}, (_, index) => `t${index}`);
    await Promise.all(names.map((name) => storeOf('example.org').update([name], label(name))));
    assert.deepEqual([...storeOf('example.org').read().keys()].sort(), names.sort());
  });
});
