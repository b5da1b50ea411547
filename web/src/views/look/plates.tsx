/** The network as a row of plates, drawn from the shapes that the code gives: height is the map's side, width its channels. */
import type { LayerRow } from '../../work/messages.js';

const BLOCK = /^(Residual|BasicBlock|Bottleneck|PlainBlock)$/;
/** Of the tallest plate, and what its arc and its label take. */
const TALLEST = 144;
const ABOVE = 36;
const BELOW = 40;
const AXIS = ABOVE + TALLEST / 2;
const HEIGHT = AXIS + TALLEST / 2 + BELOW;

export interface Unit {
  readonly row: LayerRow;
  readonly block: boolean;
  /** Whether the shortcut has a convolution of its own. */
  readonly projected: boolean;
}

/** What is drawn of a network: the first layers, each block, the last layers. Batch norm and ReLU go with what is before. */
export function unitsOf(layers: readonly LayerRow[]): Unit[] {
  const blocks = layers.filter((l) => BLOCK.test(l.type));
  const inBlock = (l: LayerRow): boolean => blocks.some((b) => l.name.startsWith(`${b.name}.`));
  return layers
    .filter((l) => BLOCK.test(l.type) || (l.leaf && !inBlock(l) && !/^(BatchNorm2d|ReLU|Flatten)$/.test(l.type)))
    .map((row) => ({
      row,
      block: BLOCK.test(row.type),
      // A bottleneck's conv3 is its own third convolution.
      projected: layers.some(
        (l) => l.name === `${row.name}.downsample.0` || (row.type === 'Residual' && l.name === `${row.name}.conv3`),
      ),
    }));
}

interface Plate extends Unit {
  readonly x: number;
  readonly width: number;
  readonly height: number;
}

function layOut(units: readonly Unit[]): { plates: Plate[]; width: number } {
  const dense = units.length > 16;
  const gap = dense ? 11 : 30;
  const [, , first = 1] = units[0]?.row.output ?? [];
  let x = gap + 6;
  const plates = units.map((unit) => {
    const [, channels, height = 1] = unit.row.output;
    const width = (6 + 5.2 * Math.log2(Math.max(2, channels))) * (dense ? 0.34 : 1);
    const plate = { ...unit, x, width, height: 12 + (TALLEST - 12) * Math.sqrt(height / first) };
    x += width + gap;
    return plate;
  });
  return { plates, width: x + 8 };
}

const shapeOf = ({ output }: LayerRow): string => output.slice(1).join(' × ');

interface PlatesProps {
  readonly layers: readonly LayerRow[];
  readonly chosen: string;
  readonly onChoose: (name: string) => void;
  /** In words: name, shape, parameters, multiply-adds. */
  readonly describe: (row: LayerRow) => string;
  readonly label: string;
}

export function Plates({ layers, chosen, onChoose, describe, label }: PlatesProps) {
  const { plates, width } = layOut(unitsOf(layers));
  const between = (i: number): number => {
    const { x, width: w } = plates[i];
    const next = plates[i + 1];
    return next ? (x + w + next.x) / 2 : x + w + 10;
  };
  return (
    <svg
      class="drawing plates"
      viewBox={`0 0 ${width} ${HEIGHT}`}
      style={{ maxWidth: `${1.25 * width}px` }}
      role="group"
      aria-label={label}
    >
      <path class="line" d={`M4 ${AXIS}H${width - 4}`} opacity="0.5" />
      {plates.map((p, i) => {
        if (!p.block || p.row.type === 'PlainBlock') return null;
        const [from, to] = [i === 0 ? p.x - 10 : between(i - 1), between(i)];
        const top = AXIS - p.height / 2 - 30;
        const middle = (from + to) / 2;
        return (
          <g key={p.row.name} aria-hidden="true">
            <path class="shortcut" d={`M${from} ${AXIS}C${from} ${top} ${to} ${top} ${to} ${AXIS}`} />
            {p.projected && (
              <rect class="warm" x={middle - 3.5} y={AXIS + 0.75 * (top - AXIS) - 3.5} width="7" height="7" />
            )}
          </g>
        );
      })}
      {plates.map((p) => {
        const y = AXIS - p.height / 2;
        const choose = (): void => onChoose(p.row.name);
        return (
          <g
            key={p.row.name}
            class={`plate ${p.row.name === chosen ? 'chosen' : ''}`}
            role="button"
            tabindex={0}
            aria-label={describe(p.row)}
            aria-pressed={p.row.name === chosen}
            data-unit={p.row.name}
            onClick={choose}
            onKeyDown={(event) => {
              if (event.key !== 'Enter' && event.key !== ' ') return;
              event.preventDefault();
              choose();
            }}
          >
            <title>{describe(p.row)}</title>
            <rect
              x={p.x - 5}
              y={AXIS - p.height / 2 - 6}
              width={p.width + 10}
              height={p.height + 12}
              fill="transparent"
            />
            <rect class="body" x={p.x} y={y} width={p.width} height={p.height} rx="2" />
          </g>
        );
      })}
      {plates.map((p, i) => {
        const before = plates[i - 1];
        if (before !== undefined && shapeOf(before.row) === shapeOf(p.row)) return null;
        const [, channels, side] = p.row.output;
        const [x, y] = [p.x + p.width / 2, AXIS + p.height / 2];
        return (
          <g key={p.row.name} aria-hidden="true">
            <text x={x} y={y + 18} text-anchor="middle" class="small">
              {channels}
            </text>
            <text x={x} y={y + 32} text-anchor="middle" class="small">
              {side === undefined ? '' : `${side}²`}
            </text>
          </g>
        );
      })}
    </svg>
  );
}
