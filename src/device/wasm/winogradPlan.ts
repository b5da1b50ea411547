/** Winograd's convolution as work for the kernels: forward, or the input gradient as a convolution of the output's gradient. */
import type { ConvGeometry } from '../../shape.js';
import { ScratchLayout, type WasmContext } from './context.js';
import { tiledSource } from './convSource.js';
import {
  type ConvPlan,
  copyChannels,
  copyWork,
  type Epilogue,
  imageRanges,
  imagesPerChunk,
  type Work,
} from './convWork.js';
import { MOST_STEPS, type Step } from './team.js';

/** A block's transformed tiles and their sums should stay in the second-level cache, but weights should be met often. */
const BLOCK_BYTES = 1 << 20;
const [LEAST_BLOCK, MOST_BLOCK] = [32, 128];
/** Filters that are used once and take more than this are transformed as they are used, so many bytes or some more at a time. */
const FILTER_BYTES = 1 << 18;
/** The part of the threads' time that dividing the tiles must use. */
const LEAST_EVEN = 0.95;
/** Bytes that a thread needs to transform filters: FILTER_SCRATCH of assembly/winograd.ts. */
const FILTER_SCRATCH = 3136 + 9216;

/** Elements of a transformed tile. */
export const elements = (m: number, stride: number): number => (stride === 2 ? 2 * m + 1 : m + 2) ** 2;

/** Tiles that are transformed together; no bit depends on it. */
function blockTiles(m: number, stride: number, tiles: number, k: number, rows: number): number {
  const fit = Math.floor(BLOCK_BYTES / (elements(m, stride) * 4 * (k + rows)));
  const block = Math.min(Math.max(fit - (fit % 8), LEAST_BLOCK), MOST_BLOCK);
  return Math.min(block, wholePanels(tiles));
}

const wholePanels = (tiles: number): number => Math.ceil(tiles / 8) * 8;

/**
 * Whether the threads transform the tiles together, each some channels, before each multiplies them by some of the filters. Else they
 * divide the tiles, where these are many and come out even, or each transforms them all.
 */
function sharesColumns(w: WasmContext, { m, stride, k, rows }: Plain, tiles: number): boolean {
  const panels = tiles / 8;
  const even = panels / (w.threads * Math.ceil(panels / w.threads));
  if (w.threads === 1 || (panels >= 2 * w.threads && even >= LEAST_EVEN)) return false;
  return productTime(m, stride, tiles, k, rows) >= 2 * w.grain && Math.min(k, rows / 2) >= 4 * w.threads;
}

/** Of the products, in nanoseconds or so. */
const productTime = (m: number, stride: number, tiles: number, k: number, rows: number): number =>
  (tiles * elements(m, stride) * k * rows) / 16;

/** A convolution with 3×3 filters: the forward pass, or the input gradient as one of the output's gradient. */
export interface Plain {
  readonly m: number;
  readonly stride: number;
  /** The input gradient of a stride of 2. */
  readonly transposed: boolean;
  readonly tilesHigh: number;
  readonly tilesWide: number;
  readonly batch: number;
  readonly groups: number;
  /** The source: address, channels of a group, extents, zeros before it. */
  readonly source: number;
  readonly k: number;
  readonly sourceHeight: number;
  readonly sourceWidth: number;
  readonly padTop: number;
  readonly padLeft: number;
  /** The result: address, channels of a group, extents. */
  readonly out: number;
  readonly rows: number;
  readonly height: number;
  readonly width: number;
  /**
   * Filters of nine floats, the bytes from one row's to the next's, and what transforms some rows; `to`: where they go, the bytes from one ξ
   * to the next and from one k to the next, scratch.
   */
  readonly weight: number;
  readonly rowStep: number;
  readonly filters: (weight: number, rows: number, to: readonly number[]) => Step;
  readonly bias: number;
}

