/**
 * The gradients of a direct convolution on linear memory. How the input is read is planned in convSource.ts, how the work is
 * handed out in convWork.ts; the loops are in assembly/conv2d.ts and convWeight.ts.
 */
import { type ConvGeometry, convSizes } from '../../shape.js';
import { ScratchLayout, type WasmContext } from './context.js';
import { panelBytes, panelStep, productWork } from './convProduct.js';
import {
  gradientSource,
  inputPhases,
  inputTaps,
  type Phase,
  WEIGHT_BLOCK,
  weightSource,
  withoutIdleStrides,
} from './convSource.js';
import {
  BLOCK_PIXELS,
  type ConvBackward,
  copyWork,
  imageRanges,
  imagesPerChunk,
  runRanges,
  STRUCT_BYTES,
  Structs,
  structBytes,
  type Work,
} from './convWork.js';

/**
 * Bytes from one padded image to the next: a plane past a multiple of 4096, so that the same plane of neighbouring images,
 * which a tap reads together, falls into different sets of the first-level cache.
 */
const imageSlot = (imageBytes: number, planeBytes: number): number =>
  Math.ceil(imageBytes / 4096) * 4096 + Math.ceil(planeBytes / 64) * 64;

export function convBackward(w: WasmContext): ConvBackward {
  const { exports } = w;

  /** Merges the dense images of the stride phases into `planes` planes at `to`. */
  const merge =
    <P extends { phase: Phase; plane: number }>(
      to: number,
      planes: number,
      g: ConvGeometry,
      plans: readonly P[],
      denseOf: (plan: P) => number,
      structs: Structs,
    ): Work =>
    (divide) => {
      const { inHeight, inWidth, strideHeight, strideWidth } = g;
      const bytes = inHeight * inWidth * 4;
      const ranges = divide ? w.split(planes, (planes * bytes) / 20) : [[0, planes] as const];
      return ranges.map(([first, last]) => {
        const table = new Array<number>(strideHeight * strideWidth).fill(0);
        for (const plan of plans) {
          table[plan.phase.top * strideWidth + plan.phase.left] = denseOf(plan) + first * plan.plane;
        }
        const at = structs.write(table);
        const sizes = [last - first, inHeight, inWidth, strideHeight, strideWidth];
        return [['mergePhases', [at, to + first * bytes, ...sizes]]];
      });
    };

  /**
   * True when all `size` operands are finite, known from their products where these are fewer: an operand that is not
   * meets every sum of its row, and no sum gets finite again.
   */
  const finite = (operand: number, size: number, products: number, count: number): boolean =>
    (count < size && exports.allFinite(products, count) === 1) || exports.allFinite(operand, size) === 1;

  return {
    conv2dBackwardInput(given) {
      const o = withoutIdleStrides(given);
      const { batch, inChannels, outChannels, groups } = o;
      const [inSize, outSize, weightSize] = convSizes(o);
      const [dy, weight, dx] = [w.address(o.dy, outSize), w.address(o.weight, weightSize), w.address(o.dx, inSize)];
      const channels = inChannels / groups;
      const m = outChannels / groups;
      const kernel = o.kernelHeight * o.kernelWidth;
      const phases = inputPhases(o);
      const s = gradientSource(o, phases);
      const inPlane = o.inHeight * o.inWidth * 4;
      const outPlane = o.outHeight * o.outWidth * 4;

      const strided = o.strideHeight > 1 || o.strideWidth > 1;
      // Phases are computed as dense images and then merged, unless their rows are so short that scattering costs less.
      const merged = strided && o.inWidth >= 6 * o.strideWidth;
      const scratchImage = Math.max(s.copied ? outChannels * s.planeBytes : 0, merged ? inChannels * inPlane : 0);
      const chunk = imagesPerChunk(batch, scratchImage);
      // Fewer pixels a phase: threads share the rows of its product sooner.
      const pixels = phases.length > 0 ? phases[0].rows * phases[0].cols : 0;
      const ranges = imageRanges(w, batch, pixels, chunk, groups * phases.length + 2);
      const longest = Math.max(...ranges.map(([from, to]) => to - from));
      // Few pixels meet each filter too seldom for packing all: 3×3 ones are packed as they are used.
      const unpacked =
        ranges.length === 1 &&
        !strided &&
        kernel === 9 &&
        channels % 4 === 0 &&
        batch <= chunk &&
        batch * inPlane <= 2048;
      const scratchStep = exports.implicitGemmScratch(channels);
      const layout = new ScratchLayout();
      const atOffsets = layout.take(kernel * 4);
      const chunks = ranges.length === 1 ? 1 : ranges.length * Math.ceil(longest / chunk);
      const mapBytes = merged ? Math.ceil((4 * o.strideHeight * o.strideWidth) / STRUCT_BYTES) * STRUCT_BYTES : 0;
      const structsTotal =
        structBytes(
          w.threads,
          (chunk * o.inHeight * o.inWidth) / BLOCK_PIXELS,
          chunks * (ranges.length === 1 ? 1 : groups * phases.length),
        ) +
        mapBytes * Math.max(chunks, w.threads);
      const atStructs = layout.take(structsTotal);
      const tableBytes = Math.ceil((kernel * (12 + 16)) / 64) * 64;
      const atTables = layout.take(w.threads * tableBytes);
      const plans = phases
        .filter(({ index }) => index.length > 0)
        .map((phase) => {
          const k = m * phase.index.length;
          const plane = phase.rows * phase.cols * 4;
          return {
            phase,
            k,
            plane,
            atTaps: layout.take(k * 4),
            atWeights: layout.take(groups * panelBytes(channels, k)),
            atFilterOffsets: layout.take(unpacked ? k * 4 : 0),
            atDense: layout.take(merged ? ranges.length * Math.min(chunk, longest) * inChannels * plane : 0),
          };
        });
      const copyBytes = s.copied ? Math.min(chunk, longest) * outChannels * s.planeBytes : 0;
      const atCopy = layout.take(ranges.length * copyBytes);
      const atScratch = layout.take(w.threads * scratchStep);
      const base = w.scratch(layout.total);

      for (const { phase, k, atTaps, atFilterOffsets } of plans) {
        w.writeInts(
          base + atOffsets,
          phase.deltas.map(([dh, dw]) => 4 * ((dh + s.padTop) * s.phaseLength + dw + s.padLeft)),
        );
        exports.expandTaps(base + atTaps, m, s.planeBytes, base + atOffsets, phase.index.length);
        if (unpacked) {
          w.writeInts(
            base + atOffsets,
            phase.index.map((tap) => 4 * tap),
          );
          exports.expandTaps(base + atFilterOffsets, m, channels * kernel * 4, base + atOffsets, k / m);
        }
      }
      for (let g = 0; g < groups && !unpacked; g++) {
        // Where each tap's columns go: packFilters says how.
        const table = new Array<number>(3 * kernel).fill(0);
        for (const { phase, k, atWeights } of plans) {
          const panels = base + atWeights + g * panelBytes(channels, k);
          phase.index.forEach((tap, i) => {
            table.splice(3 * tap, 3, panels + 16 * i, 16 * phase.index.length, panelStep(k));
          });
        }
        w.parallel(
          'packFilters',
          w.split(channels, (m * channels * kernel) / 2, 4).map(([from, to], i) => {
            const at = base + atTables + i * tableBytes;
            w.writeInts(at, table);
            return [weight + g * m * channels * kernel * 4, m, channels, kernel, at, from, to - from];
          }),
        );
      }
      // Pixels that no tap reaches: a stride larger than the kernel.
      if (!merged && plans.length < phases.length) exports.fill(dx, 0, o.dx.size);
      const structs = new Structs(w, base + atStructs, structsTotal);
      const worksOf = ([first, last]: readonly [number, number], range: number): Work[] => {
        const list: Work[] = [];
        const copied = base + atCopy + range * copyBytes;
        const denseOf = ({ plane, atDense }: (typeof plans)[number]): number =>
          base + atDense + range * Math.min(chunk, longest) * inChannels * plane;
        for (let n = first; n < last; n += chunk) {
          const images = Math.min(chunk, last - n);
          const from = dy + n * outChannels * outPlane;
          const to = dx + n * inChannels * inPlane;
          const planes = { from, to: copied, height: o.outHeight, width: o.outWidth };
          if (s.copied) list.push(copyWork(w, planes, images * outChannels, s, o));
          const source = s.copied ? copied : from;
          for (const plan of plans) {
            const { phase, k, plane, atTaps, atWeights, atFilterOffsets } = plan;
            for (let g = 0; g < groups; g++) {
              const target = merged
                ? {
                    out: denseOf(plan) + g * channels * plane,
                    outImage: inChannels * plane,
                    outPlane: plane,
                    outRow: phase.cols * 4,
                    outCol: 4,
                  }
                : {
                    out: to + g * channels * inPlane + 4 * (phase.top * o.inWidth + phase.left),
                    outImage: inChannels * inPlane,
                    outPlane: inPlane,
                    outRow: o.strideHeight * o.inWidth * 4,
                    outCol: o.strideWidth * 4,
                  };
              list.push(
                productWork(
                  w,
                  {
                    images,
                    rows: phase.rows,
                    cols: phase.cols,
                    source: source + g * m * s.planeBytes,
                    sourceImage: outChannels * s.planeBytes,
                    sourceRow: s.rowBytes,
                    sourceCol: s.colBytes,
                    taps: base + atTaps,
                    k,
                    m: channels,
                    weight: weight + g * m * channels * kernel * 4,
                    weightRow: kernel * 4,
                    weightOffsets: unpacked ? base + atFilterOffsets : 0,
                    packed: base + atWeights + g * panelBytes(channels, k),
                    isPacked: !unpacked,
                    bias: 0,
                    ...target,
                    scratch: base + atScratch,
                    scratchStep,
                  },
                  structs,
                ),
              );
            }
          }
          if (merged) list.push(merge(to, images * inChannels, o, plans, denseOf, structs));
        }
        return list;
      };
      runRanges(w, ranges.map(worksOf), structs);

      // A padded zero times an infinite weight would not be nothing.
      if (s.copied && !finite(weight, weightSize, dx, inSize)) {
        for (let n = 0; n < batch; n++) {
          for (let g = 0; g < groups; g++) {
            exports.backwardInputPlain(
              dy + (n * outChannels + g * m) * outPlane,
              weight + g * m * channels * kernel * 4,
              dx + (n * inChannels + g * channels) * inPlane,
              ...([
                channels,
                o.inHeight,
                o.inWidth,
                m,
                o.outHeight,
                o.outWidth,
                o.kernelHeight,
                o.kernelWidth,
              ] as const),
              ...([o.strideHeight, o.strideWidth, o.padTop, o.padLeft, o.dilationHeight, o.dilationWidth] as const),
            );
          }
        }
      }
    },

    conv2dBackwardWeight(given) {
      const o = withoutIdleStrides(given);
      const { batch, inChannels, outChannels, groups } = o;
      const [inSize, outSize, weightSize] = convSizes(o);
      const [x, dy, dweight] = [w.address(o.x, inSize), w.address(o.dy, outSize), w.address(o.dweight, weightSize)];
      const channels = inChannels / groups;
      const m = outChannels / groups;
      const s = weightSource(o);
      const offsets = inputTaps(o, s);
      const k = channels * offsets.length;
      const plane = o.outHeight * o.outWidth;
      const inPlane = o.inHeight * o.inWidth * 4;
      const [xImage, dyImage] = [inChannels * inPlane, outChannels * plane * 4];

      // A block of q meets at most this many images.
      const slots = s.copied ? Math.min(batch, Math.ceil(WEIGHT_BLOCK / plane) + 1) : batch;
      const slotBytes = imageSlot(channels * s.planeBytes, s.planeBytes);
      const total = batch * plane;
      const oneBlock = total <= WEIGHT_BLOCK;
      // A thread takes some output channels through all blocks; each makes its own copies of the input.
      const parts = w.split(m, (total * m * k) / 16, 8);
      const most = Math.max(...parts.map(([from, to]) => to - from));
      const layout = new ScratchLayout();
      const atOffsets = layout.take(offsets.length * 4);
      // The kernel reads past the last tap, up to a panel's width.
      const atTaps = layout.take((k + 7) * 4);
      const own = new ScratchLayout();
      const atStruct = own.take(STRUCT_BYTES);
      const atSums = own.take(oneBlock ? 0 : exports.weightGemmSums(most, k));
      const atCopy = own.take(s.copied ? slots * slotBytes : 0);
      const atScratch = own.take(exports.weightGemmScratch(most));
      const atOwn = layout.take(parts.length * own.total);
      const base = w.scratch(layout.total);

      w.writeInts(base + atOffsets, offsets);
      exports.expandTaps(base + atTaps, channels, s.planeBytes, base + atOffsets, offsets.length);
      exports.fill(base + atTaps + k * 4, 0, 7);
      if (total === 0) exports.fill(dweight, 0, o.dweight.size);
      for (let g = 0; g < groups && total > 0; g++) {
        const from = x + g * channels * inPlane;
        w.parallel(
          'weightGemm',
          parts.map(([first, last], i) => {
            const at = base + atOwn + i * own.total;
            // The order of fields of WeightGemm.
            w.writeInts(
              at + atStruct,
              [o.outHeight, o.outWidth, batch],
              [from, xImage, s.subsampled ? 2 : Number(s.copied), channels, o.inHeight, o.inWidth],
              [s.padTop, s.padLeft, s.height, s.phases, s.phaseLength, o.strideHeight, o.strideWidth],
              [s.copied ? at + atCopy : from, slots, s.copied ? slotBytes : xImage, s.rowBytes, s.colBytes],
              [base + atTaps, k, dy + (g * m + first) * plane * 4, dyImage, last - first],
              [oneBlock ? 0 : at + atSums, dweight + (g * m + first) * k * 4, at + atScratch],
            );
            return [at + atStruct];
          }),
        );
      }

      // A padded zero times an infinite gradient would not be nothing.
      if (s.copied && !s.subsampled && !finite(dy, outSize, dweight, weightSize)) {
        for (let g = 0; g < groups; g++) {
          exports.backwardWeightPlain(
            x + g * channels * inPlane,
            dy + g * m * plane * 4,
            dweight + g * m * k * 4,
            ...([batch, xImage, dyImage, channels, o.inHeight, o.inWidth, m, o.outHeight, o.outWidth] as const),
            ...([o.kernelHeight, o.kernelWidth, o.strideHeight, o.strideWidth] as const),
            ...([o.padTop, o.padLeft, o.dilationHeight, o.dilationWidth] as const),
          );
        }
      }
    },
  };
}
