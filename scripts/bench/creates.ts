/** Many creates, beside the best that a bare client gets from the same homeserver. */
import {startSynapse, SynapseUnavailable} from '../synapse.ts';
import {STUB_ACCESS_TOKEN} from '../stub-homeserver.ts';
import {copyOf, mxtok, node, operator, race, run, startStub, synadm} from './run.ts';
import {milliseconds, ratioRow, type Row, skippedRow, thousands} from './table.ts';

/** So many requests at once, on a server that takes so many milliseconds for each. */
export const CONCURRENCY = 8;
export const LATENCY = 10;

/** synadm makes one at a time, so a few of them tell how long it takes. */
const BY_SYNADM = 10;

/** The least that any program has to do to make many tokens: the same requests over kept-alive connections. */
export function bareCreates(url: string, accessToken: string, count: number, prefix: string): string {
  return `const http = require('node:http');
    const agent = new http.Agent({keepAlive: true, maxSockets: ${CONCURRENCY}});
    let next = 0;
    const create = () => new Promise((resolve, reject) => {
      const body = JSON.stringify({token: '${prefix}-' + next++, uses_allowed: 1, expiry_time: null});
      const headers = {
        authorization: 'Bearer ${accessToken}', 'content-type': 'application/json', 'content-length': body.length,
      };
      const url = ${JSON.stringify(`${url}/_synapse/admin/v1/registration_tokens/new`)};
      const request = http.request(url, {method: 'POST', agent, headers}, (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
          const {token} = JSON.parse(Buffer.concat(chunks).toString());
          process.stdout.write(token + '\\n');
          resolve();
        });
      });
      request.on('error', reject).end(body);
    });
    const work = async () => { while (next < ${count}) await create(); };
    Promise.all(Array.from({length: ${CONCURRENCY}}, work)).then(() => agent.destroy());`;
}

interface Subject {
  name: string;
  url: string;
  accessToken: string;
  /** How many times as long as the bare client it may take. */
  budget: number;
}

async function createRow(
  {name, url, accessToken, budget}: Subject,
  count: number,
  rounds: number,
): Promise<Row> {
  const fresh = await operator(`create-${name.replaceAll(' ', '-')}-${count}`, url, accessToken);
  const figures = await race(
    {
      bare: {
        command: (round) => node('-e', bareCreates(url, accessToken, count, `bare-${count}-${round}`)),
        prints: `bare-${count}-1-0\n`,
      },
      mxtok: {
        command: mxtok('create', '--count', String(count), '--uses', '1', '--label', 'bench', '--json'),
        // Nothing in the store and the log, as after an installation.
        env: () => copyOf(fresh),
        prints: '"bench"',
      },
    },
    rounds,
    false,
  );
  const row = ratioRow(
    `${thousands(count)} creates, ${name} / bare node:http client`,
    budget,
    figures.mxtok.ms,
    figures.bare.ms,
  );
  const rate = (ms: number): string => thousands(Math.round(count / (ms / 1000)));
  row.measured += `; ${rate(figures.mxtok.ms)} / ${rate(figures.bare.ms)} a second; ${rounds} round${rounds === 1 ? '' : 's'}`;
  return row;
}

/** One after the other, a run each: it knows no other way. */
async function synadmRow(url: string): Promise<Row> {
  const work = 'a create by synadm regtok new: one at a time';
  const command = await synadm(url);
  if (typeof command === 'string') return skippedRow(work, '-', command);
  let total = 0;
  for (let index = 0; index < BY_SYNADM; index++) {
    total += (await run([...command, 'new', '--token', `synadm-${index}`, '--uses-allowed', '1'])).ms;
  }

  const each = total / BY_SYNADM;
  const minutes = ((1000 * each) / 60_000).toFixed(1);
  return {
    work,
    budget: '-',
    measured: `${milliseconds(each)} each, so ${minutes} min for 1,000`,
    within: undefined,
  };
}

export async function createRows(rounds: number): Promise<Row[]> {
  const url = await startStub(0, LATENCY);
  const stub = {name: `stub of ${LATENCY} ms`, url, accessToken: STUB_ACCESS_TOKEN, budget: 1.5};
  const rows = [
    await createRow(stub, 1000, Math.min(rounds, 5)),
    await createRow(stub, 10_000, Math.min(rounds, 2)),
    await synadmRow(url),
  ];
  try {
    const synapse = await startSynapse({onProgress: console.error});
    const {url, accessToken} = synapse;
    const real = {name: 'real Synapse', url, accessToken, budget: 1.5};
    rows.push(await createRow(real, 1000, Math.min(rounds, 3)), await createRow(real, 10_000, 1));
    await synapse.stop();
  } catch (error) {
    if (!(error instanceof SynapseUnavailable)) throw error;
    console.error(`\n  !!! NO SYNAPSE: creates against a real one are SKIPPED.\n  !!! ${error.message}\n`);
    rows.push(skippedRow('1,000 and 10,000 creates, real Synapse', '≤ 1.5×', error.message));
  }

  return rows;
}
