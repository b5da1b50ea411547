/** Pooling over planes. Windows are clipped once, so that the loops meet only elements that exist. */
import { addToLanes, clearLanes, foldLanes } from './reduce';

/** Fields in the order in which `device/wasm/pool.ts` writes them. */
@unmanaged
export class Pool {
  planes: i32;
  inHeight: i32;
  inWidth: i32;
  outHeight: i32;
  outWidth: i32;
  kernelHeight: i32;
  kernelWidth: i32;
  strideHeight: i32;
  strideWidth: i32;
  padTop: i32;
  padLeft: i32;
  padBottom: i32;
  padRight: i32;
  dilationHeight: i32;
  dilationWidth: i32;
}

/** The first position of a dilated window that is not before the input. */
@inline
function firstInside(start: i32, dilation: i32): i32 {
  return start >= 0 ? start : start + ((-start + dilation - 1) / dilation) * dilation;
}

/** `indices` may be 0: nobody asks for them. */
export function maxPool2d(g: Pool, x: usize, out: usize, indices: usize): void {
  const plane: usize = (<usize>(g.inHeight * g.inWidth)) << 2;
  // Outputs whose windows lie inside the row, and whose vectors of inputs do too, are taken four at a time.
  const reach = (g.kernelWidth - 1) * g.dilationWidth + 3 * g.strideWidth + 1;
  const from = min((g.padLeft + g.strideWidth - 1) / g.strideWidth, g.outWidth);
  const last = min(g.outWidth - 4, (g.inWidth + g.padLeft - reach) / g.strideWidth);
  const fours = g.strideWidth <= 2 && g.inWidth + g.padLeft >= reach && last >= from ? ((last - from) >> 2) + 1 : 0;
  // The last four once more, from further right, rather than what is left one by one.
  const again = fours > 0 && last > from + ((fours - 1) << 2);
  const rest = again ? last + 4 : from + (fours << 2);
  for (let p = 0; p < g.planes; p++) {
    for (let oh = 0; oh < g.outHeight; oh++) {
      const at: usize = indices === 0 ? 0 : indices + ((<usize>((p * g.outHeight + oh) * g.outWidth)) << 2);
      for (let ow = 0; ow < from; ow++) maxOfOne(g, x, oh, ow, out, at);
      if (fours > 0) maxOfFours(g, x, oh, from, fours, out, at);
      if (again) maxOfFours(g, x, oh, last, 1, out, at);
      for (let ow = rest; ow < g.outWidth; ow++) maxOfOne(g, x, oh, ow, out, at);
      out += (<usize>g.outWidth) << 2;
    }
    x += plane;
  }
}

/** `out` and `indices` point at the row. */
function maxOfOne(g: Pool, x: usize, oh: i32, ow: i32, out: usize, indices: usize): void {
  const startH = oh * g.strideHeight - g.padTop;
  const fromH = firstInside(startH, g.dilationHeight);
  const toH = min(startH + g.kernelHeight * g.dilationHeight, g.inHeight);
  const startW = ow * g.strideWidth - g.padLeft;
  const fromW = firstInside(startW, g.dilationWidth);
  const toW = min(startW + g.kernelWidth * g.dilationWidth, g.inWidth);
  let best: f32 = -Infinity;
  let at = fromH < toH && fromW < toW ? fromH * g.inWidth + fromW : -1;
  for (let h = fromH; h < toH; h += g.dilationHeight) {
    for (let w = fromW; w < toW; w += g.dilationWidth) {
      const i = h * g.inWidth + w;
      const v = load<f32>(x + ((<usize>i) << 2));
      if (v > best || v !== v) {
        best = v;
        at = i;
      }
    }
  }
  store<f32>(out + ((<usize>ow) << 2), best);
  if (indices !== 0) store<i32>(indices + ((<usize>ow) << 2), at);
}

