/**
 * The implicit column matrix of a convolution: the input copied once with zero padding (columns of one stride phase
 * side by side, so that every tap reads neighbours), a table of tap offsets and one of pixel bases. The element of the
 * column matrix at (k, pixel) is `load(base[pixel] + tap[k])`; only panels of it are ever written down.
 */

/**
 * Copies `planes` images of height × width into rows of `phases` × `phaseLength` floats. Padded column j lands in phase
 * j mod phases at j div phases; everything outside the image is +0.
 */
export function padPlanes(
  x: usize,
  out: usize,
  planes: i32,
  height: i32,
  width: i32,
  padTop: i32,
  padLeft: i32,
  paddedHeight: i32,
  phases: i32,
  phaseLength: i32,
): void {
  const pitch: usize = (<usize>(phases * phaseLength)) << 2;
  const topBytes: usize = <usize>min(padTop, paddedHeight) * pitch;
  const bottomBytes: usize = <usize>max(paddedHeight - padTop - height, 0) * pitch;
  const rows = max(min(height, paddedHeight - padTop), 0);
  const end = out + <usize>planes * <usize>paddedHeight * pitch;
  for (let p = 0; p < planes; p++) {
    out = zero(out, topBytes);
    if (phases === 1) {
      // What is right of one row and left of the next is zeroed at once.
      const left = min(padLeft, phaseLength);
      const copied = min(width, phaseLength - left);
      out = zero(out, rows > 0 ? (<usize>left) << 2 : 0);
      for (let r = 0; r < rows; r++) {
        out = copyRow(x, out, copied);
        const gap: usize = (<usize>(phaseLength - copied - (r === rows - 1 ? left : 0))) << 2;
        out = out + ((gap + 15) & ~15) <= end ? zeroFours(out, gap) : zero(out, gap);
        x += (<usize>width) << 2;
      }
    } else {
      for (let r = 0; r < rows; r++) {
        if (phases === 2) padRowHalves(x, out, width, padLeft, phaseLength);
        else padRowPhases(x, out, width, padLeft, phases, phaseLength);
        x += (<usize>width) << 2;
        out += pitch;
      }
    }
    x += (<usize>(height - rows) * <usize>width) << 2;
    out = zero(out, bottomBytes);
  }
}

/** Where the zeros end. */
function zero(p: usize, bytes: usize): usize {
  const end = p + bytes;
  const z = f32x4.splat(0);
  for (; p + 16 <= end; p += 16) v128.store(p, z);
  for (; p < end; p += 4) store<f32>(p, 0);
  return end;
}

/** The same four at a time, beyond the end if need be: what lies there is written later. */
@inline
function zeroFours(p: usize, bytes: usize): usize {
  const end = p + bytes;
  const z = f32x4.splat(0);
  for (; p < end; p += 16) v128.store(p, z);
  return end;
}

/** `width` floats; the last four once more rather than what is left one by one. Where they end. */
@inline
function copyRow(x: usize, out: usize, width: i32): usize {
  const bytes: usize = (<usize>width) << 2;
  const end = out + bytes;
  if (width < 4) {
    for (; out < end; out += 4) {
      store<u32>(out, load<u32>(x));
      x += 4;
    }
    return end;
  }
  const last = v128.load(x + bytes - 16);
  for (; out + 16 < end; out += 16) {
    v128.store(out, v128.load(x));
    x += 16;
  }
  v128.store(end - 16, last);
  return end;
}

/** Stride 2: even padded columns, then odd ones. */
function padRowHalves(x: usize, out: usize, width: i32, padLeft: i32, length: i32): void {
  const half: usize = (<usize>length) << 2;
  if (length >= 4 && padLeft < 8 && 2 * length - padLeft - width < 8) {
    // No side has more than four zeros.
    const z = f32x4.splat(0);
    v128.store(out, z);
    v128.store(out + half - 16, z);
    v128.store(out + half, z);
    v128.store(out + 2 * half - 16, z);
  } else zero(out, 2 * half);
  // Column padLeft + i of the padded row: the first image column goes to phase padLeft & 1.
  const odd: usize = padLeft & 1;
  let first = out + odd * half + ((<usize>(padLeft >> 1)) << 2);
  let second = out + (1 - odd) * half + ((<usize>((padLeft + 1) >> 1)) << 2);
  const copied = max(min(width, 2 * length - padLeft), 0);
  let i = 0;
  for (; i + 8 <= copied; i += 8) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    v128.store(first, v128.shuffle<f32>(a, b, 0, 2, 4, 6));
    v128.store(second, v128.shuffle<f32>(a, b, 1, 3, 5, 7));
    x += 32;
    first += 16;
    second += 16;
  }
  for (; i < copied; i++) {
    if (i & 1) {
      store<f32>(second, load<f32>(x));
      second += 4;
    } else {
      store<f32>(first, load<f32>(x));
      first += 4;
    }
    x += 4;
  }
}

function padRowPhases(x: usize, out: usize, width: i32, padLeft: i32, phases: i32, length: i32): void {
  zero(out, (<usize>(phases * length)) << 2);
  const copied = max(min(width, phases * length - padLeft), 0);
  for (let i = 0; i < copied; i++) {
    const j = padLeft + i;
    store<f32>(out + ((<usize>((j % phases) * length + j / phases)) << 2), load<f32>(x + ((<usize>i) << 2)));
  }
}

