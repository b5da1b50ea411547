/**
 * The witness: every op and its gradients as textbook loops in float64. Imports nothing, so that it shares
 * no code with what it judges; clarity before speed. Arrays are dense and row-major.
 */

/** A sum of products (or of terms) per element: its value, Σ|terms|, Σ terms², and how many terms there were. */
export interface Sums {
  readonly value: Float64Array;
  readonly magnitude: Float64Array;
  readonly squares: Float64Array;
  readonly terms: Int32Array;
  /** 1 where every term is a whole number. */
  readonly whole: Uint8Array;
}

/** Elements, row-major. */
export type Values = ArrayLike<number>;
/** Extents of the axes, the outermost first. */
export type Shape = readonly number[];

/** Sums of nothing yet. */
export function sumsOf(size: number): Sums {
  return {
    value: new Float64Array(size),
    magnitude: new Float64Array(size),
    squares: new Float64Array(size),
    terms: new Int32Array(size),
    whole: new Uint8Array(size).fill(1),
  };
}

/** Adds a term to sum i, and to what its bound takes: magnitudes, squares. */
export function addTerm(sums: Sums, i: number, term: number): void {
  sums.value[i] += term;
  sums.magnitude[i] += Math.abs(term);
  sums.squares[i] += term * term;
  sums.terms[i] += 1;
  if (term % 1 !== 0) sums.whole[i] = 0;
}

function product(shape: Shape): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** Coordinates of the flat position `at` in `shape`. */
function unravel(at: number, shape: Shape): number[] {
  const coordinates = new Array<number>(shape.length);
  for (let i = shape.length - 1; i >= 0; i--) {
    coordinates[i] = at % shape[i];
    at = (at - coordinates[i]) / shape[i];
  }
  return coordinates;
}

/** Flat position in a tensor of shape `from`, read as if broadcast to the shape that `coordinates` index. */
function broadcastAt(coordinates: readonly number[], from: Shape): number {
  let at = 0;
  const skip = coordinates.length - from.length;
  for (let i = 0; i < from.length; i++) at = at * from[i] + (from[i] === 1 ? 0 : coordinates[i + skip]);
  return at;
}

// ln 2 in two parts, the first with 33 bits, so that k·LN2_HIGH is exact.
const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;

/** eˣ, to about 1e-15 of its size: x = k·ln 2 + r, the Taylor series of r, k doublings. */
export function exp(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x > 710) return Infinity;
  if (x < -746) return 0;
  const k = Math.round(x / (LN2_HIGH + LN2_LOW));
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  let sum = 0;
  for (let n = 18; n >= 1; n--) sum = (r / n) * (1 + sum);
  let y = 1 + sum;
  for (let i = 0; i < k; i++) y *= 2;
  for (let i = 0; i > k; i--) y /= 2;
  return y;
}

/** ln x, to about 1e-15: x = 2ᵏ·m with m near 1, then 2·artanh((m − 1)/(m + 1)) as its series. */
export function log(x: number): number {
  if (Number.isNaN(x) || x < 0) return Number.NaN;
  if (x === 0) return -Infinity;
  if (x === Infinity) return x;
  let k = 0;
  let m = x;
  for (; m > Math.SQRT2; k++) m /= 2;
  for (; m < Math.SQRT1_2; k--) m *= 2;
  const z = (m - 1) / (m + 1);
  let sum = 0;
  for (let n = 27; n >= 1; n -= 2) sum = sum * z * z + 1 / n;
  return 2 * z * sum + k * LN2_LOW + k * LN2_HIGH;
}

// Elementwise -------------------------------------------------------------------------------------------

/** Elementwise arithmetic of two operands. */
export type Elementwise = 'add' | 'sub' | 'mul' | 'div';

/** a ⊙ b with NumPy's broadcasting; `shape` is the result's. */
export function elementwise(op: Elementwise, a: Values, aShape: Shape, b: Values, bShape: Shape, shape: Shape) {
  const y = new Float64Array(product(shape));
  for (let i = 0; i < y.length; i++) {
    const at = unravel(i, shape);
    const p = a[broadcastAt(at, aShape)];
    const q = b[broadcastAt(at, bShape)];
    y[i] = op === 'add' ? p + q : op === 'sub' ? p - q : op === 'mul' ? p * q : p / q;
  }
  return y;
}

