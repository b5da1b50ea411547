/**
 * Row panels of the left matrix: [panel][k][4], rows past the end are zeros.
 */

/** Channels that `packFilters` takes at a time. */
const BLOCK_CHANNELS: i32 = 16;

const EXPONENT: i32 = 0x7f800000;

/** Panels of `rows` rows of `k` floats, rows `rowBytes` apart, neighbours contiguous; panels `panelBytes` apart. */
export function packRows(a: usize, out: usize, panelBytes: usize, rows: i32, k: i32, rowBytes: usize): void {
  for (let r = 0; r < rows; r += 4) {
    const left = rows - r;
    let p0 = a;
    let p1 = a + rowBytes;
    let p2 = p1 + rowBytes;
    let p3 = p2 + rowBytes;
    let o = out;
    if (left >= 4) {
      let i = 0;
      for (; i + 4 <= k; i += 4) {
        transpose4(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), o, 16);
        p0 += 16;
        p1 += 16;
        p2 += 16;
        p3 += 16;
        o += 64;
      }
      for (; i < k; i++) {
        store<u32>(o, load<u32>(p0));
        store<u32>(o, load<u32>(p1), 4);
        store<u32>(o, load<u32>(p2), 8);
        store<u32>(o, load<u32>(p3), 12);
        p0 += 4;
        p1 += 4;
        p2 += 4;
        p3 += 4;
        o += 16;
      }
    } else {
      for (let i = 0; i < k; i++) {
        store<u32>(o, load<u32>(p0));
        store<u32>(o, left > 1 ? load<u32>(p1) : 0, 4);
        store<u32>(o, left > 2 ? load<u32>(p2) : 0, 8);
        store<u32>(o, 0, 12);
        p0 += 4;
        p1 += 4;
        p2 += 4;
        o += 16;
      }
    }
    a += rowBytes << 2;
    out += panelBytes;
  }
}

/** Stores the four columns of the 4×4 matrix with the given rows, `step` bytes apart. */
@inline
export function transpose4(r0: v128, r1: v128, r2: v128, r3: v128, out: usize, step: usize): void {
  transposeApart(r0, r1, r2, r3, out, out + step, out + 2 * step, out + 3 * step);
}

/** The same, each column where it belongs. */
@inline
function transposeApart(r0: v128, r1: v128, r2: v128, r3: v128, o0: usize, o1: usize, o2: usize, o3: usize): void {
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t2 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(o0, v128.shuffle<f64>(t0, t1, 0, 2));
  v128.store(o1, v128.shuffle<f64>(t0, t1, 1, 3));
  v128.store(o2, v128.shuffle<f64>(t2, t3, 0, 2));
  v128.store(o3, v128.shuffle<f64>(t2, t3, 1, 3));
}

/**
 * Row panels for the input gradient, those of all stride phases in one sweep: rows are input channels, k is (output
 * channel, tap of the phase). `weight` is [outChannels][channels][taps], of which `count` channels from `from`, a multiple of
 * 4, are packed. `table` holds for each tap where its column of the
 * first panel lies (0: no pixel meets it), how far the next output channel's is and how far the next panel's, in bytes,
 * the first of which moves on.
 */
export function packFilters(weight: usize, outChannels: i32, channels: i32, taps: i32, table: usize, from: i32, count: i32): void {
  const step: usize = (<usize>taps) << 2;
  const end: usize = table + (<usize>taps) * 12;
  const filterStep: usize = step * <usize>channels;
  weight += step * <usize>from;
  let all = true;
  for (let entry = table; entry < end; entry += 12) {
    all = all && load<u32>(entry) !== 0;
    moveOn(entry, <usize>(from >> 2) * <usize>load<u32>(entry, 8));
  }
  const whole = (count & 3) === 0 && all;
  if (whole && (taps === 1 || taps === 9) && runOn(table, taps)) {
    const panelStep: usize = load<u32>(table, 8);
    for (let o = 0; o < outChannels; o++) {
      let at: usize = <usize>load<u32>(table) + <usize>o * <usize>load<u32>(table, 4);
      let p0 = weight + <usize>o * filterStep;
      for (const end = p0 + step * <usize>count; p0 < end; p0 += step << 2) {
        if (taps === 1) v128.store(at, v128.load(p0));
        else packFourFilters(p0, at);
        at += panelStep;
      }
    }
    return;
  }
  // A block of channels at a time: what is being written stays in the first-level cache.
  for (let c0 = 0; c0 < count; c0 += BLOCK_CHANNELS) {
    const block = min(BLOCK_CHANNELS, count - c0);
    const panels = (block + 3) >> 2;
    for (let o = 0; o < outChannels; o++) {
      const filter = weight + <usize>o * filterStep + step * <usize>c0;
      if (whole && taps === 9) packNines(filter, panels, table);
      else {
        for (let p = 0; p < panels; p++) packColumns(filter + (step << 2) * <usize>p, step, min(4, block - (p << 2)), table, end, p);
      }
      for (let entry = table; entry < end; entry += 12) moveOn(entry, load<u32>(entry, 4));
    }
    for (let entry = table; entry < end; entry += 12) {
      moveOn(entry, <usize>panels * <usize>load<u32>(entry, 8) - <usize>outChannels * <usize>load<u32>(entry, 4));
    }
  }
}

