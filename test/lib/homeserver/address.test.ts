import {strict as assert} from 'node:assert';

import {isLoopback, isServerName, parseAddress, socketPathOf} from '../../../src/lib/homeserver/address.ts';
import {errorIn} from '../../helpers/mxtok-error.ts';
import {secret} from '../../helpers/secrets.ts';

function baseUrl(input: string, allowHttp = false): string {
  const address = parseAddress(input, allowHttp);
  return address.kind === 'base' ? address.baseUrl : assert.fail(`${input} is taken for a server name`);
}

describe('parseAddress', () => {
  it('takes https URLs, with a port and a path prefix, and without slashes at the end', () => {
    assert.equal(baseUrl('https://matrix.example.org'), 'https://matrix.example.org');
    assert.equal(baseUrl('https://matrix.example.org/'), 'https://matrix.example.org');
    assert.equal(baseUrl('https://example.org:8448/matrix//'), 'https://example.org:8448/matrix');
    assert.equal(baseUrl('HTTPS://Matrix.Example.ORG'), 'https://matrix.example.org');
  });

  it('takes plain http to this machine, however it is written', () => {
    const addresses = ['localhost:8008', '127.0.0.1:8008', '127.1.2.3', '127.1', '0x7f000001', '[::1]:8008'];
    for (const address of addresses) baseUrl(`http://${address}`);
  });

  it('refuses plain http to any other host, and says how to insist', () => {
    const addresses = [
      'matrix.example.org',
      '10.0.0.1',
      '192.168.1.1:8008',
      '[::2]',
      '0.0.0.0',
      'localhost.example.org',
      '127.0.0.1.example.org',
      '[::ffff:10.0.0.1]',
    ];
    for (const address of addresses) {
      const error = errorIn(() => parseAddress(`http://${address}`, false));
      assert.equal(error.code, 'usage', address);
      assert.match(error.hint ?? '', /--allow-http/);
      baseUrl(`http://${address}`, true);
    }
  });

  it('takes a Unix socket by its absolute path', () => {
    assert.equal(baseUrl('unix:/run/matrix-synapse/main.sock'), 'unix:/run/matrix-synapse/main.sock');
    assert.equal(socketPathOf('unix:/run/a b:c.sock'), '/run/a b:c.sock');
    assert.equal(socketPathOf('https://example.org'), undefined);
    for (const input of ['unix:main.sock', 'unix:', 'unix:~/main.sock']) {
      assert.match(errorIn(() => parseAddress(input, false)).message, /absolute path/);
    }
  });

  it('takes a server name as one to look up', () => {
    for (const serverName of ['example.org', 'example.org:8448', 'localhost', '10.0.0.1', '[::1]:8448']) {
      assert.deepEqual(parseAddress(serverName, false), {kind: 'name', serverName});
      assert(isServerName(serverName));
    }
  });

  it('refuses what is no base URL', () => {
    const wrong = [
      '',
      'ftp://example.org',
      'file:///etc/passwd',
      'https://',
      'example.org/path',
      'https://example.org?x=1',
      'https://example.org/#/room',
      'exa mple.org',
    ];
    for (const input of wrong) assert.equal(errorIn(() => parseAddress(input, true)).code, 'usage', input);
  });

  it('refuses a user name or password in a URL, without repeating it', () => {
    const password = secret('hunter2-in-a-url');
    for (const input of [`https://admin:${password}@example.org`, `https://${password}@example.org`]) {
      assert.match(errorIn(() => parseAddress(input, true)).message, /user name or password/);
    }
  });
});

describe('isLoopback', () => {
  it('knows this machine, and nothing that only looks like it', () => {
    for (const name of ['localhost', '127.0.0.1', '127.255.0.9', '[::1]']) assert(isLoopback(name), name);
    for (const name of ['localhost.evil', '127.0.0.1.evil', '128.0.0.1', '', '[::]', 'x127.0.0.1']) {
      assert(!isLoopback(name), name);
    }
  });
});
