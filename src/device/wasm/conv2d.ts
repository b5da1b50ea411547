/**
 * The forward pass of a direct convolution on linear memory: lays out scratch and describes the work to the kernels. How the
 * input is read is planned in convSource.ts, how the work is handed out in convWork.ts; the loops are in assembly/conv2d.ts.
 */
import { convSizes } from '../../shape.js';
import { ScratchLayout, type WasmContext } from './context.js';
import { divideProduct, panelBytes, panelStep, productWork } from './convProduct.js';
import { inputSource, inputTaps, withoutIdleStrides } from './convSource.js';
import {
  BLOCK_PIXELS,
  type ConvForward,
  copyChannels,
  copyWork,
  imageRanges,
  imagesPerChunk,
  NO_EPILOGUE,
  NORM_BYTES,
  type PlanConv,
  runOnce,
  type Work,
} from './convWork.js';
import { oncePerJob } from './tables.js';

export function convForward(w: WasmContext): ConvForward {
  const planConv: PlanConv = (given, { x, weight, bias, out }, epilogue, keeps) => {
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
    // All images at once, all channels in one product.
    const whole = keeps && ranges.length === 1 && chunk >= batch && groups === 1 && batch * pixels * m > 0;
    const divided = whole ? divideProduct(w, { pixels: batch * pixels, m, k }) : null;

    return {
      last: divided?.blocks.length === 1 ? divided.panels : null,
      divisible: whole && s.copied,
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
      works(base, scratch, tables, channelRanges) {
        const taps = oncePerJob(tables, () => tables.taps(channels, s.planeBytes, offsets));
        const worksOf = ([first, last]: readonly [number, number], range: number): Work[] => {
          const list: Work[] = [];
          const copied = scratch + atCopy + range * copyBytes;
          for (let n = first; n < last; n += chunk) {
            const images = Math.min(chunk, last - n);
            const planes = { from: x + n * inImage, to: copied, height: o.inHeight, width: o.inWidth };
            if (s.copied && channelRanges)
              list.push(() => channelRanges.map((some) => copyChannels(planes, images, inChannels, some, s, o)));
            else if (s.copied) list.push(copyWork(w, planes, images * inChannels, s, o));
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
    planConv,

    conv2d(o) {
      const [inSize, outSize, weightSize] = convSizes(o);
      const addresses = { x: w.input(o.x, inSize), weight: w.input(o.weight, weightSize) };
      const [bias, out] = [w.optional(o.bias, o.outChannels), w.address(o.out, outSize)];
      runOnce(w, planConv(o, { ...addresses, bias, out }, NO_EPILOGUE, false));
    },
  };
}
