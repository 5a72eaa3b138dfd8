import {strict as assert} from 'node:assert';
import {writeFileSync} from 'node:fs';

import type {Connection} from '../../../src/lib/connection.ts';
import {type ErrorCode, MxtokError} from '../../../src/lib/errors.ts';
import {foundOf, type TokenOutcome} from '../../../src/lib/operations/batch.ts';
import {type DeletedToken, deleteTokens, planDelete} from '../../../src/lib/operations/delete.ts';
import {
  auditEnds,
  auditEntries,
  auditSummary,
  BROKEN,
  FakeHomeserver,
  fakeConnection,
  find,
  known,
  outcomeSummary,
} from '../../helpers/fake-homeserver.ts';

const T0 = Date.UTC(2035, 0, 1, 12);
const TOKEN = 'abc-token';

describe('deleteTokens', () => {
  let homeserver: FakeHomeserver;
  let connection: Connection;

  beforeEach(async () => {
    homeserver = new FakeHomeserver(T0);
    connection = fakeConnection(homeserver);
    homeserver.add(TOKEN, {uses_allowed: 5, completed: 2});
    await connection.metadata.update([TOKEN, 'other'], (entry) => ({...entry, label: 'x', note: 'y'}));
  });

  async function remove(...names: string[]): Promise<TokenOutcome<DeletedToken>[]> {
    return deleteTokens(connection, await find(connection, ...names));
  }

  it('deletes the token there, and what was known of it here', async () => {
    const outcomes = await remove(TOKEN);
    assert.deepEqual(outcomes, [
      {token: TOKEN, outcome: {ok: true, value: {server: 'main', token: TOKEN, deleted: true}}},
    ]);
    assert.equal(homeserver.tokens.size, 0);
    assert.deepEqual([...connection.metadata.read().keys()], ['other']);
  });

  it('logs before the request how the token was, with its label', async () => {
    homeserver.before = () => {
      const [started, ...others] = auditEntries(connection);
      assert.deepEqual(others, []);
      assert.deepEqual(started?.before, {
        uses_allowed: 5,
        pending: 0,
        completed: 2,
        expiry_time: null,
        label: 'x',
        note: 'y',
      });
      assert.equal(known(connection, TOKEN)?.label, 'x');
    };
    await remove(TOKEN);
    assert.deepEqual(auditSummary(connection), ['started delete', 'finished delete ok']);
  });

  it('takes a token that is gone by the time it is deleted for deleted', async () => {
    homeserver.before = () => {
      homeserver.tokens.delete(TOKEN);
    };
    const [only] = await remove(TOKEN);
    assert(only?.outcome.ok);
    assert.equal(known(connection, TOKEN), undefined);
  });

  const open: ErrorCode[] = ['unreachable', 'timeout', 'server_error', 'not_matrix'];
  for (const code of open) {
    it(`asks whether it is gone after ${code}`, async () => {
      homeserver.before = () => {
        homeserver.tokens.delete(TOKEN);
        throw new MxtokError(code, 'no answer');
      };
      const [gone] = await remove(TOKEN);
      assert(gone?.outcome.ok);

      homeserver.add(TOKEN);
      homeserver.before = () => {
        throw new MxtokError(code, 'no answer');
      };
      const [there] = await remove(TOKEN);
      assert(there?.outcome.ok === false && there.outcome.error.code === code);
    });
  }

  it('keeps the label of a token that was not deleted, and has each outcome in its place', async () => {
    homeserver.add('second-token');
    homeserver.before = (change) => {
      if (change.includes(TOKEN)) throw new MxtokError('not_admin', 'no');
    };
    const outcomes = await remove('gone-token', TOKEN, 'second-token');
    assert.deepEqual(
      outcomes.map(({token, outcome}) => [token, outcome.ok ? 'ok' : outcome.error.code]),
      [
        ['gone-token', 'no_such_token'],
        [TOKEN, 'not_admin'],
        ['second-token', 'ok'],
      ],
    );
    assert.equal(known(connection, TOKEN)?.label, 'x');
    assert.deepEqual(auditSummary(connection).sort(), [
      'finished delete failed not_admin',
      'finished delete ok',
      'started delete',
      'started delete',
    ]);
  });

  const fatal: [ErrorCode, string][] = [
    ['not_admin', 'failed not_admin'],
    ['unreachable', 'unknown unreachable'],
    ['interrupted', 'unknown interrupted'],
  ];
  for (const [code, end] of fatal) {
    it(`begins no more after ${code}, and logs which were not begun and what became of the others`, async () => {
      const names = Array.from({length: 12}, (_, index) => `token-${String(index).padStart(2, '0')}`);
      for (const name of names) homeserver.add(name);
      await connection.metadata.update(names, (entry) => ({...entry, label: 'x'}));
      homeserver.before = (change) => {
        if (!change.includes('token-00')) throw new MxtokError(code, 'no');
      };
      const outcomes = await remove(...names);
      assert.deepEqual(outcomeSummary(outcomes), [
        'token-00: ok',
        ...names.slice(1).map((name) => `${name}: ${code}`),
      ]);
      const sent = homeserver.changes.length;
      assert(sent >= 2 && sent < names.length, `${sent} were sent`);
      assert.deepEqual(auditEnds(connection, names), [
        'ok',
        ...Array<string>(sent - 1).fill(end),
        ...Array<string>(names.length - sent).fill('failed interrupted'),
      ]);
      assert.deepEqual(
        [...connection.metadata.read().keys()].sort(),
        [TOKEN, 'other', ...names.slice(1)].sort(),
      );
    });
  }

  it('says what it would do, and does nothing', async () => {
    const plans = planDelete(connection, foundOf(await find(connection, 'gone-token', TOKEN)));
    assert.deepEqual(
      plans.map(({record, action, changes}) => [record.token, record.label, action, changes]),
      [[TOKEN, 'x', 'delete', {}]],
    );
    assert.deepEqual(homeserver.changes, []);
    assert.deepEqual(auditEntries(connection), []);
  });

  it('logs what was done where the local store breaks meanwhile, and says that it did', async () => {
    homeserver.before = () => {
      writeFileSync(connection.metadata.path, BROKEN);
    };
    const [deleted] = await remove(TOKEN);
    assert(deleted?.outcome.ok === false);
    assert.equal(deleted.outcome.error.code, 'store');
    assert.match(deleted.outcome.error.message, new RegExp(`${TOKEN} was deleted, but`));
    assert.deepEqual(auditSummary(connection), ['started delete', 'finished delete ok']);
  });
});
