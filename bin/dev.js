#!/usr/bin/env -S node --import tsx
import {fileURLToPath} from 'node:url';

// The sources as they are, without a build: oclif finds the commands in src instead of dist.
process.env.NODE_ENV = 'development';
const {main} = await import('../src/main.ts');
await main(fileURLToPath(new URL('..', import.meta.url)), process.argv.slice(2));
