/** Disabling many waits once for all of them. */
import {stubToken} from '../stub-homeserver.ts';
import {mxtok, operator, run, startStub} from './run.ts';
import {progress, type Row} from './table.ts';

const DISABLED = 500;

export async function disableRows(): Promise<Row[]> {
  progress('disable');
  const env = await operator('disable', await startStub(10_000));
  const input = Array.from({length: DISABLED}, (_, index) => stubToken(index)).join('\n');
  const {ms, stderr, stdout} = await run(mxtok('disable', '-', '--json'), {env, input, keepOutput: true});
  const refused = (JSON.parse(stdout) as {accepted?: boolean}[]).filter(
    ({accepted}) => accepted === false,
  ).length;
  if (refused !== DISABLED) throw new Error(`${refused} of ${DISABLED} tokens were disabled`);
  const waits = stderr.match(/\bwaiting \d+ s/gi)?.length ?? 0;
  return [
    {
      work: `disable of ${DISABLED} tokens`,
      budget: '1 wait',
      measured: `${waits} wait${waits === 1 ? '' : 's'} (${(ms / 1000).toFixed(1)} s in all)`,
      within: waits <= 1,
    },
  ];
}
