/**
 * The forward pass of a direct convolution on linear memory: lays out scratch and describes the work to the kernels. How the
 * input is read is planned in convSource.ts, how the work is handed out in convWork.ts; the loops are in assembly/conv2d.ts.
 */
import { type ConvGeometry, convSizes } from '../../shape.js';
import { ScratchLayout, type WasmContext } from './context.js';
import { panelBytes, panelStep, productWork } from './convProduct.js';
import { inputSource, inputTaps, withoutIdleStrides } from './convSource.js';
import {
  BLOCK_PIXELS,
  type ConvForward,
  type ConvPlan,
  copyWork,
  type Epilogue,
  imageRanges,
  imagesPerChunk,
  NO_EPILOGUE,
  NORM_BYTES,
  PreparedConv,
  runOnce,
  type Work,
} from './convWork.js';
import { oncePerJob } from './tables.js';

export function convForward(w: WasmContext): ConvForward {
  /** The forward pass at given addresses. `keeps`: the weights are laid out for more than one run. */
  const forwardPlan = (
    given: ConvGeometry,
    { x, weight, bias, out }: { x: number; weight: number; bias: number; out: number },
    epilogue: Epilogue,
    keeps: boolean,
  ): ConvPlan => {
    const o = withoutIdleStrides(given);
    const { batch, inChannels, outChannels, groups } = o;
    const channels = inChannels / groups;
    const m = outChannels / groups;
    const s = inputSource(o);
    const offsets = inputTaps(o, s);
    const k = channels * offsets.length;
    const chunk = imagesPerChunk(batch, s.copied ? inChannels * s.planeBytes : 0);
    const pixels = o.outHeight * o.outWidth;
    const ranges = imageRanges(w, batch, pixels, chunk, groups + 1);
    const longest = Math.max(...ranges.map(([from, to]) => to - from));
    // One block of pixels meets each weight too seldom for packing them all.
    const isPacked = keeps || ranges.length > 1 || batch > chunk || batch * pixels > BLOCK_PIXELS;

    const lasting = new ScratchLayout();
    const atWeights = lasting.take(groups * panelBytes(m, k));
    const layout = new ScratchLayout();
    const copyBytes = s.copied ? Math.min(chunk, longest) * inChannels * s.planeBytes : 0;
    const atCopy = layout.take(ranges.length * copyBytes);
    const scratchStep = w.sizes.implicitGemmScratch(m);
    const atScratch = layout.take(w.threads * scratchStep);
    const inImage = inChannels * o.inHeight * o.inWidth * 4;
    const outPlane = o.outHeight * o.outWidth * 4;

    return {
      lasting: lasting.total,
      scratch: layout.total,
      prepare(base) {
        for (let g = 0; g < groups && isPacked; g++) {
          w.parallel(
            'packRows',
            w
              .split(m, (m * k) / 4, 4)
              .map(([from, to]) => [
                weight + (g * m + from) * k * 4,
                base + atWeights + g * panelBytes(m, k) + (from / 4) * panelStep(k),
                panelStep(k),
                to - from,
                k,
                k * 4,
              ]),
          );
        }
      },
      works(base, scratch, tables) {
        const taps = oncePerJob(tables, () => tables.taps(channels, s.planeBytes, offsets));
        const worksOf = ([first, last]: readonly [number, number], range: number): Work[] => {
          const list: Work[] = [];
          const copied = scratch + atCopy + range * copyBytes;
          for (let n = first; n < last; n += chunk) {
            const images = Math.min(chunk, last - n);
            if (s.copied)
              list.push(
                copyWork(
                  w,
                  { from: x + n * inImage, to: copied, height: o.inHeight, width: o.inWidth },
                  images * inChannels,
                  s,
                  o,
                ),
              );
            const source = s.copied ? copied : x + n * inImage;
            for (let g = 0; g < groups; g++) {
              list.push(
                productWork(
                  w,
                  {
                    images,
                    rows: o.outHeight,
                    cols: o.outWidth,
                    source: source + g * channels * s.planeBytes,
                    sourceImage: inChannels * s.planeBytes,
                    sourceRow: s.rowBytes,
                    taps,
                    k,
                    m,
                    weight: weight + g * m * k * 4,
                    weightRow: k * 4,
                    weightOffsets: null,
                    packed: base + atWeights + g * panelBytes(m, k),
                    isPacked,
                    bias: bias === 0 ? 0 : bias + g * m * 4,
                    out: out + (n * outChannels + g * m) * outPlane,
                    outImage: outChannels * outPlane,
                    outPlane,
                    outRow: o.outWidth * 4,
                    outCol: 4,
                    scratch: scratch + atScratch,
                    scratchStep,
                    norm: epilogue.norm === 0 ? 0 : epilogue.norm + g * m * NORM_BYTES,
                    residualFrom: epilogue.residual === 0 ? 0 : epilogue.residual - out,
                    relu: epilogue.relu,
                  },
                  tables,
                ),
              );
            }
          }
          return list;
        };
        return ranges.map(worksOf);
      },
    };
  };

  return {
    prepareConv(o, addresses, epilogue) {
      return new PreparedConv(w, forwardPlan(o, addresses, epilogue, true));
    },

    conv2d(o) {
      const [inSize, outSize, weightSize] = convSizes(o);
      const addresses = { x: w.input(o.x, inSize), weight: w.input(o.weight, weightSize) };
      const [bias, out] = [w.optional(o.bias, o.outChannels), w.address(o.out, outSize)];
      runOnce(w, forwardPlan(o, { ...addresses, bias, out }, NO_EPILOGUE, false));
    },
  };
}
