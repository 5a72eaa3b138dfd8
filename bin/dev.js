#!/usr/bin/env node
const {join} = require('node:path');

// The sources as they are, without a build.
void (async () => {
  const {register} = await import('tsx/esm/api');
  register();
  const {main} = await import('../src/main.ts');
  await main(join(__dirname, '..'), process.argv.slice(2), './src/commands');
})();
