/**
 * Convolution on linear memory: plans the padded copy, the stride phases and the chunks of images; the loops are in
 * assembly/conv2d.ts and assembly/convWeight.ts.
 */
import type { ConvGeometry } from '../../shape.js';
import type { Kernels } from '../device.js';
import { ScratchLayout, type WasmContext } from './context.js';

/** Padded copies are made for as many images at a time as fit here: it should stay in the second-level cache. */
const PADDED_BYTES = 2 << 20;
/** Terms of a float32 block of the weight gradient: part of the numerics, as in assembly/convWeight.ts. */
const WEIGHT_BLOCK = 512;

/** How a kernel reads a batch of planes: where each tap of each output pixel lies. Bytes. */
interface Source {
  /** False when the tensor itself is read: every tap of every output is inside it. */
  readonly copied: boolean;
  /** A copy may hold zeros around the image, or be every stride-th pixel of it, for a kernel of one tap. */
  readonly subsampled: boolean;
  readonly padTop: number;
  readonly padLeft: number;
  readonly height: number;
  /** Stride phases kept apart in a row, and the floats of each. */
  readonly phases: number;
  readonly phaseLength: number;
  readonly planeBytes: number;
  readonly rowBytes: number;
  readonly colBytes: number;
}

const unpadded = (height: number, width: number): Source => ({
  copied: false,
  subsampled: false,
  padTop: 0,
  padLeft: 0,
  height,
  phases: 1,
  phaseLength: width,
  planeBytes: height * width * 4,
  rowBytes: width * 4,
  colBytes: 4,
});

/** The input of a convolution, as read by the forward pass and the weight gradient. */
function inputSource(g: ConvGeometry): Source {
  const height = (g.outHeight - 1) * g.strideHeight + (g.kernelHeight - 1) * g.dilationHeight + 1;
  const width = (g.outWidth - 1) * g.strideWidth + (g.kernelWidth - 1) * g.dilationWidth + 1;
  const inside = g.padTop === 0 && g.padLeft === 0 && height <= g.inHeight && width <= g.inWidth;
  if (inside && g.strideWidth === 1) {
    return { ...unpadded(g.inHeight, g.inWidth), rowBytes: g.strideHeight * g.inWidth * 4 };
  }
  if (inside && g.kernelHeight === 1 && g.kernelWidth === 1) {
    return { ...unpadded(g.outHeight, g.outWidth), copied: true, subsampled: true };
  }
  const phaseLength = Math.ceil(width / g.strideWidth);
  const pitch = phaseLength * g.strideWidth;
  return {
    copied: true,
    subsampled: false,
    padTop: g.padTop,
    padLeft: g.padLeft,
    height,
    phases: g.strideWidth,
    phaseLength,
    planeBytes: height * pitch * 4,
    rowBytes: g.strideHeight * pitch * 4,
    colBytes: 4,
  };
}

/**
 * The input as the weight gradient reads it. A block of q that meets several images reads the same plane of all of them at
 * once; as they lie in the tensor, these often share their sets of the first-level cache, so they are copied.
 */
function weightSource(g: ConvGeometry): Source {
  const s = inputSource(g);
  return { ...s, copied: s.copied || (g.batch > 1 && g.outHeight * g.outWidth < WEIGHT_BLOCK / 2) };
}

/** Byte offset of each kernel tap from an output pixel's base, rows first. */
function inputTaps(g: ConvGeometry, s: Source): number[] {
  const pitch = s.phases * s.phaseLength;
  const offsets: number[] = [];
  for (let kh = 0; kh < g.kernelHeight; kh++) {
    for (let kw = 0; kw < g.kernelWidth; kw++) {
      const col = kw * g.dilationWidth;
      offsets.push(4 * (kh * g.dilationHeight * pitch + (col % s.phases) * s.phaseLength + Math.floor(col / s.phases)));
    }
  }
  return offsets;
}

/** Images that share one padded copy; whole panels of 8 pixels where several fit. */
function imagesPerChunk(batch: number, imageBytes: number): number {
  const fit = Math.max(1, Math.floor(PADDED_BYTES / imageBytes));
  return Math.min(batch, fit > 8 ? fit - (fit % 8) : fit);
}

/**
 * Bytes from one padded image to the next: a plane past a multiple of 4096, so that the same plane of neighbouring images,
 * which a tap reads together, falls into different sets of the first-level cache.
 */
const imageSlot = (imageBytes: number, planeBytes: number): number =>
  Math.ceil(imageBytes / 4096) * 4096 + Math.ceil(planeBytes / 64) * 64;

