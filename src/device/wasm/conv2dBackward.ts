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
  type Work,
} from './convWork.js';
import { oncePerJob } from './tables.js';
import type { Step } from './team.js';

/**
 * Bytes from one padded image to the next: a plane past a multiple of 4096, so that the same plane of neighbouring images,
 * which a tap reads together, falls into different sets of the first-level cache.
 */
const imageSlot = (imageBytes: number, planeBytes: number): number =>
  Math.ceil(imageBytes / 4096) * 4096 + Math.ceil(planeBytes / 64) * 64;

export function convBackward(w: WasmContext): ConvBackward {
  const { sizes, tables } = w;

  /** Merges the dense images of the stride phases into `planes` planes at `to`. */
  const merge =
    <P extends { phase: Phase; plane: number }>(
      to: number,
      planes: number,
      g: ConvGeometry,
      plans: readonly P[],
      denseOf: (plan: P) => number,
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
        const extents = [last - first, inHeight, inWidth, strideHeight, strideWidth];
        return [['mergePhases', [tables.write(table), to + first * bytes, ...extents]]];
      });
    };

  return {
    conv2dBackwardInput(given) {
      const o = withoutIdleStrides(given);
      const start = w.besides?.start ?? 0;
      const { batch, inChannels, outChannels, groups } = o;
      const [inSize, outSize, weightSize] = convSizes(o);
      const [dy, weight, dx] = [w.input(o.dy, outSize), w.input(o.weight, weightSize), w.address(o.dx, inSize)];
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
        batch * inPlane <= 4 * BLOCK_PIXELS;
      const scratchStep = sizes.implicitGemmScratch(channels);
      const layout = new ScratchLayout();
      const plans = phases
        .filter(({ index }) => index.length > 0)
        .map((phase) => {
          const k = m * phase.index.length;
          const plane = phase.rows * phase.cols * 4;
          return {
            phase,
            k,
            plane,
            taps: oncePerJob(tables, () =>
              tables.taps(
                m,
                s.planeBytes,
                phase.deltas.map(([dh, dw]) => 4 * ((dh + s.padTop) * s.phaseLength + dw + s.padLeft)),
              ),
            ),
            filterOffsets: oncePerJob(tables, () =>
              tables.taps(
                m,
                channels * kernel * 4,
                phase.index.map((tap) => 4 * tap),
              ),
            ),
            atWeights: layout.take(groups * panelBytes(channels, k)),
            atDense: layout.take(merged ? ranges.length * Math.min(chunk, longest) * inChannels * plane : 0),
          };
        });
      const copyBytes = s.copied ? Math.min(chunk, longest) * outChannels * s.planeBytes : 0;
      const atCopy = layout.take(ranges.length * copyBytes);
      const atScratch = layout.take(w.threads * scratchStep);
      const base = w.scratch(layout.total);

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
          w.split(channels, (m * channels * kernel) / 2, 4).map(([from, to]) => {
            return [weight + g * m * channels * kernel * 4, m, channels, kernel, tables.write(table), from, to - from];
          }),
        );
      }
      // Pixels that no tap reaches: a stride larger than the kernel.
      if (!merged && plans.length < phases.length) w.call('fill', dx, 0, o.dx.size);
      const repair = (first: number, last: number): Step => [
        'repairInput',
        [
          ...[dy + first * outChannels * outPlane, weight, dx + first * inChannels * inPlane, last - first, groups],
          ...[channels, o.inHeight, o.inWidth, m, o.outHeight, o.outWidth, o.kernelHeight, o.kernelWidth],
          ...[o.strideHeight, o.strideWidth, o.padTop, o.padLeft, o.dilationHeight, o.dilationWidth],
        ],
      ];
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
            const { phase, k, plane, taps, filterOffsets, atWeights } = plan;
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
                    taps,
                    k,
                    m: channels,
                    weight: weight + g * m * channels * kernel * 4,
                    weightRow: kernel * 4,
                    weightOffsets: unpacked ? filterOffsets : null,
                    packed: base + atWeights + g * panelBytes(channels, k),
                    isPacked: !unpacked,
                    bias: 0,
                    ...target,
                    scratch: base + atScratch,
                    scratchStep,
                  },
                  tables,
                ),
              );
            }
          }
          if (merged) list.push(merge(to, images * inChannels, o, plans, denseOf));
        }
        if (s.copied) list.push(() => [[repair(first, last)]]);
        return list;
      };
      runRanges(w, ranges.map(worksOf));
      w.besides?.wrote(start, given.dx, [given.dy, given.weight]);
    },

    conv2dBackwardWeight(given) {
      const o = withoutIdleStrides(given);
      const { batch, inChannels, outChannels, groups } = o;
      const [inSize, outSize, weightSize] = convSizes(o);
      const [x, dy, dweight] = [w.input(o.x, inSize), w.input(o.dy, outSize), w.address(o.dweight, weightSize)];
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
      const total = batch * plane;
      const oneBlock = total <= WEIGHT_BLOCK;
      if (total === 0) {
        w.call('fill', dweight, 0, o.dweight.size);
        return;
      }
      // A thread takes some channels of the input, which it copies and packs, through all blocks; where these are few, some of the output.
      const most = Math.min(channels * m, w.parts((total * m * k) / 16, 2));
      const columns = w.ranges(channels, most, 8);
      const rows = w.ranges(m, Math.floor(most / columns.length), 8);
      const layout = new ScratchLayout();
      const parts = columns.flatMap(([c0, c1]) =>
        rows.map(([r0, r1]) => {
          const slotBytes = imageSlot((c1 - c0) * s.planeBytes, s.planeBytes);
          return {
            ...{ c0, c1, r0, r1, slotBytes },
            atSums: layout.take(oneBlock ? 0 : sizes.weightGemmSums(r1 - r0, (c1 - c0) * offsets.length)),
            atCopy: layout.take(s.copied ? slots * slotBytes : 0),
            atScratch: layout.take(sizes.weightGemmScratch(r1 - r0)),
          };
        }),
      );
      const programs = (base: number, g: number): Step[][] => {
        // The kernel reads past the last tap, up to a panel's width: of a part, its first channels once more, lest it be past the memory.
        const written = new Map<number, number>();
        const tapsOf = (count: number): number => {
          const taps = written.get(count) ?? tables.taps(count, s.planeBytes, offsets, count + 7);
          written.set(count, taps);
          return taps;
        };
        return parts.map(({ c0, c1, r0, r1, slotBytes, atSums, atCopy, atScratch }) => {
          const from = x + (g * channels + c0) * inPlane;
          const gradient = dy + (g * m + r0) * plane * 4;
          const to = dweight + ((g * m + r0) * k + c0 * offsets.length) * 4;
          // The order of fields of WeightGemm.
          const struct = tables.write(
            [o.outHeight, o.outWidth, batch],
            [from, xImage, s.subsampled ? 2 : Number(s.copied), c1 - c0, o.inHeight, o.inWidth],
            [s.padTop, s.padLeft, s.height, s.phases, s.phaseLength, o.strideHeight, o.strideWidth],
            [s.copied ? base + atCopy : from, slots, s.copied ? slotBytes : xImage, s.rowBytes],
            [tapsOf(c1 - c0), (c1 - c0) * offsets.length, gradient, dyImage, r1 - r0],
            [oneBlock ? 0 : base + atSums, to, k * 4, base + atScratch],
          );
          const steps: Step[] = [['weightGemm', [struct]]];
          if (s.copied && !s.subsampled) {
            steps.push([
              'repairWeight',
              [
                ...[from, gradient, to, k * 4, batch, xImage, dyImage],
                ...[c1 - c0, o.inHeight, o.inWidth, r1 - r0, o.outHeight, o.outWidth],
                ...[o.kernelHeight, o.kernelWidth, o.strideHeight, o.strideWidth],
                ...[o.padTop, o.padLeft, o.dilationHeight, o.dilationWidth],
              ],
            ]);
          }
          return steps;
        });
      };
      const alone = groups === 1;
      if (alone && w.besides?.run(layout.total, [given.x, given.dy], given.dweight, (base) => programs(base, 0)))
        return;
      const base = w.scratch(layout.total);
      for (let g = 0; g < groups; g++) w.run(programs(base, g));
    },
  };
}