/** Every strideHeight-th row and strideWidth-th column of `planes` images, outHeight × outWidth of them. */
export function subsamplePlanes(
  x: usize,
  out: usize,
  planes: i32,
  height: i32,
  width: i32,
  outHeight: i32,
  outWidth: i32,
  strideHeight: i32,
  strideWidth: i32,
): void {
  const step: usize = (<usize>strideWidth) << 2;
  const rowStep: usize = (<usize>(strideHeight * width)) << 2;
  for (let p = 0; p < planes; p++) {
    for (let row = 0; row < outHeight; row++) {
      let from = x + <usize>row * rowStep;
      let i = 0;
      if (strideWidth === 2) {
        // Four of eight; the last of a row may have no eighth.
        for (; i + 5 <= outWidth; i += 4) {
          v128.store(out, v128.shuffle<f32>(v128.load(from), v128.load(from, 16), 0, 2, 4, 6));
          from += 32;
          out += 16;
        }
      }
      for (; i < outWidth; i++) {
        store<u32>(out, load<u32>(from));
        from += step;
        out += 4;
      }
    }
    x += (<usize>(height * width)) << 2;
  }
}

/**
 * The inverse, for all stride phases at once: pixel (h, w) of `planes` images is that of phase (h mod strideHeight,
 * w mod strideWidth). `phases` holds strideHeight × strideWidth addresses of dense images, 0 for one of zeros; they are
 * read from front to back, and the addresses move on.
 */
export function mergePhases(
  phases: usize,
  out: usize,
  planes: i32,
  height: i32,
  width: i32,
  strideHeight: i32,
  strideWidth: i32,
): void {
  const rowOfPhases: usize = (<usize>strideWidth) << 2;
  const end = phases + <usize>strideHeight * rowOfPhases;
  for (let p = 0; p < planes; p++) {
    let row = phases;
    for (let h = 0; h < height; h++) {
      if (strideWidth === 2) mergePair(row, out, width);
      else mergeRow(row, out, width, strideWidth);
      row += rowOfPhases;
      if (row === end) row = phases;
      out += (<usize>width) << 2;
    }
  }
}

/** One row of even and odd columns. */
function mergePair(phases: usize, out: usize, width: i32): void {
  let even: usize = load<u32>(phases);
  let odd: usize = load<u32>(phases, 4);
  const hasEven = even !== 0;
  const hasOdd = odd !== 0;
  if (!hasEven && !hasOdd) {
    zero(out, (<usize>width) << 2);
    return;
  }
  let a = f32x4.splat(0);
  let b = a;
  let i = 0;
  for (; i + 8 <= width; i += 8) {
    if (hasEven) a = v128.load(even);
    if (hasOdd) b = v128.load(odd);
    v128.store(out, v128.shuffle<f32>(a, b, 0, 4, 1, 5));
    v128.store(out, v128.shuffle<f32>(a, b, 2, 6, 3, 7), 16);
    even += 16;
    odd += 16;
    out += 32;
  }
  if (i + 4 <= width) {
    if (hasEven) a = v128.load64_zero(even);
    if (hasOdd) b = v128.load64_zero(odd);
    v128.store(out, v128.shuffle<f32>(a, b, 0, 4, 1, 5));
    even += 8;
    odd += 8;
    out += 16;
    i += 4;
  }
  for (; i < width; i += 2) {
    store<f32>(out, hasEven ? load<f32>(even) : 0);
    even += 4;
    if (i + 1 < width) {
      store<f32>(out, hasOdd ? load<f32>(odd) : 0, 4);
      odd += 4;
    }
    out += 8;
  }
  if (hasEven) store<u32>(phases, even);
  if (hasOdd) store<u32>(phases, odd, 4);
}

/** One row of any number of phases. */
function mergeRow(phases: usize, out: usize, width: i32, stride: i32): void {
  for (let left = 0; left < min(stride, width); left++) {
    let from: usize = load<u32>(phases);
    const some = from !== 0;
    for (let w = left; w < width; w += stride) {
      store<f32>(out + ((<usize>w) << 2), some ? load<f32>(from) : 0);
      from += 4;
    }
    if (some) store<u32>(phases, from);
    phases += 4;
  }
}

/**
 * Packs one panel of the column matrix as [k][8] for a block of k taps. `bases` holds one address a pixel; four
 * neighbours, the last 12 bytes after the first, are one load.
 */
export function packPanel(bases: usize, taps: usize, k: i32, out: usize): void {
  packFour(bases, taps, k, out, 32);
  packFour(bases + 16, taps, k, out + 16, 32);
}

/** Four lanes of a panel, `step` bytes from k to k. */
export function packFour(bases: usize, taps: usize, k: i32, out: usize, step: usize): void {
  const tapsEnd = taps + ((<usize>k) << 2);
  const first: usize = load<u32>(bases);
  const last: usize = load<u32>(bases, 12);
  // Lanes that run on from the first, and those that run up to the last: the end of a row, and the start of the next.
  const late = last - 12;
  const steps = i32x4(0, 4, 8, 12);
  const lanes = v128.load(bases);
  const early = i32x4.eq(lanes, i32x4.add(i32x4.splat(<i32>first), steps));
  const rest = i32x4.eq(lanes, i32x4.add(i32x4.splat(<i32>late), steps));
  if (late >= first && i32x4.all_true(v128.or(early, rest))) {
    for (; taps < tapsEnd; taps += 4) {
      const offset: usize = load<i32>(taps);
      v128.store(out, v128.bitselect(v128.load(first + offset), v128.load(late + offset), early));
      out += step;
    }
    return;
  }
  const second: usize = load<u32>(bases, 4);
  const third: usize = load<u32>(bases, 8);
  for (; taps < tapsEnd; taps += 4) {
    const offset: usize = load<i32>(taps);
    store<u32>(out, load<u32>(first + offset));
    store<u32>(out, load<u32>(second + offset), 4);
    store<u32>(out, load<u32>(third + offset), 8);
    store<u32>(out, load<u32>(last + offset), 12);
    out += step;
  }
}
