/** Convolutions: implicit im2col, register tiles. Which tile is chosen by the shape alone. */
import type { ConvGeometry } from '../../shape.js';
import type { Buffer, ChannelNorm, Kernels, Prepared } from '../device.js';
import type { WebgpuContext } from './context.js';
import { conv2d } from './shaders/conv2d.js';
import { conv2dBackwardInput } from './shaders/conv2dBackwardInput.js';
import { conv2dBackwardWeight, sumParts } from './shaders/conv2dBackwardWeight.js';
import { convParams, windowConstants } from './shaders/convParams.js';
import { foldNorm } from './shaders/foldNorm.js';

/** Workgroups from which on a GPU counts as busy; fewer split a long sum. */
const BUSY = 512;
/** Pixels that an invocation should at least see before a sum is split further. */
const LEAST_TURNS = 16;

interface Sizes {
  readonly x: number;
  readonly weight: number;
  readonly out: number;
}

function sizesOf(o: ConvGeometry): Sizes {
  return {
    x: o.batch * o.inChannels * o.inHeight * o.inWidth,
    weight: o.outChannels * (o.inChannels / o.groups) * o.kernelHeight * o.kernelWidth,
    out: o.batch * o.outChannels * o.outHeight * o.outWidth,
  };
}

/** Rows and columns of an invocation's tile, and the lanes of a workgroup, for a product of this size. */
function tileFor(rows: number, columns: number): { ROWS: number; COLUMNS: number; LANES: number } {
  const ROWS = rows >= 8 ? 8 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
  const LANES = columns >= 64 ? 64 : 32;
  const COLUMNS = columns >= 4 * LANES ? 4 : columns >= 2 * LANES ? 2 : 1;
  return { ROWS, COLUMNS, LANES };
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
    const sizes = sizesOf(o);
    g.expect(kernel, 'x', x, sizes.x);
    g.expect(kernel, 'weight', weight, sizes.weight);
    g.expect(kernel, 'bias', bias, o.outChannels);
    g.expect(kernel, 'residual', residual, sizes.out);
    g.expect(kernel, 'out', out, sizes.out);
    if (sizes.out === 0) return;
    const rows = o.outChannels / o.groups;
    const columns = o.batch * o.outHeight * o.outWidth;
    const tile = tileFor(rows, columns);
    const groups = [Math.ceil(columns / (tile.LANES * tile.COLUMNS)), Math.ceil(rows / tile.ROWS), o.groups] as const;
    const constants = { ...windowConstants(o), ...tile, RELU: relu };
    g.dispatch(conv2d, { x, weight, bias, residual, out }, convParams(o), { groups }, constants);
  };

  return {
    conv2d(o) {
      forward('conv2d', o, { residual: null, relu: false });
    },

    prepareConv2d({ weight, bias, norm, residual, relu, ...o }): Prepared {
      const sizes = sizesOf(o);
      const channels = o.outChannels;
      g.expect('prepareConv2d', 'weight', weight, sizes.weight);
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
      const none: ChannelNorm | null = norm;
      const foldedWeight = take(sizes.weight);
      const foldedBias = none === null && bias === null ? null : take(channels);
      if (none !== null && sizes.weight > 0) {
        const filterSize = sizes.weight / channels;
        const { mean, variance, eps } = none;
        const buffers = { weight, bias, mean, variance, normWeight: none.weight, normBias: none.bias };
        g.dispatch(
          foldNorm,
          { ...buffers, foldedWeight, foldedBias },
          { size: sizes.weight, filterSize, eps },
          { invocations: sizes.weight },
        );
      } else {
        g.keepCopy(weight, foldedWeight, sizes.weight);
        if (bias !== null && foldedBias !== null) g.keepCopy(bias, foldedBias, channels);
      }
      return {
        run: () => forward('prepareConv2d', { ...o, weight: foldedWeight, bias: foldedBias }, { residual, relu }),
        release() {
          while (own.length > 0) own.pop()?.release();
        },
      };
    },

    conv2dBackwardInput({ dy, weight, dx, ...o }) {
      const sizes = sizesOf(o);
      g.expect('conv2dBackwardInput', 'dy', dy, sizes.out);
      g.expect('conv2dBackwardInput', 'weight', weight, sizes.weight);
      g.expect('conv2dBackwardInput', 'dx', dx, sizes.x);
      if (sizes.x === 0) return;
      const rows = o.inChannels / o.groups;
      const { strideHeight, strideWidth } = o;
      const phases = strideHeight * strideWidth;
      // Of the largest phase.
      const columns = o.batch * Math.ceil(o.inHeight / strideHeight) * Math.ceil(o.inWidth / strideWidth);
      const tile = tileFor(rows, columns);
      const groups = [
        Math.ceil(columns / (tile.LANES * tile.COLUMNS)),
        Math.ceil(rows / tile.ROWS),
        o.groups * phases,
      ] as const;
      const constants = { ...windowConstants(o), ...tile };
      g.dispatch(conv2dBackwardInput, { dy, weight, dx }, convParams(o), { groups }, constants);
    },

    conv2dBackwardWeight({ x, dy, dweight, ...o }) {
      const sizes = sizesOf(o);
      g.expect('conv2dBackwardWeight', 'x', x, sizes.x);
      g.expect('conv2dBackwardWeight', 'dy', dy, sizes.out);
      g.expect('conv2dBackwardWeight', 'dweight', dweight, sizes.weight);
      const size = sizes.weight;
      if (size === 0) return;
      const [inGroup, outGroup] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const taps = o.kernelHeight * o.kernelWidth;
      const pixels = o.batch * o.outHeight * o.outWidth;
      const ROWS = outGroup >= 8 ? 8 : outGroup >= 4 ? 4 : outGroup >= 2 ? 2 : 1;
      const TAPS_HELD = Math.min(taps, 9);
      const CHANNELS = Math.min(inGroup, Math.max(1, Math.floor(8 / TAPS_HELD)));
      const LANES = 64;
      const across = Math.ceil(taps / TAPS_HELD) * Math.ceil(inGroup / CHANNELS) * o.groups;
      const down = Math.ceil(outGroup / ROWS);
      const parts = Math.max(
        1,
        Math.min(Math.floor(pixels / (LANES * LEAST_TURNS)), Math.ceil(BUSY / (across * down))),
      );
      const constants = { ...windowConstants(o), ROWS, CHANNELS, TAPS_HELD, LANES };
      const out = parts === 1 ? dweight : g.scratch(parts * size);
      const params = { ...convParams(o), parts, size };
      g.dispatch(conv2dBackwardWeight, { x, dy, out }, params, { groups: [across, down, parts] }, constants);
      if (parts === 1) return;
      g.dispatch(sumParts, { x: out, out: dweight }, { size, parts }, { invocations: size });
      out.release();
    },
  };
}
