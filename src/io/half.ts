/**
 * The two 16-bit float formats of model files, to and from float32. Both directions are exact where a value
 * fits, and round to nearest, ties to even, where it does not. What must see the bits of a float32 is made with memory of its own:
 * the module holds no state.
 */

function float32(): { bits: Uint32Array; float: Float32Array } {
  const bits = new Uint32Array(1);
  return { bits, float: new Float32Array(bits.buffer) };
}

/** IEEE binary16 bits as a float32. Every binary16 value is one; NaNs become the plain NaN. */
export function halfToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent < 31) return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
}

/** A function that gives the binary16 bits nearest to a float32; beyond 65519 infinity, NaN the quiet one. */
export function halfWriter(): (value: number) => number {
  const { bits, float } = float32();
  return (value) => {
    float[0] = value;
    const sign = (bits[0] >>> 16) & 0x8000;
    const magnitude = bits[0] & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;
    if (magnitude >= 0x47800000) return sign | 0x7c00;
    if (magnitude < 0x38800000) {
      // Below 2^-14 the result counts in steps of 2^-24; adding 2^-1 makes the float32 sum round at that step.
      float[0] = Math.abs(value);
      float[0] = float[0] + 0.5;
      return sign | (bits[0] - 0x3f000000);
    }
    // Rebias the exponent and round the low 13 bits; a carry runs into the exponent, up to infinity, as it should.
    const odd = (magnitude >>> 13) & 1;
    return sign | ((magnitude - 0x38000000 + 0xfff + odd) >>> 13);
  };
}

/** A function that gives bfloat16 bits as a float32: they are the upper half of one. */
export function bfloatReader(): (bfloat: number) => number {
  const { bits, float } = float32();
  return (bfloat) => {
    bits[0] = bfloat << 16;
    return float[0];
  };
}

/** A function that gives the bfloat16 bits nearest to a float32; NaN stays NaN. */
export function bfloatWriter(): (value: number) => number {
  const { bits, float } = float32();
  return (value) => {
    float[0] = value;
    if ((bits[0] & 0x7fffffff) > 0x7f800000) return (bits[0] >>> 16) | 0x40;
    return ((bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) >>> 16) & 0xffff;
  };
}
