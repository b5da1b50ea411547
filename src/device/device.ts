/**
 * The contract: what a device is, and every kernel that it must have. A device that lacks one does not
 * compile. The order of each reduction is part of the contract; `docs/NUMERICS.md` states them all, and
 * `reference.ts` is their executable form.
 */
import { DeviceError } from '../errors.js';
import type { ConvGeometry, PoolGeometry, Shape } from '../shape.js';
import type { ScopeStack } from './scope.js';

/** The element type that a device computes in. */
export type FloatType = 'float32' | 'float64';

/** Everything a buffer can hold. `float64` on a float32 device is for statistics that ops keep between passes. */
export type DType = FloatType | 'int32' | 'int64';

/** Elements on the host, one kind of array for each dtype. */
export type TypedArray = Float32Array | Float64Array | Int32Array | BigInt64Array;

/**
 * A piece of device memory. Not zeroed when allocated. Counted, so that a reshape shares its input's
 * memory: `release` gives it back when the last holder lets go.
 */
export abstract class Buffer {
  /** Counts what rewrites the elements in place, so that a gradient taken from other elements than the forward pass saw is an error. */
  version = 0;
  private holders = 1;

  constructor(
    /** Number of elements. */
    readonly size: number,
    readonly dtype: DType,
  ) {}

  /** True when exactly one holder is left, which may then write in place. */
  get exclusive(): boolean {
    return this.holders === 1;
  }

  /** False once the last holder has let go. */
  get live(): boolean {
    return this.holders > 0;
  }

  /**
   * One holder more.
   * @throws DeviceError when the memory was given back
   */
  retain(): this {
    if (this.holders === 0) throw new DeviceError('buffer: retained after its memory was given back');
    this.holders++;
    return this;
  }

  /**
   * One holder less; the last one gives the memory back.
   * @throws DeviceError when there is none left
   */
  release(): void {
    if (this.holders === 0) throw new DeviceError('buffer: released twice');
    if (--this.holders === 0) this.free();
  }

  /** Gives the memory back to the device. */
  protected abstract free(): void;
}

/** What a device has taken, in bytes. */
export interface MemoryUse {
  /** Bytes in live buffers. */
  readonly used: number;
  /** Most bytes ever in use at once, scratch included; with threads also what waits for a kernel that still reads it, not always as much. */
  readonly peak: number;
  /** Bytes that the device holds from its host. */
  readonly reserved: number;
}

/** A place where tensors live and ops run. A value, not a registry: tensors know theirs. */
export interface Device {
  readonly name: string;
  readonly dtype: FloatType;
  readonly kernels: Kernels;
  readonly scopes: ScopeStack;
  /** True where tensors have a shape and no elements: nothing need be drawn for them, and nothing can be read. */
  readonly holdsNothing?: boolean;
  /** Uninitialised memory for `size` elements, a whole number. Throws `OutOfMemoryError`. */
  alloc(size: number, dtype?: DType): Buffer;
  /** Copies `data` into `buffer`, element by element, rounding once to its dtype. Sizes must agree. */
  write(buffer: Buffer, data: ArrayLike<number> | ArrayLike<bigint>): void;
  /** A copy of the buffer's elements. */
  read(buffer: Buffer): Promise<TypedArray>;
  /** The same without waiting; only on devices whose memory the CPU sees. */
  readSync?(buffer: Buffer): TypedArray;
  /**
   * Runs `fn`, frees every tensor that was made inside, and returns what `fn` returns: a tensor, or tensors
   * in arrays and records, survive. Synchronous.
   */
  scope<T>(fn: () => T): T;
  /** Bytes in use now, at most so far, and held from the host. */
  memory(): MemoryUse;
  /** Gives everything back; tensors of this device are unusable afterwards. */
  dispose(): void;
}

/** Elementwise arithmetic of two operands. */
export type BinaryOperator = 'add' | 'sub' | 'mul' | 'div';

/** Extents of x `[batch, channels, …spatial]`. */
export interface BatchNormGeometry {
  readonly batch: number;
  readonly channels: number;
  /** Height × width. */
  readonly spatial: number;
}

/** A softmax runs over `extent` elements that lie `inner` apart; there are `outer` × `inner` of them. */
export interface AxisGeometry {
  readonly outer: number;
  readonly extent: number;
  readonly inner: number;
}

