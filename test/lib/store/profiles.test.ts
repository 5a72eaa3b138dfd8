import assert from 'node:assert/strict';
import {mkdirSync, readdirSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import {parseProfileName, type Profile, ProfileStore} from '../../../src/lib/store/profiles.ts';
import {secret} from '../../helpers/secrets.ts';
import {tempDir} from '../../helpers/temp.ts';

const ACCESS_TOKEN = secret('syt_cHJvZmlsZXM_kept_in_the_profile');

function unexpected(message: string): never {
  throw new Error(`no warning was expected: ${message}`);
}

describe('names of profiles', () => {
  for (const name of [
    'main',
    'a',
    '0',
    'matrix.example.org',
    'a_b-c.d',
    'x'.repeat(64),
    'length',
    'Prototype',
  ]) {
    it(`may be ${name}`, () => {
      assert.equal(parseProfileName(name), name);
    });
  }

  for (const name of [
    '',
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    '.hidden',
    '-flag',
    'a b',
    'a/b',
    'a\n',
    'é',
    'x'.repeat(65),
  ]) {
    it(`may not be ${JSON.stringify(name)}`, () => {
      assert.throws(() => parseProfileName(name), {
        code: 'usage',
        message: /cannot be the name of a server profile/,
      });
    });
  }
});

describe('the profiles', () => {
  let configDir: string;
  let store: ProfileStore;
  beforeEach(() => {
    configDir = join(tempDir(), 'config');
    store = new ProfileStore(configDir, unexpected);
  });

  const one: Profile = {url: 'https://one.example'};
  const two: Profile = {url: 'https://two.example', access_token: ACCESS_TOKEN};

  function write(config: unknown): void {
    mkdirSync(configDir, {recursive: true, mode: 0o700});
    writeFileSync(store.path, typeof config === 'string' ? config : JSON.stringify(config), {mode: 0o600});
  }

  const written = (): unknown => JSON.parse(readFileSync(store.path, 'utf8'));

  it('are none at first, and the way to the first one is told', () => {
    assert.deepEqual(store.list(), []);
    assert.throws(() => store.getDefault(), {code: 'no_such_server', hint: /mxtok server add NAME --url/});
    assert.throws(() => store.get('main'), {code: 'no_such_server', hint: /mxtok server add NAME --url/});
  });

  it('are kept as given, for the owner alone, the first one as the default', async () => {
    assert.deepEqual(await store.add('one', one), {isDefault: true});
    assert.deepEqual(await store.add('two', two), {isDefault: false});
    assert.deepEqual(written(), {version: 1, servers: {one, two}, default_server: 'one'});
    assert.equal(statSync(store.path).mode & 0o777, 0o600);
    assert.equal(statSync(configDir).mode & 0o777, 0o700);
    assert.deepEqual(store.getDefault(), {name: 'one', profile: one});
    assert.deepEqual(store.get('two'), two);
  });

  it('are listed in alphabetical order, dots in their names and all', async () => {
    await store.add('zoo', one);
    await store.add('matrix.example.org', two);
    await store.add('matrix', one);
    assert.deepEqual(
      store.list().map(({name, isDefault}) => [name, isDefault]),
      [
        ['matrix', false],
        ['matrix.example.org', false],
        ['zoo', true],
      ],
    );
    await store.update('matrix.example.org', (profile) => ({...profile, user_id: '@a:b'}));
    assert.deepEqual(store.get('matrix'), one);
    assert.deepEqual(store.get('matrix.example.org'), {...two, user_id: '@a:b'});
  });

  it('keep what another process has changed meanwhile', async () => {
    const before = {url: 'https://a.example', access_token_file: '/run/a', ca_file: '/a.pem'};
    await store.add('main', before);
    await store.update('main', (profile) => ({...profile, url: 'https://b.example'}));
    await store.change('main', before, {url: before.url, access_token_command: 'pass a', ca_file: '/a.pem'});
    assert.deepEqual(store.get('main'), {
      url: 'https://b.example',
      access_token_command: 'pass a',
      ca_file: '/a.pem',
    });
  });

  describe('with standing settings', () => {
    const before = {url: 'https://a.example', defaults: {uses: '1', expiry: '7d'}};

    beforeEach(async () => {
      await store.add('main', before);
    });

    it('keep each that another process has changed meanwhile', async () => {
      await store.change('main', before, before, {timeout: '5s', uses: '2'});
      await store.change(
        'main',
        before,
        {...before, url: 'https://b.example'},
        {columns: 'token', expiry: ''},
      );
      assert.deepEqual(store.get('main'), {
        url: 'https://b.example',
        defaults: {uses: '2', timeout: '5s', columns: 'token'},
      });
      await store.change('main', before, {...before, ca_file: '/a.pem'});
      assert.deepEqual(store.get('main').defaults, {uses: '2', timeout: '5s', columns: 'token'});
    });

    it('never have length and words at once: the one that is set last counts', async () => {
      await store.change('main', before, before, {words: '4'});
      await store.change('main', before, before, {length: '20'});
      assert.deepEqual(store.get('main').defaults, {uses: '1', expiry: '7d', length: '20'});
      await store.change('main', before, before, {words: '5'});
      // What takes nothing but itself away.
      await store.change('main', before, before, {length: ''});
      assert.deepEqual(store.get('main').defaults, {uses: '1', expiry: '7d', words: '5'});
    });
  });

  it('of a name that is taken are refused, and the first one stays', async () => {
    await store.add('main', one);
    await assert.rejects(store.add('main', two), {
      code: 'already_exists',
      message: 'this server profile exists already',
    });
    assert.deepEqual(store.get('main'), one);
  });

  for (const name of ['constructor', '__proto__', 'toString', 'nope', '']) {
    it(`do not have one named ${JSON.stringify(name)} that was never added`, async () => {
      await store.add('main', one);
      const missing = {code: 'no_such_server', hint: 'Known: main'};
      assert.equal(store.has(name), false);
      assert.throws(() => store.get(name), missing);
      await assert.rejects(
        store.update(name, (profile) => profile),
        missing,
      );
      await assert.rejects(store.remove(name), missing);
      await assert.rejects(store.setDefault(name), missing);
      write({version: 1, servers: {one, two}, default_server: name});
      assert.throws(() => store.getDefault(), {code: 'no_such_server', hint: 'Known: one, two'});
    });
  }

  it('choose the default, else the only one, else ask for a choice', async () => {
    write({version: 1, servers: {one}});
    assert.equal(store.getDefault().name, 'one');
    write({version: 1, servers: {two, one}});
    assert.throws(() => store.getDefault(), {code: 'usage', message: /none is the default: one, two/});
    await store.setDefault('two');
    assert.deepEqual(store.getDefault(), {name: 'two', profile: two});
  });

  it('that are removed are gone, and no longer the default', async () => {
    await store.add('one', one);
    await store.add('two', two);
    assert.deepEqual(await store.remove('one'), one);
    assert.deepEqual(written(), {version: 1, servers: {two}});
    assert.equal(store.getDefault().name, 'two');
    await store.remove('two');
    assert.doesNotMatch(readFileSync(store.path, 'utf8'), /two/);
  });

  it('keep what another version of mxtok has put beside them', async () => {
    const extra = {url: 'https://x.example', link_template: 'https://x.example/{token}', nested: {a: [1]}};
    write({version: 1, servers: {x: extra}, ui: {theme: 'dark'}});
    await store.update('x', (profile) => ({...profile, user_id: '@a:b'}));
    await store.add('one', one);
    await store.setDefault('one');
    await store.remove('one');
    assert.deepEqual(written(), {version: 1, servers: {x: {...extra, user_id: '@a:b'}}, ui: {theme: 'dark'}});
  });

  it('in a file that is broken are reported without a secret, and left alone', async () => {
    const whole = JSON.stringify({version: 1, servers: {two}}, undefined, 1);
    for (const text of [
      whole.slice(0, -4),
      '',
      JSON.stringify({version: 1, servers: {two: {access_token: ACCESS_TOKEN}}}),
      JSON.stringify({version: 1, servers: {two: {url: 'x', access_token: [ACCESS_TOKEN]}}}),
      JSON.stringify({version: 1, servers: [two]}),
      JSON.stringify({version: 7, servers: {two}}),
    ]) {
      write(text);
      const check = (error: unknown): boolean => {
        assert.equal((error as {code?: string}).code, 'store');
        assert.ok(error instanceof Error);
        assert.doesNotMatch(`${error.message} ${error.stack ?? ''}`, new RegExp(ACCESS_TOKEN));
        return true;
      };
      assert.throws(() => store.list(), check);
      assert.throws(() => store.getDefault(), check);
      await assert.rejects(store.add('one', one), check);
      await assert.rejects(store.remove('two'), check);
      await assert.rejects(store.setDefault('two'), check);
      assert.equal(readFileSync(store.path, 'utf8'), text);
      assert.deepEqual(readdirSync(configDir), ['config.json']);
    }
  });

  it('added all at once are all kept', async () => {
    const names = Array.from({length: 40}, (_, index) => `s${index}`);
    const added = await Promise.all(
      names.map((name) => new ProfileStore(configDir, unexpected).add(name, one)),
    );
    assert.deepEqual(
      store
        .list()
        .map(({name}) => name)
        .sort(),
      names.sort(),
    );
    assert.equal(added.filter(({isDefault}) => isDefault).length, 1);
  });
});
