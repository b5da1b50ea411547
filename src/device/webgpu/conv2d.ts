/** Convolutions: implicit im2col, register tiles, or, in math `fast`, Winograd's. Which tile is chosen by the shape alone. */
import { type ConvGeometry, convSizes } from '../../shape.js';
import type { Buffer, Kernels, Prepared } from '../device.js';
import type { ConvDirection } from '../winograd.js';
import type { Block } from './blocks.js';
import { blockOf, grid, type WebgpuContext } from './context.js';
import { DEPTH } from './shaders/block.js';
import { conv2d } from './shaders/conv2d.js';
import { conv2dBackwardInput } from './shaders/conv2dBackwardInput.js';
import { conv2dBackwardInputBlock, tapStep } from './shaders/conv2dBackwardInputBlock.js';
import { conv2dBackwardWeight, conv2dBackwardWeightSmall, sumParts } from './shaders/conv2dBackwardWeight.js';
import { conv2dBackwardWeightBlock } from './shaders/conv2dBackwardWeightBlock.js';
import { conv2dBlock } from './shaders/conv2dBlock.js';
import { convParams, windowConstants } from './shaders/convParams.js';
import { FINISH_LANES, finishParts } from './shaders/finishParts.js';
import { foldNorm } from './shaders/foldNorm.js';
import { layFilters } from './shaders/layFilters.js';
import { packHalves } from './shaders/packHalves.js';
import { tileFor, workgroups } from './tiles.js';
import {
  type Epilogue,
  filterElements,
  winogradConvolve,
  winogradFilters,
  winogradWeightGradient,
} from './winograd.js';

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

/** Parts into which a sum may be split whose results are many, and one whose results are few. */
const MOST_PARTS = { convolution: 8, weight: 512 };

/** How a pass is computed by blocks of workgroup memory; null where the registers' tiles suit it. */
function convolutionBlock(g: WebgpuContext, direction: ConvDirection, o: ConvGeometry): Block | null {
  const [inGroup, outGroup] = [o.inChannels / o.groups, o.outChannels / o.groups];
  const taps = o.kernelHeight * o.kernelWidth;
  const outPixels = o.batch * o.outHeight * o.outWidth;
  const shape = ((): { rows: number; columns: number; terms: number; steps: number; count: number; most: number } => {
    if (direction === 'weight') {
      const steps = Math.ceil(outPixels / DEPTH);
      const sizes = { rows: outGroup, columns: inGroup * taps, terms: outPixels, steps };
      return { ...sizes, count: o.groups, most: MOST_PARTS.weight };
    }
    const most = MOST_PARTS.convolution;
    if (direction === 'forward') {
      const steps = taps * Math.ceil(inGroup / DEPTH);
      return { rows: outGroup, columns: outPixels, terms: inGroup, steps, count: o.groups, most };
    }
    const { strideHeight, strideWidth } = o;
    // Of the largest phase.
    const columns = o.batch * Math.ceil(o.inHeight / strideHeight) * Math.ceil(o.inWidth / strideWidth);
    const hit =
      Math.ceil(o.kernelHeight / tapStep(strideHeight, o.dilationHeight)) *
      Math.ceil(o.kernelWidth / tapStep(strideWidth, o.dilationWidth));
    const steps = hit * Math.ceil(outGroup / DEPTH);
    return { rows: inGroup, columns, terms: outGroup, steps, count: o.groups * strideHeight * strideWidth, most };
  })();
  return blockOf(g, shape);
}

const NO_EPILOGUE: Epilogue = { residual: null, relu: false };

/** How a forward pass is computed: by F(m, 3) where m is not 0, else by blocks, else by registers' tiles. */
interface Way {
  readonly m: number;
  readonly block: Block | null;
}

interface ForwardBuffers {
  readonly x: Buffer;
  /** The weights, or what `winogradFilters` or `layOut` made of them; prepared ones may be halves. */
  readonly filters: Buffer;
  readonly bias: Buffer | null;
  readonly out: Buffer;
}

