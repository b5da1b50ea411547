import { flat, shader } from '../shader.js';

/**
 * Float32 to IEEE halves, two a word, to nearest and ties to even: from 65520 on to infinity, below 2^-14 to subnormal halves. In whole
 * numbers, since WGSL leaves the rounding of pack2x16float open, and its result beyond 65504 indeterminate; it may flush as well.
 * Filters of `channels` × `taps` are turned, so that all channels of a tap lie side by side.
 * https://www.w3.org/TR/WGSL/#floating-point-conversion
 */
export const packHalves = shader({
  name: 'packHalves',
  buffers: { x: 'words', out: 'f16 out' },
  params: { size: 'u32', taps: 'u32', channels: 'u32' },
  code: `
/** v / 2^shift, to nearest and ties to even. */
fn shifted(v: u32, shift: u32) -> u32 {
  return (v + ((1u << (shift - 1u)) - 1u) + ((v >> shift) & 1u)) >> shift;
}
fn half(bits: u32) -> u32 {
  let sign = (bits >> 16u) & 0x8000u;
  let v = bits & 0x7fffffffu;
  // NaN stays one, whatever its bits.
  if (v > 0x7f800000u) { return sign | 0x7e00u; }
  if (v >= 0x477ff000u) { return sign | 0x7c00u; }
  // The exponents' bias is 112 less; a carry out of the fraction raises the exponent, as it should.
  if (v >= 0x38800000u) { return sign | shifted(v - (112u << 23u), 13u); }
  // Subnormal: units of 2^-24, 126 less the exponent being how many bits of the fraction are below them.
  let exponent = v >> 23u;
  if (exponent < 102u) { return sign; }
  return sign | shifted((v & 0x7fffffu) | 0x800000u, 126u - exponent);
}
/** Where the element lies that comes to place i. */
fn source(i: u32) -> u32 {
  let tap = i / p.channels;
  return ((tap / p.taps) * p.channels + i % p.channels) * p.taps + tap % p.taps;
}
${flat(`
  if (2u * i >= p.size) { return; }
  var word = half(x[source(2u * i)]);
  if (2u * i + 1u < p.size) { word |= half(x[source(2u * i + 1u)]) << 16u; }
  out[i] = word;`)}`,
});
