/** Reports side by side on one page that needs nothing else: no script, no font, no network. */
import type { CaseVerdict, Report } from '../judge.js';
import { ULP_EDGES } from '../verdict.js';
import { escapeXml as text } from './junit.js';
import { bitsOf, byOp, countsOf, headline, percent, worstShare, wrongLines } from './text.js';

const STYLE = `
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 110rem; padding: 0 1rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; }
tr > th:first-child { position: sticky; left: 0; background: Canvas; }
th, td { border: 1px solid #8886; padding: .25rem .6rem; text-align: left; vertical-align: top; }
td.passed { background: #2a84; } td.failed { background: #d338; } td.error { background: #e928; } td.absent, small { opacity: .75; }
td { white-space: nowrap; } td a { color: inherit; } code { font-size: 13px; } details { margin: .5rem 0; }
.histogram { display: flex; align-items: flex-end; height: 3rem; gap: 1px; }
.histogram span { background: #48c; width: 1.2rem; min-height: 1px; }
`;

/** Where a cell's story is told. */
const anchor = (r: number, op: string): string => `r${r}-${op.replace(/\W/g, '-')}`;

function cell(report: Report, r: number, op: string): string {
  const cases = byOp(report.cases).get(op) ?? [];
  const { passed, failed, errors, absent } = countsOf(cases);
  if (absent === cases.length) return '<td class="absent">–</td>';
  const status = failed > 0 ? 'failed' : errors > 0 ? 'error' : 'passed';
  const { equal, known } = bitsOf(cases);
  const lines = [
    `${passed} of ${cases.length - absent}`,
    ...(passed + failed > 0 ? [`<small>${percent(worstShare(cases, report))}</small>`] : []),
    ...(known > 0 && equal === known ? ['<small>every bit</small>'] : []),
  ];
  const inside = lines.join('<br>');
  return `<td class="${status}">${status === 'passed' ? inside : `<a href="#${anchor(r, op)}">${inside}</a>`}</td>`;
}

function histogram(cases: readonly CaseVerdict[]): string {
  const sums = ULP_EDGES.map((_, bin) =>
    cases.reduce((n, one) => n + one.outputs.reduce((m, o) => m + o.ulps[bin], 0), 0),
  );
  const total = sums.reduce((a, b) => a + b, 0);
  if (total === 0) return '';
  const most = Math.max(...sums);
  const bars = sums.map((n, bin) => {
    const edge = ULP_EDGES[bin] === Infinity ? `over ${ULP_EDGES[bin - 1]}` : `up to ${ULP_EDGES[bin]}`;
    // Logarithmic, since a few large errors matter as much as many small ones.
    const height = n === 0 ? 0 : Math.max(2, (100 * Math.log1p(n)) / Math.log1p(most));
    return `<span style="height:${height.toFixed(0)}%" title="${edge} ulp: ${n}"></span>`;
  });
  return `<div class="histogram" role="img" aria-label="errors in ulp">${bars.join('')}</div><small>elements by error, from ½ ulp to over ${ULP_EDGES[ULP_EDGES.length - 2]}, logarithmic</small>`;
}

function story(one: CaseVerdict): string {
  return `<li><b>${text(headline(one))}</b><br><code>${wrongLines(one).map(text).join('<br>')}</code></li>`;
}

function details(report: Report, r: number): string {
  const parts = [`<h2>${text(report.backend)}</h2>`, histogram(report.cases)];
  for (const [op, cases] of byOp(report.cases)) {
    const wrong = cases.filter(({ status }) => status === 'failed' || status === 'error');
    if (wrong.length === 0) continue;
    parts.push(
      `<details open id="${anchor(r, op)}"><summary>${text(op)}: ${wrong.length} of ${cases.length}</summary><ul>`,
      ...wrong.map(story),
      '</ul></details>',
    );
  }
  const { passed, failed, errors, absent } = countsOf(report.cases);
  parts.push(`<p>${passed} passed, ${failed} failed, ${errors} threw, ${absent} absent.</p>`);
  return parts.join('\n');
}

/** One row an op, one column a report; the failures below. */
export function htmlReport(reports: readonly Report[], title = 'Oracle'): string {
  const ops = [...new Set(reports.flatMap(({ cases }) => cases.map(({ op }) => op)))];
  const about = [...new Set(reports.map((r) => `suite ${r.suite}, seed ${r.seed}, ${r.bound} bound`))];
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${text(title)}</title><style>${STYLE}</style></head>
<body>
<h1>${text(title)}</h1>
<p>${about.map(text).join('; ')}. A cell tells how many calls of an op are within their error bound, and the largest share of that bound that any element took; a link leads to the failures.</p>
<div class="wide">
<table>
<tr><th>op</th>${reports.map(({ backend, layout }) => `<th>${text(backend)}<br><small>${layout}</small></th>`).join('')}</tr>
${ops.map((op) => `<tr><th>${text(op)}</th>${reports.map((report, r) => cell(report, r, op)).join('')}</tr>`).join('\n')}
</table>
</div>
${reports.map(details).join('\n')}
</body>
</html>
`;
}
