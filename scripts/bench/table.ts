/** The table that the benchmark ends with. */
export interface Row {
  work: string;
  budget: string;
  measured: string;
  /** `undefined`: not judged, or not measured. */
  within: boolean | undefined;
}

/** @param slow what is judged, and @param fast what it is held against: milliseconds. */
export function ratioRow(work: string, most: number, slow: number, fast: number): Row {
  const ratio = slow / fast;
  return {
    work,
    budget: `≤ ${most}×`,
    measured: `${ratio.toFixed(2)}× (${milliseconds(slow)} / ${milliseconds(fast)})`,
    within: ratio <= most,
  };
}

/** @param reason why it could not be measured. */
export function skippedRow(work: string, budget: string, reason: string): Row {
  return {work, budget, measured: `SKIPPED: ${reason}`, within: undefined};
}

export function milliseconds(ms: number): string {
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

export function thousands(count: number): string {
  return count.toLocaleString('en');
}

/** What is going on, where somebody looks on. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

export function printTable(rows: readonly Row[]): void {
  const lines = [
    ['WORK', 'BUDGET', 'MEASURED', 'VERDICT'],
    ...rows.map(({work, budget, measured, within}) => [
      work,
      budget,
      measured,
      within === undefined ? '-' : within ? 'ok' : 'OVER',
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  progress('');
  console.log();
  for (const line of lines) {
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
}
