/**
 * One of several processes that write labels at the same time: says that it is ready, and writes when it is told to,
 * one label a write. Its arguments are the first and the number of them.
 */
import {once} from 'node:events';

import {MetadataStore} from '../../src/lib/store/metadata.ts';
import {STUB_SERVER_NAME, stubToken} from '../stub-homeserver.ts';

const [first = 0, count = 0] = process.argv.slice(2).map(Number);
const store = new MetadataStore(process.env['MXTOK_CONFIG_DIR'] ?? '', STUB_SERVER_NAME, console.error);
process.send?.('ready');
await once(process, 'message');
for (let index = first; index < first + count; index++) {
  await store.update([stubToken(index)], (entry) => ({...entry, label: `label ${index}`}));
}

process.disconnect();
