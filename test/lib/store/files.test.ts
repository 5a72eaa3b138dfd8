import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {chmodSync, chownSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

import {
  checkPrivateFile,
  describeFileError,
  ensurePrivateDirectory,
  followLink,
  readPrivateFile,
} from '../../../src/lib/store/files.ts';
import {asRoot} from '../../helpers/root.ts';
import {tempDir} from '../../helpers/temp.ts';

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

function unexpected(message: string): never {
  throw new Error(`no warning was expected: ${message}`);
}

describe('private directories', () => {
  it('are made readable by their owner only, with all that is missing above them', () => {
    const top = join(tempDir(), 'a');
    const before = process.umask(0);
    try {
      ensurePrivateDirectory(join(top, 'b', 'c'));
    } finally {
      process.umask(before);
    }

    for (const path of [top, join(top, 'b'), join(top, 'b', 'c')]) assert.equal(modeOf(path), '700');
  });

  it('that are there are left as they are', () => {
    const path = tempDir();
    chmodSync(path, 0o750);
    ensurePrivateDirectory(path);
    assert.equal(modeOf(path), '750');
  });

  it('that cannot be made are an error that says why', () => {
    const file = join(tempDir(), 'file');
    writeFileSync(file, '');
    assert.throws(
      () => {
        ensurePrivateDirectory(join(file, 'below'));
      },
      {code: 'store', message: `${join(file, 'below')}: a part of the path is not a directory`},
    );
  });
});

describe('private files', () => {
  it('are read, and nothing is said about one that is private', () => {
    const path = join(tempDir(), 'file');
    writeFileSync(path, 'text', {mode: 0o600});
    assert.equal(readPrivateFile(path, unexpected), 'text');
  });

  it('that are not there are undefined', () => {
    assert.equal(readPrivateFile(join(tempDir(), 'none'), unexpected), undefined);
  });

  for (const mode of [0o644, 0o640, 0o620, 0o604, 0o666, 0o777]) {
    it(`of mode ${mode.toString(8)} are read, made private, and told`, () => {
      const path = join(tempDir(), 'file');
      writeFileSync(path, 'text');
      chmodSync(path, mode);
      const warnings: string[] = [];
      assert.equal(
        readPrivateFile(path, (message) => warnings.push(message)),
        'text',
      );
      assert.equal(modeOf(path), '600');
      assert.deepEqual(warnings, [
        `${path} could be accessed by others (mode ${mode.toString(8)}); it is private now (600)`,
      ]);
      assert.equal(readPrivateFile(path, unexpected), 'text');
    });
  }

  it('of another user are refused, and stay as they are', function () {
    asRoot(this);
    const path = join(tempDir(), 'file');
    writeFileSync(path, 'text');
    chmodSync(path, 0o644);
    chownSync(path, 12_345, 12_345);
    assert.throws(() => readPrivateFile(path, unexpected), {
      code: 'store',
      message: `${path} belongs to another user (uid 12345; this is uid 0)`,
    });
    assert.throws(() => {
      checkPrivateFile(path, unexpected);
    }, /belongs to another user/);
    assert.equal(modeOf(path), '644');
    assert.equal(statSync(path).uid, 12_345);
  });

  it('are checked behind a symbolic link', function () {
    asRoot(this);
    const path = join(tempDir(), 'file');
    writeFileSync(path, 'text', {mode: 0o600});
    chownSync(path, 12_345, 12_345);
    const link = join(tempDir(), 'link');
    symlinkSync(path, link);
    assert.throws(() => readPrivateFile(link, unexpected), {
      code: 'store',
      message: /belongs to another user/,
    });
  });

  it('are no directories, and no pipes that nobody writes to', () => {
    const directory = tempDir();
    assert.throws(() => readPrivateFile(directory, unexpected), {
      code: 'store',
      message: `${directory} is not a file`,
    });
    const pipe = join(directory, 'pipe');
    execFileSync('mkfifo', ['-m', '600', pipe]);
    assert.throws(() => readPrivateFile(pipe, unexpected), {code: 'store', message: `${pipe} is not a file`});
  });

  it('in a directory where others may replace them: told, and the directory left alone', () => {
    const directory = tempDir();
    const path = join(directory, 'file');
    writeFileSync(path, 'text', {mode: 0o600});
    chmodSync(directory, 0o777);
    const warnings: string[] = [];
    readPrivateFile(path, (message) => warnings.push(message));
    assert.deepEqual(warnings, [`others can replace files in ${directory}; run: chmod 700 ${directory}`]);
    assert.equal(modeOf(directory), '777');
    // As /tmp is: only its owner may replace a file.
    chmodSync(directory, 0o1777);
    readPrivateFile(path, unexpected);
  });
});

describe('symbolic links', () => {
  it('lead to the file that is meant', () => {
    const directory = tempDir();
    const path = join(directory, 'file');
    writeFileSync(path, 'text', {mode: 0o600});
    symlinkSync('file', join(directory, 'link'));
    assert.equal(readPrivateFile(join(directory, 'link'), unexpected), 'text');
    assert.equal(readFileSync(followLink(join(directory, 'link')), 'utf8'), 'text');
    assert.equal(followLink(join(directory, 'none')), join(directory, 'none'));
  });

  it('that lead nowhere are an error, for their file is elsewhere and not absent', () => {
    const directory = tempDir();
    const link = join(directory, 'link');
    symlinkSync(join(directory, 'unmounted', 'file'), link);
    const expected = {code: 'store', message: `${link} is a link to a file that is not there`};
    assert.throws(() => readPrivateFile(link, unexpected), expected);
    assert.throws(() => followLink(link), expected);
  });
});

describe('errors of the file system', () => {
  const reasons = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    EROFS: 'the file system is read-only',
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EISDIR: 'it is a directory',
  };
  for (const [code, reason] of Object.entries(reasons)) {
    it(`say in words what ${code} is, and what to do`, () => {
      const error = describeFileError(Object.assign(new Error('write'), {code}), '/x/config.json');
      assert.equal(error.message, `/x/config.json: ${reason}`);
      assert.equal(error.code, 'store');
      assert.ok(error.hint);
    });
  }

  it('keep the text of those that have no words', () => {
    assert.equal(
      describeFileError(new Error('EIO: i/o error, read'), '/x').message,
      '/x: EIO: i/o error, read',
    );
  });

  it('of the real thing are told apart', () => {
    const directory = tempDir();
    mkdirSync(join(directory, 'there'));
    try {
      readFileSync(join(directory, 'there'));
      assert.fail('a directory was read');
    } catch (error) {
      assert.match(describeFileError(error, 'there').message, /it is a directory/);
    }
  });
});