/** Batch norm by given statistics; a missing weight is 1, a missing bias +0. */
export interface ChannelNorm {
  readonly mean: Buffer;
  readonly variance: Buffer;
  readonly weight: Buffer | null;
  readonly bias: Buffer | null;
  readonly eps: number;
}

/** Work that is laid out once and done often. */
export interface Prepared {
  /** Does it once more. */
  run(): void;
  /** Gives back what was laid out. */
  release(): void;
}

/**
 * Out-parameter kernels over device buffers. `out`, `dx`, ... are written whole and never overlap an input,
 * except where a kernel says "in place". Words used below:
 * - *f32 step*: multiply and add each rounded to the device's dtype, accumulator starting at +0.
 * - *wide*: computed in float64 from the stored values and rounded once, when stored.
 * - *lane sum*: the k-th term goes to float64 lane k mod 8; the lanes are added as
 *   ((l0+l1)+(l2+l3))+((l4+l5)+(l6+l7)).
 */
export interface Kernels {
  /** out[i] = value. */
  fill(o: { out: Buffer; value: number }): void;

  /**
   * out[outOffset + i·outStrides] = x[xOffset + i·xStrides] for every index i of `shape`, the bits as they are; the other
   * elements of out stay. Offsets and strides in elements, strides at least 0, those of out without overlap.
   */
  copy(o: {
    x: Buffer;
    out: Buffer;
    shape: Shape;
    xOffset: number;
    xStrides: readonly number[];
    outOffset: number;
    outStrides: readonly number[];
  }): void;

  /** out = a ⊙ b, elementwise over `shape`; strides are 0 along broadcast axes. One rounding. */
  binary(o: {
    operator: BinaryOperator;
    a: Buffer;
    b: Buffer;
    out: Buffer;
    shape: Shape;
    aStrides: readonly number[];
    bStrides: readonly number[];
  }): void;

  /** In place: out = out + x, one rounding. */
  accumulate(o: { x: Buffer; out: Buffer }): void;

  /** x > 0 ? x : +0, except that NaN stays NaN. */
  relu(o: { x: Buffer; out: Buffer }): void;
  /** dx = y > 0 ? dy : +0. Where y is NaN, dx = dy. */
  reluBackward(o: { y: Buffer; dy: Buffer; dx: Buffer }): void;

  /**
   * Sums `x` of shape `shape` over the axes marked in `reduce`, then divides by `divisor`: a lane sum in row-major
   * order of the reduced axes, the quotient wide.
   */
  sum(o: { x: Buffer; out: Buffer; shape: Shape; reduce: readonly boolean[]; divisor: number }): void;
  /** out[i] = x[broadcast index of i] / divisor, wide: the gradient of `sum`. */
  expand(o: { x: Buffer; out: Buffer; shape: Shape; xStrides: readonly number[]; divisor: number }): void;

  /**
   * `batch` products out[b] = A[b]·B[b] (+ bias), A m×k, B k×n, row-major, or stored transposed. f32 steps with
   * k ascending, then the bias of the column (n values) in one rounded addition. Offsets, in elements, of the
   * b-th matrices are `b * aBatchStride` and so on; out is dense.
   */
  matmul(o: {
    a: Buffer;
    b: Buffer;
    bias: Buffer | null;
    out: Buffer;
    m: number;
    n: number;
    k: number;
    transposeA: boolean;
    transposeB: boolean;
    batch: number;
    aBatchStride: number;
    bBatchStride: number;
  }): void;

  /**
   * f32 steps over (input channel, kernel row, kernel column), each padded position contributing the product
   * with a zero; then the bias in one rounded addition.
   */
  conv2d(o: ConvGeometry & { x: Buffer; weight: Buffer; bias: Buffer | null; out: Buffer }): void;
  /**
   * A convolution for many runs: weights, bias and norm are read now, x and residual in each run. It is `conv2d`, then `norm` as `batchNormEval`
   * has it, + `residual`, relu, each where asked for. A fast mode folds the norm into the weights instead: w·scale and
   * (bias − mean)·scale + shift, scale = weight·(1/√(variance + eps)), wide; both are then what `conv2d` is given.
   * `since`: the prepared steps that run before each run of this one, from the convolution that writes x to the last, with nothing else
   * between them. A device may then read x as soon as that convolution writes it, and do some of this one in that one's run.
   */
  prepareConv2d(
    o: ConvGeometry & {
      x: Buffer;
      weight: Buffer;
      bias: Buffer | null;
      norm: ChannelNorm | null;
      residual: Buffer | null;
      relu: boolean;
      out: Buffer;
      since?: readonly Prepared[];
    },
  ): Prepared;

