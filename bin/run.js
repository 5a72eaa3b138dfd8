#!/usr/bin/env node
const {join} = require('node:path');

const root = join(__dirname, '..');
const argv = process.argv.slice(2);

if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-v')) {
  const {version} = require('../package.json');
  process.stdout.write(`mxtok/${version} ${process.platform}-${process.arch} node-${process.version}\n`);
} else {
  // Node 22.8 and later keep the compiled code from one run to the next.
  require('node:module').enableCompileCache?.();
  void require('../dist/mxtok.cjs').main(root, argv);
}