/** What a call finds of the packed weights, in the values of assembly/conv2d.ts: all of them … */
const PACKED = 2;
/** … or, on the forward chunk from image `n`, what the chunks before it left. */
const packing = (n: number, chunk: number, batch: number): number => (chunk >= batch ? 0 : n === 0 ? 1 : PACKED);

/** From one packed panel of four rows to the next; not a multiple of the cache's sets, since packing writes to many. */
const panelStep = (k: number): number => 16 * k + 64;
const panelBytes = (rows: number, k: number): number => Math.ceil(rows / 4) * panelStep(k);

/** One stride phase of the input gradient: the pixels congruent to it, and the taps that reach them. */
interface Phase {
  readonly top: number;
  readonly left: number;
  readonly rows: number;
  readonly cols: number;
  /** Position of each tap in the kernel, and its offset in output rows and columns. */
  readonly index: number[];
  readonly deltas: (readonly [number, number])[];
}

function axisPhase(phase: number, extent: number, kernel: number, stride: number, pad: number, dilation: number) {
  const taps: { tap: number; delta: number }[] = [];
  for (let tap = 0; tap < kernel; tap++) {
    const at = phase + pad - tap * dilation;
    if (at % stride === 0) taps.push({ tap, delta: at / stride });
  }
  return { count: Math.ceil((extent - phase) / stride), taps };
}

function inputPhases(g: ConvGeometry): Phase[] {
  const phases: Phase[] = [];
  for (let top = 0; top < Math.min(g.strideHeight, g.inHeight); top++) {
    const v = axisPhase(top, g.inHeight, g.kernelHeight, g.strideHeight, g.padTop, g.dilationHeight);
    for (let left = 0; left < Math.min(g.strideWidth, g.inWidth); left++) {
      const h = axisPhase(left, g.inWidth, g.kernelWidth, g.strideWidth, g.padLeft, g.dilationWidth);
      const index: number[] = [];
      const deltas: [number, number][] = [];
      for (const a of v.taps) {
        for (const b of h.taps) {
          index.push(a.tap * g.kernelWidth + b.tap);
          deltas.push([a.delta, b.delta]);
        }
      }
      phases.push({ top, left, rows: v.count, cols: h.count, index, deltas });
    }
  }
  return phases;
}

/** The output gradient as the input gradient reads it: stride 1 in every phase, padded as far as any tap reaches. */
function gradientSource(g: ConvGeometry, phases: readonly Phase[]): Source {
  let [minTop, minLeft, maxRow, maxCol] = [0, 0, 0, 0];
  for (const { rows, cols, deltas } of phases) {
    for (const [dh, dw] of deltas) {
      minTop = Math.min(minTop, dh);
      minLeft = Math.min(minLeft, dw);
      maxRow = Math.max(maxRow, rows - 1 + dh);
      maxCol = Math.max(maxCol, cols - 1 + dw);
    }
  }
  const padded = minTop < 0 || minLeft < 0 || maxRow >= g.outHeight || maxCol >= g.outWidth;
  const height = padded ? maxRow + 1 - minTop : g.outHeight;
  const width = padded ? maxCol + 1 - minLeft : g.outWidth;
  return {
    copied: padded,
    subsampled: false,
    padTop: -minTop,
    padLeft: -minLeft,
    height,
    phases: 1,
    phaseLength: width,
    planeBytes: height * width * 4,
    rowBytes: width * 4,
    colBytes: 4,
  };
}

/** Elements of the input, the output and the weights. */
const sizes = (g: ConvGeometry): readonly [number, number, number] => [
  g.batch * g.inChannels * g.inHeight * g.inWidth,
  g.batch * g.outChannels * g.outHeight * g.outWidth,
  (g.outChannels * g.inChannels * g.kernelHeight * g.kernelWidth) / g.groups,
];

/** The same convolution with stride 1 along an axis of one output: a huge stride must not make huge padded rows. */
function withoutIdleStrides<G extends ConvGeometry>(g: G): G {
  if (g.outHeight > 1 && g.outWidth > 1) return g;
  const strideHeight = g.outHeight === 1 ? 1 : g.strideHeight;
  const strideWidth = g.outWidth === 1 ? 1 : g.strideWidth;
  return { ...g, strideHeight, strideWidth };
}

