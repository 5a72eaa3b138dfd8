import {strict as assert} from 'node:assert';
import {execFileSync} from 'node:child_process';
import {chmodSync, chownSync, mkdirSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import {localLookups} from '../../../src/lib/completion/local-files.ts';
import {MetadataStore} from '../../../src/lib/store/metadata.ts';
import {ProfileStore} from '../../../src/lib/store/profiles.ts';
import {asRoot} from '../../helpers/root.ts';
import {tempDir} from '../../helpers/temp.ts';

describe('localLookups', () => {
  let dir: string;
  const warn = (message: string): void => {
    assert.fail(message);
  };
  const profiles = (): string[] =>
    localLookups(dir, {})
      .profiles()
      .map(({name}) => name);

  async function label(serverName: string, labels: string[]): Promise<void> {
    const tokens = labels.map((_, index) => `t${index}`);
    await new MetadataStore(dir, serverName, warn).update(tokens, (entry) => ({
      ...entry,
      label: labels[tokens.indexOf(entry.token)] ?? '',
    }));
  }

  beforeEach(async () => {
    dir = join(tempDir(), 'config');
    const store = new ProfileStore(dir, warn);
    await store.add('main', {url: 'https://matrix.example.org', server_name: 'example.org'});
    await store.add('second', {url: 'https://second.example.org', server_name: 'second.example.org:8448'});
    await store.add('new', {url: 'https://new.example.org'});
    await label('example.org', ['summer', 'spring', 'summer']);
    await label('second.example.org:8448', ['autumn']);
  });

  it('finds profiles, with their address', () => {
    assert.deepEqual(localLookups(dir, {}).profiles(), [
      {name: 'main', description: 'https://matrix.example.org (default)'},
      {name: 'new', description: 'https://new.example.org'},
      {name: 'second', description: 'https://second.example.org'},
    ]);
  });

  it('finds labels, each once, of the servers that are named, or the one that a run would use', () => {
    const known = localLookups(dir, {});
    assert.deepEqual(known.labels([]), ['spring', 'summer']);
    assert.deepEqual(known.labels(['second']), ['autumn']);
    assert.deepEqual(known.labels(['second', 'main', 'nonsense']), ['autumn', 'spring', 'summer']);
    assert.deepEqual(known.labels('all'), ['autumn', 'spring', 'summer']);
    assert.deepEqual(known.labels(['new']), []);
    assert.deepEqual(localLookups(dir, {MXTOK_SERVER: 'second'}).labels([]), ['autumn']);
    assert.deepEqual(localLookups(dir, {MXTOK_URL: 'https://matrix.example.org'}).labels([]), []);
  });

  it('finds none where no profile is the default', async () => {
    const store = new ProfileStore(dir, warn);
    await store.remove('main');
    assert.deepEqual(localLookups(dir, {}).labels([]), []);
    await store.remove('new');
    assert.deepEqual(localLookups(dir, {}).labels([]), ['autumn'], 'the only one');
  });

  it('finds nothing in files that are not there, or broken, or no files', () => {
    const path = join(dir, 'config.json');
    for (const broken of ['', '[]', '{"version":1,"servers":[]}', '{"version":1,"servers":{"a":1}}']) {
      writeFileSync(path, broken);
      assert.deepEqual(profiles(), [], broken);
      assert.deepEqual(localLookups(dir, {}).labels('all'), []);
    }

    rmSync(path);
    assert.deepEqual(profiles(), []);
    mkdirSync(path);
    assert.deepEqual(profiles(), []);
    rmSync(path, {recursive: true});
    execFileSync('mkfifo', [path]);
    assert.deepEqual(profiles(), [], 'a pipe does not hang it');
  });

  it('leaves a mode as it is', () => {
    const path = join(dir, 'config.json');
    chmodSync(path, 0o644);
    assert.equal(profiles().length, 3);
    assert.equal(statSync(path).mode & 0o777, 0o644);
  });

  it('takes nothing from a file of somebody else’s', function () {
    asRoot(this);
    chownSync(join(dir, 'config.json'), 12_345, 12_345);
    assert.deepEqual(profiles(), []);
  });
});
