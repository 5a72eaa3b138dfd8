import {strict as assert} from 'node:assert';
import {writeFileSync} from 'node:fs';

import type {Connection} from '../../../src/lib/connection.ts';
import {type ErrorCode, MxtokError} from '../../../src/lib/errors.ts';
import {findTokens, type TokenOutcome} from '../../../src/lib/operations/batch.ts';
import {type DeletedToken, deleteTokens} from '../../../src/lib/operations/delete.ts';
import {
  auditEntries,
  auditSummary,
  BROKEN,
  FakeHomeserver,
  fakeConnection,
  known,
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
    return deleteTokens(connection, await findTokens(connection, names));
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
