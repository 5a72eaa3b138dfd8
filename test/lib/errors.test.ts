import {strict as assert} from 'node:assert';

import {errorToJson, EXIT_CODES, MxtokError, toMxtokError, usageError} from '../../src/lib/errors.ts';

describe('exit codes', () => {
  it('are those that scripts were promised', () => {
    assert.deepEqual(EXIT_CODES, {
      refused: 1,
      unexpected: 1,
      store: 1,
      unsupported: 1,
      changed_meanwhile: 1,
      token_disabled: 2,
      still_accepted: 1,
      usage: 2,
      declined: 3,
      no_credential: 4,
      unauthorized: 4,
      not_admin: 4,
      no_such_token: 5,
      no_such_server: 5,
      already_exists: 6,
      unreachable: 7,
      tls: 7,
      timeout: 7,
      rate_limited: 7,
      server_error: 7,
      not_matrix: 7,
      some_failed: 8,
      not_accepted: 9,
      fault_found: 9,
      tokens_found: 9,
      interrupted: 130,
    });
  });

  it('belong to an error by its code', () => {
    assert.equal(new MxtokError('already_exists', 'x').exitCode, 6);
    assert.equal(usageError('x').exitCode, 2);
  });
});

describe('errorToJson', () => {
  it('has code and message alone where nothing else is known', () => {
    assert.deepEqual(errorToJson(new MxtokError('timeout', 'too slow')), {
      code: 'timeout',
      message: 'too slow',
    });
  });

  it('has the fixed fields and never anything else', () => {
    const error = new MxtokError('not_admin', 'no', {
      hint: 'Ask.',
      errcode: 'M_FORBIDDEN',
      status: 403,
      server: 'main',
      token: 'abc',
      problems: [{line: 2, message: 'wrong'}],
      cause: new Error('inner'),
    });
    Object.assign(error, {request: {headers: 'x'}});
    assert.deepEqual(errorToJson(error), {
      code: 'not_admin',
      message: 'no',
      hint: 'Ask.',
      errcode: 'M_FORBIDDEN',
      status: 403,
      server: 'main',
      token: 'abc',
      problems: [{line: 2, message: 'wrong'}],
    });
  });
});

describe('MxtokError.about', () => {
  it('names the token, once', () => {
    const error = new MxtokError('refused', 'no').about('first').about('second');
    assert.equal(error.token, 'first');
  });
});

describe('toMxtokError', () => {
  it('passes errors of our own', () => {
    const error = usageError('x');
    assert.equal(toMxtokError(error), error);
  });

  it('takes nothing but the message of a foreign error', () => {
    const foreign = Object.assign(new Error('odd'), {
      code: 'EODD',
      options: {headers: {authorization: 'Bearer x'}},
    });
    const error = toMxtokError(foreign);
    assert.deepEqual(Object.keys(errorToJson(error)), ['code', 'message', 'hint']);
    assert.equal(error.code, 'unexpected');
    assert.equal(error.message, 'odd');
  });

  it('makes something of any thrown value', () => {
    assert.equal(toMxtokError('text').message, 'text');
    assert.equal(toMxtokError(undefined).message, 'undefined');
    assert.equal(toMxtokError(new Error('')).message, 'something unexpected happened');
  });

  it('takes Ctrl-C at a prompt for an interruption', () => {
    for (const name of ['ExitPromptError', 'AbortPromptError']) {
      const error = toMxtokError(Object.assign(new Error('User force closed the prompt'), {name}));
      assert.equal(error.code, 'interrupted');
      assert.equal(error.exitCode, 130);
    }
  });
});
