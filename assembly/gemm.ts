/**
 * The register tile that every sum of products goes through: 4 rows × 8 columns, k ascending, a rounded multiply then a
 * rounded add, lanes across columns. Its shape is what V8 compiles well: k not unrolled, an end pointer and no counter,
 * one function for "start at zero" and one for "go on", nothing after the loop but the stores.
 */

/** C = A·B over one k block. `a`: [k][4], `b`: [k][8] up to `bEnd`, `c`: 4 rows of 8 floats, `ldc` bytes apart. */
export function tileZero(a: usize, b: usize, bEnd: usize, c: usize, ldc: usize): void {
  let c00 = f32x4.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  do {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let s = v128.load32_splat(a);
    c00 = f32x4.add(c00, f32x4.mul(s, b0));
    c01 = f32x4.add(c01, f32x4.mul(s, b1));
    s = v128.load32_splat(a, 4);
    c10 = f32x4.add(c10, f32x4.mul(s, b0));
    c11 = f32x4.add(c11, f32x4.mul(s, b1));
    s = v128.load32_splat(a, 8);
    c20 = f32x4.add(c20, f32x4.mul(s, b0));
    c21 = f32x4.add(c21, f32x4.mul(s, b1));
    s = v128.load32_splat(a, 12);
    c30 = f32x4.add(c30, f32x4.mul(s, b0));
    c31 = f32x4.add(c31, f32x4.mul(s, b1));
    a += 16;
    b += 32;
  } while (b < bEnd);
  v128.store(c, c00);
  v128.store(c, c01, 16);
  c += ldc;
  v128.store(c, c10);
  v128.store(c, c11, 16);
  c += ldc;
  v128.store(c, c20);
  v128.store(c, c21, 16);
  c += ldc;
  v128.store(c, c30);
  v128.store(c, c31, 16);
}

/** The same, going on from what C holds: blocking over k keeps the order. */
export function tileContinue(a: usize, b: usize, bEnd: usize, c: usize, ldc: usize): void {
  let p = c;
  let c00 = v128.load(p);
  let c01 = v128.load(p, 16);
  p += ldc;
  let c10 = v128.load(p);
  let c11 = v128.load(p, 16);
  p += ldc;
  let c20 = v128.load(p);
  let c21 = v128.load(p, 16);
  p += ldc;
  let c30 = v128.load(p);
  let c31 = v128.load(p, 16);
  do {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let s = v128.load32_splat(a);
    c00 = f32x4.add(c00, f32x4.mul(s, b0));
    c01 = f32x4.add(c01, f32x4.mul(s, b1));
    s = v128.load32_splat(a, 4);
    c10 = f32x4.add(c10, f32x4.mul(s, b0));
    c11 = f32x4.add(c11, f32x4.mul(s, b1));
    s = v128.load32_splat(a, 8);
    c20 = f32x4.add(c20, f32x4.mul(s, b0));
    c21 = f32x4.add(c21, f32x4.mul(s, b1));
    s = v128.load32_splat(a, 12);
    c30 = f32x4.add(c30, f32x4.mul(s, b0));
    c31 = f32x4.add(c31, f32x4.mul(s, b1));
    a += 16;
    b += 32;
  } while (b < bEnd);
  v128.store(c, c00);
  v128.store(c, c01, 16);
  c += ldc;
  v128.store(c, c10);
  v128.store(c, c11, 16);
  c += ldc;
  v128.store(c, c20);
  v128.store(c, c21, 16);
  c += ldc;
  v128.store(c, c30);
  v128.store(c, c31, 16);
}

/**
 * `tileZero` for row panels `aStep` bytes apart against one column panel; the tiles of C lie `cStep` bytes apart. A loop of
 * its own, since a call a tile costs 3 %.
 */
