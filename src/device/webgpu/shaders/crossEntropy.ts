import { flat, shader } from '../shader.js';

/** Invocations that share the rows. */
export const ROWS_GROUP = 64;

/** Mean cross-entropy over rows, and each row's log Σ exp. One workgroup: rows are few. */
export const crossEntropy = shader({
  name: 'crossEntropy',
  buffers: { logits: 'f32', labels: 'i32', out: 'f32 out', saved: 'f32 out' },
  params: { rows: 'u32', classes: 'u32', own: 'f32', spread: 'f32' },
  code: `
var<workgroup> shares: array<f32, ${ROWS_GROUP}>;

@compute @workgroup_size(${ROWS_GROUP})
fn main(@builtin(local_invocation_index) lane: u32) {
  var loss = 0.0;
  for (var row = lane; row < p.rows; row += ${ROWS_GROUP}u) {
    let first = row * p.classes;
    var most = logits[first];
    for (var j = 1u; j < p.classes; j++) {
      let v = logits[first + j];
      if (v > most || isNan(most)) { most = v; }
    }
    var total = 0.0;
    for (var j = 0u; j < p.classes; j++) { total += expOf(logits[first + j] - most); }
    let lse = most + logOf(total);
    saved[row] = lse;
    var term = p.own * (lse - logits[first + u32(labels[row])]);
    if (SMOOTHED) {
      var all = 0.0;
      for (var j = 0u; j < p.classes; j++) { all += lse - logits[first + j]; }
      term += p.spread * all;
    }
    loss += term;
  }
  shares[lane] = loss;
  workgroupBarrier();
  if (lane == 0u) {
    for (var j = 1u; j < ${ROWS_GROUP}u; j++) { loss += shares[j]; }
    out[0] = loss / f32(p.rows);
  }
}`,
});

/** dlogits = (exp(x − lse) − own·[class = label] − spread)·(dy/rows). One invocation an element. */
export const crossEntropyBackward = shader({
  name: 'crossEntropyBackward',
  buffers: { logits: 'f32', labels: 'i32', saved: 'f32', dy: 'f32', dlogits: 'f32 out' },
  params: { rows: 'u32', classes: 'u32', own: 'f32', spread: 'f32' },
  code: flat(`
  if (i >= p.rows * p.classes) { return; }
  let row = i / p.classes;
  let hit = u32(labels[row]) == i % p.classes;
  dlogits[i] = (expOf(logits[i] - saved[row]) - select(0.0, p.own, hit) - p.spread) * (dy[0] / f32(p.rows));`),
});
