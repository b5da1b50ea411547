/**
 * Ops in float32 throughout, one rounding an operation, each as its textbook says: what a backend without wider numbers computes. `add`
 * sums the products of two lists, in whatever order it likes.
 */
const f = Math.fround;
const size = (shape) => shape.reduce((a, b) => a * b, 1);
const ones = (list) => list.map(() => 1);

/** One after the other. */
export function inOrder(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum = f(sum + f(a[i] * b[i]));
  return sum;
}

function batchNorm(op, { x, weight, bias, runningMean, runningVar, residual }, shape, o, add) {
  const [batch, channels, ...rest] = shape.x;
  const [plane, count] = [size(rest), batch * size(rest)];
  const found = { y: new Float32Array(x.length), 'new.runningMean': [], 'new.runningVar': [] };
  const mix = (old, now) => f(f(f(1 - f(o.momentum)) * old) + f(f(o.momentum) * now));
  for (let c = 0; c < channels; c++) {
    const at = Array.from({ length: count }, (_, i) => (Math.floor(i / plane) * channels + c) * plane + (i % plane));
    const own = at.map((i) => x[i]);
    const mean = o.training ? f(add(own, ones(own)) / count) : runningMean[c];
    const off = own.map((v) => f(v - mean));
    const variance = o.training ? f(add(off, off) / count) : runningVar[c];
    const scale = f((weight?.[c] ?? 1) * f(1 / f(Math.sqrt(f(variance + f(o.eps))))));
    at.forEach((i, k) => {
      let y = f(f(off[k] * scale) + (bias?.[c] ?? 0));
      if (residual) y = f(y + residual[i]);
      found.y[i] = op.startsWith('batchNormRelu') ? Math.max(y, 0) : y;
    });
    if (!o.training || !runningMean) continue;
    found['new.runningMean'].push(mix(runningMean[c], mean));
    const correction = o.unbiasedRunningVar ? f(count / (count - 1)) : 1;
    found['new.runningVar'].push(mix(runningVar[c], f(variance * correction)));
  }
  return found;
}

/** Σ exp(x − max) of one line, and its parts. */
function exponentials(line, add) {
  const most = Math.max(...line);
  const e = line.map((v) => f(Math.exp(f(v - most))));
  return { most, e, total: add(e, ones(e)) };
}

function alongLastAxis(x, extent, of) {
  const lines = [];
  for (let r = 0; r < x.length; r += extent) lines.push(...of(Array.from(x.subarray(r, r + extent)), r / extent));
  return { y: lines };
}

const OPS = {
  batchNorm,
  softmax: (_, { x }, { x: shape }, __, add) =>
    alongLastAxis(x, shape.at(-1), (line) => {
      const { e, total } = exponentials(line, add);
      return e.map((v) => f(v / total));
    }),
  logSoftmax: (_, { x }, { x: shape }, __, add) =>
    alongLastAxis(x, shape.at(-1), (line) => {
      const { most, total } = exponentials(line, add);
      return line.map((v) => f(f(v - most) - f(Math.log(total))));
    }),
  crossEntropy(_, { logits }, { logits: [rows, classes] }, { labels, labelSmoothing: s }, add) {
    const { y: losses } = alongLastAxis(logits, classes, (line, r) => {
      const { most, total } = exponentials(line, add);
      const lse = f(most + f(Math.log(total)));
      const own = f(f(1 - f(s)) * f(lse - line[labels[r]]));
      if (s === 0) return [own];
      const below = line.map((v) => f(lse - v));
      return [f(own + f(f(f(s) / classes) * add(below, ones(below))))];
    });
    return { y: [f(add(losses, ones(losses)) / rows)] };
  },
  /** Over all axes, or the last, or all but the second. */
  sum(op, { x }, { x: shape }, { dim }, add) {
    const kept = shape.map((extent, axis) => (dim.includes(axis) ? 1 : extent));
    const groups = Array.from({ length: size(kept) }, () => []);
    for (let i = 0; i < x.length; i++) {
      let [rest, at, stride] = [i, 0, 1];
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        if (kept[axis] > 1) at += (rest % shape[axis]) * stride;
        stride *= kept[axis];
        rest = Math.floor(rest / shape[axis]);
      }
      groups[at].push(x[i]);
    }
    return { y: groups.map((one) => (op === 'mean' ? f(add(one, ones(one)) / one.length) : add(one, ones(one)))) };
  },
  /** The whole plane. */
  adaptiveAvgPool2d(_, { x }, { x: [n, c, h, w] }, __, add) {
    const planes = Array.from({ length: n * c }, (_, p) => Array.from(x.subarray(p * h * w, (p + 1) * h * w)));
    return { y: planes.map((one) => f(add(one, ones(one)) / (h * w))) };
  },
};

const BY_NAME = { mean: 'sum' };

/** The outputs of a call by name; null for ops that are not here. */
export function float32(op, values, shapes, attributes, add = inOrder) {
  const own = OPS[op.startsWith('batchNorm') ? 'batchNorm' : (BY_NAME[op] ?? op)];
  return own ? own(op, values, shapes, attributes, add) : null;
}
