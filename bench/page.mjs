/** The results as one self-contained HTML page: charts in SVG, every figure in a table below, machine and engine on top. */
import { scaleBand, scaleLinear, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';

const COLOURS = ['#3b6ea5', '#d9822b', '#4a9a5b', '#a34f86', '#8a6d3b', '#5f8f9e', '#999999'];
const WIDTH = 960;
const MARGIN = { top: 12, right: 20, bottom: 40, left: 230 };

const safe = (text) =>
  String(text).replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
const label = (x, y, text, more = '') => `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${safe(text)}</text>`;
const svg = (height, body) => `<svg viewBox="0 0 ${WIDTH} ${height}" role="img">${body}</svg>`;
const legend = (names) =>
  `<p class="legend">${names.map((name, i) => `<span style="color:${COLOURS[i]}">■</span> ${safe(name)}`).join(' &nbsp; ')}</p>`;

/** Vertical grid lines of a scale, with their numbers. */
function grid(x, height, format) {
  return x
    .ticks(8)
    .map((tick) => {
      const at = x(tick);
      const rule = `<line x1="${at}" x2="${at}" y1="${MARGIN.top}" y2="${height - MARGIN.bottom}" class="grid"/>`;
      return rule + label(at, height - MARGIN.bottom + 16, format(tick), 'text-anchor="middle"');
    })
    .join('');
}

/**
 * Horizontal bars: `rows` of { name, values, text? }, one bar for each of `series`, side by side or, `stacked`, end to end.
 * `marks`: vertical lines of { value, name }.
 */
function bars(rows, series, { stacked = false, unit = '', marks = [], digits = 1 } = {}) {
  const rowHeight = stacked ? 26 : 8 + 13 * series.length;
  const height = MARGIN.top + MARGIN.bottom + rows.length * rowHeight;
  const totals = rows.map(({ values }) =>
    stacked ? values.reduce((a, b) => a + (b ?? 0), 0) : Math.max(...values.map((v) => v ?? 0)),
  );
  const x = scaleLinear(
    [0, 1.1 * Math.max(...totals, ...marks.map(({ value }) => value))],
    [MARGIN.left, WIDTH - MARGIN.right],
  );
  const y = scaleBand(
    rows.map(({ name }) => name),
    [MARGIN.top, height - MARGIN.bottom],
  ).padding(0.15);
  let body = grid(x, height, (tick) => `${tick}${unit}`);
  for (const { name, values } of rows) {
    body += label(MARGIN.left - 8, y(name) + y.bandwidth() / 2 + 4, name, 'text-anchor="end"');
    let from = 0;
    values.forEach((value, i) => {
      if (value === undefined || value === null) return;
      const thickness = stacked ? y.bandwidth() : y.bandwidth() / series.length;
      const top = y(name) + (stacked ? 0 : i * thickness);
      const [start, end] = [x(stacked ? from : 0), x(stacked ? from + value : value)];
      const title = `<title>${safe(`${name}, ${series[i]}: ${value.toFixed(digits)}${unit}`)}</title>`;
      body += `<rect x="${start}" y="${top}" width="${Math.max(0, end - start)}" height="${thickness * 0.92}" fill="${COLOURS[i]}">${title}</rect>`;
      if (!stacked) body += label(end + 4, top + thickness * 0.75, `${value.toFixed(digits)}${unit}`, 'class="value"');
      from += value;
    });
    if (stacked)
      body += label(x(from) + 4, y(name) + y.bandwidth() / 2 + 4, `${from.toFixed(digits)}${unit}`, 'class="value"');
  }
  for (const { value, name } of marks) {
    const at = x(value);
    body += `<line x1="${at}" x2="${at}" y1="${MARGIN.top}" y2="${height - MARGIN.bottom}" class="mark"/>`;
    body += label(at - 4, height - MARGIN.bottom - 4, name, 'text-anchor="end" class="value"');
  }
  return (series.length > 1 ? legend(series) : '') + svg(height, body);
}

/** Roofline: GFLOP/s over FLOP/byte, the least traffic each call could have; `points` of { name, kind, intensity, gflops }. */
function roofline(points, kinds, { peak, bandwidth }) {
  const height = 420;
  const x = scaleLog([1, 1000], [60, WIDTH - MARGIN.right]);
  const top = Math.max(...points.map(({ gflops }) => gflops), peak) * 1.3;
  const y = scaleLog([5, top], [height - MARGIN.bottom, MARGIN.top]);
  const roof = [
    [1, Math.max(5, bandwidth)],
    [peak / bandwidth, peak],
    [1000, peak],
  ];
  let body = [1, 3, 10, 30, 100, 300, 1000]
    .map((v) => {
      const rule = `<line x1="${x(v)}" x2="${x(v)}" y1="${MARGIN.top}" y2="${height - MARGIN.bottom}" class="grid"/>`;
      return rule + label(x(v), height - MARGIN.bottom + 16, v, 'text-anchor="middle"');
    })
    .join('');
  body += [5, 10, 20, 50, 100, 200]
    .filter((v) => v < top)
    .map((v) => label(52, y(v) + 4, v, 'text-anchor="end"'))
    .join('');
  body += `<path d="${line()(roof.map(([a, b]) => [x(a), y(b)]))}" class="mark" fill="none"/>`;
  body += label(
    WIDTH - MARGIN.right,
    y(peak) - 6,
    `register tile, ${peak.toFixed(0)} GFLOP/s`,
    'text-anchor="end" class="value"',
  );
  for (const { name, kind, intensity, gflops } of points) {
    const title = `<title>${safe(`${name}, ${kind}: ${gflops.toFixed(1)} GFLOP/s, ${intensity.toFixed(0)} FLOP/byte`)}</title>`;
    body += `<circle cx="${x(Math.min(1000, intensity))}" cy="${y(gflops)}" r="4.5" fill="${COLOURS[kinds.indexOf(kind)]}" fill-opacity="0.75">${title}</circle>`;
  }
  body += label(
    WIDTH / 2,
    height - 6,
    'FLOP of the direct convolution per byte of operands and results',
    'text-anchor="middle"',
  );
  return legend(kinds) + svg(height, body);
}

function table(headings, rows) {
  const cells = (list, tag) => `<tr>${list.map((cell) => `<${tag}>${safe(cell)}</${tag}>`).join('')}</tr>`;
  return `<table>${cells(headings, 'th')}${rows.map((row) => cells(row, 'td')).join('')}</table>`;
}

const section = (title, text, ...parts) =>
  `<section><h2>${safe(title)}</h2><p>${safe(text)}</p>${parts.join('')}</section>`;
const verdict = (met) => (met === undefined ? '' : met ? 'met' : 'missed');

function convolutions(rows, about) {
  const kinds = ['forward', 'input gradient', 'weight gradient'];
  const of = (mode) => rows.filter((row) => row.mode === mode);
  const labels = [...new Set(of('exact').map(({ label: name }) => name))];
  const share = (mode, name, kind) => {
    const row = of(mode).find((one) => one.label === name && one.kind === kind);
    return row && 100 * row.share.median;
  };
  const byLayer = labels.map((name) => ({ name, values: kinds.map((kind) => share('exact', name, kind)) }));
  const fast = [...new Set(of('fast').map(({ label: name }) => name))].map((name) => ({
    name,
    values: kinds.map((kind) => share('fast', name, kind)),
  }));
  const points = rows.map(({ label: name, kind, mode, intensity, gflops }) => ({
    name,
    kind: `${mode}, ${kind}`,
    intensity,
    gflops: gflops.median,
  }));
  return [
    section(
      'Convolutions, exact mode: share of the peak',
      'Of the register tile on operands in the first-level cache, sampled between the measurements.',
      bars(byLayer, kinds, { unit: ' %', marks: [{ value: 100, name: 'peak' }] }),
    ),
    fast.length === 0
      ? ''
      : section(
          'Convolutions, fast mode: work of the direct convolution, share of the same peak',
          'Winograd computes the same results with fewer products, so more than 100 % is possible.',
          bars(fast, kinds, { unit: ' %', digits: 0, marks: [{ value: 100, name: 'peak' }] }),
        ),
    section(
      'Roofline',
      'What memory and arithmetic allow an exact convolution, and what was reached.',
      roofline(points, [...new Set(points.map(({ kind }) => kind))], about),
    ),
  ].join('');
}

/** Kernels by kind of work. */
const WORK = [
  ['forward convolution', /^(conv2d|prepareConv2d)$/],
  ['input gradient', /^conv2dBackwardInput$/],
  ['weight gradient', /^conv2dBackwardWeight$/],
  ['batch norm, ReLU', /^(batchNorm|relu)/],
  ['pooling', /Pool/],
  ['optimizer', /^(sgd|adam|rmsprop)/],
  ['everything else', /./],
];

function steps(rows) {
  const split = rows
    .filter(({ name }) => name.includes('training step'))
    .map(({ name, split: { parts } }) => {
      const values = WORK.map(() => 0);
      for (const { name: kernel, ms } of parts) values[WORK.findIndex(([, is]) => is.test(kernel))] += ms;
      return { name: name.replace('model ', ''), values };
    });
  const speed = rows.map(({ name, imagesPerSecond }) => ({
    name: name.replace('model ', ''),
    values: [imagesPerSecond.median],
  }));
  return (
    section('Models, one thread', 'Images a second, median.', bars(speed, ['images/s'])) +
    (split.length === 0
      ? ''
      : section(
          'A training step by kind of work',
          'Milliseconds; a clock around every kernel.',
          bars(
            split,
            WORK.map(([name]) => name),
            { stacked: true, unit: ' ms', digits: 0 },
          ),
        ))
  );
}

/**
 * @param {object} run what `npm run bench` writes as JSON
 * @param {object | null} peers what `npm run bench:peers` found last: groups, each with its date, and targets
 */
export function page({ machine, peakGflops, copyGbytes, results }, peers) {
  const of = (name) => results.filter((row) => row.section === name);
  const parts = [];
  if (of('conv').length > 0) {
    parts.push(convolutions(of('conv'), { peak: peakGflops.median, bandwidth: copyGbytes }));
  }
  if (of('model').length > 0) parts.push(steps(of('model')));
  if (of('threads').length > 0) {
    const rows = of('threads').map(({ name, images, one, all }) => ({
      name: name.replace('threads ', ''),
      values: [images / one, images / all],
    }));
    const [{ threads }] = of('threads');
    const milliseconds = (seconds) => (1000 * seconds).toFixed(1);
    const times = of('threads').map(({ name, one, all, best, ratio, ceiling, targets }) => [
      name.replace('threads ', ''),
      ...[one, all, best].map(milliseconds),
      ...[ratio, ceiling, targets.ratio.target].map((value) => `${value.toFixed(2)}×`),
      verdict(targets.ratio.met),
    ]);
    const heads = ['', 'ms: 1 thread', `${threads} threads`, 'best', 'ratio', 'arithmetic alone', 'target', ''];
    parts.push(
      section(
        'Threads',
        'Images a second, in turns in one process.',
        bars(rows, ['1 thread', `${threads} threads`]) + table(heads, times),
      ),
    );
  }
  if (of('batch').length > 0) {
    const rows = of('batch').map(({ name, imagesPerSecond }) => ({
      name: name.replace('batch ', ''),
      values: [imagesPerSecond],
    }));
    parts.push(section('Batch size', 'Images a second.', bars(rows, ['images/s'])));
  }
  if (of('memory').length > 0) {
    const rows = of('memory').map(({ name, residentBytes, heap }) => ({
      name: name.replace('memory ', ''),
      values: [residentBytes / 2 ** 20, heap && heap.peak / 2 ** 20],
    }));
    const text = 'MiB at the peak, each in a process of its own.';
    parts.push(section('Memory', text, bars(rows, ['resident', 'of it used by tensors and kernels'], { digits: 0 })));
  }
  if (peers) {
    for (const { group, date, rows: all } of peers.groups) {
      const rows = all.map(({ name, version, imagesPerSecond }) => ({
        name: version === name.split(' ')[1] ? name : `${name} ${version}`,
        values: [imagesPerSecond],
      }));
      const text = `Images a second, taking turns, each in a process of its own; ${date}.`;
      parts.push(section(`Peers: ${group}`, text, bars(rows, ['images/s'])));
    }
    const rows = peers.targets.map(({ group, name, peer, target, ratio, best, met }) => [
      group,
      `${name} against ${peer}`,
      `${ratio.toFixed(2)}×`,
      `${best.toFixed(2)}×`,
      `${target.toFixed(2)}×`,
      verdict(met),
    ]);
    parts.push(section('Against the peers', '', table(['', '', 'by medians', 'by the best', 'target', ''], rows)));
  }
  const figures = results
    .filter(({ section: of }) => of !== 'threads')
    .map(({ name, ms, gflops, share, imagesPerSecond, residentBytes }) => [
      name,
      ms ? `${ms.median.toFixed(3)} (${ms.min.toFixed(3)} to ${ms.max.toFixed(3)})` : '',
      gflops ? gflops.median.toFixed(1) : '',
      share ? `${(100 * share.median).toFixed(1)} %` : '',
      typeof imagesPerSecond === 'object' ? imagesPerSecond.median.toFixed(2) : (imagesPerSecond?.toFixed(2) ?? ''),
      residentBytes ? `${(residentBytes / 2 ** 20).toFixed(0)} MiB` : '',
    ]);
  const headings = ['', 'ms: median (least to most)', 'GFLOP/s', 'of peak', 'images/s', 'resident'];
  if (figures.length > 0) {
    parts.push(section('Every figure', 'Medians, and how far the samples lie apart.', table(headings, figures)));
  }
  const { cpu, cores, platform, node, v8, date, load } = machine;
  const tile = peakGflops
    ? `; register tile ${peakGflops.median.toFixed(1)} GFLOP/s (${peakGflops.min.toFixed(1)} to ${peakGflops.max.toFixed(1)})`
    : '';
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>atalho: measured</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }
svg { width: 100%; height: auto; } text { font-size: 11px; fill: #333; } .value { fill: #666; font-size: 10px; }
.grid { stroke: #e4e4e4; } .mark { stroke: #b33; stroke-dasharray: 4 3; } .legend { margin: 0.2rem 0; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: 0.15rem 0.6rem; border-bottom: 1px solid #ddd; text-align: left; }
</style>
<h1>atalho: measured</h1>
<p>${safe(`${cpu}, ${cores} cores, ${platform}; Node ${node}, V8 ${v8}; ${date}; load average ${load[0]}${tile}`)}</p>
${parts.join('\n')}
</html>
`;
}