export function convKernels(w: WasmContext): Pick<Kernels, 'conv2d' | 'conv2dBackwardInput' | 'conv2dBackwardWeight'> {
  const { exports } = w;

  /** Copies planes of the input, or of the output gradient, as `s` says. */
  const copy = (
    from: number,
    to: number,
    planes: number,
    height: number,
    width: number,
    s: Source,
    g: ConvGeometry,
  ) => {
    if (s.subsampled) {
      const { outHeight, outWidth, strideHeight, strideWidth } = g;
      exports.subsamplePlanes(from, to, planes, height, width, outHeight, outWidth, strideHeight, strideWidth);
    } else exports.padPlanes(from, to, planes, height, width, s.padTop, s.padLeft, s.height, s.phases, s.phaseLength);
  };

  /**
   * True when all `size` operands are finite, known from their products where these are fewer: an operand that is not
   * meets every sum of its row, and no sum gets finite again.
   */
  const finite = (operand: number, size: number, products: number, count: number): boolean =>
    (count < size && exports.allFinite(products, count) === 1) || exports.allFinite(operand, size) === 1;

  return {
    conv2d(given) {
      const o = withoutIdleStrides(given);
      const { batch, inChannels, outChannels, groups } = o;
      const [inSize, outSize, weightSize] = sizes(o);
      const [x, weight] = [w.address(o.x, inSize), w.address(o.weight, weightSize)];
      const [bias, out] = [w.optional(o.bias, outChannels), w.address(o.out, outSize)];
      const channels = inChannels / groups;
      const m = outChannels / groups;
      const s = inputSource(o);
      const offsets = inputTaps(o, s);
      const k = channels * offsets.length;
      const chunk = s.copied ? imagesPerChunk(batch, inChannels * s.planeBytes) : batch;

      const layout = new ScratchLayout();
      const atOffsets = layout.take(offsets.length * 4);
      const atTaps = layout.take(k * 4);
      const atStruct = layout.take(128);
      const atWeights = layout.take(groups * panelBytes(m, k));
      const atCopy = layout.take(s.copied ? chunk * inChannels * s.planeBytes : 0);
      const atScratch = layout.take(exports.implicitGemmScratch(m));
      const base = w.scratch(layout.total);

      w.writeInts(base + atOffsets, offsets);
      exports.expandTaps(base + atTaps, channels, s.planeBytes, base + atOffsets, offsets.length);
      const inImage = inChannels * o.inHeight * o.inWidth * 4;
      const outPlane = o.outHeight * o.outWidth * 4;
      for (let n = 0; n < batch; n += chunk) {
        const images = Math.min(chunk, batch - n);
        if (s.copied) copy(x + n * inImage, base + atCopy, images * inChannels, o.inHeight, o.inWidth, s, o);
        const source = s.copied ? base + atCopy : x + n * inImage;
        for (let g = 0; g < groups; g++) {
          // The order of fields of ImplicitGemm.
          w.writeInts(base + atStruct, [
            ...[images, o.outHeight, o.outWidth],
            ...[source + g * channels * s.planeBytes, inChannels * s.planeBytes, s.rowBytes, s.colBytes],
            ...[base + atTaps, k, m, weight + g * m * k * 4, 0],
            ...[
              base + atWeights + g * panelBytes(m, k),
              panelStep(k),
              packing(n, chunk, batch),
              bias === 0 ? 0 : bias + g * m * 4,
            ],
            ...[out + (n * outChannels + g * m) * outPlane, outChannels * outPlane, outPlane, o.outWidth * 4, 4],
            base + atScratch,
          ]);
          exports.implicitGemm(base + atStruct);
        }
      }
    },

    conv2dBackwardInput(given) {
      const o = withoutIdleStrides(given);
      const { batch, inChannels, outChannels, groups } = o;
      const [inSize, outSize, weightSize] = sizes(o);
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
      const chunk = scratchImage > 0 ? imagesPerChunk(batch, scratchImage) : batch;
      // Few pixels meet each filter too seldom for packing; the tile reads 3×3 ones as they lie.
      const unpacked = !strided && kernel === 9 && channels % 4 === 0 && batch <= chunk && batch * inPlane <= 2048;
      const layout = new ScratchLayout();
      const atOffsets = layout.take(kernel * 4);
      const atStruct = layout.take(128);
      const atTable = layout.take(kernel * (12 + 16));
      const atPhases = layout.take(o.strideHeight * o.strideWidth * 4);
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
            atWeights: layout.take(unpacked ? k * 4 : groups * panelBytes(channels, k)),
            atDense: layout.take(merged ? chunk * inChannels * plane : 0),
          };
        });
      const atCopy = layout.take(s.copied ? chunk * outChannels * s.planeBytes : 0);
      const atScratch = layout.take(exports.implicitGemmScratch(channels));
      const base = w.scratch(layout.total);

      for (const { phase, k, atTaps, atWeights } of plans) {
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
          exports.expandTaps(base + atWeights, m, channels * kernel * 4, base + atOffsets, k / m);
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
        w.writeInts(base + atTable, table);
        exports.packFilters(weight + g * m * channels * kernel * 4, m, channels, kernel, base + atTable);
      }
      // Pixels that no tap reaches: a stride larger than the kernel.
      if (!merged && plans.length < phases.length) exports.fill(dx, 0, o.dx.size);
      const dense = new Array<number>(o.strideHeight * o.strideWidth).fill(0);
      for (const { phase, atDense } of plans) dense[phase.top * o.strideWidth + phase.left] = base + atDense;
      for (let n = 0; n < batch; n += chunk) {
        const images = Math.min(chunk, batch - n);
        const from = dy + n * outChannels * outPlane;
        const to = dx + n * inChannels * inPlane;
        if (s.copied) copy(from, base + atCopy, images * outChannels, o.outHeight, o.outWidth, s, o);
        const source = s.copied ? base + atCopy : from;
        for (const { phase, k, plane, atTaps, atWeights, atDense } of plans) {
          for (let g = 0; g < groups; g++) {
            // The order of fields of ImplicitGemm.
            w.writeInts(base + atStruct, [
              ...[images, phase.rows, phase.cols],
              ...[source + g * m * s.planeBytes, outChannels * s.planeBytes, s.rowBytes, s.colBytes],
              ...[base + atTaps, k, channels, weight + g * m * channels * kernel * 4, unpacked ? base + atWeights : 0],
              ...[base + atWeights + g * panelBytes(channels, k), panelStep(k), PACKED, 0],
              ...(merged
                ? [base + atDense + g * channels * plane, inChannels * plane, plane, phase.cols * 4, 4]
                : [
                    to + g * channels * inPlane + 4 * (phase.top * o.inWidth + phase.left),
                    ...[inChannels * inPlane, inPlane, o.strideHeight * o.inWidth * 4, o.strideWidth * 4],
                  ]),
              base + atScratch,
            ]);
            exports.implicitGemm(base + atStruct);
          }
        }
        if (merged) {
          const [height, width] = [o.inHeight, o.inWidth];
          w.writeInts(base + atPhases, dense);
          exports.mergePhases(base + atPhases, to, images * inChannels, height, width, o.strideHeight, o.strideWidth);
        }
      }

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
      const [inSize, outSize, weightSize] = sizes(o);
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
      const layout = new ScratchLayout();
      const atOffsets = layout.take(offsets.length * 4);
      // The kernel reads past the last tap, up to a panel's width.
      const atTaps = layout.take((k + 7) * 4);
      const atStruct = layout.take(128);
      const total = batch * plane;
      const oneBlock = total <= WEIGHT_BLOCK;
      const atSums = layout.take(oneBlock ? 0 : exports.weightGemmSums(m, k));
      const atCopy = layout.take(s.copied ? slots * slotBytes : 0);
      const atScratch = layout.take(exports.weightGemmScratch(m));
      const base = w.scratch(layout.total);

      w.writeInts(base + atOffsets, offsets);
      exports.expandTaps(base + atTaps, channels, s.planeBytes, base + atOffsets, offsets.length);
      exports.fill(base + atTaps + k * 4, 0, 7);
      if (total === 0) exports.fill(dweight, 0, o.dweight.size);
      for (let g = 0; g < groups && total > 0; g++) {
        const from = x + g * channels * inPlane;
        // The order of fields of WeightGemm.
        w.writeInts(base + atStruct, [
          ...[o.outHeight, o.outWidth, batch],
          ...[s.copied ? base + atCopy : from, slots, s.copied ? slotBytes : xImage],
          ...[s.rowBytes, s.colBytes, base + atTaps, k],
          ...[
            dy + g * m * plane * 4,
            dyImage,
            m,
            oneBlock ? 0 : base + atSums,
            dweight + g * m * k * 4,
            base + atScratch,
          ],
        ]);
        let copied = 0;
        for (let q = 0; q < total; q += WEIGHT_BLOCK) {
          const count = Math.min(WEIGHT_BLOCK, total - q);
          if (s.copied) {
            for (; copied * plane < q + count; copied++) {
              const slot = base + atCopy + (copied % slots) * slotBytes;
              copy(from + copied * xImage, slot, channels, o.inHeight, o.inWidth, s, o);
            }
          }
          exports.weightGemmBlock(base + atStruct, q, count);
        }
        if (!oneBlock) exports.weightGemmFinish(base + atStruct);
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
