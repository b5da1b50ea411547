/** The chapter's plot as an SVG picture: train loss, train accuracy and test accuracy over epochs. */
import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import type { HistoryPoint } from '../train/state.js';

const WIDTH = 640;
const HEIGHT = 420;
const MARGIN = { top: 40, right: 24, bottom: 48, left: 56 };

interface Series {
  readonly label: string;
  readonly colour: string;
  /** Dash pattern, as the chapter's format strings '-', 'm--' and 'g-.' have it. */
  readonly dash: string;
  readonly value: (point: HistoryPoint) => number | null;
}

const SERIES: readonly Series[] = [
  { label: 'train loss', colour: '#1f77b4', dash: '', value: (p) => p.trainLoss },
  { label: 'train acc', colour: '#b5179e', dash: '7 4', value: (p) => p.trainAcc },
  { label: 'test acc', colour: '#2a9134', dash: '8 3 2 3', value: (p) => p.testAcc },
];

function text(x: number, y: number, content: string, anchor: string, extra = ''): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}"${extra}>${content}</text>`;
}

function rounded(value: number): string {
  return value.toFixed(2);
}

/**
 * The plot of a run of `epochs` epochs, as far as it has come.
 * @param title plain text over the plot
 */
export function curvesSvg(history: readonly HistoryPoint[], epochs: number, title: string): string {
  const highest = history.reduce((most, p) => Math.max(most, p.trainLoss), 1);
  const x = scaleLinear([0, epochs], [MARGIN.left, WIDTH - MARGIN.right]);
  const y = scaleLinear([0, highest], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice();
  const [bottom, top] = y.range();
  const [left, right] = x.range();
  const parts: string[] = [];

  for (const tick of y.ticks(6)) {
    const at = rounded(y(tick));
    parts.push(`<path d="M${left} ${at}H${right}" stroke="#e2e2e2"/>`);
    parts.push(text(left - 8, y(tick) + 4, y.tickFormat(6)(tick), 'end'));
  }
  const xTicks = Math.min(epochs, 10);
  for (const tick of x.ticks(xTicks === 1 ? 5 : xTicks)) {
    parts.push(`<path d="M${rounded(x(tick))} ${bottom}v5" stroke="#444"/>`);
    parts.push(text(x(tick), bottom + 20, x.tickFormat(xTicks === 1 ? 5 : xTicks)(tick), 'middle'));
  }
  parts.push(`<path d="M${left} ${top}V${bottom}H${right}" fill="none" stroke="#444"/>`);
  parts.push(text((left + right) / 2, HEIGHT - 10, 'epoch', 'middle'));

  SERIES.forEach(({ label, colour, dash, value }, i) => {
    const points = history.flatMap((p): [number, number][] => {
      const v = value(p);
      return v === null ? [] : [[x(p.epoch), y(v)]];
    });
    const path = line()(points);
    const stroke = `fill="none" stroke="${colour}" stroke-width="2"${dash && ` stroke-dasharray="${dash}"`}`;
    if (path !== null) parts.push(`<path d="${path}" ${stroke}/>`);
    // A line of one point is invisible, and the test accuracy of one epoch is one point.
    for (const [px, py] of points)
      parts.push(`<circle cx="${rounded(px)}" cy="${rounded(py)}" r="2.5" fill="${colour}"/>`);
    const at = left + 12 + i * 130;
    parts.push(`<path d="M${at} ${top - 10}h28" ${stroke}/>`, text(at + 34, top - 6, label, 'start'));
  });
  const escaped = title.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  parts.push(text(WIDTH - MARGIN.right, top - 24, escaped, 'end', ' font-size="11" fill="#555"'));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="13" fill="#222">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
${parts.join('\n')}
</svg>
`;
}
