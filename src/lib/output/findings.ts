/** What `server doctor` finds, for a person. */
import type {Finding} from '../operations/finding.ts';
import {shorten} from '../shorten.ts';
import type {Colours} from './colour.ts';
import {sanitise} from './sanitise.ts';

/** Columns of TSV and CSV. */
export const FINDING_FIELDS = ['check', 'result', 'message', 'hint'] as const;

/** Findings, a line each, what to do about it below; or that of one server under its name. */
export function renderFindings(findings: readonly Finding[], colours: Colours, server?: string): string {
  if (findings.length === 0) return '';
  const lines = findings.map((finding) => renderFinding(finding, colours)).join('');
  return server === undefined ? lines : `${server}\n${lines}\n`;
}

function renderFinding({check, result, message, hint}: Finding, colours: Colours): string {
  const mark = {
    ok: colours.green('ok     '),
    warning: colours.yellow('warning'),
    fault: colours.red('FAULT  '),
    skipped: colours.dim('skipped'),
  }[result];
  const advice = hint === undefined ? '' : `${' '.repeat(22)}${sanitise(hint)}\n`;
  return `${mark}  ${check.padEnd(12)} ${sanitise(message)}\n${advice}`;
}

/** What there is to say after all of it, of one server. */
export function summariseFindings(findings: readonly Finding[]): string {
  const faults = findings.filter(isFault).length;
  if (faults > 0) return `${faults} fault${faults === 1 ? '' : 's'} found.`;
  const warnings = findings.filter(({result}) => result === 'warning').length;
  return warnings > 0 ? `No fault, ${warnings} warning${warnings === 1 ? '' : 's'}.` : 'All is well.';
}

/** The same of several: which of them have faults. */
export function summariseServers(servers: readonly {server: string; findings: readonly Finding[]}[]): string {
  const faulty = servers.filter(({findings}) => findings.some(isFault)).map(({server}) => server);
  return faulty.length > 0
    ? `${faulty.length} of ${servers.length} servers have faults: ${shorten(faulty, ', ', 10)}`
    : `All is well on ${servers.length} servers.`;
}

export function isFault({result}: Finding): boolean {
  return result === 'fault';
}
