/** The budgets of a run on its own: its start, a list, many creates. */
import {STUB_ACCESS_TOKEN, stubToken} from '../stub-homeserver.ts';
import {mxtok, node, operator, race, run, startStub, synadm, TELL_MEMORY} from './run.ts';
import {ratioRow, type Row, skippedRow} from './table.ts';
import {bareCreates, CONCURRENCY, LATENCY} from './creates.ts';

const CREATES = 1000;

/** The least that any program has to do to print the tokens of a homeserver. */
function bareList(url: string): string {
  return `require('node:http').get(${JSON.stringify(`${url}/_synapse/admin/v1/registration_tokens`)},
    {headers: {authorization: 'Bearer ${STUB_ACCESS_TOKEN}'}}, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
        const {registration_tokens} = JSON.parse(Buffer.concat(chunks).toString());
        process.stdout.write(JSON.stringify(registration_tokens));
      });
    })`;
}

export async function startRows(rounds: number): Promise<Row[]> {
  const [hundred, tenThousand, hundredThousand, slowly] = await Promise.all([
    startStub(100),
    startStub(10_000),
    startStub(100_000),
    startStub(0, LATENCY),
  ]);
  const [few, many, most, slow] = await Promise.all([
    operator('few', hundred),
    operator('many', tenThousand),
    operator('most', hundredThousand),
    operator('slow', slowly),
  ]);
  const other = await synadm(hundred);
  const figures = await race(
    {
      node: {command: node('-e', '0'), prints: ''},
      version: {command: mxtok('--version'), prints: 'mxtok/'},
      help: {command: mxtok('list', '--help'), prints: 'USAGE'},
      list: {command: mxtok('list'), env: few, prints: stubToken(99)},
      // Where there is none, something else that nobody looks at.
      synadm:
        typeof other === 'string'
          ? {command: node('-e', '0'), prints: ''}
          : {command: [...other, 'list'], prints: stubToken(99)},
      list10k: {command: mxtok('list', '--json'), env: many, prints: stubToken(9999)},
      bare: {command: node('-e', bareList(hundredThousand)), prints: stubToken(99_999)},
      list100k: {command: mxtok('list', '--json'), env: most, prints: stubToken(99_999)},
      bareCreates: {
        command: (round) => node('-e', bareCreates(slowly, STUB_ACCESS_TOKEN, CREATES, `start-${round}`)),
        prints: '',
      },
      creates: {command: mxtok('create', '--count', String(CREATES), '--json'), env: slow, prints: '"token"'},
    },
    rounds,
  );

  const memory: number[] = [];
  for (let time = 0; time < 3; time++) {
    const [command, ...argv] = mxtok('list', '--json');
    memory.push(Number((await run([command, TELL_MEMORY, ...argv], {env: most})).extra));
  }

  const megabytes = Math.max(...memory) / 1e6;
  const ideal = (CREATES / CONCURRENCY) * LATENCY;
  const creates = ratioRow(
    `1,000 creates, ${CONCURRENCY} at once, ${LATENCY} ms each / ideal`,
    1.2,
    figures.creates.ms,
    ideal,
  );
  creates.measured += `; node:http takes ${(figures.bareCreates.ms / ideal).toFixed(2)}×`;
  const besideSynadm = 'list, 100 tokens / synadm regtok list';
  return [
    ratioRow('--version / node -e 0', 1.5, figures.version.ms, figures.node.ms),
    ratioRow('list --help / node -e 0', 4.5, figures.help.ms, figures.node.ms),
    typeof other === 'string'
      ? skippedRow(besideSynadm, '≤ 0.5×', other)
      : ratioRow(besideSynadm, 0.5, figures.list.ms, figures.synadm.ms),
    ratioRow(
      'list --json, 100,000 tokens / node:http + parse + print',
      2,
      figures.list100k.ms,
      figures.bare.ms,
    ),
    {
      work: 'list --json, 100,000 tokens: memory',
      budget: '≤ 200 MB',
      measured: `${Math.round(megabytes)} MB`,
      within: megabytes <= 200,
    },
    ratioRow('list --json, 100,000 tokens / 10,000 tokens', 4, figures.list100k.ms, figures.list10k.ms),
    creates,
  ];
}
