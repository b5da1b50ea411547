/**
 * How the work of a convolution is handed out: padded copies for chunks of images, ranges of images that threads take whole,
 * or works that all threads share.
 */
import type { ConvGeometry } from '../../shape.js';
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';
import type { Source } from './convSource.js';
import { LastingTables, type Tables } from './tables.js';
import { MOST_STEPS, type Step } from './team.js';

/** Padded copies are made for as many images at a time as fit here: it should stay in the second-level cache. */
const PADDED_BYTES = 2 << 20;
/**
 * Pixels that a thread should get at least: the weights are read from further away than the columns. As many as that are not divided:
 * their weights may not be packed beforehand, and are then packed in one place.
 */
export const BLOCK_PIXELS = 512;

/** Images that share one padded copy, all of them where there is none; whole panels of 8 pixels where several fit. */
export function imagesPerChunk(batch: number, imageBytes: number): number {
  const fit = imageBytes > 0 ? Math.max(1, Math.floor(PADDED_BYTES / imageBytes)) : batch;
  return Math.max(1, Math.min(batch, fit > 8 && fit < batch ? fit - (fit % 8) : fit));
}

/** Programs that write to different places: one, or several for the threads to share. */
export type Work = (divide: boolean) => Step[][];

/** Copies a range of planes of the input, or of the output gradient, as `s` says. */
export const copyStep = (
  { from, to, height, width }: Planes,
  [first, last]: readonly [number, number],
  s: Source,
  g: ConvGeometry,
): Step => {
  const [source, copy, planes] = [from + first * height * width * 4, to + first * s.planeBytes, last - first];
  if (s.subsampled) {
    const args = [source, copy, planes, height, width, g.outHeight, g.outWidth, g.strideHeight, g.strideWidth];
    return ['subsamplePlanes', args];
  }
  const { padTop, padLeft, phases, phaseLength } = s;
  return ['padPlanes', [source, copy, planes, height, width, padTop, padLeft, s.height, phases, phaseLength]];
};

/** Planes to copy, and where to. */
export interface Planes {
  readonly from: number;
  readonly to: number;
  readonly height: number;
  readonly width: number;
}

/** Copies all of them, for the threads to share. */
export const copyWork =
  (w: WasmContext, planes: Planes, count: number, s: Source, g: ConvGeometry): Work =>
  (divide) => {
    const ranges = divide ? w.split(count, (count * s.planeBytes) / 8) : [[0, count] as const];
    return ranges.map((range) => [copyStep(planes, range, s, g)]);
  };

/**
 * Ranges of images that threads take whole, copies included, so that what one writes it reads itself; one range, whose
 * works are divided, where the images are too few.
 */
export function imageRanges(
  w: WasmContext,
  batch: number,
  pixels: number,
  chunk: number,
  worksPerChunk: number,
): [number, number][] {
  const perThread = Math.min(2, Math.floor((batch * pixels) / BLOCK_PIXELS / w.threads));
  const steps = (Math.ceil(batch / chunk) + (perThread + 1) * w.threads) * worksPerChunk;
  if (w.threads === 1 || batch < w.threads || perThread < 1 || steps > MOST_STEPS) return [[0, batch]];
  return w.split(batch, Number.POSITIVE_INFINITY, 1, perThread);
}

/** Runs each range's works in their order: ranges side by side, or the works of the only one divided. */
export function runRanges(w: WasmContext, ranges: readonly Work[][]): void {
  if (ranges.length > 1) w.run(ranges.map((works) => works.flatMap((work) => work(false).flat())));
  else for (const work of ranges[0]) w.run(work(true));
}

/** What follows a convolution in the same pass over memory. Addresses, or 0 for nothing. */
export interface Epilogue {
  /** Three float64 a channel: mean, scale and shift of (y − mean)·scale + shift, rounded once. */
  readonly norm: number;
  readonly residual: number;
  readonly relu: boolean;
}

/** Bytes of `norm` for a channel. */
export const NORM_BYTES = 24;

export const NO_EPILOGUE: Epilogue = { norm: 0, residual: 0, relu: false };

/** A convolution laid out: the memory it takes, and what is done there. */
export interface ConvPlan {
  /** Bytes of what is the same in every run: weights as the kernel reads them. */
  readonly lasting: number;
  /** Bytes of what is not. */
  readonly scratch: number;
  prepare(lasting: number): void;
  works(lasting: number, scratch: number, tables: Tables): Work[][];
}

/** Runs a convolution once; all of its memory is scratch. */
export function runOnce(w: WasmContext, plan: ConvPlan): void {
  const lasting = Math.ceil(plan.lasting / 64) * 64;
  const base = w.scratch(lasting + plan.scratch);
  plan.prepare(base);
  runRanges(w, plan.works(base, base + lasting, w.tables));
}

/** A convolution whose weights are laid out once; it runs as often as wanted, and allocates nothing then. */
export class PreparedConv {
  private readonly lasting: number;
  private readonly tables: number;
  private readonly tablesBytes: number;
  private jobs: Step[][][] = [];
  /** Where the scratch lay when `jobs` were made. */
  private scratch = -1;

  constructor(
    private readonly w: WasmContext,
    private readonly plan: ConvPlan,
  ) {
    this.lasting = w.take(Math.max(64, plan.lasting), 'a prepared convolution');
    try {
      plan.prepare(this.lasting);
      const counted = new LastingTables(null);
      this.describe(0, counted);
      this.tablesBytes = counted.used;
      this.tables = w.take(Math.max(64, counted.used), 'a prepared convolution');
    } catch (error) {
      w.release(this.lasting);
      throw error;
    }
  }

  private describe(scratch: number, tables: Tables): Step[][][] {
    const ranges = this.plan.works(this.lasting, scratch, tables);
    if (ranges.length > 1) return [ranges.map((works) => works.flatMap((work) => work(false).flat()))];
    const jobs = ranges[0].map((work) => work(true));
    return this.w.threads === 1 ? [[jobs.flat(2)]] : jobs;
  }

  run(): void {
    // It knows addresses only, not which buffers others may still read.
    this.w.besides?.join();
    const scratch = this.w.scratch(this.plan.scratch);
    if (scratch !== this.scratch) {
      this.w.settle();
      this.jobs = this.describe(scratch, new LastingTables(this.w.heap, this.tables, this.tablesBytes));
      this.scratch = scratch;
    }
    for (const job of this.jobs) this.w.run(job);
  }

  release(): void {
    this.w.release(this.lasting);
    this.w.release(this.tables);
  }
}

/** A forward pass that is to run often, at fixed addresses; 0 for no bias. */
export type PrepareConv = (
  o: ConvGeometry,
  addresses: { x: number; weight: number; bias: number; out: number },
  epilogue: Epilogue,
) => PreparedConv;

export type ConvForward = Pick<Kernels, 'conv2d'> & { prepareConv: PrepareConv };
export type ConvBackward = Pick<Kernels, 'conv2dBackwardInput' | 'conv2dBackwardWeight'>;
