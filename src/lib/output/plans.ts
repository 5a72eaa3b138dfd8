/** What a change would do, for --dry-run and for the question before it is done. */
import type {PlannedChange} from '../operations/batch.ts';
import {TOKEN_FIELDS, type TokenRecord} from '../token-record.ts';
import {renderRecordTable, type TableStyle} from './tokens.ts';

/** Columns of TSV and CSV: what would be done and how, behind the token as it is now. */
export const PLAN_FIELDS = [...TOKEN_FIELDS, 'action', 'changes'] as const;

type PlanRow = TokenRecord & {action: string; changes: string};

export function toPlanRow({record, action, changes}: PlannedChange): PlanRow {
  return {...record, action, changes: describeChanges(changes)};
}

/** `uses_allowed=5 expires_at=2027-01-31T18:00:00.000Z`; `expiry_time` says the same twice. */
function describeChanges(changes: PlannedChange['changes']): string {
  return Object.entries(changes)
    .filter(([field]) => field !== 'expiry_time')
    .map(
      ([field, value]) =>
        `${field}=${value ?? (field === 'expires_at' ? 'never' : field === 'uses_allowed' ? 'unlimited' : '')}`,
    )
    .join(' ');
}

/** A table for a person. */
export async function renderPlanTable(
  plans: readonly PlannedChange[],
  style: TableStyle,
): Promise<Iterable<string>> {
  const changes = plans.map((plan) => describeChanges(plan.changes));
  return renderRecordTable(
    plans.map(({record}) => record),
    style,
    undefined,
    [
      {header: 'ACTION', cells: plans.map(({action}) => action)},
      ...(changes.some((change) => change !== '') ? [{header: 'CHANGES', cells: changes}] : []),
    ],
  );
}
