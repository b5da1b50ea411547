/**
 * How the work of a convolution is handed out: padded copies for chunks of images, ranges of images that threads take whole,
 * or works that all threads share.
 */
import type { ConvGeometry } from '../../shape.js';
import type { Kernels, Prepared } from '../device.js';
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

/** From one to before another. */
export type Range = readonly [from: number, to: number];

/** Programs that write to different places: one, or several for the threads to share. */
export type Work = (divide: boolean) => Step[][];

/** Copies a range of planes of the input, or of the output gradient, as `s` says. */
export const copyStep = (
  { from, to, height, width }: Planes,
  [first, last]: Range,
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

/** Copies some channels of each image. */
export const copyChannels = (
  planes: Planes,
  images: number,
  channels: number,
  [first, last]: Range,
  s: Source,
  g: ConvGeometry,
): Step[] =>
  Array.from({ length: images }, (_, i) => copyStep(planes, [i * channels + first, i * channels + last], s, g));

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
  /** Output channels that each part of the last work computes whole; null where it is divided otherwise. */
  readonly last: readonly Range[] | null;
  /** Whether the first of several works is one of input channels, which the caller of `works` may divide. */
  readonly divisible: boolean;
  prepare(lasting: number): void;
  /** `channels`: how the first work is divided, where it may be. */
  works(lasting: number, scratch: number, tables: Tables, channels?: readonly Range[]): Work[][];
}

/** Runs a convolution once; all of its memory is scratch. */
export function runOnce(w: WasmContext, plan: ConvPlan): void {
  const lasting = Math.ceil(plan.lasting / 64) * 64;
  const base = w.scratch(lasting + plan.scratch);
  plan.prepare(base);
  runRanges(w, plan.works(base, base + lasting, w.tables));
}

/**
 * A convolution whose weights are laid out once; it runs as often as wanted, and allocates nothing then. Where another follows, threads
 * go on with the channels that they have just computed, which are in their caches, and wait for each other once less.
 */
export class PreparedConv implements Prepared {
  private readonly lasting: number;
  private readonly tables: number;
  private readonly tablesBytes: number;
  /** In whose last job the first work of this one is done, part by part. */
  private host: PreparedConv | null;
  private readonly guests: PreparedConv[] = [];
  /** Which of the scratch blocks is its own. */
  private readonly place: number;
  /** Where its result lies, and its shape. */
  private result: string;
  /** Where it lay when `works` were described. */
  private scratch = -1;
  private works: Step[][][] = [];
  /** What is run: of the works those that the host leaves, with what the guests begin with; null until it is put together. */
  private jobs: Step[][][] | null = null;

  /**
   * `since`: those that every run of this one follows at once, the first of which may compute its input. `memory`: what is given back
   * with it, where its own goes, too.
   */
  constructor(
    readonly w: WasmContext,
    private readonly plan: ConvPlan,
    { batch, ...o }: ConvGeometry,
    { x, out }: Addresses,
    since: readonly PreparedConv[],
    private readonly memory: number[],
  ) {
    this.result = `${[out, batch, o.outChannels, o.outHeight, o.outWidth]}`;
    const input = `${[x, batch, o.inChannels, o.inHeight, o.inWidth]}`;
    const host = since[0]?.result === input ? since[0] : null;
    // While the host's last job runs, and until this one does, the scratch of these is in use.
    const place = w.blocks.findIndex((_, i) => since.every((other) => other.place !== i));
    const parts = host?.plan.last?.length ?? 0;
    // Its own, and of each of two guests the copies of all images and the transform.
    const steps = parts * (2 * batch + 3);
    // Fewer parts than threads would leave some with nothing to copy.
    const joins = plan.divisible && w.threads > 1 && parts >= w.threads && steps <= MOST_STEPS && place >= 0;
    this.host = joins ? host : null;
    this.place = joins ? place : 0;
    this.lasting = this.take(plan.lasting);
    plan.prepare(this.lasting);
    const counted = new LastingTables(null);
    this.describe(0, counted);
    this.tablesBytes = counted.used;
    this.tables = this.take(counted.used);
    this.host?.admit(this);
  }

  private take(bytes: number): number {
    const address = this.w.take(Math.max(64, bytes), 'a prepared convolution');
    this.memory.push(address);
    return address;
  }

  private admit(guest: PreparedConv): void {
    this.guests.push(guest);
    this.jobs = null;
  }

  private describe(scratch: number, tables: Tables): Step[][][] {
    const ranges = this.plan.works(this.lasting, scratch, tables, this.host?.plan.last ?? undefined);
    if (ranges.length > 1) return [ranges.map((works) => works.flatMap((work) => work(false).flat()))];
    const jobs = ranges[0].map((work) => work(true));
    return this.w.threads === 1 ? [[jobs.flat(2)]] : jobs;
  }

  run(): void {
    const { w } = this;
    // It knows addresses only, not which buffers others may still read.
    w.besides?.join();
    for (const conv of [this, ...this.guests]) conv.layOut();
    this.jobs ??= this.assemble();
    for (const job of this.jobs) w.run(job);
  }

  /** Describes its works where its scratch lies now. */
  private layOut(): void {
    const { w, host } = this;
    const scratch = w.scratch(this.plan.scratch, w.blocks[this.place]);
    if (scratch === this.scratch) return;
    w.settle();
    this.works = this.describe(scratch, new LastingTables(w.heap, this.tables, this.tablesBytes));
    this.scratch = scratch;
    this.jobs = null;
    if (host) host.jobs = null;
  }

  private assemble(): Step[][][] {
    const jobs = this.works.slice(this.host ? 1 : 0);
    const heads = this.guests.map(({ works }) => works[0]);
    return jobs.map((job, i) =>
      i + 1 < jobs.length ? job : job.map((steps, part) => [...steps, ...heads.flatMap((head) => head[part])]),
    );
  }

  release(): void {
    const { host } = this;
    if (host) {
      host.guests.splice(host.guests.indexOf(this), 1);
      host.jobs = null;
      this.host = null;
    }
    // They begin by themselves from now on.
    for (const guest of this.guests.splice(0)) {
      guest.host = null;
      guest.scratch = -1;
    }
    this.result = '';
    for (const address of this.memory) this.w.release(address);
  }
}

/** Of the buffers of a convolution; 0 for no bias. */
export interface Addresses {
  readonly x: number;
  readonly weight: number;
  readonly bias: number;
  readonly out: number;
}

/** A forward pass; `keeps`: its weights are laid out for more than one run. */
export type PlanConv = (o: ConvGeometry, addresses: Addresses, epilogue: Epilogue, keeps: boolean) => ConvPlan;

export type ConvForward = Pick<Kernels, 'conv2d'> & { planConv: PlanConv };
export type ConvBackward = Pick<Kernels, 'conv2dBackwardInput' | 'conv2dBackwardWeight'>;
