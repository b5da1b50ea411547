/**
 * Winograd's convolution on linear memory, where `winogradTile` says so; direct kernels do the rest. The loops are in
 * assembly/winograd.ts and assembly/winogradWeight.ts.
 */
import { type ConvGeometry, convSizes } from '../../shape.js';
import { WEIGHT_TILES, winogradTile, winogradTiles } from '../winograd.js';
import { ScratchLayout, type WasmContext } from './context.js';
import { tiledSource } from './convSource.js';
import {
  type ConvKernels,
  type ConvPlan,
  copyWork,
  type Epilogue,
  imageRanges,
  imagesPerChunk,
  MOST_STEPS,
  NO_EPILOGUE,
  type PrepareConv,
  PreparedConv,
  runOnce,
  STRUCT_BYTES,
  structBytes,
  type Work,
} from './convWork.js';
import type { Step } from './team.js';

/** A block's transformed tiles and their sums should stay in the second-level cache, but weights should be met often. */
const BLOCK_BYTES = 1 << 20;
const [LEAST_BLOCK, MOST_BLOCK] = [32, 128];
/** Bytes of constants and lines that a thread needs to transform filters: TILE_SCRATCH of assembly/winogradTiles.ts. */
const TILE_SCRATCH = 3136;

/** Elements of a transformed tile. */
const elements = (m: number, stride: number): number => (stride === 2 ? 2 * m + 1 : m + 2) ** 2;

/** Tiles that are transformed together; no bit depends on it. */
function blockTiles(m: number, stride: number, tiles: number, k: number, rows: number): number {
  const fit = Math.floor(BLOCK_BYTES / (elements(m, stride) * 4 * (k + rows)));
  const block = Math.min(Math.max(fit - (fit % 8), LEAST_BLOCK), MOST_BLOCK);
  return Math.min(block, Math.ceil(tiles / 8) * 8);
}

/** A convolution with 3×3 filters: the forward pass, or the input gradient as one of the output's gradient. */
interface Plain {
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
  /** Filters of nine floats: bytes from one row's to the next's, from one k to the next, between groups. */
  readonly weight: number;
  readonly rowStep: number;
  readonly step: number;
  readonly flipped: boolean;
  readonly bias: number;
}

type AllKernels = ConvKernels & { prepareConv: PrepareConv };