/** Gradients of `elementwise`: each sums over the positions that its input was broadcast to. */
export function elementwiseBackward(
  op: Elementwise,
  a: Values,
  aShape: Shape,
  b: Values,
  bShape: Shape,
  shape: Shape,
  dy: Values,
): { da: Sums; db: Sums } {
  const da = sumsOf(product(aShape));
  const db = sumsOf(product(bShape));
  for (let i = 0; i < dy.length; i++) {
    const at = unravel(i, shape);
    const pi = broadcastAt(at, aShape);
    const qi = broadcastAt(at, bShape);
    const p = a[pi];
    const q = b[qi];
    addTerm(da, pi, op === 'mul' ? dy[i] * q : op === 'div' ? dy[i] / q : dy[i]);
    addTerm(db, qi, op === 'add' ? dy[i] : op === 'sub' ? -dy[i] : op === 'mul' ? dy[i] * p : (-dy[i] * p) / (q * q));
  }
  return { da, db };
}

/** max(x, 0); NaN stays NaN. */
export function relu(x: Values): Float64Array {
  return Float64Array.from(x, (v) => Math.max(v, 0));
}

/** dy where x > 0 or is NaN, else 0. */
export function reluBackward(x: Values, dy: Values): Float64Array {
  return Float64Array.from(x, (v, i) => (v > 0 || Number.isNaN(v) ? dy[i] : 0));
}

// Moving elements ---------------------------------------------------------------------------------------

/** For every element of the result, the flat position in x (of x, and of which tensor) or −1 where it is filled. */
export interface Origins {
  readonly from: Int32Array;
  readonly tensor: Int32Array;
}

function origins(shape: Shape, find: (at: readonly number[]) => { tensor: number; shape: Shape; at: number[] } | null) {
  const from = new Int32Array(product(shape)).fill(-1);
  const tensor = new Int32Array(from.length).fill(-1);
  for (let i = 0; i < from.length; i++) {
    const found = find(unravel(i, shape));
    if (found === null) continue;
    tensor[i] = found.tensor;
    from[i] = broadcastAt(found.at, found.shape);
  }
  return { from, tensor };
}

/** Where a permuted tensor's elements come from. */
export function permuteOrigins(shape: Shape, dims: readonly number[]): Origins {
  const result = dims.map((dim) => shape[dim]);
  return origins(result, (at) => {
    const source = new Array<number>(shape.length);
    dims.forEach((dim, i) => {
      source[dim] = at[i];
    });
    return { tensor: 0, shape, at: source };
  });
}

/** Where the elements of x[..., start::step, ...] come from, `count` of them along the axis. */
export function sliceOrigins(shape: Shape, dim: number, start: number, step: number, count: number): Origins {
  const result = shape.map((extent, i) => (i === dim ? count : extent));
  return origins(result, (at) => ({ tensor: 0, shape, at: at.map((v, i) => (i === dim ? start + v * step : v)) }));
}

/** Where the elements of a padded tensor come from; `before` and `after` by axis, negative where it is cut. */
export function padOrigins(shape: Shape, before: readonly number[], after: readonly number[]): Origins {
  const result = shape.map((extent, i) => before[i] + extent + after[i]);
  return origins(result, (at) => {
    const source = at.map((v, i) => v - before[i]);
    return source.every((v, i) => v >= 0 && v < shape[i]) ? { tensor: 0, shape, at: source } : null;
  });
}

/** Where the elements of tensors laid end to end along an axis come from. */
export function catOrigins(shapes: readonly Shape[], dim: number): Origins {
  const result = [...shapes[0]];
  result[dim] = shapes.reduce((total, shape) => total + shape[dim], 0);
  return origins(result, (at) => {
    let tensor = 0;
    let along = at[dim];
    while (along >= shapes[tensor][dim]) along -= shapes[tensor++][dim];
    return { tensor, shape: shapes[tensor], at: at.map((v, i) => (i === dim ? along : v)) };
  });
}

/** The elements themselves, `value` where there is no origin. */
export function gather(tensors: readonly Values[], { from, tensor }: Origins, value: number): Float64Array {
  return Float64Array.from(from, (at, i) => (at < 0 ? value : tensors[tensor[i]][at]));
}

/** Gradient of `gather`: each element's goes to where it came from, at most one to a place. */
export function scatter(dy: Values, { from, tensor }: Origins, sizes: readonly number[]): Float64Array[] {
  const grads = sizes.map((size) => new Float64Array(size));
  from.forEach((at, i) => {
    if (at >= 0) grads[tensor[i]][at] = dy[i];
  });
  return grads;
}

// Sums --------------------------------------------------------------------------------------------------