export function tileRowsZero(a: usize, aStep: usize, b: usize, bEnd: usize, c: usize, ldc: usize, cStep: usize, panels: i32): void {
  for (; panels > 0; panels--) {
    let pa = a;
    let pb = b;
    let q = c;
    let c00 = f32x4.splat(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    do {
      const b0 = v128.load(pb);
      const b1 = v128.load(pb, 16);
      let s = v128.load32_splat(pa);
      c00 = f32x4.add(c00, f32x4.mul(s, b0));
      c01 = f32x4.add(c01, f32x4.mul(s, b1));
      s = v128.load32_splat(pa, 4);
      c10 = f32x4.add(c10, f32x4.mul(s, b0));
      c11 = f32x4.add(c11, f32x4.mul(s, b1));
      s = v128.load32_splat(pa, 8);
      c20 = f32x4.add(c20, f32x4.mul(s, b0));
      c21 = f32x4.add(c21, f32x4.mul(s, b1));
      s = v128.load32_splat(pa, 12);
      c30 = f32x4.add(c30, f32x4.mul(s, b0));
      c31 = f32x4.add(c31, f32x4.mul(s, b1));
      pa += 16;
      pb += 32;
    } while (pb < bEnd);
    v128.store(q, c00);
    v128.store(q, c01, 16);
    q += ldc;
    v128.store(q, c10);
    v128.store(q, c11, 16);
    q += ldc;
    v128.store(q, c20);
    v128.store(q, c21, 16);
    q += ldc;
    v128.store(q, c30);
    v128.store(q, c31, 16);
    a += aStep;
    c += cStep;
  }
}

/** `tileContinue` in the same way. */
export function tileRowsContinue(a: usize, aStep: usize, b: usize, bEnd: usize, c: usize, ldc: usize, cStep: usize, panels: i32): void {
  for (; panels > 0; panels--) {
    let pa = a;
    let pb = b;
    let q = c;
    let p = c;
    let c00 = v128.load(p);
    let c01 = v128.load(p, 16);
    p += ldc;
    let c10 = v128.load(p);
    let c11 = v128.load(p, 16);
    p += ldc;
    let c20 = v128.load(p);
    let c21 = v128.load(p, 16);
    p += ldc;
    let c30 = v128.load(p);
    let c31 = v128.load(p, 16);
    do {
      const b0 = v128.load(pb);
      const b1 = v128.load(pb, 16);
      let s = v128.load32_splat(pa);
      c00 = f32x4.add(c00, f32x4.mul(s, b0));
      c01 = f32x4.add(c01, f32x4.mul(s, b1));
      s = v128.load32_splat(pa, 4);
      c10 = f32x4.add(c10, f32x4.mul(s, b0));
      c11 = f32x4.add(c11, f32x4.mul(s, b1));
      s = v128.load32_splat(pa, 8);
      c20 = f32x4.add(c20, f32x4.mul(s, b0));
      c21 = f32x4.add(c21, f32x4.mul(s, b1));
      s = v128.load32_splat(pa, 12);
      c30 = f32x4.add(c30, f32x4.mul(s, b0));
      c31 = f32x4.add(c31, f32x4.mul(s, b1));
      pa += 16;
      pb += 32;
    } while (pb < bEnd);
    v128.store(q, c00);
    v128.store(q, c01, 16);
    q += ldc;
    v128.store(q, c10);
    v128.store(q, c11, 16);
    q += ldc;
    v128.store(q, c20);
    v128.store(q, c21, 16);
    q += ldc;
    v128.store(q, c30);
    v128.store(q, c31, 16);
    a += aStep;
    c += cStep;
  }
}

/** Runs `tileZero` over `panels` column panels `repeats` times: the peak that the bench measures everything against. */
export function tilePeak(a: usize, b: usize, k: i32, panels: i32, repeats: i32, c: usize): void {
  const bytes: usize = (<usize>k) << 5;
  for (let r = 0; r < repeats; r++) {
    let p = b;
    for (let j = 0; j < panels; j++) {
      tileZero(a, p, p + bytes, c, 32);
      p += bytes;
    }
  }
}

/** Byte size of a C tile in scratch: 4 rows × 8 columns. */
export const TILE_BYTES: usize = 128;
