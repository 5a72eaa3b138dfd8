/**
 * Bundle the sources into `dist/` and write `oclif.manifest.json`.
 *
 * A run of mxtok is over in a tenth of a second, most of it spent loading code, so that is what the build is for:
 * one CommonJS file with everything that most runs need, whose modules are set up when they are first used, and
 * beside it the packages that few runs need (`import()` in the sources). Nothing is left to install: mxtok has no
 * dependencies at run time.
 *
 *     dist/mxtok.cjs             all sources; packages that are imported statically
 *     dist/vendor/NAME.cjs       packages that are imported dynamically
 *     dist/commands/NAME.cjs     where oclif looks for a command: one line that leads to mxtok.cjs
 */
import {existsSync, mkdirSync, renameSync, rmSync, writeFileSync} from 'node:fs';
import {dirname, join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';

import * as esbuild from 'esbuild';
import {globSync} from 'tinyglobby';

import {thirdPartyNotices} from './licences.ts';
import {makeManifest} from './manifest.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const [dist, building] = [join(root, 'dist'), join(root, 'dist.building')];

/** Modules that a run would load but never use. Each stands for something that we do not ask for. */
const UNUSED: Record<string, string> = {
  // conf checks its store with ajv where it has a schema; ours is checked with zod.
  'ajv/dist/2020.js': 'export class Ajv2020 {}',
  'ajv-formats': 'export default {default: () => undefined};',
  // oclif compares Node's version with its own package.json; conf runs migrations.
  semver: 'export const satisfies = () => true; export default {satisfies};',
  // oclif looks for commands and plugins by pattern where there is no manifest; here there always is one.
  minimatch: 'export const minimatch = () => false;',
  tinyglobby: 'export const glob = () => Promise.resolve([]);',
  // oclif tells Windows' Subsystem for Linux apart, for its updater.
  'wsl-utils': 'export const isWsl = false; export default {isWsl};',
  // got: no HTTP cache, no DNS cache, no HTTP/2, none of which a run of a second has use for.
  'cacheable-request': 'export default class {} export class CacheError extends Error {}',
  'cacheable-lookup': 'export default class {}',
  'http2-wrapper': 'export default {};',
};

const leaveOut: esbuild.Plugin = {
  name: 'leave-out',
  setup(build) {
    build.onResolve({filter: /./}, ({path}) => (path in UNUSED ? {path, namespace: 'unused'} : undefined));
    build.onLoad({filter: /./, namespace: 'unused'}, ({path}) => ({contents: UNUSED[path] ?? ''}));
  },
};

/** The packages met in an `import()`, by the name of their file. */
const vendored = new Map<string, string>();

const vendorDynamicImports: esbuild.Plugin = {
  name: 'vendor-dynamic-imports',
  setup(build) {
    build.onResolve({filter: /^[@a-z]/}, ({path, kind}) => {
      if (kind !== 'dynamic-import' || path.startsWith('node:')) return undefined;
      const file = `./vendor/${path.replace(/^@/, '').replaceAll('/', '-')}.cjs`;
      vendored.set(file, path);
      return {path: file, external: true};
    });
  },
};

const options = {
  absWorkingDir: root,
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20.19',
  // By require, so that Node's loader of ES modules is never set up: 8 ms.
  supported: {'dynamic-import': false},
  minifySyntax: true,
  minifyWhitespace: true,
  // Node prints the line that threw, which should not be a screenful.
  lineLimit: 160,
  legalComments: 'none',
  // Only for projects that run their TypeScript through oclif.
  external: ['typescript'],
  metafile: true,
} satisfies esbuild.BuildOptions;

function write(path: string, text: string): void {
  mkdirSync(dirname(path), {recursive: true});
  writeFileSync(path, text);
}

/** `src/commands/server/add.ts` → `server:add`. */
function commandId(file: string): string {
  return relative('src/commands', file).replace(/\.ts$/, '').replaceAll('/', ':');
}

rmSync(building, {recursive: true, force: true});
const commands = globSync('src/commands/**/*.ts', {cwd: root}).sort();
const getters = commands.map(
  (file) => `get '${commandId(file)}'() { return require('./${file}').default; },`,
);
const main = await esbuild.build({
  ...options,
  // By getters and require, so that only the command that runs is set up, with what it needs.
  stdin: {
    contents: `exports.main = require('./src/main.ts').main; exports.commands = {${getters.join('\n')}};`,
    resolveDir: root,
  },
  outfile: join(building, 'mxtok.cjs'),
  plugins: [leaveOut, vendorDynamicImports],
});
const inputs = Object.keys(main.metafile.inputs);
for (const [file, name] of vendored) {
  const vendor = await esbuild.build({
    ...options,
    // As Node gives a CommonJS module to an import: the default export is the module itself.
    stdin: {
      contents: `const it = require(${JSON.stringify(name)});
module.exports = it.__esModule && it.default ? Object.assign(it.default, it) : it;`,
      resolveDir: root,
    },
    outfile: join(building, file),
    plugins: [leaveOut],
  });
  inputs.push(...Object.keys(vendor.metafile.inputs));
}

for (const file of commands) {
  const path = join(building, relative('src', file).replace(/\.ts$/, '.cjs'));
  const bundle = relative(dirname(path), join(building, 'mxtok.cjs')).replaceAll('\\', '/');
  write(path, `module.exports = require('./${bundle}').commands['${commandId(file)}'];\n`);
}

write(join(building, 'THIRD-PARTY-NOTICES.txt'), thirdPartyNotices(root, inputs));

// Changed over as fast as two renames are, for whoever runs it in the meantime.
const old = `${dist}.old`;
rmSync(old, {recursive: true, force: true});
if (existsSync(dist)) renameSync(dist, old);
renameSync(building, dist);
rmSync(old, {recursive: true, force: true});
write(join(root, 'oclif.manifest.json'), await makeManifest(root));