/** Σx / divisor over the axes in `axes`; the result keeps them with extent 1. */
export function sum(x: Values, shape: Shape, axes: readonly number[], divisor: number): Sums {
  const kept = shape.map((extent, i) => (axes.includes(i) ? 1 : extent));
  const y = sumsOf(product(kept));
  for (let i = 0; i < x.length; i++) addTerm(y, broadcastAt(unravel(i, shape), kept), x[i] / divisor);
  return y;
}

/** Gradient of `sum`: dy / divisor wherever x went. */
export function sumBackward(dy: Values, shape: Shape, axes: readonly number[], divisor: number): Float64Array {
  const kept = shape.map((extent, i) => (axes.includes(i) ? 1 : extent));
  const dx = new Float64Array(product(shape));
  for (let i = 0; i < dx.length; i++) dx[i] = dy[broadcastAt(unravel(i, shape), kept)] / divisor;
  return dx;
}

// Products of matrices ----------------------------------------------------------------------------------

/** A batch of products [..., m, k]·[..., k, n]; `batchShape` is the broadcast of the leading axes. */
export function matmul(a: Values, aShape: Shape, b: Values, bShape: Shape, batchShape: Shape): Sums {
  const [m, k] = aShape.slice(-2);
  const n = bShape[bShape.length - 1];
  const batches = product(batchShape);
  const y = sumsOf(batches * m * n);
  for (let batch = 0; batch < batches; batch++) {
    const at = unravel(batch, batchShape);
    const a0 = broadcastAt(at, aShape.slice(0, -2)) * m * k;
    const b0 = broadcastAt(at, bShape.slice(0, -2)) * k * n;
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++)
        for (let p = 0; p < k; p++) addTerm(y, (batch * m + i) * n + j, a[a0 + i * k + p] * b[b0 + p * n + j]);
  }
  return y;
}

/** Gradients of `matmul` by a and by b. */
export function matmulBackward(a: Values, aShape: Shape, b: Values, bShape: Shape, batchShape: Shape, dy: Values) {
  const [m, k] = aShape.slice(-2);
  const n = bShape[bShape.length - 1];
  const da = sumsOf(product(aShape));
  const db = sumsOf(product(bShape));
  for (let batch = 0; batch < product(batchShape); batch++) {
    const at = unravel(batch, batchShape);
    const a0 = broadcastAt(at, aShape.slice(0, -2)) * m * k;
    const b0 = broadcastAt(at, bShape.slice(0, -2)) * k * n;
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        const g = dy[(batch * m + i) * n + j];
        for (let p = 0; p < k; p++) {
          addTerm(da, a0 + i * k + p, g * b[b0 + p * n + j]);
          addTerm(db, b0 + p * n + j, g * a[a0 + i * k + p]);
        }
      }
  }
  return { da, db };
}

