#!/usr/bin/env node
import {readFileSync} from 'node:fs';
import * as module from 'node:module';
import {fileURLToPath} from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const argv = process.argv.slice(2);

if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-v')) {
  const {version} = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));
  process.stdout.write(`mxtok/${version} ${process.platform}-${process.arch} node-${process.version}\n`);
} else {
  // Node 22.8 and later keep the compiled code, which saves a third of the start.
  module.enableCompileCache?.();
  const {main} = await import('../dist/main.js');
  await main(root, argv);
}
