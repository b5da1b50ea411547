/** Convolutions: implicit im2col, register tiles. Which tile is chosen by the shape alone. */
import { type ConvGeometry, convSizes } from '../../shape.js';
import type { Buffer, Kernels, Prepared } from '../device.js';
import type { WebgpuContext } from './context.js';
import { conv2d } from './shaders/conv2d.js';
import { conv2dBackwardInput } from './shaders/conv2dBackwardInput.js';
import { conv2dBackwardWeight, conv2dBackwardWeightSmall, sumParts } from './shaders/conv2dBackwardWeight.js';
import { convParams, windowConstants } from './shaders/convParams.js';
import { foldNorm } from './shaders/foldNorm.js';
import { tileFor, workgroups } from './tiles.js';

/** Output pixels below which lanes of a weight's gradient lie along the channels, not along the pixels. */
const SMALL_MAP = 256;
/** Pixels that an invocation should at least see before a sum is split further. */
const LEAST_TURNS = 16;

/** The largest of 8, 4, 2 and 1 of which `count` has `per`. */
const several = (count: number, per = 1): number => [8, 4, 2].find((n) => count >= n * per) ?? 1;

/** The tile for the gradient of weights, and over how many workgroups its long sum is split. */
function weightTile(
  o: ConvGeometry,
  busy: number,
): {
  readonly across: number;
  readonly down: number;
  readonly parts: number;
  readonly small: boolean;
  readonly constants: Readonly<Record<string, number>>;
} {
  const [inGroup, outGroup] = [o.inChannels / o.groups, o.outChannels / o.groups];
  const taps = o.kernelHeight * o.kernelWidth;
  // A window of up to nine taps at once, of larger ones a row.
  const held = taps <= 9 ? taps : Math.min(o.kernelWidth, 9);
  const tapBlocks = Math.ceil(taps / held);
  const ROWS = several(outGroup);
  const down = Math.ceil(outGroup / ROWS);
  const small = o.outHeight * o.outWidth < SMALL_MAP && inGroup >= 16;
  const LANES = small && inGroup >= 64 ? 64 : 32;
  const CHANNELS = Math.min(inGroup, Math.max(1, Math.floor(8 / held)));
  const across = o.groups * tapBlocks * Math.ceil(inGroup / (small ? LANES : CHANNELS));
  const turns = small ? (o.batch * o.outHeight) / 2 : (o.batch * o.outHeight * o.outWidth) / (LANES * LEAST_TURNS);
  const parts = Math.max(1, Math.min(Math.floor(turns), Math.ceil(busy / (across * down))));
  const constants = { ROWS, TAPS_HELD: held, LANES, ...(small ? {} : { CHANNELS }) };
  return { across, down, parts, small, constants };
}

/** What a convolution ends with. */
interface Epilogue {
  readonly residual: Buffer | null;
  readonly relu: boolean;
}