/** Extents of x `[rows, inFeatures]` and of the weight `[outFeatures, inFeatures]`. */
export interface NaiveLinear {
  readonly rows: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/** x·weightᵀ + bias: x [rows, in], weight [out, in], bias [out]. */
export function linear(x: Values, weight: Values, bias: Values | null, g: NaiveLinear): Sums {
  const y = sumsOf(g.rows * g.outFeatures);
  for (let r = 0; r < g.rows; r++)
    for (let o = 0; o < g.outFeatures; o++) {
      const at = r * g.outFeatures + o;
      for (let i = 0; i < g.inFeatures; i++) addTerm(y, at, x[r * g.inFeatures + i] * weight[o * g.inFeatures + i]);
      if (bias) addTerm(y, at, bias[o]);
    }
  return y;
}

/** Gradients of `linear` by x, weight and bias. */
export function linearBackward(x: Values, weight: Values, g: NaiveLinear, dy: Values) {
  const dx = sumsOf(g.rows * g.inFeatures);
  const dweight = sumsOf(g.outFeatures * g.inFeatures);
  const dbias = sumsOf(g.outFeatures);
  for (let r = 0; r < g.rows; r++)
    for (let o = 0; o < g.outFeatures; o++) {
      const d = dy[r * g.outFeatures + o];
      for (let i = 0; i < g.inFeatures; i++) {
        addTerm(dx, r * g.inFeatures + i, d * weight[o * g.inFeatures + i]);
        addTerm(dweight, o * g.inFeatures + i, d * x[r * g.inFeatures + i]);
      }
      addTerm(dbias, o, d);
    }
  return { dx, dweight, dbias };
}

// Convolution -------------------------------------------------------------------------------------------

/** Extents and steps of a convolution. */
export interface NaiveConv {
  readonly batch: number;
  readonly inChannels: number;
  readonly inHeight: number;
  readonly inWidth: number;
  readonly outChannels: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  /** top, bottom, left, right */
  readonly padding: readonly [number, number, number, number];
  readonly groups: number;
}

/** How many windows of `span` fit when they start `stride` apart: [height, width] of the result. */
export function convOutput(g: NaiveConv): [number, number] {
  const count = (extent: number, span: number, stride: number): number => {
    let n = 0;
    while (n * stride + span <= extent) n++;
    return n;
  };
  const [top, bottom, left, right] = g.padding;
  return [
    count(g.inHeight + top + bottom, g.dilation[0] * (g.kernel[0] - 1) + 1, g.stride[0]),
    count(g.inWidth + left + right, g.dilation[1] * (g.kernel[1] - 1) + 1, g.stride[1]),
  ];
}

/** Visits every tap of every output: `xAt` is −1 where the tap lies in the padding. */
function eachTap(g: NaiveConv, visit: (yAt: number, xAt: number, wAt: number) => void): void {
  const [outHeight, outWidth] = convOutput(g);
  const [kernelHeight, kernelWidth] = g.kernel;
  const inGroup = g.inChannels / g.groups;
  const outGroup = g.outChannels / g.groups;
  for (let n = 0; n < g.batch; n++)
    for (let o = 0; o < g.outChannels; o++)
      for (let i = 0; i < outHeight; i++)
        for (let j = 0; j < outWidth; j++) {
          const yAt = ((n * g.outChannels + o) * outHeight + i) * outWidth + j;
          for (let c = 0; c < inGroup; c++)
            for (let p = 0; p < kernelHeight; p++)
              for (let q = 0; q < kernelWidth; q++) {
                const row = i * g.stride[0] + p * g.dilation[0] - g.padding[0];
                const column = j * g.stride[1] + q * g.dilation[1] - g.padding[2];
                const inside = row >= 0 && row < g.inHeight && column >= 0 && column < g.inWidth;
                const channel = Math.floor(o / outGroup) * inGroup + c;
                visit(
                  yAt,
                  inside ? ((n * g.inChannels + channel) * g.inHeight + row) * g.inWidth + column : -1,
                  ((o * inGroup + c) * kernelHeight + p) * kernelWidth + q,
                );
              }
        }
}

/** Cross-correlation, NCHW and OIHW; a tap in the padding is a product with zero. */
export function conv2d(x: Values, weight: Values, bias: Values | null, g: NaiveConv): Sums {
  const [outHeight, outWidth] = convOutput(g);
  const plane = outHeight * outWidth;
  const y = sumsOf(g.batch * g.outChannels * plane);
  eachTap(g, (yAt, xAt, wAt) => addTerm(y, yAt, (xAt < 0 ? 0 : x[xAt]) * weight[wAt]));
  if (bias) for (let i = 0; i < y.value.length; i++) addTerm(y, i, bias[Math.floor(i / plane) % g.outChannels]);
  return y;
}

/** Gradients. Where only one is asked for, x or the weight may be null: that of the other stays 0. */
export function conv2dBackward(x: Values | null, weight: Values | null, g: NaiveConv, dy: Values) {
  const [outHeight, outWidth] = convOutput(g);
  const plane = outHeight * outWidth;
  const dx = sumsOf(g.batch * g.inChannels * g.inHeight * g.inWidth);
  const dweight = sumsOf((g.outChannels * g.inChannels * g.kernel[0] * g.kernel[1]) / g.groups);
  const dbias = sumsOf(g.outChannels);
  eachTap(g, (yAt, xAt, wAt) => {
    if (xAt < 0) return;
    if (weight) addTerm(dx, xAt, dy[yAt] * weight[wAt]);
    if (x) addTerm(dweight, wAt, dy[yAt] * x[xAt]);
  });
  for (let i = 0; i < dy.length; i++) addTerm(dbias, Math.floor(i / plane) % g.outChannels, dy[i]);
  return { dx, dweight, dbias };
}

/**
 * What the products with zero come to where taps that miss are not left out: 0, or NaN by an infinity or a NaN among the
 * weights of an input channel, or among the gradients of an output channel.
 */
export function missedProducts(weight: Values, dy: Values, g: NaiveConv): { dx: Float64Array; dweight: Float64Array } {
  const [outHeight, outWidth] = convOutput(g);
  const inGroup = g.inChannels / g.groups;
  const outGroup = g.outChannels / g.groups;
  const taps = g.kernel[0] * g.kernel[1];
  const byInput = new Float64Array(g.inChannels);
  for (let i = 0; i < weight.length; i++) {
    const group = Math.floor(i / (inGroup * taps * outGroup));
    byInput[group * inGroup + (Math.floor(i / taps) % inGroup)] += 0 * weight[i];
  }
  const byOutput = new Float64Array(g.outChannels);
  for (let i = 0; i < dy.length; i++) byOutput[Math.floor(i / (outHeight * outWidth)) % g.outChannels] += 0 * dy[i];
  const plane = g.inHeight * g.inWidth;
  const dx = new Float64Array(g.batch * g.inChannels * plane);
  for (let i = 0; i < dx.length; i++) dx[i] = byInput[Math.floor(i / plane) % g.inChannels];
  const dweight = new Float64Array(weight.length);
  for (let i = 0; i < dweight.length; i++) dweight[i] = byOutput[Math.floor(i / (inGroup * taps))];
  return { dx, dweight };
}

// Pooling -----------------------------------------------------------------------------------------------

/** Extents and steps of pooling. */
export interface NaivePool {
  /** batch × channels */
  readonly planes: number;
  readonly inHeight: number;
  readonly inWidth: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly dilation: readonly [number, number];
  /** top, bottom, left, right */
  readonly padding: readonly [number, number, number, number];
  readonly ceilMode: boolean;
}

/**
 * Window counts [height, width]. With `ceilMode` a last, partial window is added unless the one before already
 * reached the end, or it would start in the padding behind the input (PyTorch's rule).
 */
export function poolOutput(g: NaivePool): [number, number] {
  const count = (extent: number, span: number, stride: number, before: number, after: number): number => {
    const end = extent + before + after;
    let n = 0;
    while (n * stride + span <= end) n++;
    if (g.ceilMode && (n - 1) * stride + span < end && n * stride < extent + before) n++;
    return n;
  };
  const [top, bottom, left, right] = g.padding;
  return [
    count(g.inHeight, g.dilation[0] * (g.kernel[0] - 1) + 1, g.stride[0], top, bottom),
    count(g.inWidth, g.dilation[1] * (g.kernel[1] - 1) + 1, g.stride[1], left, right),
  ];
}

/**
 * The result, and which element of x each came from: the first maximum in row order. A NaN beats everything, and a
 * later NaN an earlier one, as in PyTorch.
 */
export function maxPool2d(x: Values, g: NaivePool): { y: Float64Array; from: Int32Array } {
  const [outHeight, outWidth] = poolOutput(g);
  const y = new Float64Array(g.planes * outHeight * outWidth).fill(-Infinity);
  const from = new Int32Array(y.length).fill(-1);
  for (let plane = 0; plane < g.planes; plane++)
    for (let i = 0; i < outHeight; i++)
      for (let j = 0; j < outWidth; j++) {
        const at = (plane * outHeight + i) * outWidth + j;
        for (let p = 0; p < g.kernel[0]; p++)
          for (let q = 0; q < g.kernel[1]; q++) {
            const row = i * g.stride[0] + p * g.dilation[0] - g.padding[0];
            const column = j * g.stride[1] + q * g.dilation[1] - g.padding[2];
            if (row < 0 || row >= g.inHeight || column < 0 || column >= g.inWidth) continue;
            const source = (plane * g.inHeight + row) * g.inWidth + column;
            if (from[at] < 0 || x[source] > y[at] || Number.isNaN(x[source])) {
              y[at] = x[source];
              from[at] = source;
            }
          }
      }
  return { y, from };
}

/** Gradient of `maxPool2d`: each dy goes where its maximum was. */
export function maxPool2dBackward(x: Values, g: NaivePool, dy: Values): Sums {
  const dx = sumsOf(x.length);
  const { from } = maxPool2d(x, g);
  for (let i = 0; i < dy.length; i++) addTerm(dx, from[i], dy[i]);
  return dx;
}

/** Visits every (result, element, divisor) of an average pooling. */
function eachAverage(
  g: NaivePool,
  countIncludePad: boolean,
  visit: (yAt: number, xAt: number, divisor: number) => void,
) {
  const [outHeight, outWidth] = poolOutput(g);
  for (let plane = 0; plane < g.planes; plane++)
    for (let i = 0; i < outHeight; i++)
      for (let j = 0; j < outWidth; j++) {
        const top = i * g.stride[0] - g.padding[0];
        const left = j * g.stride[1] - g.padding[2];
        const bottom = Math.min(top + g.kernel[0], g.inHeight + g.padding[1]);
        const right = Math.min(left + g.kernel[1], g.inWidth + g.padding[3]);
        const rows = [Math.max(top, 0), Math.min(bottom, g.inHeight)];
        const columns = [Math.max(left, 0), Math.min(right, g.inWidth)];
        const divisor = countIncludePad
          ? (bottom - top) * (right - left)
          : (rows[1] - rows[0]) * (columns[1] - columns[0]);
        for (let row = rows[0]; row < rows[1]; row++)
          for (let column = columns[0]; column < columns[1]; column++)
            visit((plane * outHeight + i) * outWidth + j, (plane * g.inHeight + row) * g.inWidth + column, divisor);
      }
}

/** Mean of each window; the divisor counts the padding or not, but never what lies beyond it. */
export function avgPool2d(x: Values, g: NaivePool, countIncludePad: boolean): Sums {
  const [outHeight, outWidth] = poolOutput(g);
  const y = sumsOf(g.planes * outHeight * outWidth);
  eachAverage(g, countIncludePad, (yAt, xAt, divisor) => addTerm(y, yAt, x[xAt] / divisor));
  return y;
}

/** Gradient of `avgPool2d`. */
export function avgPool2dBackward(x: Values, g: NaivePool, countIncludePad: boolean, dy: Values): Sums {
  const dx = sumsOf(x.length);
  eachAverage(g, countIncludePad, (yAt, xAt, divisor) => addTerm(dx, xAt, dy[yAt] / divisor));
  return dx;
}

/** Extents of adaptive pooling. */
export interface NaiveAdaptivePool {
  readonly planes: number;
  readonly inHeight: number;
  readonly inWidth: number;
  readonly outHeight: number;
  readonly outWidth: number;
}

/** Visits every (result, element, divisor) of an adaptive average pooling. */
function eachAdaptive(g: NaiveAdaptivePool, visit: (yAt: number, xAt: number, divisor: number) => void): void {
  for (let plane = 0; plane < g.planes; plane++)
    for (let i = 0; i < g.outHeight; i++)
      for (let j = 0; j < g.outWidth; j++) {
        const top = Math.floor((i * g.inHeight) / g.outHeight);
        const bottom = Math.ceil(((i + 1) * g.inHeight) / g.outHeight);
        const left = Math.floor((j * g.inWidth) / g.outWidth);
        const right = Math.ceil(((j + 1) * g.inWidth) / g.outWidth);
        for (let row = top; row < bottom; row++)
          for (let column = left; column < right; column++)
            visit(
              (plane * g.outHeight + i) * g.outWidth + j,
              (plane * g.inHeight + row) * g.inWidth + column,
              (bottom - top) * (right - left),
            );
      }
}

/** Mean over rows ⌊i·H/outH⌋ … ⌈(i+1)·H/outH⌉ and columns alike. */
export function adaptiveAvgPool2d(x: Values, g: NaiveAdaptivePool): Sums {
  const y = sumsOf(g.planes * g.outHeight * g.outWidth);
  eachAdaptive(g, (yAt, xAt, divisor) => addTerm(y, yAt, x[xAt] / divisor));
  return y;
}

/** Gradient of `adaptiveAvgPool2d`. */
export function adaptiveAvgPool2dBackward(g: NaiveAdaptivePool, dy: Values): Sums {
  const dx = sumsOf(g.planes * g.inHeight * g.inWidth);
  eachAdaptive(g, (yAt, xAt, divisor) => addTerm(dx, xAt, dy[yAt] / divisor));
  return dx;
}

// Batch norm --------------------------------------------------------------------------------------------

/** Extents of a batch norm. */
export interface NaiveBatchNorm {
  readonly batch: number;
  readonly channels: number;
  /** height × width */
  readonly spatial: number;
  readonly eps: number;
}

/** Mean and biased variance of each channel. */
export function channelStatistics(x: Values, g: NaiveBatchNorm): { mean: Float64Array; variance: Float64Array } {
  const count = g.batch * g.spatial;
  const mean = new Float64Array(g.channels);
  const variance = new Float64Array(g.channels);
  const channelOf = (i: number) => Math.floor(i / g.spatial) % g.channels;
  for (let i = 0; i < x.length; i++) mean[channelOf(i)] += x[i] / count;
  for (let i = 0; i < x.length; i++) variance[channelOf(i)] += (x[i] - mean[channelOf(i)]) ** 2 / count;
  return { mean, variance };
}

/** (x − mean)/√(variance + eps)·weight + bias, with whichever statistics are given. */
export function batchNorm(
  x: Values,
  mean: Values,
  variance: Values,
  weight: Values | null,
  bias: Values | null,
  g: NaiveBatchNorm,
): Float64Array {
  return Float64Array.from(x, (v, i) => {
    const c = Math.floor(i / g.spatial) % g.channels;
    return ((v - mean[c]) / Math.sqrt(variance[c] + g.eps)) * (weight ? weight[c] : 1) + (bias ? bias[c] : 0);
  });
}

/** Running statistics after one training pass: the variance that goes in is the unbiased one, or not. */
export function runningStatistics(
  running: Values,
  batch: Values,
  momentum: number,
  count: number,
  unbias: boolean,
): Float64Array {
  const scale = unbias ? count / (count - 1) : 1;
  return Float64Array.from(running, (v, c) => (1 - momentum) * v + momentum * batch[c] * scale);
}

/** Gradients; with `training` the statistics are the batch's own and take part. */
export function batchNormBackward(
  x: Values,
  mean: Values,
  variance: Values,
  weight: Values | null,
  g: NaiveBatchNorm,
  training: boolean,
  dy: Values,
): { dx: Float64Array; dweight: Float64Array; dbias: Float64Array } {
  const count = g.batch * g.spatial;
  const dx = new Float64Array(x.length);
  const dweight = new Float64Array(g.channels);
  const dbias = new Float64Array(g.channels);
  const channelOf = (i: number) => Math.floor(i / g.spatial) % g.channels;
  const normalised = Float64Array.from(x, (v, i) => {
    const c = channelOf(i);
    return (v - mean[c]) / Math.sqrt(variance[c] + g.eps);
  });
  for (let i = 0; i < x.length; i++) {
    dweight[channelOf(i)] += dy[i] * normalised[i];
    dbias[channelOf(i)] += dy[i];
  }
  for (let i = 0; i < x.length; i++) {
    const c = channelOf(i);
    const centred = training ? dy[i] - dbias[c] / count - (normalised[i] * dweight[c]) / count : dy[i];
    dx[i] = (centred * (weight ? weight[c] : 1)) / Math.sqrt(variance[c] + g.eps);
  }
  return { dx, dweight, dbias };
}

// Softmax and cross-entropy -----------------------------------------------------------------------------

/** A softmax runs over `extent` elements that lie `inner` apart. */
export interface NaiveAxis {
  readonly outer: number;
  readonly extent: number;
  readonly inner: number;
}

/** Flat positions of every line along the axis. */
function lines(g: NaiveAxis): number[][] {
  const all: number[][] = [];
  for (let o = 0; o < g.outer; o++)
    for (let i = 0; i < g.inner; i++)
      all.push(Array.from({ length: g.extent }, (_, k) => (o * g.extent + k) * g.inner + i));
  return all;
}

/** log Σ exp of some elements of x. */
function logSumExp(x: Values, at: readonly number[]): number {
  let max = -Infinity;
  for (const i of at) max = Math.max(max, x[i]);
  let sum = 0;
  for (const i of at) sum += exp(x[i] - max);
  return max + log(sum);
}

/** exp(x − max) / Σ exp(x − max) along the axis. */
export function softmax(x: Values, g: NaiveAxis): Float64Array {
  const y = new Float64Array(x.length);
  for (const line of lines(g)) {
    let max = -Infinity;
    for (const i of line) max = Math.max(max, x[i]);
    let sum = 0;
    for (const i of line) sum += exp(x[i] - max);
    for (const i of line) y[i] = exp(x[i] - max) / sum;
  }
  return y;
}

/** Gradient of `softmax`. */
export function softmaxBackward(x: Values, g: NaiveAxis, dy: Values): Float64Array {
  const y = softmax(x, g);
  const dx = new Float64Array(x.length);
  for (const line of lines(g)) {
    let dot = 0;
    for (const i of line) dot += dy[i] * y[i];
    for (const i of line) dx[i] = y[i] * (dy[i] - dot);
  }
  return dx;
}

/** x − log Σ exp(x) along the axis. */
export function logSoftmax(x: Values, g: NaiveAxis): Float64Array {
  const y = new Float64Array(x.length);
  for (const line of lines(g)) {
    const lse = logSumExp(x, line);
    for (const i of line) y[i] = x[i] - lse;
  }
  return y;
}

/** Gradient of `logSoftmax`. */
export function logSoftmaxBackward(x: Values, g: NaiveAxis, dy: Values): Float64Array {
  const p = softmax(x, g);
  const dx = new Float64Array(x.length);
  for (const line of lines(g)) {
    let total = 0;
    for (const i of line) total += dy[i];
    for (const i of line) dx[i] = dy[i] - p[i] * total;
  }
  return dx;
}

/** Target distribution of one row: smoothing spreads evenly over all classes, the label's included. */
function target(label: number, k: number, classes: number, smoothing: number): number {
  return (k === label ? 1 - smoothing : 0) + smoothing / classes;
}

/**
 * −Σ target·log softmax, mean over the rows of logits [rows, classes]. A class of target 0 does not count, so that it
 * may be −∞.
 */
export function crossEntropy(logits: Values, labels: Values, classes: number, smoothing: number): number {
  const y = logSoftmax(logits, { outer: labels.length, extent: classes, inner: 1 });
  let loss = 0;
  for (let i = 0; i < y.length; i++) {
    const share = target(labels[Math.floor(i / classes)], i % classes, classes, smoothing);
    if (share !== 0) loss -= share * y[i];
  }
  return loss / labels.length;
}

/** Gradient of `crossEntropy` by the logits. */
export function crossEntropyBackward(
  logits: Values,
  labels: Values,
  classes: number,
  smoothing: number,
  dy: number,
): Float64Array {
  const p = softmax(logits, { outer: labels.length, extent: classes, inner: 1 });
  return p.map(
    (v, i) => ((v - target(labels[Math.floor(i / classes)], i % classes, classes, smoothing)) * dy) / labels.length,
  );
}

// Optimizers --------------------------------------------------------------------------------------------

/** Weight decay of 0 is none, so that an infinite parameter does not make a NaN of it. */
function decayed(grad: number, param: number, weightDecay: number): number {
  return weightDecay === 0 ? grad : grad + weightDecay * param;
}

/** One step of SGD as PyTorch takes it; `velocity` is null without momentum, and ignored on the first step. */
export function sgd(
  param: Values,
  grad: Values,
  velocity: Values | null,
  o: { first: boolean; lr: number; momentum: number; nesterov: boolean; weightDecay: number },
): { param: Float64Array; velocity: Float64Array } {
  const v = new Float64Array(param.length);
  const p = Float64Array.from(param, (w, i) => {
    let g = decayed(grad[i], w, o.weightDecay);
    if (velocity) {
      v[i] = o.first ? g : o.momentum * velocity[i] + g;
      g = o.nesterov ? g + o.momentum * v[i] : v[i];
    }
    return w - o.lr * g;
  });
  return { param: p, velocity: v };
}

/** One step of Adam, or of AdamW when `decoupled`; `correction1` and `correction2` are 1 − βᵗ. */
export function adam(
  param: Values,
  grad: Values,
  m: Values,
  v: Values,
  o: {
    lr: number;
    beta1: number;
    beta2: number;
    eps: number;
    weightDecay: number;
    decoupled: boolean;
    correction1: number;
    correction2: number;
  },
): { param: Float64Array; m: Float64Array; v: Float64Array } {
  const newM = new Float64Array(param.length);
  const newV = new Float64Array(param.length);
  const p = Float64Array.from(param, (w, i) => {
    const shrunk = o.decoupled ? w * (1 - o.lr * o.weightDecay) : w;
    const g = o.decoupled ? grad[i] : decayed(grad[i], w, o.weightDecay);
    newM[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
    newV[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
    const mean = newM[i] / o.correction1;
    const deviation = Math.sqrt(newV[i] / o.correction2);
    return shrunk - (o.lr * mean) / (deviation + o.eps);
  });
  return { param: p, m: newM, v: newV };
}

/** One step of RMSprop; `velocity` is null without momentum. */
export function rmsprop(
  param: Values,
  grad: Values,
  v: Values,
  velocity: Values | null,
  o: { lr: number; alpha: number; eps: number; weightDecay: number; momentum: number },
): { param: Float64Array; v: Float64Array; velocity: Float64Array } {
  const newV = new Float64Array(param.length);
  const newVelocity = new Float64Array(param.length);
  const p = Float64Array.from(param, (w, i) => {
    const g = decayed(grad[i], w, o.weightDecay);
    newV[i] = o.alpha * v[i] + (1 - o.alpha) * g * g;
    const scaled = g / (Math.sqrt(newV[i]) + o.eps);
    newVelocity[i] = velocity ? o.momentum * velocity[i] + scaled : 0;
    return w - o.lr * (velocity ? newVelocity[i] : scaled);
  });
  return { param: p, v: newV, velocity: newVelocity };
}
