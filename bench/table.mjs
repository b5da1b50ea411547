/** The targets as Markdown, to be pasted: one table for the convolutions, one for everything else. Medians only. */
import { percent } from './report.mjs';

const KINDS = ['forward', 'input gradient', 'weight gradient'];

const line = (cells) => `| ${cells.join(' | ')} |`;
const heading = (cells) => [line(cells), line(cells.map((_, i) => (i === 0 ? '---' : '---:')))];
const whole = (share) => (100 * share).toFixed(0);

/** "yes", or what falls short. */
function metCell(rows) {
  const judged = rows.filter(({ met }) => met !== undefined);
  const missed = judged.filter(({ met }) => !met).map(({ kind }) => kind);
  if (judged.length === 0) return '–';
  return missed.length === 0 ? 'yes' : `no: ${missed.join(', ')}`;
}

function convolutionTable(rows) {
  const labels = new Set(rows.map(({ label }) => label));
  const table = heading(['convolution', ...KINDS.map((kind) => `${kind}, GFLOP/s (of peak)`), 'targets, %', 'met']);
  const notes = new Set();
  for (const label of labels) {
    const own = rows.filter((row) => row.label === label);
    const of = (kind) => own.find((row) => row.kind === kind);
    const cells = KINDS.map((kind) => {
      const row = of(kind);
      if (row === undefined) return '';
      if (row.note) notes.add(row.note);
      return `${row.gflops.median.toFixed(1)} (${percent(row.share.median)})${row.note ? ' *' : ''}`;
    });
    const targets = KINDS.map((kind) => (of(kind)?.target === undefined ? '–' : whole(of(kind).target)));
    table.push(line([label, ...cells, targets.join(' / '), metCell(own)]));
  }
  return [...table, ...[...notes].map((note) => `\n\\* ${note}`)].join('\n');
}

const size = (bytes) =>
  bytes < 2 ** 30 ? `${(bytes / 2 ** 20).toFixed(0)} MiB` : `${(bytes / 2 ** 30).toFixed(2)} GiB`;

function otherLines({ name, section, targets, residentBytes, target, met, imagesPerSecond, share }) {
  const yes = (is) => (is ? 'yes' : 'no');
  if (section === 'memory') {
    const goal = target === undefined ? ['–', '–'] : [`at most ${size(target)}`, yes(met)];
    return [line([name, size(residentBytes), ...goal])];
  }
  const speed = `${imagesPerSecond.median.toFixed(2)} images/s (${percent(share.median)} of peak)`;
  const { imagesPerSecond: rate, otherShare: other } = targets;
  const goal = rate === undefined ? ['–', '–'] : [`at least ${rate.target} images/s`, yes(rate.met)];
  if (other === undefined) return [line([name, speed, ...goal])];
  return [
    line([name, speed, ...goal]),
    line([`${name}: not convolution`, percent(other.value), `under ${percent(other.target)}`, yes(other.met)]),
  ];
}

/** Markdown of all rows that have a target, or stand beside one that has. Empty where there are none. */
export function targetTables(results) {
  const convolutions = results.filter(({ section, mode }) => section === 'conv' && mode === 'exact');
  const others = results.filter(({ section }) => section === 'model' || section === 'memory');
  const tables = [];
  if (convolutions.length > 0) tables.push(convolutionTable(convolutions));
  if (others.length > 0)
    tables.push([...heading(['whole runs', 'measured', 'target', 'met']), ...others.flatMap(otherLines)].join('\n'));
  return tables.join('\n\n');
}