/** `fours` times four neighbouring outputs from `ow`, stride 1 or 2, no window beyond the row's ends. */
function maxOfFours(g: Pool, x: usize, oh: i32, ow: i32, fours: i32, out: usize, indices: usize): void {
  const stride = g.strideWidth;
  const width = g.inWidth;
  const rows = g.dilationHeight;
  const startH = oh * g.strideHeight - g.padTop;
  const fromH = firstInside(startH, rows);
  const toH = min(startH + g.kernelHeight * rows, g.inHeight);
  const lanes = i32x4.mul(i32x4(0, 1, 2, 3), i32x4.splat(stride));
  const step: usize = (<usize>g.dilationWidth) << 2;
  const reach: usize = <usize>g.kernelWidth * step;
  out += (<usize>ow) << 2;
  if (indices === 0) {
    for (let n = 0, startW = ow * stride - g.padLeft; n < fours; n++) {
      let best = f32x4.splat(-Infinity);
      let row = x + ((<usize>(fromH * width + startW)) << 2);
      for (let h = fromH; h < toH; h += rows) {
        for (let p = row, end = row + reach; p < end; p += step) {
          let v = v128.load(p);
          if (stride === 2) v = v128.shuffle<f32>(v, v128.load(p, 12), 0, 2, 5, 7);
          best = v128.bitselect(v, best, v128.or(f32x4.gt(v, best), f32x4.ne(v, v)));
        }
        row += (<usize>(rows * width)) << 2;
      }
      v128.store(out, best);
      out += 16;
      startW += stride << 2;
    }
    return;
  }
  indices += (<usize>ow) << 2;
  for (let n = 0, startW = ow * stride - g.padLeft; n < fours; n++) {
    let first = fromH * width + startW;
    let best = f32x4.splat(-Infinity);
    let at = fromH < toH ? i32x4.add(i32x4.splat(first), lanes) : i32x4.splat(-1);
    for (let h = fromH; h < toH; h += rows) {
      let i = i32x4.add(i32x4.splat(first), lanes);
      let p = x + ((<usize>first) << 2);
      for (const end = p + reach; p < end; p += step) {
        let v = v128.load(p);
        // From the fourth on, so as not to read past the row.
        if (stride === 2) v = v128.shuffle<f32>(v, v128.load(p, 12), 0, 2, 5, 7);
        const wins = v128.or(f32x4.gt(v, best), f32x4.ne(v, v));
        best = v128.bitselect(v, best, wins);
        at = v128.bitselect(i, at, wins);
        i = i32x4.add(i, i32x4.splat(<i32>(step >> 2)));
      }
      first += rows * width;
    }
    v128.store(out, best);
    v128.store(indices, at);
    out += 16;
    indices += 16;
    startW += stride << 2;
  }
}

/** dx is zero on entry. */
export function maxPool2dBackward(g: Pool, dy: usize, indices: usize, dx: usize): void {
  const plane: usize = (<usize>(g.inHeight * g.inWidth)) << 2;
  const outputs = g.outHeight * g.outWidth;
  for (let p = 0; p < g.planes; p++) {
    for (let i = 0; i < outputs; i++) {
      const at = load<i32>(indices);
      if (at >= 0) {
        const to = dx + ((<usize>at) << 2);
        store<f32>(to, load<f32>(to) + load<f32>(dy));
      }
      dy += 4;
      indices += 4;
    }
    dx += plane;
  }
}

/** What an average divides by: the window clipped to the padded input, or to the input. */
@inline
function windowCount(start: i32, kernel: i32, extent: i32, padAfter: i32, countIncludePad: i32): i32 {
  if (countIncludePad) return min(start + kernel, extent + padAfter) - start;
  return min(start + kernel, extent) - max(start, 0);
}

export function avgPool2d(g: Pool, x: usize, out: usize, countIncludePad: i32): void {
  const plane: usize = (<usize>(g.inHeight * g.inWidth)) << 2;
  for (let p = 0; p < g.planes; p++) {
    for (let oh = 0; oh < g.outHeight; oh++) {
      const startH = oh * g.strideHeight - g.padTop;
      const rows = windowCount(startH, g.kernelHeight, g.inHeight, g.padBottom, countIncludePad);
      const toH = min(startH + g.kernelHeight, g.inHeight);
      for (let ow = 0; ow < g.outWidth; ow++) {
        const startW = ow * g.strideWidth - g.padLeft;
        const cols = windowCount(startW, g.kernelWidth, g.inWidth, g.padRight, countIncludePad);
        const toW = min(startW + g.kernelWidth, g.inWidth);
        let sum: f64 = 0;
        for (let h = max(startH, 0); h < toH; h++) {
          for (let w = max(startW, 0); w < toW; w++) sum += <f64>load<f32>(x + ((<usize>(h * g.inWidth + w)) << 2));
        }
        store<f32>(out, <f32>(sum / <f64>(rows * cols)));
        out += 4;
      }
    }
    x += plane;
  }
}

