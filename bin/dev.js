#!/usr/bin/env node
import {fileURLToPath} from 'node:url';

import {register} from 'tsx/esm/api';

// The sources as they are, without a build.
register();
const {main} = await import('../src/main.ts');
await main(fileURLToPath(new URL('..', import.meta.url)), process.argv.slice(2), './src/commands');
