/** For the end-to-end tests: one real Synapse for all of them. */
import {type LocalSynapse, startSynapse, SynapseUnavailable} from '../../scripts/synapse.ts';
import {Operator} from './binary.ts';
import {closeProxies} from './proxy.ts';
import {secret} from './secrets.ts';
import {removeTempDirs} from './temp.ts';

/** What the tests need of a homeserver: one that was started here, or that the environment names. */
export interface TestSynapse {
  url: string;
  accessToken: string;
  /** Absent where the Synapse was there before (MXTOK_TEST_SYNAPSE_URL). */
  local?: LocalSynapse;
}

let running: TestSynapse | undefined;
let reason = '';

/** The Synapse; where there is none, the test that asks is skipped. */
export function synapse(context: Mocha.Context): TestSynapse {
  if (!running) return context.skip();
  return running;
}

/** As {@link synapse}, for tests that need its users, socket or configuration. */
export function localSynapse(context: Mocha.Context): LocalSynapse {
  return synapse(context).local ?? context.skip();
}

/** An operator with the profile `main` for the test Synapse. */
export async function operatorOf(server: TestSynapse, env: Record<string, string> = {}): Promise<Operator> {
  const operator = new Operator(env);
  await operator.ok(['server', 'add', 'main', '--url', server.url, '--access-token-stdin'], {
    input: server.accessToken,
  });
  return operator;
}

/** A new token's name that no other test has. */
export function uniqueToken(): string {
  return `t-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`;
}

export const mochaHooks = {
  async beforeAll(this: Mocha.Context): Promise<void> {
    this.timeout(600_000);
    const {MXTOK_TEST_SYNAPSE_URL: url, MXTOK_TEST_SYNAPSE_ACCESS_TOKEN: accessToken} = process.env;
    if (url && accessToken) {
      running = {url, accessToken: secret(accessToken)};
      return;
    }

    try {
      const local = await startSynapse({onProgress: console.error});
      secret(local.adminPassword);
      running = {url: local.url, accessToken: secret(local.accessToken), local};
    } catch (error) {
      if (!(error instanceof SynapseUnavailable) || process.env['CI']) throw error;
      reason = error.message;
      console.error(
        `\n  !!! NO REAL SYNAPSE: the end-to-end tests that need one are SKIPPED.\n  !!! ${reason}\n`,
      );
    }
  },

  afterEach(): void {
    closeProxies();
    removeTempDirs();
  },

  async afterAll(): Promise<void> {
    await running?.local?.stop();
    if (reason !== '') console.error(`\n  !!! NO REAL SYNAPSE: ${reason}\n`);
  },
};
