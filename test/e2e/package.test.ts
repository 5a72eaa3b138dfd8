/** What is published: it holds what runs and no more, installs without a network, and works. */
import {strict as assert} from 'node:assert';
import {execFile} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';

import {assertOneError} from '../helpers/refusal.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

interface Packed {
  filename: string;
  files: {path: string; mode: number}[];
}

interface Manifest {
  version: string;
  dependencies?: unknown;
  optionalDependencies?: unknown;
  peerDependencies?: unknown;
  bundleDependencies?: unknown;
}

describe('the package', function () {
  this.timeout(180_000);
  let dir: string;
  let packed: Packed;
  let env: Record<string, string>;

  before(async () => {
    assert(existsSync(join(root, 'dist')), 'there is no dist/: run npm run build first');
    dir = mkdtempSync(join(tmpdir(), 'mxtok-package-'));
    // npm as somebody has it who has just installed Node: no cache, no configuration, here no registry either.
    env = {
      PATH: process.env['PATH'] ?? '',
      HOME: dir,
      npm_config_cache: join(dir, 'cache'),
      npm_config_offline: 'true',
      npm_config_update_notifier: 'false',
    };
    // Without the scripts, which would build anew under the feet of other tests.
    const argv = ['pack', root, '--json', '--ignore-scripts', '--pack-destination', dir];
    const {stdout} = await run('npm', argv, {env, cwd: dir});
    const [only] = JSON.parse(stdout) as Packed[];
    assert(only);
    packed = only;
  });

  after(() => {
    rmSync(dir, {recursive: true, force: true});
  });

  it('holds what runs, and what people and lawyers read', () => {
    const files = packed.files.map(({path}) => path).sort();
    assert.deepEqual(
      files.filter((path) => !path.startsWith('dist/')),
      [
        'CHANGELOG.md',
        'LICENSE',
        'README.md',
        'bin/package.json',
        'bin/run.js',
        'oclif.manifest.json',
        'package.json',
      ],
    );
    const {commands} = JSON.parse(readFileSync(join(root, 'oclif.manifest.json'), 'utf8')) as {
      commands: object;
    };
    for (const id of Object.keys(commands)) {
      const path = `dist/commands/${id.replaceAll(':', '/')}`;
      assert(
        files.some((file) => file.replace(/\.c?js$/, '') === path),
        `there is no ${path}`,
      );
    }

    for (const path of files.filter((file) => file.startsWith('dist/')))
      assert.match(
        path,
        /^dist\/[\w./-]+\.c?js$|^dist\/THIRD-PARTY-NOTICES\.txt$/,
        'no sources, tests or maps',
      );
    assert.notEqual(
      packed.files.find(({path}) => path === 'bin/run.js')?.mode,
      0o644,
      'bin/run.js can be run',
    );
  });

  it('names no path of the machine that built it', () => {
    for (const {path} of packed.files) {
      const text = readFileSync(join(root, path), 'utf8');
      assert(!text.includes(root), `${path} holds ${root}`);
      assert.doesNotMatch(text, /sourceMappingURL=/, path);
    }
  });

  it('needs no other package', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
    for (const kind of [
      'dependencies',
      'optionalDependencies',
      'peerDependencies',
      'bundleDependencies',
    ] as const)
      assert.equal(manifest[kind], undefined, kind);
  });

  describe('installed', () => {
    let prefix: string;

    before(async () => {
      prefix = join(dir, 'prefix');
      mkdirSync(prefix);
      const file = join(dir, packed.filename);
      await run('npm', ['install', '--global', '--prefix', prefix, '--offline', file], {env, cwd: dir});
    });

    async function mxtok(...argv: string[]): Promise<{stdout: string; stderr: string; code: number}> {
      try {
        return {...(await run(join(prefix, 'bin', 'mxtok'), argv, {env, cwd: dir})), code: 0};
      } catch (error) {
        return error as {stdout: string; stderr: string; code: number};
      }
    }

    it('brings no other package along', () => {
      assert(!existsSync(join(prefix, 'lib', 'node_modules', 'mxtok', 'node_modules')));
    });

    it('tells its version', async () => {
      const {version} = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;
      const {stdout, stderr, code} = await mxtok('--version');
      assert.deepEqual({stderr, code}, {stderr: '', code: 0});
      assert.equal(stdout, `mxtok/${version} ${process.platform}-${process.arch} node-${process.version}\n`);
    });

    it('helps with itself and with every command', async () => {
      const {stdout, stderr, code} = await mxtok('--help');
      assert.deepEqual({stderr, code}, {stderr: '', code: 0});
      for (const word of ['create', 'list', 'disable', 'audit', 'server'])
        assert.match(stdout, new RegExp(`^  ${word} `, 'm'));
      const {commands} = JSON.parse(readFileSync(join(root, 'oclif.manifest.json'), 'utf8')) as {
        commands: object;
      };
      for (const id of Object.keys(commands).filter((name) => name !== 'help')) {
        const help = await mxtok(...id.split(':'), '--help');
        assert.equal(help.code, 0, help.stderr);
        assert.match(help.stdout, new RegExp(`\\$ mxtok ${id.replace(':', ' ')}\\b`));
      }
    });

    it('says that there is no server yet, and how to add one', async () => {
      assertOneError(
        {...(await mxtok('list')), signal: null},
        {code: 5, says: /no homeserver is known yet[^]*server add/},
      );
    });

    it('has along what few runs load', async () => {
      const noServer = {code: 5, says: /no homeserver is known yet/};
      assertOneError({...(await mxtok('create', '--words', '4')), signal: null}, noServer);
      assertOneError({...(await mxtok('lsit')), signal: null}, {says: /Did you mean: mxtok list/});
      const added = await mxtok('server', 'add', 'main', '--url', 'http://127.0.0.1:9', '--no-verify');
      assert.equal(added.code, 0, added.stderr);
      assert.match((await mxtok('server', 'list')).stdout, /^main\thttp:\/\/127\.0\.0\.1:9\t/);
      assert.match((await mxtok('server', 'list', '--output', 'table')).stdout, /^SERVER +URL/);
    });
  });
});