  /** f32 steps over (output channel, kernel row, kernel column), only taps that hit an output. */
  conv2dBackwardInput(o: ConvGeometry & { dy: Buffer; weight: Buffer; dx: Buffer }): void;
  /**
   * Over q = (image, output row, output column), only taps that hit the input: f32 steps within blocks of 512
   * consecutive q counted from 0, block sums added in order into float64 from +0, rounded once.
   */
  conv2dBackwardWeight(o: ConvGeometry & { x: Buffer; dy: Buffer; dweight: Buffer }): void;

  /**
   * First maximum of each window in row order; a NaN beats everything and a later NaN an earlier one
   * (PyTorch's loop). Padding never wins. `indices` (int32): flat position in the input plane, or null where
   * nobody asks; a window of padding alone gives −∞ and −1.
   */
  maxPool2d(o: PoolGeometry & { x: Buffer; out: Buffer; indices: Buffer | null }): void;
  /** dx = 0, then dx[indices[i]] += dy[i] for i ascending, one rounding each; an index of −1 has no gradient. */
  maxPool2dBackward(o: PoolGeometry & { dy: Buffer; indices: Buffer; dx: Buffer }): void;

  /**
   * Mean of each window in row order, float64, rounded once. The divisor counts the window clipped to the padded
   * input (`countIncludePad`) or to the input. Dilation is 1.
   */
  avgPool2d(o: PoolGeometry & { x: Buffer; out: Buffer; countIncludePad: boolean }): void;
  /** dx = Σ dy / divisor over the windows that cover it, in output order, float64, rounded once. */
  avgPool2dBackward(o: PoolGeometry & { dy: Buffer; dx: Buffer; countIncludePad: boolean }): void;

  /**
   * Mean over rows ⌊i·H/outH⌋ … ⌈(i+1)·H/outH⌉ and columns alike: a lane sum in row order, the quotient wide.
   */
  adaptiveAvgPool2d(o: AdaptivePoolGeometry & { x: Buffer; out: Buffer }): void;
  /** dx = Σ dy / count over the windows that cover it, in output order, float64, rounded once. */
  adaptiveAvgPool2dBackward(o: AdaptivePoolGeometry & { dy: Buffer; dx: Buffer }): void;

  /**
   * Per channel, terms in order (image, pixel): the k-th pixel of every image goes to lane k mod 8. mean = lane
   * sum of x / count; var = lane sum of (x − mean)² / count; invstd = 1/√(var + eps);
   * out = (x − mean)·(weight·invstd) + bias, wide. `saved` (float64, 2·channels) receives mean, then invstd.
   * Running statistics, in place: (1 − momentum)·running + momentum·batch, wide, with the variance var·correction
   * (count/(count − 1) for the unbiased one, 1 for the biased). Once stored, out = out + residual, in one rounding, and `relu` of that, where asked for.
   */
  batchNormTrain(
    o: BatchNormGeometry & {
      x: Buffer;
      weight: Buffer | null;
      bias: Buffer | null;
      residual: Buffer | null;
      relu: boolean;
      runningMean: Buffer | null;
      runningVar: Buffer | null;
      momentum: number;
      correction: number;
      eps: number;
      saved: Buffer;
      out: Buffer;
    },
  ): void;
  /** The same with the running statistics in place of the batch's; they are not changed. */
  batchNormEval(
    o: BatchNormGeometry & {
      x: Buffer;
      weight: Buffer | null;
      bias: Buffer | null;
      residual: Buffer | null;
      relu: boolean;
      runningMean: Buffer;
      runningVar: Buffer;
      eps: number;
      saved: Buffer;
      out: Buffer;
    },
  ): void;
  /**
   * S1 = lane sum of dy, S2 = lane sum of dy·(x − mean), lanes as above. dbias = S1, dweight = S2·invstd,
   * dx = (dy − S1/count − (x − mean)·(S2·invstd·invstd/count))·(weight·invstd), all wide; without `training`
   * dx = dy·(weight·invstd). `y`: the result where it went through relu; dy is then `reluBackward` of it, which is also the
   * gradient of the residual, `dresidual`, which comes only with `y`.
   */
  batchNormBackward(
    o: BatchNormGeometry & {
      x: Buffer;
      dy: Buffer;
      y: Buffer | null;
      dresidual: Buffer | null;
      weight: Buffer | null;
      saved: Buffer;
      training: boolean;
      dx: Buffer | null;
      dweight: Buffer | null;
      dbias: Buffer | null;
    },
  ): void;