export function winogradKernels(w: WasmContext, direct: AllKernels): AllKernels {
  const { exports } = w;

  function planOf(o: Plain, geometry: ConvGeometry, epilogue: Epilogue): ConvPlan {
    const { m, stride, batch, groups, k, rows } = o;
    const [step, overlap] = stride === 1 ? [m, 2] : o.transposed ? [m, 1] : [2 * m, 1];
    const s = tiledSource(step, overlap, [o.tilesHigh, o.tilesWide], [o.padTop, o.padLeft]);
    const sourceChannels = groups * k;
    const tilesOfImage = o.tilesHigh * o.tilesWide;
    const chunk = imagesPerChunk(batch, sourceChannels * s.planeBytes);
    const ranges = imageRanges(w, batch, o.height * o.width, chunk, groups + 1);
    const longest = Math.max(...ranges.map(([from, to]) => to - from));
    const images = Math.min(chunk, longest);
    const block = blockTiles(m, stride, images * tilesOfImage, k, rows);
    const scratchStep = Math.ceil(exports.winogradScratch(m, stride, block, k, rows) / 64) * 64;
    const xi = exports.winogradFilterXi(rows, k);
    const filterBytes = Math.ceil(exports.winogradFilterBytes(m, rows, k) / 64) * 64;

    const lasting = new ScratchLayout();
    const atFilters = lasting.take(groups * filterBytes);
    const atTransform = lasting.take(w.threads * TILE_SCRATCH);
    const layout = new ScratchLayout();
    const copyBytes = images * sourceChannels * s.planeBytes;
    const atCopy = layout.take(ranges.length * copyBytes);
    const atScratch = layout.take(w.threads * scratchStep);
    const works = ranges.length === 1 ? 1 : ranges.length * Math.ceil(longest / chunk) * groups;
    const sourceImage = sourceChannels * o.sourceHeight * o.sourceWidth * 4;
    const outPlane = o.height * o.width * 4;
    const outImage = groups * rows * outPlane;

    return {
      lasting: lasting.total,
      scratch: layout.total,
      structs: structBytes(w.threads, (images * tilesOfImage) / block, works),
      prepare(base) {
        for (let g = 0; g < groups; g++) {
          w.parallel(
            'winogradFilters',
            w
              .split(rows, rows * k * 8, 4, 2)
              .map(([from, to]) => [
                ...[m, stride, o.weight + g * rows * k * 36 + from * o.rowStep, to - from, k],
                ...[o.rowStep, o.step, Number(o.flipped)],
                ...[base + atFilters + g * filterBytes + from * 4 * k, xi, base + atTransform],
              ]),
          );
        }
      },
      works(base, scratch, structs) {
        const product =
          (count: number, from: number, to: number, g: number): Work =>
          (divide) => {
            const tiles = count * tilesOfImage;
            const work = divide ? (tiles * elements(m, stride) * k * rows) / 16 : 0;
            // Few tiles: every thread transforms them all, for some of the rows.
            const byTiles = tiles >= 16 * w.threads;
            const most = Math.max(1, Math.floor(Math.min(tiles / block, MOST_STEPS) / w.threads));
            const tileRanges = w.split(tiles, byTiles ? work : 0, 8, most);
            const rowRanges = w.split(rows, byTiles ? 0 : work, 8);
            return tileRanges.flatMap(([firstTile, lastTile]) =>
              rowRanges.map(([first, last]): Step => {
                // The order of fields of WinogradConv.
                const struct = structs.write([
                  ...[m, stride, Number(o.transposed), firstTile, lastTile, block],
                  ...[o.tilesHigh, o.tilesWide, o.height, o.width],
                  ...[from + g * k * s.planeBytes, sourceChannels * s.planeBytes, s.planeBytes, s.rowBytes, k],
                  ...[base + atFilters + g * filterBytes + first * 4 * k, xi, last - first],
                  ...[o.bias === 0 ? 0 : o.bias + 4 * (g * rows + first)],
                  ...[to + (g * rows + first) * outPlane, outImage, outPlane, scratch + atScratch, scratchStep],
                  ...[epilogue.residual === 0 ? 0 : epilogue.residual - o.out, Number(epilogue.relu)],
                ]);
                return ['winogradConv', struct];
              }),
            );
          };
        const worksOf = ([first, last]: readonly [number, number], range: number): Work[] => {
          const list: Work[] = [];
          const copied = scratch + atCopy + range * copyBytes;
          for (let n = first; n < last; n += chunk) {
            const count = Math.min(chunk, last - n);
            const [from, planes] = [o.source + n * sourceImage, count * sourceChannels];
            list.push(copyWork(w, from, copied, planes, o.sourceHeight, o.sourceWidth, s, geometry));
            for (let g = 0; g < groups; g++) list.push(product(count, copied, o.out + n * outImage, g));
          }
          return list;
        };
        return ranges.map(worksOf);
      },
    };
  }

  /** The forward pass at given addresses, by tiles of m. */
  function forwardPlan(
    m: number,
    o: ConvGeometry,
    { x, weight, bias, out }: { x: number; weight: number; bias: number; out: number },
    epilogue: Epilogue,
  ): ConvPlan {
    const [k, rows] = [o.inChannels / o.groups, o.outChannels / o.groups];
    const [tilesHigh, tilesWide] = winogradTiles(m, 'forward', o);
    return planOf(
      {
        ...{ m, stride: o.strideHeight, transposed: false, tilesHigh, tilesWide, batch: o.batch, groups: o.groups },
        ...{ source: x, k, sourceHeight: o.inHeight, sourceWidth: o.inWidth },
        ...{ padTop: o.padTop, padLeft: o.padLeft },
        ...{ out, rows, height: o.outHeight, width: o.outWidth },
        ...{ weight, rowStep: k * 36, step: 36, flipped: false, bias },
      },
      o,
      epilogue,
    );
  }

  return {
    prepareConv(o, addresses, epilogue) {
      const m = winogradTile('forward', o);
      if (m === 0) return direct.prepareConv(o, addresses, epilogue);
      return new PreparedConv(w, forwardPlan(m, o, addresses, epilogue));
    },

    conv2d(o) {
      const m = winogradTile('forward', o);
      if (m === 0) return direct.conv2d(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const addresses = { x: w.address(o.x, inSize), weight: w.address(o.weight, weightSize) };
      const [bias, out] = [w.optional(o.bias, o.outChannels), w.address(o.out, outSize)];
      runOnce(w, forwardPlan(m, o, { ...addresses, bias, out }, NO_EPILOGUE));
    },

    conv2dBackwardInput(o) {
      const m = winogradTile('input', o);
      if (m === 0) return direct.conv2dBackwardInput(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const [channels, k] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const [tilesHigh, tilesWide] = winogradTiles(m, 'input', o);
      const stride = o.strideHeight;
      const plan = planOf(
        {
          ...{ m, stride, transposed: stride === 2, tilesHigh, tilesWide, batch: o.batch, groups: o.groups },
          ...{ source: w.address(o.dy, outSize), k, sourceHeight: o.outHeight, sourceWidth: o.outWidth },
          ...(stride === 1 ? { padTop: 2 - o.padTop, padLeft: 2 - o.padLeft } : { padTop: 0, padLeft: 0 }),
          ...{ out: w.address(o.dx, inSize), rows: channels, height: o.inHeight, width: o.inWidth },
          ...{ weight: w.address(o.weight, weightSize), rowStep: 36, step: channels * 36, flipped: true },
          bias: 0,
        },
        o,
        NO_EPILOGUE,
      );
      runOnce(w, plan);
    },

    conv2dBackwardWeight(o) {
      const m = winogradTile('weight', o);
      if (m === 0 || o.batch === 0) return direct.conv2dBackwardWeight(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const [x, dy, dweight] = [w.address(o.x, inSize), w.address(o.dy, outSize), w.address(o.dweight, weightSize)];
      const [channels, rows] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const [tilesHigh, tilesWide] = winogradTiles(m, 'weight', o);
      const block = Math.max(WEIGHT_TILES, tilesWide);
      const stride = o.strideHeight;
      const [inPlane, outPlane] = [o.inHeight * o.inWidth * 4, o.outHeight * o.outWidth * 4];

      // A grid of input and output channels: each thread transforms what its part needs.
      const work = (o.batch * tilesHigh * tilesWide * elements(m, stride) * channels * rows) / 16;
      const most = Math.max(1, Math.min(w.threads, Math.floor(work / w.grain)));
      let rowParts = Math.floor(Math.sqrt(most));
      while (most % rowParts > 0) rowParts--;
      const columnRanges = w.ranges(channels, most / rowParts, 8);
      const rowRanges = w.ranges(rows, columnRanges.length === 1 ? most : rowParts, 4);
      const parts = columnRanges.flatMap((columns) => rowRanges.map((range) => [...columns, ...range]));
      const layout = new ScratchLayout();
      const plans = parts.map(([c0, c1, r0, r1]) => ({
        ...{ c0, c1, r0, r1 },
        atStruct: layout.take(STRUCT_BYTES),
        atScratch: layout.take(
          exports.winogradWeightScratch(m, stride, o.batch, tilesHigh, tilesWide, block, c1 - c0, r1 - r0),
        ),
      }));
      const base = w.scratch(layout.total);
      for (let g = 0; g < o.groups; g++) {
        w.parallel(
          'winogradWeight',
          plans.map(({ c0, c1, r0, r1, atStruct, atScratch }) => {
            // The order of fields of WinogradWeight.
            w.writeInts(base + atStruct, [
              ...[m, stride, o.batch, tilesHigh, tilesWide, block],
              ...[x + (g * channels + c0) * inPlane, o.inChannels * inPlane, c1 - c0, o.inHeight, o.inWidth],
              ...[o.padTop, o.padLeft],
              ...[dy + (g * rows + r0) * outPlane, o.outChannels * outPlane, r1 - r0, o.outHeight, o.outWidth],
              ...[dweight + ((g * rows + r0) * channels + c0) * 36, channels * 36, base + atScratch],
            ]);
            return [base + atStruct];
          }),
        );
      }
    },
  };
}
