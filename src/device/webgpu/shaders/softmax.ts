import { flat, params, shader } from '../shader.js';

const AXIS = params({ outer: 'u32', extent: 'u32', inner: 'u32' });

/** The first element of line `i`; its others lie `inner` apart. */
const LINE = `
  if (i >= p.outer * p.inner) { return; }
  let first = (i / p.inner) * p.extent * p.inner + i % p.inner;
  let past = first + p.extent * p.inner;`;

/** Softmax or, `LOGARITHM`, its logarithm. One invocation a line. */
export const softmax = shader({
  name: 'softmax',
  buffers: { x: 'f32', out: 'f32 out' },
  params: AXIS,
  code: flat(`${LINE}
  // NaN is passed over here and comes back through the sum.
  var most = x[first];
  for (var at = first; at < past; at += p.inner) {
    let v = x[at];
    if (v > most || isNan(most)) { most = v; }
  }
  var total = 0.0;
  for (var at = first; at < past; at += p.inner) { total += expOf(x[at] - most); }
  if (LOGARITHM) {
    let logarithm = logOf(total);
    for (var at = first; at < past; at += p.inner) { out[at] = (x[at] - most) - logarithm; }
  } else {
    for (var at = first; at < past; at += p.inner) { out[at] = expOf(x[at] - most) / total; }
  }`),
});

/** dx = y·(dy − Σ dy·y) or, `LOGARITHM`, dy − exp(y)·Σ dy. One invocation a line. */
export const softmaxBackward = shader({
  name: 'softmaxBackward',
  buffers: { y: 'f32', dy: 'f32', dx: 'f32 out' },
  params: AXIS,
  code: flat(`${LINE}
  var total = 0.0;
  if (LOGARITHM) {
    for (var at = first; at < past; at += p.inner) { total += dy[at]; }
    for (var at = first; at < past; at += p.inner) { dx[at] = dy[at] - expOf(y[at]) * total; }
  } else {
    for (var at = first; at < past; at += p.inner) { total += dy[at] * y[at]; }
    for (var at = first; at < past; at += p.inner) { dx[at] = y[at] * (dy[at] - total); }
  }`),
});
