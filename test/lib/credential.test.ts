import {strict as assert} from 'node:assert';
import {execFileSync} from 'node:child_process';
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import {
  checkAccessToken,
  credentialSource,
  readAccessTokenFile,
  resolveCredential,
  runAccessTokenCommand,
} from '../../src/lib/credential.ts';
import {errorIn, errorOf} from '../helpers/mxtok-error.ts';
import {secret} from '../helpers/secrets.ts';
import {tempDir} from '../helpers/temp.ts';

const TOKEN = secret('syt_YWRtaW4_credentialTests_0');
const URL = 'https://matrix.example.org';

describe('resolveCredential', () => {
  it('takes the stored access token', async () => {
    const profile = {url: URL, access_token: TOKEN};
    assert.equal(await resolveCredential(profile, 'main'), TOKEN);
    assert.equal(credentialSource(profile), 'stored');
  });

  it('reads the file that a profile names, at each run', async () => {
    const path = join(tempDir(), 'secret');
    const profile = {url: URL, access_token_file: path};
    writeFileSync(path, `${TOKEN}\n`);
    assert.equal(await resolveCredential(profile, 'main'), TOKEN);
    const renewed = secret('syt_YWRtaW4_credentialTests_1');
    writeFileSync(path, renewed);
    assert.equal(await resolveCredential(profile, 'main'), renewed);
    assert.equal(credentialSource(profile), 'file');
  });

  it('runs the command that a profile names', async () => {
    const profile = {url: URL, access_token_command: `printf %s ${TOKEN}`};
    assert.equal(await resolveCredential(profile, 'main'), TOKEN);
    assert.equal(credentialSource(profile), 'command');
  });

  it('says how to log in where there is none', async () => {
    const error = await errorOf(resolveCredential({url: URL}, 'main'));
    assert.equal(error.code, 'no_credential');
    assert.equal(error.exitCode, 4);
    assert.equal(error.server, 'main');
    assert.match(error.hint ?? '', /mxtok server login main/);
    assert.equal(credentialSource({url: URL}), 'none');
  });
});

/** As a promise, for errorOf. */
const readFileLater = (path: string): Promise<string> =>
  Promise.resolve().then(() => readAccessTokenFile(path));

describe('readAccessTokenFile', () => {
  it('says what is wrong with the file, and names it', async () => {
    const dir = tempDir();
    const missing = await errorOf(readFileLater(join(dir, 'none')));
    assert.equal(missing.code, 'no_credential');
    assert.match(missing.message, /none" cannot be read: there is no such file/);
    mkdirSync(join(dir, 'dir'));
    assert.match((await errorOf(readFileLater(join(dir, 'dir')))).message, /it is not a file/);
    writeFileSync(join(dir, 'empty'), '\n');
    assert.match((await errorOf(readFileLater(join(dir, 'empty')))).message, /is empty/);
  });

  it('does not wait for somebody to write to a pipe in its place', async function () {
    if (process.platform === 'win32') this.skip();
    const pipe = join(tempDir(), 'pipe');
    execFileSync('mkfifo', [pipe]);
    assert.match((await errorOf(readFileLater(pipe))).message, /it is not a file/);
  });

  it('never repeats what is in the file', async () => {
    const path = join(tempDir(), 'secret');
    writeFileSync(path, `access_token = ${TOKEN}\n`);
    const error = await errorOf(readFileLater(path));
    assert.equal(error.code, 'no_credential');
    assert.match(error.message, /cannot be an access token/);
  });
});

describe('runAccessTokenCommand', () => {
  it('takes the first line of the output', async () => {
    assert.equal(await runAccessTokenCommand(`printf '%s\\r\\nsecond line\\n' ${TOKEN}`), TOKEN);
  });

  it('runs through the shell, as pass and its like are called', async () => {
    assert.equal(await runAccessTokenCommand(`echo no ${TOKEN} | cut -d ' ' -f 2`), TOKEN);
  });

  it('waits for no input', async () => {
    assert.equal(await runAccessTokenCommand(`cat; echo ${TOKEN}`), TOKEN);
  });

  it('says how the command failed, without its output', async () => {
    const failed = await errorOf(runAccessTokenCommand(`echo ${TOKEN}; exit 3`));
    assert.equal(failed.code, 'no_credential');
    assert.match(failed.message, /it exited with 3/);
    assert.match((await errorOf(runAccessTokenCommand(`echo ${TOKEN}; kill -9 $$`))).message, /SIGKILL/);
    assert.match((await errorOf(runAccessTokenCommand('true'))).message, /is empty/);
    const noise = await errorOf(runAccessTokenCommand(`echo "your token is ${TOKEN}"`));
    assert.match(noise.message, /cannot be an access token/);
  });

  it('survives a command that prints without end', async () => {
    const error = await errorOf(runAccessTokenCommand('head -c 3000000 /dev/zero | tr "\\0" x'));
    assert.equal(error.code, 'no_credential');
  });
});

describe('checkAccessToken', () => {
  it('takes what homeservers give out', () => {
    for (const token of [TOKEN, 'mpt_AbC123', 'mat_x.y~z+/=', 'eyJhbGciOi.J9']) {
      assert.equal(checkAccessToken(token, 'it'), token);
    }
  });

  it('refuses what cannot go into a header, without repeating it', () => {
    const wrong = ['', ' ', `${TOKEN} x`, `${TOKEN}\r\nX-Evil: 1`, `${TOKEN}ä`, `${TOKEN}\u0000`];
    for (const token of wrong) {
      const error = errorIn(() => checkAccessToken(token, 'what was given'));
      assert.equal(error.code, 'no_credential');
      assert.match(error.message, /^what was given/);
    }

    assert.equal(errorIn(() => checkAccessToken('x'.repeat(8193), 'it')).code, 'no_credential');
  });
});

describe('runAccessTokenCommand', () => {
  it('ends with an interruption, also where what the shell has started lives on', async () => {
    const controller = new AbortController();
    const running = runAccessTokenCommand('sleep 30; echo x', controller.signal);
    controller.abort();
    assert.equal((await errorOf(running)).code, 'interrupted');
  });
});