/** `keeps`: the filters are transformed for more than one run. */
export function winogradPlan(
  w: WasmContext,
  o: Plain,
  geometry: ConvGeometry,
  epilogue: Epilogue,
  keeps: boolean,
): ConvPlan {
  const { sizes } = w;
  const { m, stride, batch, groups, k, rows } = o;
  const [step, overlap] = stride === 1 ? [m, 2] : o.transposed ? [m, 1] : [2 * m, 1];
  const s = tiledSource(step, overlap, [o.tilesHigh, o.tilesWide], [o.padTop, o.padLeft]);
  const sourceChannels = groups * k;
  const tilesOfImage = o.tilesHigh * o.tilesWide;
  const chunk = imagesPerChunk(batch, sourceChannels * s.planeBytes);
  const ranges = imageRanges(w, batch, o.height * o.width, chunk, groups + 1);
  const longest = Math.max(...ranges.map(([from, to]) => to - from));
  const images = Math.min(chunk, longest);
  const tiles = images * tilesOfImage;
  const oneBlock =
    ranges.length === 1 && groups === 1 && tiles > 0 && tiles <= MOST_BLOCK && images * w.threads <= MOST_STEPS;
  const lazy = oneBlock && !keeps && images === batch && sizes.winogradFilterBytes(m, rows, k) > FILTER_BYTES;
  const shared = lazy || (oneBlock && sharesColumns(w, o, tiles));
  const block = shared ? wholePanels(tiles) : blockTiles(m, stride, tiles, k, rows);
  const columnBytes = sizes.winogradColumns(m, stride, block, k);
  // Rows whose filters are there at a time.
  const most = lazy ? 8 * Math.ceil(FILTER_BYTES / sizes.winogradFilterBytes(m, 8, k)) : rows;
  const scratchBytes = sizes.winogradScratch(m, stride, block, most) + (shared ? 0 : columnBytes);
  const scratchStep = Math.ceil(scratchBytes / 64) * 64;
  const xi = sizes.winogradFilterXi(most, k);
  // Filters that meet at most half a panel of tiles are read once, from memory: in one stream, two row panels side by side.
  const kStep = batch * tilesOfImage <= 4 && rows % 8 === 0 ? 32 : 16;
  const filterBytes = Math.ceil(sizes.winogradFilterBytes(m, most, k) / 64) * 64;

  // Few rows at a time would cost more than the waiting that they save, but where their filters must be transformed, too.
  const time = productTime(m, stride, tiles, k, rows);
  const shares = lazy ? w.split(rows, time, 8) : w.ranges(rows, w.parts(time, 1), 8);
  const lasting = new ScratchLayout();
  const atFilters = lasting.take((lazy ? shares.length : groups) * filterBytes);
  const atTransform = lasting.take(w.threads * FILTER_SCRATCH);
  const layout = new ScratchLayout();
  const copyBytes = images * sourceChannels * s.planeBytes;
  const atCopy = layout.take(ranges.length * copyBytes);
  const atScratch = layout.take(w.threads * scratchStep);
  const atColumns = shared ? layout.take(columnBytes) : 0;
  const sourceImage = sourceChannels * o.sourceHeight * o.sourceWidth * 4;
  const outPlane = o.height * o.width * 4;
  const outImage = groups * rows * outPlane;

  const filters = (base: number, weight: number, count: number, out: number): Step =>
    o.filters(weight, count, [out, xi, kStep, base + atTransform]);

  const whole = shared && images === batch;

  return {
    last: whole ? shares : null,
    divisible: whole,
    lasting: lasting.total,
    scratch: layout.total,
    prepare(base) {
      for (let g = 0; g < groups && !lazy; g++) {
        const weight = o.weight + g * rows * k * 36;
        const out = base + atFilters + g * filterBytes;
        w.run(
          w
            .split(rows, rows * k * 8, kStep / 4, 2)
            .map(([from, to]) => [filters(base, weight + from * o.rowStep, to - from, out + from * 4 * k)]),
        );
      }
    },
    works(base, scratch, tables, channels = w.ranges(k, w.threads, 4)) {
      /** Tiles of `count` images at `from`, group g: channels to transform, rows to multiply them by, whose filters are at `at`. */
      const convStep = (
        { from, to, g }: { from: number; to: number; g: number },
        [firstTile, lastTile]: readonly [number, number],
        [first, last]: readonly [number, number],
        [kFrom, kTo]: readonly [number, number],
        at = base + atFilters + g * filterBytes + first * 4 * k,
      ): Step => {
        // The order of fields of WinogradConv.
        const struct = tables.write(
          [m, stride, Number(o.transposed), firstTile, lastTile, block],
          [o.tilesHigh, o.tilesWide, o.height, o.width],
          [from + g * k * s.planeBytes, sourceChannels * s.planeBytes, s.planeBytes, s.rowBytes, k],
          [at, xi, kStep, last - first],
          [o.bias === 0 ? 0 : o.bias + 4 * (g * rows + first)],
          [to + (g * rows + first) * outPlane, outImage, outPlane, scratch + atScratch, scratchStep],
          [epilogue.residual === 0 ? 0 : epilogue.residual - o.out, Number(epilogue.relu)],
          [shared ? scratch + atColumns : 0, kFrom, kTo],
        );
        return ['winogradConv', [struct]];
      };
      const product =
        (count: number, at: { from: number; to: number; g: number }): Work =>
        (divide) => {
          const tiles = count * tilesOfImage;
          const work = divide ? productTime(m, stride, tiles, k, rows) : 0;
          if (shared) {
            return shares.map(([first, last], i) => {
              const steps: Step[] = [];
              const out = base + atFilters + i * filterBytes;
              for (let row = first; row < last; row += most) {
                const end = Math.min(last, row + most);
                if (lazy) steps.push(filters(base, o.weight + row * o.rowStep, end - row, out));
                steps.push(convStep(at, [0, tiles], [row, end], [0, 0], lazy ? out : undefined));
              }
              return steps;
            });
          }
          // Few tiles: every thread transforms them all, for some of the rows.
          const byTiles = tiles >= 16 * w.threads;
          const perThread = Math.max(1, Math.floor(Math.min(tiles / block, MOST_STEPS) / w.threads));
          const tileRanges = w.split(tiles, byTiles ? work : 0, 8, perThread);
          const rowRanges = w.split(rows, byTiles ? 0 : work, 8);
          return tileRanges.flatMap((range) => rowRanges.map((some) => [convStep(at, range, some, [0, k])]));
        };
      const worksOf = ([first, last]: readonly [number, number], range: number): Work[] => {
        const list: Work[] = [];
        const copied = scratch + atCopy + range * copyBytes;
        for (let n = first; n < last; n += chunk) {
          const count = Math.min(chunk, last - n);
          const [from, planes] = [o.source + n * sourceImage, count * sourceChannels];
          const source = { from, to: copied, height: o.sourceHeight, width: o.sourceWidth };
          const to = o.out + n * outImage;
          if (shared) {
            const tiles = [0, count * tilesOfImage] as const;
            list.push(() =>
              channels.map((some) => [
                ...copyChannels(source, count, k, some, s, geometry),
                convStep({ from: copied, to, g: 0 }, tiles, [0, 0], some),
              ]),
            );
          } else list.push(copyWork(w, source, planes, s, geometry));
          for (let g = 0; g < groups; g++) list.push(product(count, { from: copied, to, g }));
        }
        return list;
      };
      return ranges.map(worksOf);
    },
  };
}