@inline
function moveOn(entry: usize, bytes: usize): void {
  const at: usize = load<u32>(entry);
  if (at !== 0) store<u32>(entry, at + bytes);
}

/** True when all taps are of one phase, in their order. */
function runOn(table: usize, taps: i32): bool {
  for (let t = 1; t < taps; t++) {
    const entry = table + <usize>t * 12;
    if (load<u32>(entry) - load<u32>(entry - 12) !== 16) return false;
  }
  return true;
}

/**
 * The same for a block of `k` of whole filters of 9 taps, `rows` of them side by side, a multiple of 4; `offsets` tells where each k is in
 * the first.
 */
export function packFilterRows(weight: usize, offsets: usize, out: usize, panelBytes: usize, rows: i32, k: i32): void {
  for (let i = 0; i < k; i += 9) {
    let p = weight + <usize>load<u32>(offsets + ((<usize>i) << 2));
    let at = out + ((<usize>i) << 4);
    for (let r = 0; r < rows; r += 4) {
      packFourFilters(p, at);
      p += 144;
      at += panelBytes;
    }
  }
}

/** The columns of four filters of 9 taps. */
function packFourFilters(p0: usize, at: usize): void {
  const p1 = p0 + 36;
  const p2 = p0 + 72;
  const p3 = p0 + 108;
  transpose4(v128.load(p0), v128.load(p1), v128.load(p2), v128.load(p3), at, 16);
  transpose4(v128.load(p0, 16), v128.load(p1, 16), v128.load(p2, 16), v128.load(p3, 16), at + 64, 16);
  store<u32>(at, load<u32>(p0, 32), 128);
  store<u32>(at, load<u32>(p1, 32), 132);
  store<u32>(at, load<u32>(p2, 32), 136);
  store<u32>(at, load<u32>(p3, 32), 140);
}

/** Four filters of 9 taps for each of `panels`, whose columns lie where the table tells. */
function packNines(p0: usize, panels: i32, table: usize): void {
  let a0: usize = load<u32>(table);
  let a1: usize = load<u32>(table, 12);
  let a2: usize = load<u32>(table, 24);
  let a3: usize = load<u32>(table, 36);
  let a4: usize = load<u32>(table, 48);
  let a5: usize = load<u32>(table, 60);
  let a6: usize = load<u32>(table, 72);
  let a7: usize = load<u32>(table, 84);
  let a8: usize = load<u32>(table, 96);
  for (; panels > 0; panels--) {
    transposeApart(v128.load(p0), v128.load(p0, 36), v128.load(p0, 72), v128.load(p0, 108), a0, a1, a2, a3);
    a0 += load<u32>(table, 8);
    a1 += load<u32>(table, 20);
    a2 += load<u32>(table, 32);
    a3 += load<u32>(table, 44);
    transposeApart(v128.load(p0, 16), v128.load(p0, 52), v128.load(p0, 88), v128.load(p0, 124), a4, a5, a6, a7);
    a4 += load<u32>(table, 56);
    a5 += load<u32>(table, 68);
    a6 += load<u32>(table, 80);
    a7 += load<u32>(table, 92);
    store<u32>(a8, load<u32>(p0, 32));
    store<u32>(a8, load<u32>(p0, 68), 4);
    store<u32>(a8, load<u32>(p0, 104), 8);
    store<u32>(a8, load<u32>(p0, 140), 12);
    a8 += load<u32>(table, 104);
    p0 += 144;
  }
}

/** The columns of panel `panel`: up to four filters of any number of taps, filters past the last as zeros. */
function packColumns(p0: usize, step: usize, filters: i32, table: usize, end: usize, panel: i32): void {
  for (let entry = table; entry < end; entry += 12) {
    let at: usize = load<u32>(entry);
    if (at !== 0) {
      at += <usize>panel * <usize>load<u32>(entry, 8);
      for (let f: usize = 0; f < 4; f++) store<u32>(at + (f << 2), f < <usize>filters ? load<u32>(p0 + f * step) : 0);
    }
    p0 += 4;
  }
}

/** Whether `count` runs of `n` floats, `step` bytes from one to the next, are finite. */
export function allFinite(x: usize, step: i32, count: i32, n: i32): bool {
  const mask = i32x4.splat(EXPONENT);
  for (; count > 0; count--) {
    const end = x + ((<usize>n) << 2);
    let bad = i32x4.splat(0);
    let p = x;
    for (; p + 16 <= end; p += 16) bad = v128.or(bad, i32x4.eq(v128.and(v128.load(p), mask), mask));
    if (v128.any_true(bad)) return false;
    for (; p < end; p += 4) if ((load<i32>(p) & EXPONENT) === EXPONENT) return false;
    x += <usize>step;
  }
  return true;
}
