import {strict as assert} from 'node:assert';

import {Chalk} from 'chalk';

import type {Finding} from '../../../src/lib/operations/finding.ts';
import {renderFindings, summariseFindings, summariseServers} from '../../../src/lib/output/findings.ts';

const PLAIN = new Chalk({level: 0});
const well: Finding = {check: 'clock', result: 'ok', message: 'the clocks agree'};
const fault: Finding = {
  check: 'registration',
  result: 'fault',
  message: 'registration is open',
  hint: 'In homeserver.yaml: …',
};

describe('findings for a person', () => {
  it('are a line each, the results and the checks in columns, what to do about it below', () => {
    const warning: Finding = {check: 'audit', result: 'warning', message: 'one was cut short'};
    const skipped: Finding = {check: 'admin', result: 'skipped', message: 'no access token'};
    assert.equal(
      renderFindings([well, warning, fault, skipped], PLAIN),
      [
        'ok       clock        the clocks agree',
        'warning  audit        one was cut short',
        'FAULT    registration registration is open',
        '                      In homeserver.yaml: …',
        'skipped  admin        no access token',
        '',
      ].join('\n'),
    );
  });

  it('of one server among several are under its name', () => {
    assert.equal(renderFindings([well], PLAIN, 'main'), 'main\nok       clock        the clocks agree\n\n');
  });

  it('are nothing where there is nothing to tell, not even a name', () => {
    assert.equal(renderFindings([], PLAIN), '');
    assert.equal(renderFindings([], PLAIN, 'main'), '');
  });

  it('are red where it is a fault', () => {
    assert.match(renderFindings([fault], new Chalk({level: 1})), /^\u001b\[31mFAULT {2}\u001b\[39m/);
  });

  it('do not let a homeserver write to the terminal', () => {
    const text = renderFindings([{...fault, message: 'a\u001b[2Jb', hint: 'c\u001b]0;x\u0007d'}], PLAIN);
    assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f]/);
  });
});

describe('the end of the findings', () => {
  it('counts the faults of one server', () => {
    assert.equal(summariseFindings([well]), 'All is well.');
    assert.equal(summariseFindings([well, {...fault, result: 'warning'}]), 'No fault, 1 warning.');
    assert.equal(summariseFindings([well, fault]), '1 fault found.');
    assert.equal(summariseFindings([fault, well, fault]), '2 faults found.');
  });

  it('names those of several that have faults, the first ten of them', () => {
    const good = {server: 'good', findings: [well]};
    const bad = Array.from({length: 11}, (_, index) => ({server: `bad-${index}`, findings: [well, fault]}));
    assert.equal(summariseServers([good, good]), 'All is well on 2 servers.');
    assert.equal(summariseServers([good, ...bad.slice(0, 1)]), '1 of 2 servers have faults: bad-0');
    assert.match(summariseServers(bad), /^11 of 11 servers have faults: bad-0, .*, bad-9 …$/);
  });
});
