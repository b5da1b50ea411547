/** Copies between strided tensors: slices, padding, concatenation, permuted axes. */
import { advance } from './reduce';

/**
 * `table`: extents, strides of x, strides of out (elements), then room for two counters an axis. The bits of the elements
 * are copied as they are.
 */
export function copy(x: usize, out: usize, rank: i32, table: usize): void {
  const bytes: usize = (<usize>rank) << 2;
  const last = bytes - 4;
  const xStrides = table + bytes;
  const outStrides = xStrides + bytes;
  const xCounters = outStrides + bytes;
  const outCounters = xCounters + bytes;
  const inner = load<i32>(table + last);
  const xStep: usize = (<usize>load<i32>(xStrides + last)) << 2;
  const outStep: usize = (<usize>load<i32>(outStrides + last)) << 2;
  let rows = 1;
  for (let i: usize = 0; i < last; i += 4) {
    rows *= load<i32>(table + i);
    store<i32>(xCounters + i, 0);
    store<i32>(outCounters + i, 0);
  }
  for (let r = 0; r < rows; r++) {
    let p = x;
    let q = out;
    let i = 0;
    if (xStep === 4 && outStep === 4) {
      for (; i + 4 <= inner; i += 4) {
        v128.store(q, v128.load(p));
        p += 16;
        q += 16;
      }
    }
    for (; i < inner; i++) {
      store<i32>(q, load<i32>(p));
      p += xStep;
      q += outStep;
    }
    x = advance(x, table, xStrides, xCounters, last);
    out = advance(out, table, outStrides, outCounters, last);
  }
}