export function convKernels(
  g: WebgpuContext,
  /** m of F(m, 3), or 0. */
  winogradTile: (direction: ConvDirection, o: ConvGeometry) => number,
  /** What prepared convolutions keep their weights as. */
  storage: 'float32' | 'float16',
): Pick<Kernels, 'conv2d' | 'prepareConv2d' | 'conv2dBackwardInput' | 'conv2dBackwardWeight'> {
  /** Filters as the blocks of a direction take them. */
  const layOut = (direction: 'forward' | 'input', o: ConvGeometry, weight: Buffer, out: Buffer): void => {
    const [inGroup, outGroup] = [o.inChannels / o.groups, o.outChannels / o.groups];
    const sizes =
      direction === 'forward'
        ? { rows: outGroup, terms: inGroup, rowStride: inGroup, termStride: 1 }
        : { rows: inGroup, terms: outGroup, rowStride: 1, termStride: inGroup };
    const size = o.outChannels * inGroup;
    const constants = { TAPS: o.kernelHeight * o.kernelWidth };
    g.dispatch(layFilters, { weight, out }, { size, ...sizes }, { elements: size }, constants);
  };

  /** What `run` computes in parts, joined in `out`; by itself where there is one. */
  const joined = (
    parts: number,
    size: number,
    ends: { readonly bias: Buffer | null; readonly residual: Buffer | null; readonly out: Buffer },
    { plane, channels, RELU }: { readonly plane: number; readonly channels: number; readonly RELU: boolean },
    run: (out: Buffer) => void,
  ): void => {
    if (parts === 1) {
      run(ends.out);
      return;
    }
    g.withScratch((take) => {
      const x = take(parts * size);
      run(x);
      const groups = grid(Math.ceil(size / FINISH_LANES));
      g.dispatch(finishParts, { x, ...ends }, { size, parts, inner: size, plane, channels }, { groups }, { RELU });
    });
  };
  /** Of a gradient, which ends with its sum. */
  const PLAIN = { plane: 1, channels: 1, RELU: false };

  /** By blocks, by F(m, 3), or by registers' tiles where m is 0. */
  const forward = (
    kernel: string,
    { m, block }: Way,
    o: ConvGeometry,
    { x, filters, bias, out }: ForwardBuffers,
    { residual, relu }: Epilogue,
    /** The weights are halves and lie by taps. */
    pairs = false,
  ): void => {
    const [inSize, outSize] = convSizes(o);
    g.expect(kernel, 'x', x, inSize);
    g.expect(kernel, 'bias', bias, o.outChannels);
    g.expect(kernel, 'residual', residual, outSize);
    g.expect(kernel, 'out', out, outSize);
    if (outSize === 0) return;
    if (m > 0) {
      winogradConvolve(g, m, 'forward', o, { x, filters, bias, out }, { residual, relu });
      return;
    }
    const rows = o.outChannels / o.groups;
    const columns = o.batch * o.outHeight * o.outWidth;
    if (block !== null) {
      const { ROWS, COLUMNS, parts, share } = block;
      const split = parts > 1;
      const groups = [Math.ceil(columns / COLUMNS), Math.ceil(rows / ROWS), o.groups * parts] as const;
      const RAGGED = (o.inChannels / o.groups) % DEPTH > 0;
      const constants = { ...windowConstants(o), ROWS, COLUMNS, RAGGED, RELU: relu && !split, SPLIT: split };
      const params = { ...convParams(o), parts, share, size: outSize };
      const end = { plane: o.outHeight * o.outWidth, channels: o.outChannels, RELU: relu };
      joined(parts, outSize, { bias, residual, out }, end, (to) => {
        const ends = split ? { bias: null, residual: null } : { bias, residual };
        g.dispatch(conv2dBlock, { x, filters, ...ends, out: to }, params, { groups }, constants);
      });
      return;
    }
    const tile = tileFor(rows, columns, o.groups, g.busy);
    const groups = [...workgroups(rows, columns, tile), o.groups] as const;
    const constants = { ...windowConstants(o), ...tile, RELU: relu, PAIRS: pairs };
    g.dispatch(conv2d, { x, weight: filters, bias, residual, out }, convParams(o), { groups }, constants);
  };

  return {
    conv2d({ x, weight, bias, out, ...o }) {
      g.expect('conv2d', 'weight', weight, convSizes(o)[2]);
      const m = winogradTile('forward', o);
      const block = m === 0 ? convolutionBlock(g, 'forward', o) : null;
      g.withScratch((take) => {
        const filters = m > 0 ? take(filterElements(m, o)) : block !== null ? take(weight.size) : weight;
        if (m > 0) winogradFilters(g, m, 'forward', o, weight, filters);
        else if (block !== null) layOut('forward', o, weight, filters);
        forward('conv2d', { m, block }, o, { x, filters, bias, out }, NO_EPILOGUE);
      });
    },

    prepareConv2d({ x, weight, bias, out, norm, residual, relu, ...o }): Prepared {
      const [, , weightSize] = convSizes(o);
      const channels = o.outChannels;
      g.expect('prepareConv2d', 'weight', weight, weightSize);
      g.expect('prepareConv2d', 'bias', bias, channels);
      for (const name of ['mean', 'variance', 'weight', 'bias'] as const) {
        g.expect('prepareConv2d', `norm.${name}`, norm?.[name] ?? null, channels);
      }
      /** The weights as they are once the norm is in them, and the bias. */
      const fold = (foldedWeight: Buffer, foldedBias: Buffer | null): void => {
        if (norm === null) {
          g.keepCopy(weight, foldedWeight, weightSize);
          if (bias !== null && foldedBias !== null) g.keepCopy(bias, foldedBias, channels);
          return;
        }
        if (channels === 0) return;
        const { mean, variance, eps } = norm;
        const buffers = { weight, bias, mean, variance, normWeight: norm.weight, normBias: norm.bias };
        // A filter without elements has a bias all the same.
        const filterSize = Math.max(1, weightSize / channels);
        const params = { size: channels * filterSize, weights: weightSize, filterSize, eps };
        g.dispatch(foldNorm, { ...buffers, foldedWeight, foldedBias }, params, { elements: params.size });
      };
      const m = winogradTile('forward', o);
      const block = m === 0 && storage === 'float32' ? convolutionBlock(g, 'forward', o) : null;
      const inGroup = o.inChannels / o.groups;
      const pairs = m === 0 && storage === 'float16' && inGroup % 2 === 0;
      const { value, release } = g.holding((take) => {
        const size = m === 0 ? weightSize : filterElements(m, o);
        const filters = take(size, storage);
        const foldedBias = norm === null && bias === null ? null : take(channels);
        g.withScratch((takeShortly) => {
          const laidOut = storage === 'float16' ? takeShortly(size) : filters;
          const folded = m === 0 && block === null ? laidOut : takeShortly(weightSize);
          fold(folded, foldedBias);
          if (block !== null) layOut('forward', o, folded, laidOut);
          if (m > 0) winogradFilters(g, m, 'forward', o, folded, laidOut);
          if (storage === 'float16') {
            const params = { size, taps: pairs ? o.kernelHeight * o.kernelWidth : 1, channels: pairs ? inGroup : 1 };
            g.dispatch(packHalves, { x: laidOut, out: filters }, params, { elements: Math.ceil(size / 2) });
          }
        });
        return { filters, bias: foldedBias };
      });
      return {
        release,
        run: () => forward('prepareConv2d', { m, block }, o, { x, out, ...value }, { residual, relu }, pairs),
      };
    },

    conv2dBackwardInput({ dy, weight, dx, ...o }) {
      const [inSize, outSize, weightSize] = convSizes(o);
      g.expect('conv2dBackwardInput', 'dy', dy, outSize);
      g.expect('conv2dBackwardInput', 'weight', weight, weightSize);
      g.expect('conv2dBackwardInput', 'dx', dx, inSize);
      if (inSize === 0) return;
      const m = winogradTile('input', o);
      if (m > 0) {
        g.withScratch((take) => {
          const filters = take(filterElements(m, o));
          winogradFilters(g, m, 'input', o, weight, filters);
          winogradConvolve(g, m, 'input', o, { x: dy, filters, bias: null, out: dx }, NO_EPILOGUE);
        });
        return;
      }
      const rows = o.inChannels / o.groups;
      const { strideHeight, strideWidth } = o;
      const phases = strideHeight * strideWidth;
      // Of the largest phase.
      const columns = o.batch * Math.ceil(o.inHeight / strideHeight) * Math.ceil(o.inWidth / strideWidth);
      const block = convolutionBlock(g, 'input', o);
      if (block !== null) {
        const { ROWS, COLUMNS, parts, share } = block;
        const groups = [Math.ceil(columns / COLUMNS), Math.ceil(rows / ROWS), o.groups * phases * parts] as const;
        const constants = { ...windowConstants(o), ROWS, COLUMNS, RAGGED: (o.outChannels / o.groups) % DEPTH > 0 };
        const params = { ...convParams(o), parts, share, size: inSize };
        g.withScratch((take) => {
          const filters = take(weightSize);
          layOut('input', o, weight, filters);
          joined(parts, inSize, { bias: null, residual: null, out: dx }, PLAIN, (to) => {
            g.dispatch(conv2dBackwardInputBlock, { dy, filters, dx: to }, params, { groups }, constants);
          });
        });
        return;
      }
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
      const m = winogradTile('weight', o);
      if (m > 0) return winogradWeightGradient(g, m, o, { x, dy, dweight });
      const block = convolutionBlock(g, 'weight', o);
      if (block !== null) {
        const { ROWS, COLUMNS, parts, share } = block;
        const columns = size / o.outChannels;
        const rows = o.outChannels / o.groups;
        const groups = [Math.ceil(columns / COLUMNS), Math.ceil(rows / ROWS), o.groups * parts] as const;
        const sizes = { OUT_WIDTH: o.outWidth, OUT_PLANE: o.outHeight * o.outWidth };
        const constants = { ...windowConstants(o), ROWS, COLUMNS, ...sizes };
        const params = { ...convParams(o), parts, share, size };
        joined(parts, size, { bias: null, residual: null, out: dweight }, PLAIN, (to) => {
          g.dispatch(conv2dBackwardWeightBlock, { x, dy, out: to }, params, { groups }, constants);
        });
        return;
      }
      const tile = weightTile(o, g.busy);
      const { across, down, parts, small, constants } = tile;
      g.withScratch((take) => {
        const out = parts === 1 ? dweight : take(parts * size);
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
      });
    },
  };
}
