import {strict as assert} from 'node:assert';
import {execFileSync} from 'node:child_process';
import {chmodSync, createWriteStream, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {Readable} from 'node:stream';

import {readInput} from '../../src/lib/input-file.ts';
import {errorOf} from '../helpers/mxtok-error.ts';
import {tempDir} from '../helpers/temp.ts';

describe('a file that is named on the command line', () => {
  let path: string;
  beforeEach(() => {
    path = join(tempDir(), 'guests.csv');
  });

  const text = 'token,label\nabc,Müller 🎉\n';

  it('is read as UTF-8', async () => {
    writeFileSync(path, text);
    assert.equal(await readInput(path), text);
    writeFileSync(path, '');
    assert.equal(await readInput(path), '');
  });

  it('may be larger than what is read at once', async () => {
    const large = `${'ü'.repeat(1_500_000)}\n`;
    writeFileSync(path, large);
    assert(large === (await readInput(path)));
  });

  it('may be UTF-16, which spreadsheets call Unicode text', async () => {
    writeFileSync(path, Buffer.from(`\ufeff${text}`, 'utf16le'));
    assert.equal(await readInput(path), text);
  });

  it('is refused in another encoding, for names would come out wrong; and so is what is no text', async () => {
    writeFileSync(path, Buffer.from('token,label\r\na,Ada\r\nb,Müller\r\n', 'latin1'));
    const error = await errorOf(readInput(path));
    assert.equal(error.code, 'usage');
    assert.equal(error.message, `${path} is not text in UTF-8 (line 3)`);
    assert.match(error.hint ?? '', /Save it as UTF-8/);
    writeFileSync(path, Buffer.from([0x1f, 0x8b, 0x08, 0x00, 0xff, 0xff]));
    assert.match((await errorOf(readInput(path))).message, /is not text in UTF-8 \(line 1\)/);
  });

  it('is told with its name where it cannot be read', async () => {
    assert.equal((await errorOf(readInput(path))).message, `"${path}" cannot be read: there is no such file`);
    const directory = tempDir();
    assert.equal(
      (await errorOf(readInput(directory))).message,
      `"${directory}" cannot be read: it is a directory`,
    );
  });

  it('is told where it may not be read', async function () {
    if (process.getuid?.() === 0) this.skip();
    writeFileSync(path, text);
    chmodSync(path, 0);
    assert.match((await errorOf(readInput(path))).message, /cannot be read: permission denied$/);
  });

  it('may be a device: one of nothing is empty, one without end is refused', async function () {
    if (process.platform === 'win32') this.skip();
    assert.equal(await readInput('/dev/null'), '');
    assert.match((await errorOf(readInput('/dev/zero'))).message, /cannot be read: it is too large$/);
  }).timeout(60_000);

  it('may be a pipe, whose writer comes when it comes', async function () {
    if (process.platform === 'win32') this.skip();
    execFileSync('mkfifo', [path]);
    const reading = readInput(path);
    const writer = createWriteStream(path);
    writer.write(text.slice(0, 20));
    writer.end(text.slice(20));
    assert.equal(await reading, text);
  });
});

describe('standard input in place of a file', () => {
  const {stdin} = process;
  afterEach(() => {
    Object.defineProperty(process, 'stdin', {value: stdin, configurable: true});
  });

  function give(...chunks: Buffer[]): void {
    Object.defineProperty(process, 'stdin', {value: Readable.from(chunks), configurable: true});
  }

  it('is read to its end, also where a character comes in two pieces', async () => {
    const bytes = Buffer.from('label\nMüller\n');
    give(bytes.subarray(0, 8), bytes.subarray(8));
    assert.equal(await readInput('-'), 'label\nMüller\n');
  });

  it('is refused in another encoding', async () => {
    give(Buffer.from('label\nMüller\n', 'latin1'));
    assert.equal((await errorOf(readInput('-'))).message, 'standard input is not text in UTF-8 (line 2)');
  });
});
