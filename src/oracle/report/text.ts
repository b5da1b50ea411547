/** A report in words. */
import type { CaseVerdict, Report } from '../judge.js';
import { describeOutput } from '../verdict.js';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  /** The backend threw. */
  readonly errors: number;
  /** The backend has no such op. */
  readonly absent: number;
}

export function countsOf(cases: readonly CaseVerdict[]): Counts {
  const of = (status: CaseVerdict['status']): number => cases.filter((one) => one.status === status).length;
  return { passed: of('passed'), failed: of('failed'), errors: of('error'), absent: of('absent') };
}

/** Cases by op, in the order in which the ops come first. */
export function byOp(cases: readonly CaseVerdict[]): Map<string, CaseVerdict[]> {
  const groups = new Map<string, CaseVerdict[]>();
  for (const one of cases) {
    const group = groups.get(one.op);
    if (group) group.push(one);
    else groups.set(one.op, [one]);
  }
  return groups;
}

/** The largest share of the bound that counts, over all outputs. */
export function worstShare(cases: readonly CaseVerdict[], { bound }: Report): number {
  const shares = cases.flatMap(({ outputs }) =>
    outputs.map((o) => (bound === 'strict' ? o.strictShare : o.probableShare)),
  );
  return Math.max(0, ...shares);
}

export function percent(share: number): string {
  return share === Infinity ? '∞' : `${(100 * share).toPrecision(3)} %`;
}

/** How many outputs have the bits of exact mode, of those whose bits are known. */
export function bitsOf(cases: readonly CaseVerdict[]): { equal: number; known: number } {
  const known = cases.flatMap(({ outputs }) => outputs).filter((o) => o.equalBits !== null);
  return { known: known.length, equal: known.filter((o) => o.equalBits === o.elements).length };
}

/** The call as one line: id, title, attributes. */
export function headline({ id, title, attributes }: CaseVerdict): string {
  const options = Object.entries(attributes).map(([key, value]) => {
    const text = JSON.stringify(value);
    return `${key} ${text.length > 60 ? `${text.slice(0, 57)}…` : text}`;
  });
  return options.length === 0 ? `${id}, ${title}` : `${id}, ${title} (${options.join(', ')})`;
}

/** What is wrong with a case, a line each. */
export function wrongLines(one: CaseVerdict): string[] {
  if (one.message !== null) return [one.message];
  return [...one.outputs.filter((o) => !o.passed).map(describeOutput), ...termsLine(one), ...diagnosisLines(one)];
}

/** The largest terms of the worst element. */
function termsLine({ terms = [] }: CaseVerdict): string[] {
  if (terms.length === 0) return [];
  return [
    `its largest terms: ${terms.map(({ factors, value }) => `${factors.join('·')} = ${value.toPrecision(6)}`).join(', ')}`,
  ];
}

/** What would explain a failure: the likeliest, and the others in one line. */
function diagnosisLines({ diagnosis = [] }: CaseVerdict): string[] {
  if (diagnosis.length === 0) return [];
  const [first, ...others] = diagnosis.map(({ cause }) => cause);
  return [`likely: ${first}`, ...(others.length > 0 ? [`or: ${others.join('; ')}`] : [])];
}

/** A line an op, then every case that is not passed. */
export function textReport(report: Report): string {
  const { backend, suite, seed, layout, bound, cases } = report;
  const lines = [`${backend}: suite ${suite}, seed ${seed}, ${layout}, judged by the ${bound} bound`, ''];
  const groups = byOp(cases);
  const width = Math.max(...[...groups.keys()].map((op) => op.length), 2);
  for (const [op, group] of groups) {
    const { passed, failed, errors, absent } = countsOf(group);
    if (absent === group.length) {
      lines.push(`${op.padEnd(width)}  absent`);
      continue;
    }
    const bits = bitsOf(group);
    const parts = [
      `${passed} of ${group.length} passed`,
      ...(failed > 0 ? [`${failed} failed`] : []),
      ...(errors > 0 ? [`${errors} threw`] : []),
      ...(absent > 0 ? [`${absent} absent`] : []),
      ...(passed + failed > 0 ? [`at most ${percent(worstShare(group, report))} of the bound`] : []),
      ...(bits.known > 0 ? [`bits equal in ${bits.equal} of ${bits.known} outputs`] : []),
    ];
    lines.push(`${op.padEnd(width)}  ${parts.join(', ')}`);
  }
  for (const one of cases) {
    if (one.status === 'passed' || one.status === 'absent') continue;
    lines.push('', `${one.status === 'failed' ? 'FAILED' : 'THREW'} ${headline(one)}`);
    lines.push(...wrongLines(one).map((line) => `  ${line}`));
  }
  const { passed, failed, errors, absent } = countsOf(cases);
  lines.push('', `${passed} passed, ${failed} failed, ${errors} threw, ${absent} absent`);
  return lines.join('\n');
}

/** All of a report; numbers that JSON lacks are strings: "Infinity", "NaN". */
export function jsonReport(report: Report): string {
  const plain = (_: string, value: unknown): unknown =>
    typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
  return `${JSON.stringify(report, plain, 1)}\n`;
}
