import {strict as assert} from 'node:assert';

import {MAX_USES} from '../../../src/lib/registration-token.ts';
import {type ExportedToken, readExportedTokens} from '../../../src/lib/token-file/exported-tokens.ts';
import {errorOf} from '../../helpers/mxtok-error.ts';
import {ndjson, problemsOf} from '../../helpers/rows.ts';

describe('import', () => {
  const read = (text: string) => readExportedTokens(text, 'tokens.ndjson');
  const wrong = (text: string) => problemsOf(read(text));
  const HEADER = {mxtok_export: 1, server_name: 'example.org', exported_at: '2035-01-01T00:00:00.000Z'};
  const ROW = {token: 'abc', uses_allowed: 5, pending: 1, completed: 2, expiry_time: 2_050_000_000_000};
  const READ: ExportedToken = {
    line: 1,
    token: 'abc',
    uses_allowed: 5,
    completed: 2,
    expiry_time: 2_050_000_000_000,
    disabled: false,
  };
  const NONE = {...ROW, uses_allowed: null, expiry_time: null};

  it('reads what export writes', async () => {
    const text = ndjson(
      {...HEADER, tokens: 2},
      {...ROW, label: 'Ada', note: 'n'},
      {...NONE, token: 'def', label: null},
    );
    assert.deepEqual(await read(text), [
      {...READ, line: 2, label: 'Ada', note: 'n'},
      {...READ, line: 3, token: 'def', uses_allowed: null, expiry_time: null},
    ]);
  });

  it('reads an export of no tokens', async () => {
    assert.deepEqual(await read(ndjson({...HEADER, tokens: 0})), []);
    assert.deepEqual(await read('[]\n'), []);
    assert.deepEqual(await read('{"registration_tokens": []}'), []);
    assert.deepEqual(await read('token,uses_allowed,completed,expiry_time\r\n'), []);
  });

  it('reads CSV, in which an empty cell is none', async () => {
    assert.deepEqual(
      await read(
        "token,uses_allowed,pending,completed,expiry_time,label\r\nabc,5,1,2,2050000000000,'=1+1\r\n'-def,,0,2,,\r\nghi,0,0,0,,\r\n",
      ),
      [
        {...READ, line: 2, label: '=1+1'},
        {...READ, line: 3, token: '-def', uses_allowed: null, expiry_time: null},
        {...READ, line: 4, token: 'ghi', uses_allowed: 0, completed: 0, expiry_time: null, disabled: true},
      ],
    );
  });

  it('reads list --json, and the answer of Synapse’s admin API', async () => {
    assert.deepEqual(
      await read(`[\n${JSON.stringify({...ROW, server: 'main', label: 'x', note: null})}\n]\n`),
      [{...READ, line: 2, label: 'x'}],
    );
    const answer = {registration_tokens: [ROW, {...NONE, token: 'def', completed: 0}]};
    assert.deepEqual(
      (await read(JSON.stringify(answer))).map(({token, uses_allowed}) => [token, uses_allowed]),
      [
        ['abc', 5],
        ['def', null],
      ],
    );
    assert.equal((await read(JSON.stringify(ROW))).length, 1, 'one token alone');
  });

  it('keeps times that no calendar has, as other tools have put them on tokens', async () => {
    for (const expiry_time of [1_800_000_000_000_000, 1_800_000_000_000_000_000]) {
      assert.equal((await read(ndjson({...ROW, expiry_time})))[0]?.expiry_time, expiry_time);
      const csv = `token,uses_allowed,completed,expiry_time\nabc,1,0,${expiry_time}\n`;
      assert.equal((await read(csv))[0]?.expiry_time, expiry_time);
    }
  });

  it('knows a token at 0 for a disabled one, in any form', async () => {
    for (const text of [
      ndjson({...ROW, uses_allowed: 0}),
      JSON.stringify({registration_tokens: [{...ROW, uses_allowed: 0}]}),
      'token,uses_allowed,completed,expiry_time\nabc,0,0,\n',
      'token,uses_allowed,completed,expiry_time\nabc,00,0,\n',
    ])
      assert.equal((await read(text))[0]?.disabled, true, text);
  });

  describe('what is cut off', () => {
    const whole = ndjson({...HEADER, tokens: 3}, ROW, {...ROW, token: 'def'}, {...ROW, token: 'ghi'});

    it('is refused wherever an export ends, down to nothing', async () => {
      assert.equal((await read(whole)).length, 3);
      assert.equal((await read(whole.slice(0, -1))).length, 3, 'the last line break alone is no loss');
      for (let length = whole.length - 2; length >= 0; length--)
        assert.equal((await errorOf(read(whole.slice(0, length)))).code, 'usage', whole.slice(0, length));
    });

    it('is told with what there should be', async () => {
      const lines = whole.split('\n');
      const error = await errorOf(read(lines.slice(0, 3).join('\n')));
      assert.equal(
        error.message,
        'tokens.ndjson is not whole: it had 3 tokens and has 2; nothing was imported',
      );
      assert.match(error.hint ?? '', /^Export again/);
      assert.match((await errorOf(read(''))).message, /is empty; nothing was imported/);
      const more = await errorOf(read(whole + ndjson({...ROW, token: 'jkl'})));
      assert.match(more.message, /is not as it was written: it had 3 tokens and has 4/);
    });

    it('is refused in CSV, as far as that can tell: not in the middle of what matters', async () => {
      const columns = 'token,uses_allowed,completed,expiry_time,label';
      const csv = `${columns}\nabc,5,0,2050000000000,x\ndef,50,10,2050000000000,y\n`;
      const last = csv.lastIndexOf('def');
      for (let length = last + 1; length < csv.lastIndexOf(',y'); length++) {
        assert.match((await wrong(csv.slice(0, length)))[0] ?? '', /^3: .*the rest seems to be cut off$/);
      }

      assert.match(
        (await wrong(csv.slice(0, 20)))[0] ?? '',
        /^1: the header does not name completed, expiry_time$/,
      );
      assert.equal((await read(csv.trimEnd())).length, 2);
    });

    it('is refused in CSV in the middle, too: a limit that is missing would be none', async () => {
      const columns = 'token,uses_allowed,completed,expiry_time';
      assert.deepEqual(await wrong(`${columns}\nabc,5,0,2050000000000\ndef\nghi,5,0,\n`), [
        '3: it has fewer cells (1) than the header (4)',
      ]);
    });

    it('can be taken as it is, without the first line', async () => {
      const lines = whole.split('\n');
      assert.equal((await read(lines.slice(1, 3).join('\n'))).length, 2);
    });
  });

  it('refuses what a newer mxtok has written, and what only looks like an export', async () => {
    const newer = await errorOf(read(ndjson({...HEADER, mxtok_export: 2, tokens: 1}, ROW)));
    assert.match(newer.message, /was written by a newer mxtok \(version 2 of the form\)/);
    assert.equal(newer.hint, 'Update mxtok.');
    for (const header of [{mxtok_export: 0, tokens: 1}, {mxtok_export: '1', tokens: 1}, {mxtok_export: 1}]) {
      assert.match((await errorOf(read(ndjson(header, ROW)))).message, /is no export of mxtok/);
    }
  });

  it('says where a second export begins, and where nothing is as it should be', async () => {
    const one = ndjson({...HEADER, tokens: 4}, ROW);
    assert.deepEqual(await wrong(one + ndjson({...HEADER, tokens: 1}, {...ROW, token: 'def'}, 'x')), [
      '3: another export begins here: import them one by one',
      '5: it is not a JSON object on one line',
    ]);
  });

  it('names every row that is wrong with its line', async () => {
    assert.deepEqual(
      await wrong(
        ndjson(
          {...ROW, token: 'a b'},
          {...ROW, token: 5},
          {...ROW, token: null},
          {...ROW, uses_allowed: -1},
          {...ROW, uses_allowed: 1.5},
          {...ROW, uses_allowed: MAX_USES + 1},
          {...ROW, completed: '1e3'},
          {...ROW, expiry_time: 1e30},
          {...ROW, expiry_time: '2027-01-31'},
          {...ROW, token: '..'},
          ROW,
          ROW,
          {...ROW, token: 'c', label: '\u001b[2J'},
          {...ROW, token: 'd', label: ['x']},
        ),
      ),
      [
        '1: "a b" is not a registration token: only A-Z a-z 0-9 . _ ~ - may be in one',
        '2: token is "5", not a text',
        '3: it has no token',
        '4: uses_allowed is "-1", not a number from 0 to 2147483647',
        '5: uses_allowed is "1.5", not a number from 0 to 2147483647',
        '6: uses_allowed is "2147483648", not a number from 0 to 2147483647',
        '7: completed is "1e3", not a number from 0 to 2147483647',
        '8: expiry_time is "1e+30", not a number from 0 to 9223372036854775000',
        '9: expiry_time is "2027-01-31", not a number from 0 to 9223372036854775000',
        '10: a token named ".." cannot be managed afterwards: its name has a meaning of its own in the admin API\'s paths',
        '12: the token abc stands on line 11 already',
        '13: a label or note has control characters, or others that cannot be seen',
        '14: label is a list, not a text',
      ],
    );
  });

  it('takes no list that lacks the limits: whoever has one use would have any number', async () => {
    assert.deepEqual(await wrong('token,label\nabc,x\n'), [
      '1: the header does not name uses_allowed, completed, expiry_time',
    ]);
    assert.deepEqual(await wrong(ndjson({token: 'abc', uses_allowed: 5})), [
      '1: it has no completed and no expiry_time',
    ]);
    const {completed: _completed, ...rest} = ROW;
    assert.deepEqual(await wrong(ndjson({...rest, __proto__: null})), ['1: it has no completed']);
    assert.deepEqual(
      await wrong('{"token":"abc","__proto__":{"uses_allowed":1,"completed":0,"expiry_time":1}}\n'),
      ['1: it has no uses_allowed and no completed and no expiry_time'],
    );
  });

  it('names the line of an element where each begins one, and else which one it is', async () => {
    const bad = {...ROW, token: 'a b'};
    const problem = '"a b" is not a registration token: only A-Z a-z 0-9 . _ ~ - may be in one';
    const lines = `[\n${JSON.stringify(ROW)},\n${JSON.stringify(bad)}\n]\n`;
    assert.deepEqual(await wrong(lines), [`3: ${problem}`]);
    assert.deepEqual(await wrong(JSON.stringify([ROW, bad])), [`1: element 2: ${problem}`]);
    assert.deepEqual(await wrong(JSON.stringify({registration_tokens: [ROW, bad]}, undefined, 2)), [
      `10: ${problem}`,
    ]);
    assert.deepEqual(await wrong(JSON.stringify([ROW, bad], undefined, 2)), [`9: ${problem}`]);
    assert.deepEqual(await wrong(JSON.stringify([ROW, ROW, 7])), [
      '1: element 3: it is not a JSON object',
      '1: element 2: the token abc stands in element 1 already',
    ]);
  });

  it('says of rubbish where it begins to be', async () => {
    for (const text of [
      'hello\nworld\n',
      '{}',
      '{"registration_tokens": 5}',
      '[[]]',
      '[{}]',
      'null',
      '"x"',
      '\u0000\u0001',
    ]) {
      assert.match((await wrong(text))[0] ?? '', /^1: /, text);
    }

    const deep = `${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`;
    assert.equal((await errorOf(read(deep))).code, 'usage');
  });

  it('takes 100,000 tokens, and no more', async () => {
    const rows = (count: number): string =>
      Array.from({length: count}, (_, index) => JSON.stringify({...ROW, token: `t${index}`})).join('\n');
    assert.equal((await read(rows(100_000))).length, 100_000);
    assert.equal((await read(ndjson({...HEADER, tokens: 100_000}) + rows(100_000))).length, 100_000);
    for (const text of [
      ndjson({...HEADER, tokens: 100_001}) + rows(100_001),
      '{}\n'.repeat(1_000_000),
      `[${'{},'.repeat(1_000_000)}{}]`,
      `token,uses_allowed,completed,expiry_time\n${'abc\n'.repeat(1_000_000)}`,
    ]) {
      const error = await errorOf(read(text));
      assert.equal(error.message, 'tokens.ndjson has over 100000 tokens; up to 100000 are taken at once');
    }
  }).timeout(60_000);

  it('names the first hundred of very many that are wrong, and says how many more there are', async () => {
    const error = await errorOf(read('{}\n'.repeat(100_000)));
    assert.equal(error.message, 'tokens.ndjson: 100000 lines are wrong; nothing was imported');
    assert.equal(error.problems?.length, 100);
    assert.equal(error.hint, 'And 99900 more problems.');
  }).timeout(60_000);

  describe('of matrix-registration', () => {
    // As matrix_registration/tokens.py, Token.toDict, has them.
    const TOKEN = {
      name: 'DoubleWizardSki',
      used: 2,
      expiration_date: null,
      max_usage: 5,
      ips: ['127.0.0.1'],
      disabled: false,
      active: true,
    };
    const readOne = async (fields: object): Promise<ExportedToken | undefined> =>
      (await read(JSON.stringify([{...TOKEN, ...fields}])))[0];
    let zone: string | undefined;

    beforeEach(() => {
      zone = process.env['TZ'];
    });

    afterEach(() => {
      process.env['TZ'] = zone;
    });

    it('takes the answer of its API', async () => {
      assert.deepEqual(await readOne({}), {
        line: 1,
        token: 'DoubleWizardSki',
        uses_allowed: 5,
        completed: 2,
        expiry_time: null,
        disabled: false,
      });
    });

    it('takes 0 uses for no limit, as it does itself; and its switch for the only way to disable', async () => {
      assert.equal((await readOne({max_usage: 0}))?.uses_allowed, null);
      assert.equal((await readOne({max_usage: false}))?.uses_allowed, null);
      assert.equal((await readOne({max_usage: true}))?.uses_allowed, 1);
      assert.equal((await readOne({max_usage: 0}))?.disabled, false);
      assert.equal((await readOne({disabled: true}))?.disabled, true);
      assert.equal((await readOne({max_usage: 3_000_000_000}))?.uses_allowed, MAX_USES);
    });

    for (const [place, time] of [
      ['UTC', '2427-01-31T18:00:00.000Z'],
      ['Europe/Berlin', '2427-01-31T17:00:00.000Z'],
      ['America/St_Johns', '2427-01-31T21:30:00.000Z'],
    ] as const) {
      it(`takes its dates for the time in ${place}, where that is where we are`, async () => {
        process.env['TZ'] = place;
        for (const expiration_date of ['2427-01-31 18:00:00', 'Wed, 31 Jan 2427 18:00:00 GMT'])
          assert.equal((await readOne({expiration_date}))?.expiry_time, Date.parse(time));
      });
    }

    it('says what is not as it has it', async () => {
      for (const [fields, message] of [
        [{max_usage: -1}, '1: element 1: max_usage is not as matrix-registration has it'],
        [{used: null}, '1: element 1: used is not as matrix-registration has it'],
        [{name: 5}, '1: element 1: name is not as matrix-registration has it'],
        [{expiration_date: 'soon'}, '1: element 1: expiration_date "soon" is not a date and time'],
      ] as const)
        assert.deepEqual(await problemsOf(readOne(fields)), [message]);
    });
  });
});
