/** What is wrong with what is kept here: the local data of a homeserver, and the audit log. */
import type {Environment} from '../connection.ts';
import {toMxtokError} from '../errors.ts';
import {fingerprint} from '../registration-token.ts';
import {AuditLog} from '../store/audit.ts';
import {assertWritable} from '../store/files.ts';
import {MetadataStore} from '../store/metadata.ts';
import type {Profile} from '../store/profiles.ts';
import {type AuditRecord, findOperations} from './audit.ts';
import {fault, type Finding, type Seen} from './finding.ts';

/** A create that was begun so long ago and has no end is not under way any more, milliseconds. */
const MAY_BE_UNDER_WAY = 10 * 60_000;

/** Whether the local data can be read and changed. */
export function examineStore(environment: Environment, {server_name}: Profile): Finding {
  if (server_name === undefined)
    return {check: 'store', result: 'ok', message: 'the configuration is in order'};
  try {
    const metadata = new MetadataStore(environment.configDir, server_name, environment.warn);
    metadata.assertUsable();
    const known = metadata.read().size;
    return {
      check: 'store',
      result: 'ok',
      message: `local data of ${server_name} is in order (labels and the like of ${known} token${known === 1 ? '' : 's'})`,
    };
  } catch (error) {
    return fault('store', toMxtokError(error));
  }
}

/** Operations without an end, of all homeservers. */
export function readUnfinished({dataDir, warn}: Environment): Promise<AuditRecord[]> {
  return findOperations(new AuditLog(dataDir, warn), {unfinished: true});
}

/**
 * Which operations on the homeserver were cut short.
 * @param unfinished reads what {@link readUnfinished} does.
 */
export async function examineAudit(
  environment: Environment,
  {server_name}: Profile,
  seen: Seen,
  unfinished: () => Promise<AuditRecord[]>,
): Promise<Finding> {
  const check = 'audit';
  try {
    assertWritable(environment.dataDir);
    const logged = (await unfinished()).filter(
      (record) => server_name === undefined || record.server_name === server_name,
    );
    const open = withoutMoot(logged, seen);
    const last = open.at(-1);
    if (last !== undefined) {
      return {
        check,
        result: 'warning',
        message: `${open.length} operation${open.length === 1 ? ' was' : 's were'} cut short or had no answer, the last one ${last.operation} ${last.token ?? ''} at ${last.time}`,
        hint: 'See them: mxtok audit --unfinished. Running a disable again finishes it.',
      };
    }

    const none = logged.length - open.length;
    const but = none === 0 ? '' : `, but for ${none} on tokens that are not there`;
    return {check, result: 'ok', message: `every operation in the audit log came to its end${but}`};
  } catch (error) {
    return fault(check, toMxtokError(error));
  }
}

/**
 * Without those on tokens that are not there. A batch is logged before its first token is made, so a run that is killed
 * leaves many such creates behind, and nothing that is done later could settle them; nor what was done to a token that
 * is deleted by now.
 */
function withoutMoot(records: AuditRecord[], {serverName, tokens}: Seen): AuditRecord[] {
  const settled = Date.now() - MAY_BE_UNDER_WAY;
  const mayBeMoot = ({operation, token, server_name, time}: AuditRecord): boolean =>
    token !== null && server_name === serverName && (operation === 'delete' || Date.parse(time) < settled);
  if (!tokens || !records.some(mayBeMoot)) return records;
  const there = new Set(tokens.map(({token}) => fingerprint(token)));
  return records.filter((record) => !mayBeMoot(record) || there.has(record.fingerprint ?? ''));
}