export function convKernels(
  g: WebgpuContext,
): Pick<Kernels, 'conv2d' | 'prepareConv2d' | 'conv2dBackwardInput' | 'conv2dBackwardWeight'> {
  const forward = (
    kernel: string,
    { x, weight, bias, out, ...o }: ConvGeometry & { x: Buffer; weight: Buffer; bias: Buffer | null; out: Buffer },
    { residual, relu }: Epilogue,
  ): void => {
    const [inSize, outSize, weightSize] = convSizes(o);
    g.expect(kernel, 'x', x, inSize);
    g.expect(kernel, 'weight', weight, weightSize);
    g.expect(kernel, 'bias', bias, o.outChannels);
    g.expect(kernel, 'residual', residual, outSize);
    g.expect(kernel, 'out', out, outSize);
    if (outSize === 0) return;
    const rows = o.outChannels / o.groups;
    const columns = o.batch * o.outHeight * o.outWidth;
    const tile = tileFor(rows, columns, o.groups, g.busy);
    const groups = [...workgroups(rows, columns, tile), o.groups] as const;
    const constants = { ...windowConstants(o), ...tile, RELU: relu };
    g.dispatch(conv2d, { x, weight, bias, residual, out }, convParams(o), { groups }, constants);
  };

  return {
    conv2d(o) {
      forward('conv2d', o, { residual: null, relu: false });
    },

    prepareConv2d({ weight, bias, norm, residual, relu, ...o }): Prepared {
      const [, , weightSize] = convSizes(o);
      const channels = o.outChannels;
      g.expect('prepareConv2d', 'weight', weight, weightSize);
      g.expect('prepareConv2d', 'bias', bias, channels);
      for (const name of ['mean', 'variance', 'weight', 'bias'] as const) {
        g.expect('prepareConv2d', `norm.${name}`, norm?.[name] ?? null, channels);
      }
      const own: Buffer[] = [];
      const take = (size: number): Buffer => {
        const buffer = g.scratch(size);
        own.push(buffer);
        return buffer;
      };
      const release = (): void => {
        while (own.length > 0) own.pop()?.release();
      };
      const foldedWeight = take(weightSize);
      let foldedBias: Buffer | null;
      try {
        foldedBias = norm === null && bias === null ? null : take(channels);
      } catch (error) {
        release();
        throw error;
      }
      if (norm !== null && weightSize > 0) {
        const filterSize = weightSize / channels;
        const { mean, variance, eps } = norm;
        const buffers = { weight, bias, mean, variance, normWeight: norm.weight, normBias: norm.bias };
        g.dispatch(
          foldNorm,
          { ...buffers, foldedWeight, foldedBias },
          { size: weightSize, filterSize, eps },
          { elements: weightSize },
        );
      } else {
        g.keepCopy(weight, foldedWeight, weightSize);
        if (bias !== null && foldedBias !== null) g.keepCopy(bias, foldedBias, channels);
      }
      return {
        run: () => forward('prepareConv2d', { ...o, weight: foldedWeight, bias: foldedBias }, { residual, relu }),
        release,
      };
    },

    conv2dBackwardInput({ dy, weight, dx, ...o }) {
      const [inSize, outSize, weightSize] = convSizes(o);
      g.expect('conv2dBackwardInput', 'dy', dy, outSize);
      g.expect('conv2dBackwardInput', 'weight', weight, weightSize);
      g.expect('conv2dBackwardInput', 'dx', dx, inSize);
      if (inSize === 0) return;
      const rows = o.inChannels / o.groups;
      const { strideHeight, strideWidth } = o;
      const phases = strideHeight * strideWidth;
      // Of the largest phase.
      const columns = o.batch * Math.ceil(o.inHeight / strideHeight) * Math.ceil(o.inWidth / strideWidth);
      const tile = tileFor(rows, columns, o.groups * phases, g.busy);
      const groups = [...workgroups(rows, columns, tile), o.groups * phases] as const;
      const constants = { ...windowConstants(o), ...tile };
      g.dispatch(conv2dBackwardInput, { dy, weight, dx }, convParams(o), { groups }, constants);
    },

    conv2dBackwardWeight({ x, dy, dweight, ...o }) {
      const [inSize, outSize, weightSize] = convSizes(o);
      g.expect('conv2dBackwardWeight', 'x', x, inSize);
      g.expect('conv2dBackwardWeight', 'dy', dy, outSize);
      g.expect('conv2dBackwardWeight', 'dweight', dweight, weightSize);
      const size = weightSize;
      if (size === 0) return;
      const tile = weightTile(o, g.busy);
      const { across, down, parts, small, constants } = tile;
      const out = parts === 1 ? dweight : g.scratch(parts * size);
      const params = { ...convParams(o), parts, size };
      g.dispatch(
        small ? conv2dBackwardWeightSmall : conv2dBackwardWeight,
        { x, dy, out },
        params,
        { groups: [across, down, parts] },
        { ...windowConstants(o), ...constants },
      );
      if (parts === 1) return;
      g.dispatch(sumParts, { x: out, out: dweight }, { size, parts }, { elements: size });
      out.release();
    },
  };
}
