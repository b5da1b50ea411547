/** A chart of curves over steps. The curves of several runs have points at steps of their own. */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { theme } from '../state/language.js';
import { useStore } from '../state/store.js';

export interface Curve {
  readonly label: string;
  readonly x: readonly number[];
  readonly y: readonly (number | null)[];
  readonly color: 'warm' | 'cold' | 'soft';
  readonly style?: 'line' | 'dashed' | 'faint' | 'points';
}

export interface ChartProps {
  readonly title: string;
  readonly curves: readonly Curve[];
  /** Bounds of the vertical axis; as the curves have them by default. */
  readonly range?: readonly [number, number];
  readonly xMax: number;
  /** For who does not see it. */
  readonly description: string;
}

const colorOf = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function seriesOf({ label, color, style = 'line' }: Curve): uPlot.Series {
  const stroke = colorOf(color);
  return {
    ...{ label, spanGaps: true, width: style === 'faint' ? 1 : 1.75 },
    stroke: style === 'faint' ? `${stroke}55` : stroke,
    dash: style === 'dashed' ? [5, 4] : undefined,
    points: { show: style === 'points', size: 7, fill: stroke },
    paths: style === 'points' ? () => null : undefined,
  };
}

export function Chart({ title, curves, range, xMax, description }: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const tone = useStore(theme);
  const shape = curves.map((c) => `${c.label}|${c.color}|${c.style}`).join();
  const bounds = useRef(xMax);
  bounds.current = xMax;

  useEffect(() => {
    const node = host.current as HTMLDivElement;
    const axis: uPlot.Axis = {
      stroke: colorOf('soft'),
      font: '12px "Plex Sans", sans-serif',
      grid: { stroke: colorOf('rule'), width: 1 },
      ticks: { show: false },
    };
    const made = new uPlot(
      {
        width: node.clientWidth,
        height: node.clientHeight,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { time: false, range: () => [0, Math.max(1, bounds.current)] },
          y: {
            range: range
              ? () => [...range] as [number, number]
              : (_, __, most) => [0, Math.max(0.1, (most ?? 1) * 1.05)],
          },
        },
        axes: [
          { ...axis, grid: { show: false }, size: 26, gap: 4 },
          { ...axis, size: 40, gap: 6 },
        ],
        series: [{}, ...curves.map(seriesOf)],
      },
      [[], ...curves.map(() => [])] as unknown as uPlot.AlignedData,
      node,
    );
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: node.clientWidth, height: node.clientHeight }));
    sized.observe(node);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, tone]);

  useEffect(() => {
    const full = curves.filter((c) => c.x.length > 0);
    if (plot.current === null) return;
    if (full.length === 0) return plot.current.setData([[0], ...curves.map(() => [null])] as uPlot.AlignedData);
    const tables = curves.map((c) => (c.x.length > 0 ? [[...c.x], [...c.y]] : [[0], [null]]) as uPlot.AlignedData);
    plot.current.setData(uPlot.join(tables));
  });

  return (
    <div class="chart">
      <h3>{title}</h3>
      <div class="plot" ref={host} role="img" aria-label={`${title}: ${description}`} />
    </div>
  );
}

interface KeysProps {
  readonly lines: readonly (readonly [Curve['color'], NonNullable<Curve['style']>, string])[];
  readonly note: string;
}

/** What the lines of the charts above stand for. */
export function Keys({ lines, note }: KeysProps) {
  return (
    <ul class="keys">
      {lines.map(([color, style, label]) => (
        <li key={color + style + label}>
          <svg viewBox="0 0 22 8" aria-hidden="true">
            {style === 'points' ? (
              <circle cx="11" cy="4" r="3.5" fill={`var(--${color})`} />
            ) : (
              <path
                d="M0 4h22"
                stroke={`var(--${color})`}
                stroke-width="2"
                stroke-dasharray={style === 'dashed' ? '5 4' : undefined}
              />
            )}
          </svg>
          {label}
        </li>
      ))}
      <li>{note}</li>
    </ul>
  );
}