/** `sums`: float64 for one plane. */
export function avgPool2dBackward(g: Pool, dy: usize, dx: usize, countIncludePad: i32, scratch: usize, thread: i32): void {
  const sums: usize = scratch + <usize>thread * ((<usize>(g.inHeight * g.inWidth)) << 3);
  const size = g.inHeight * g.inWidth;
  for (let p = 0; p < g.planes; p++) {
    for (let i = 0; i < size; i++) store<f64>(sums + ((<usize>i) << 3), 0);
    for (let oh = 0; oh < g.outHeight; oh++) {
      const startH = oh * g.strideHeight - g.padTop;
      const rows = windowCount(startH, g.kernelHeight, g.inHeight, g.padBottom, countIncludePad);
      const toH = min(startH + g.kernelHeight, g.inHeight);
      for (let ow = 0; ow < g.outWidth; ow++) {
        const startW = ow * g.strideWidth - g.padLeft;
        const cols = windowCount(startW, g.kernelWidth, g.inWidth, g.padRight, countIncludePad);
        const toW = min(startW + g.kernelWidth, g.inWidth);
        spread(sums, g.inWidth, max(startH, 0), toH, max(startW, 0), toW, <f64>load<f32>(dy) / <f64>(rows * cols));
        dy += 4;
      }
    }
    dx = roundPlane(sums, dx, size);
  }
}

function spread(sums: usize, width: i32, fromH: i32, toH: i32, fromW: i32, toW: i32, share: f64): void {
  for (let h = fromH; h < toH; h++) {
    for (let w = fromW; w < toW; w++) {
      const at = sums + ((<usize>(h * width + w)) << 3);
      store<f64>(at, load<f64>(at) + share);
    }
  }
}

function roundPlane(sums: usize, dx: usize, size: i32): usize {
  for (let i = 0; i < size; i++) {
    store<f32>(dx, <f32>load<f64>(sums + ((<usize>i) << 3)));
    dx += 4;
  }
  return dx;
}

@inline
function adaptiveStart(i: i32, extent: i32, out: i32): i32 {
  return <i32>((<i64>i * <i64>extent) / <i64>out);
}

@inline
function adaptiveEnd(i: i32, extent: i32, out: i32): i32 {
  return <i32>(((<i64>i + 1) * <i64>extent + <i64>out - 1) / <i64>out);
}

/** `lanes`: 64 bytes. */
export function adaptiveAvgPool2d(g: Pool, x: usize, out: usize, scratch: usize, thread: i32): void {
  const lanes: usize = scratch + ((<usize>thread) << 6);
  const plane: usize = (<usize>(g.inHeight * g.inWidth)) << 2;
  for (let p = 0; p < g.planes; p++) {
    for (let oh = 0; oh < g.outHeight; oh++) {
      const fromH = adaptiveStart(oh, g.inHeight, g.outHeight);
      const toH = adaptiveEnd(oh, g.inHeight, g.outHeight);
      for (let ow = 0; ow < g.outWidth; ow++) {
        const fromW = adaptiveStart(ow, g.inWidth, g.outWidth);
        const toW = adaptiveEnd(ow, g.inWidth, g.outWidth);
        clearLanes(lanes);
        let term: usize = 0;
        if (toW - fromW === g.inWidth) {
          addToLanes(lanes, x + ((<usize>(fromH * g.inWidth)) << 2), (toH - fromH) * g.inWidth);
        } else for (let h = fromH; h < toH; h++) {
          for (let w = fromW; w < toW; w++) {
            const lane = lanes + ((term++ & 7) << 3);
            store<f64>(lane, load<f64>(lane) + <f64>load<f32>(x + ((<usize>(h * g.inWidth + w)) << 2)));
          }
        }
        store<f32>(out, <f32>(foldLanes(lanes) / <f64>((toH - fromH) * (toW - fromW))));
        out += 4;
      }
    }
    x += plane;
  }
}

/** `sums`: float64 for one plane. */
export function adaptiveAvgPool2dBackward(g: Pool, dy: usize, dx: usize, scratch: usize, thread: i32): void {
  const sums: usize = scratch + <usize>thread * ((<usize>(g.inHeight * g.inWidth)) << 3);
  const size = g.inHeight * g.inWidth;
  for (let p = 0; p < g.planes; p++) {
    for (let i = 0; i < size; i++) store<f64>(sums + ((<usize>i) << 3), 0);
    for (let oh = 0; oh < g.outHeight; oh++) {
      const fromH = adaptiveStart(oh, g.inHeight, g.outHeight);
      const toH = adaptiveEnd(oh, g.inHeight, g.outHeight);
      for (let ow = 0; ow < g.outWidth; ow++) {
        const fromW = adaptiveStart(ow, g.inWidth, g.outWidth);
        const toW = adaptiveEnd(ow, g.inWidth, g.outWidth);
        spread(sums, g.inWidth, fromH, toH, fromW, toW, <f64>load<f32>(dy) / <f64>((toH - fromH) * (toW - fromW)));
        dy += 4;
      }
    }
    dx = roundPlane(sums, dx, size);
  }
}
