/** Line plots as SVG: panels side by side over one legend, the same bytes for the same numbers. */
import { scaleLinear, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';

const COLOURS = ['#1f77b4', '#d9822b', '#2a9134', '#b5179e', '#8a6d3b'];
const PANEL = { width: 420, height: 320 };
const MARGIN = { top: 34, right: 16, bottom: 46, left: 58 };
const LEGEND_ROW = 22;
/** Width of a character of the legend, more than less, in pixels. */
const CHARACTER = 7.2;
const SAMPLE = 30;

const escaped = (content) => String(content).replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const text = (x, y, content, more = '') =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${more}>${escaped(content)}</text>`;
const MIDDLE = ' text-anchor="middle"';

/** Lowest and highest of the numbers. */
const extent = (values) => [Math.min(...values), Math.max(...values)];

/** 0.01 as "10⁻²" for an axis of powers of ten. */
function power(tick) {
  const digits = String(Math.round(Math.log10(tick)));
  return `10${[...digits].map((c) => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(c)])).join('')}`;
}

/** Powers of ten within the scale's domain. */
function powers([low, high]) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(`1e${first + i}`));
}

function drawPanel({ title, xLabel, yLabel, series, log = false, xDomain, yDomain }, left, top, styles) {
  const points = series.flatMap((one) => one.points);
  const [low, high] = yDomain ?? extent(points.map(([, v]) => v));
  const range = [top + PANEL.height - MARGIN.bottom, top + MARGIN.top];
  const y = log
    ? scaleLog([Number(`1e${Math.floor(Math.log10(low))}`), Number(`1e${Math.ceil(Math.log10(high))}`)], range)
    : scaleLinear([Math.min(0, low), high], range).nice(6);
  const x = scaleLinear(xDomain ?? extent(points.map(([v]) => v)), [
    left + MARGIN.left,
    left + PANEL.width - MARGIN.right,
  ]);
  const [begin, end] = x.range();
  const [bottom, ceiling] = y.range();
  const parts = [text((begin + end) / 2, top + 20, title, `${MIDDLE} font-weight="600"`)];
  for (const tick of log ? powers(y.domain()) : y.ticks(6)) {
    parts.push(`<path d="M${begin} ${y(tick).toFixed(1)}H${end}" stroke="#e2e2e2"/>`);
    const name = log ? power(tick) : y.tickFormat(6)(tick);
    parts.push(text(begin - 7, y(tick) + 4, name, ' text-anchor="end"'));
  }
  const whole = x.ticks(8).filter(Number.isInteger);
  for (const tick of whole) {
    parts.push(`<path d="M${x(tick).toFixed(1)} ${bottom}v5" stroke="#444"/>`);
    parts.push(text(x(tick), bottom + 19, tick, MIDDLE));
  }
  parts.push(`<path d="M${begin} ${ceiling}V${bottom}H${end}" fill="none" stroke="#444"/>`);
  parts.push(text((begin + end) / 2, bottom + 37, xLabel, MIDDLE));
  const middle = (bottom + ceiling) / 2;
  const turned = ` transform="rotate(-90 ${left + 14} ${middle.toFixed(1)})"`;
  parts.push(text(left + 14, middle, yLabel, `${MIDDLE}${turned}`));
  for (const { name, points: own, dots = false } of series) {
    const { colour, stroke } = styles.get(name);
    parts.push(`<path d="${line().digits(2)(own.map(([a, b]) => [x(a), y(b)]))}" ${stroke}/>`);
    if (!dots) continue;
    for (const [a, b] of own)
      parts.push(`<circle cx="${x(a).toFixed(1)}" cy="${y(b).toFixed(1)}" r="2.5" fill="${colour}"/>`);
  }
  return parts;
}

/**
 * @typedef {object} Series
 * @property {string} name the same name has the same style in every panel
 * @property {[number, number][]} points
 * @property {boolean} [dots] whether each point is marked
 * @typedef {object} Panel
 * @property {string} title
 * @property {string} xLabel
 * @property {string} yLabel
 * @property {Series[]} series
 * @property {boolean} [log] powers of ten upwards; else from 0, or the lowest value below it
 * @property {[number, number]} [xDomain] by default what the points span
 * @property {[number, number]} [yDomain] by default what the points span
 */

/**
 * @param {Panel[]} panels side by side
 * @returns {string} an SVG picture
 */
export function plot(panels) {
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))];
  const styles = new Map(
    names.map((name, i) => {
      const colour = COLOURS[i % COLOURS.length];
      const dash = i % 2 === 1 ? ' stroke-dasharray="7 4"' : '';
      return [name, { colour, stroke: `fill="none" stroke="${colour}" stroke-width="2"${dash}` }];
    }),
  );
  const width = PANEL.width * panels.length;
  let [at, row] = [MARGIN.left, 0];
  const legend = names.map((name) => {
    const wide = SAMPLE + 8 + name.length * CHARACTER + 16;
    if (at + wide > width && at > MARGIN.left) [at, row] = [MARGIN.left, row + 1];
    const y = 8 + LEGEND_ROW * (row + 0.5);
    const one = `<path d="M${at.toFixed(1)} ${y}h${SAMPLE}" ${styles.get(name).stroke}/>${text(at + SAMPLE + 6, y + 4, name)}`;
    at += wide;
    return one;
  });
  const top = 8 + LEGEND_ROW * (row + 1);
  const height = top + PANEL.height;
  const drawn = panels.flatMap((panel, i) => drawPanel(panel, i * PANEL.width, top, styles));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="13" fill="#222">
<rect width="${width}" height="${height}" fill="#fff"/>
${[...legend, ...drawn].join('\n')}
</svg>
`;
}
