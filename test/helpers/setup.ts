/** For the unit tests: no network, no surroundings, nothing left behind. */
import nock from 'nock';

import {removeTempDirs} from './temp.ts';

// What is shown is local time. The tests hold in any zone (scripts/test.ts runs them in three).
process.env['TZ'] ??= 'UTC';
for (const name of Object.keys(process.env)) {
  if (/^(?:MXTOK_|.*_proxy$|NO_COLOR$|FORCE_COLOR$|CI$|DEBUG$)/i.test(name))
    Reflect.deleteProperty(process.env, name);
}

export const mochaHooks = {
  beforeAll(): void {
    nock.disableNetConnect();
  },

  afterEach(): void {
    const pending = nock.pendingMocks();
    nock.abortPendingRequests();
    nock.cleanAll();
    removeTempDirs();
    if (pending.length > 0) throw new Error(`expected requests that never came: ${pending.join(', ')}`);
  },
};
