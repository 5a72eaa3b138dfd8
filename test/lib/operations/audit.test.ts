import {strict as assert} from 'node:assert';
import {appendFileSync} from 'node:fs';

import {MxtokError} from '../../../src/lib/errors.ts';
import {type AuditQuery, findOperations} from '../../../src/lib/operations/audit.ts';
import {fingerprint} from '../../../src/lib/registration-token.ts';
import {AuditLog} from '../../../src/lib/store/audit.ts';
import {tempDir} from '../../helpers/temp.ts';

const MAIN = {server: 'main', server_name: 'example.org', actor: '@admin:example.org'};
const OTHER = {server: 'second', server_name: 'other.example', actor: null};

describe('findOperations', () => {
  let log: AuditLog;
  let warnings: string[];

  beforeEach(() => {
    warnings = [];
    log = new AuditLog(tempDir(), (message) => warnings.push(message));
  });

  async function tokens(query: AuditQuery = {}): Promise<(string | null)[]> {
    return (await findOperations(log, query)).map(({token}) => token);
  }

  /** Five operations: done, failed, unknown, cut short, and one of another homeserver. */
  async function fill(): Promise<void> {
    const [done] = await log.start(MAIN, [
      {operation: 'create', token: 'aaaaaaaaaaaaaaaa', after: {uses_allowed: 1}},
    ]);
    await done?.succeeded({uses_allowed: 2});
    const [failed, unknown] = await log.start(MAIN, [
      {operation: 'update', token: 'bbbbbbbbbbbbbbbb', before: {uses_allowed: 1}, after: {uses_allowed: 5}},
      {operation: 'delete', token: 'cccccccccccccccc'},
    ]);
    await unknown?.failed(new MxtokError('timeout', 'slow'));
    await failed?.failed(
      new MxtokError('not_admin', 'no bbbbbbbbbbbbbbbb', {errcode: 'M_FORBIDDEN', status: 403}),
    );
    await log.start(MAIN, [{operation: 'disable', token: 'dddddddddddddddd'}]);
    const [other] = await log.start(OTHER, [{operation: 'login'}]);
    await other?.succeeded();
  }

  it('finds nothing where there is no log yet', async () => {
    assert.deepEqual(await tokens(), []);
  });

  it('puts the start and the end of each operation together, in the order of the starts', async () => {
    await fill();
    const records = await findOperations(log, {});
    assert.deepEqual(
      records.map(({operation, outcome, token}) => [operation, outcome, token]),
      [
        ['create', 'ok', 'aaaa…'],
        ['update', 'failed', 'bbbb…'],
        ['delete', 'unknown', 'cccc…'],
        ['disable', 'unfinished', 'dddd…'],
        ['login', 'ok', null],
      ],
    );
    const [created, failed, , open] = records;
    assert.deepEqual(created?.after, {uses_allowed: 2});
    assert(created.finished_at !== null && created.finished_at >= created.time);
    assert.deepEqual(failed?.error, {code: 'not_admin', errcode: 'M_FORBIDDEN', status: 403});
    assert.deepEqual(failed.before, {uses_allowed: 1});
    assert.deepEqual(failed.after, {uses_allowed: 5});
    assert.equal(open?.finished_at, null);
  });

  it('chooses by profile or homeserver, operation and token', async () => {
    await fill();
    assert.deepEqual(await tokens({server: 'second'}), [null]);
    assert.deepEqual(await tokens({server: 'other.example'}), [null]);
    assert.deepEqual(await tokens({server: 'nowhere'}), []);
    assert.deepEqual(await tokens({operation: 'update'}), ['bbbb…']);
    assert.deepEqual(await tokens({fingerprint: fingerprint('cccccccccccccccc')}), ['cccc…']);
    assert.deepEqual(await tokens({fingerprint: fingerprint('cccc')}), []);
    assert.deepEqual(await tokens({server: 'main', operation: 'login'}), []);
  });

  it('chooses what was cut short or nobody knows the end of', async () => {
    await fill();
    assert.deepEqual(await tokens({unfinished: true}), ['cccc…', 'dddd…']);
  });

  it('takes a log-in for done whose end alone knows the homeserver’s name', async () => {
    const [login] = await log.start({...MAIN, server_name: '127.0.0.1:8008'}, [{operation: 'login'}]);
    await login?.succeeded(undefined, 'example.org');
    assert.deepEqual(await tokens({unfinished: true}), []);
    assert.equal((await findOperations(log, {}))[0]?.server_name, 'example.org');
    // And purging the homeserver takes both of its lines along.
    await log.purge('example.org');
    assert.deepEqual(await findOperations(log, {}), []);
  });

  it('takes what was open for settled once it was done again, or undone', async () => {
    for (const [open, settling, rest] of [
      ['disable', 'disable', 0],
      ['disable', 'enable', 0],
      ['create', 'delete', 0],
      ['update', 'update', 0],
      ['disable', 'update', 1],
    ] as const) {
      log = new AuditLog(tempDir(), () => undefined);
      await log.start(MAIN, [{operation: open, token: 'x'.repeat(16)}]);
      const [later, other] = await log.start(MAIN, [
        {operation: settling, token: 'x'.repeat(16)},
        {operation: settling, token: 'y'.repeat(16)},
      ]);
      await other?.succeeded();
      assert.equal(
        (await tokens({unfinished: true})).length,
        2,
        'a success on another token settles nothing',
      );
      await later?.succeeded();
      assert.equal((await tokens({unfinished: true})).length, rest, `${open}, then ${settling}`);
    }
  });

  it('takes the last so many', async () => {
    await fill();
    assert.deepEqual(await tokens({limit: 2}), ['dddd…', null]);
    assert.deepEqual(await tokens({unfinished: true, limit: 1}), ['dddd…']);
  });

  it('chooses by the time of the start, both ends included', async () => {
    const [operation] = await log.start(MAIN, [{operation: 'create', token: 'x'.repeat(16)}]);
    await operation?.succeeded();
    const [record] = await findOperations(log, {});
    const at = Date.parse(record?.time ?? '');
    assert.equal((await tokens({since: at, until: at})).length, 1);
    assert.deepEqual(await tokens({since: at + 1}), []);
    assert.deepEqual(await tokens({until: at - 1}), []);
    // Its end lies after the time asked for, and is told all the same.
    assert.equal((await findOperations(log, {until: at}))[0]?.outcome, 'ok');
  });

  it('tells of lines that cannot be read, and shows the others', async () => {
    await fill();
    appendFileSync(log.path, '{"version":1,"time":"20');
    assert.equal((await tokens()).length, 5);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', /1 of 10 lines cannot be read \(line 10\)/);
  });
});