  /** exp(x − max) / Σ exp(x − max), float64 in order, the project's own exp, rounded once. */
  softmax(o: AxisGeometry & { x: Buffer; out: Buffer }): void;
  /** dx = y·(dy − Σ dy·y), wide, the sum in order. */
  softmaxBackward(o: AxisGeometry & { y: Buffer; dy: Buffer; dx: Buffer }): void;
  /** (x − max) − log Σ exp(x − max), wide. */
  logSoftmax(o: AxisGeometry & { x: Buffer; out: Buffer }): void;
  /** dx = dy − exp(y)·Σ dy, wide, the sum in order. */
  logSoftmaxBackward(o: AxisGeometry & { y: Buffer; dy: Buffer; dx: Buffer }): void;

  /**
   * Mean over rows of (1 − s)·(lse − x[label]) + (s/classes)·Σ(lse − x), lse = max + log Σ exp(x − max), all
   * float64 in order, rounded once; the second term only when s > 0, so that other classes may be −∞. `labels` int32. `saved` (float64, rows) receives lse.
   */
  crossEntropy(o: {
    logits: Buffer;
    labels: Buffer;
    out: Buffer;
    saved: Buffer;
    rows: number;
    classes: number;
    labelSmoothing: number;
  }): void;
  /** dlogits = (exp(x − lse) − (1 − s)·[class = label] − s/classes)·(dy/rows), wide, left to right. */
  crossEntropyBackward(o: {
    logits: Buffer;
    labels: Buffer;
    saved: Buffer;
    dy: Buffer;
    dlogits: Buffer;
    rows: number;
    classes: number;
    labelSmoothing: number;
  }): void;

  /**
   * In place, each operation rounded to the dtype, scalars too: g = grad + weightDecay·p (if set);
   * with momentum v = first ? g : momentum·v + g, then g = nesterov ? g + momentum·v : v; p = p − lr·g.
   */
  sgd(o: {
    param: Buffer;
    grad: Buffer;
    velocity: Buffer | null;
    first: boolean;
    lr: number;
    momentum: number;
    nesterov: boolean;
    weightDecay: number;
  }): void;
  /**
   * In place, each operation rounded, scalars too. decoupled: p = p·(1 − lr·weightDecay), else g = grad +
   * weightDecay·p (each only if weightDecay is set). m = m·β1 + (1 − β1)·g; v = v·β2 + ((1 − β2)·g)·g;
   * p = p − (lr/c1)·(m / (√v/√c2 + eps)), c = 1 − βᵗ given as `correction1`, `correction2`.
   */
  adam(o: {
    param: Buffer;
    grad: Buffer;
    m: Buffer;
    v: Buffer;
    lr: number;
    beta1: number;
    beta2: number;
    eps: number;
    weightDecay: number;
    decoupled: boolean;
    correction1: number;
    correction2: number;
  }): void;
  /**
   * In place, each operation rounded, scalars too: g = grad + weightDecay·p (if set); v = α·v + ((1 − α)·g)·g;
   * u = g / (√v + eps); with momentum b = momentum·b + u, u = b; p = p − lr·u.
   */
  rmsprop(o: {
    param: Buffer;
    grad: Buffer;
    v: Buffer;
    velocity: Buffer | null;
    lr: number;
    alpha: number;
    eps: number;
    weightDecay: number;
    momentum: number;
  }): void;
}

/** Extents of adaptive pooling: `planes` is batch × channels. */
export interface AdaptivePoolGeometry {
  readonly planes: number;
  readonly inHeight: number;
  readonly inWidth: number;
  readonly outHeight: number;
  readonly outWidth: number;
}
