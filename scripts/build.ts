/**
 * Bundle the sources into `dist/` and write `oclif.manifest.json`.
 *
 * Each command is an entry of its own, so that a run loads what that command needs and no more; what commands share
 * goes into chunks. Nothing is left to install: mxtok has no dependencies at run time.
 */
import {rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

import * as esbuild from 'esbuild';
import {globSync} from 'tinyglobby';

import {makeManifest} from './manifest.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Modules that a run would load but never use. Each stands for an option that we do not give.
 */
const UNUSED: Record<string, string> = {
  // conf checks its store with ajv where it has a schema; ours is checked with zod.
  'ajv/dist/2020.js': 'export class Ajv2020 {}',
  'ajv-formats': 'export default {default: () => undefined};',
};

const leaveOut: esbuild.Plugin = {
  name: 'leave-out',
  setup(build) {
    build.onResolve({filter: /./}, ({path}) => (path in UNUSED ? {path, namespace: 'unused'} : undefined));
    build.onLoad({filter: /./, namespace: 'unused'}, ({path}) => ({contents: UNUSED[path] ?? ''}));
  },
};

rmSync(join(root, 'dist'), {recursive: true, force: true});
await esbuild.build({
  absWorkingDir: root,
  entryPoints: ['src/main.ts', ...globSync('src/commands/**/*.ts', {cwd: root})],
  outdir: 'dist',
  outbase: 'src',
  bundle: true,
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  // Only for projects that run their TypeScript through oclif.
  external: ['typescript'],
  plugins: [leaveOut],
  // The CommonJS packages in the bundle call require for Node's own modules.
  banner: {
    js: "import {createRequire as _createRequire} from 'node:module';const require=_createRequire(import.meta.url);",
  },
});

writeFileSync(join(root, 'oclif.manifest.json'), await makeManifest(root));
