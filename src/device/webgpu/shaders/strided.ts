/** Where element `i` of a shape lies in arrays of other strides: what copy, binary and expand share. */

/** Axes that a shader can walk, once neighbours are joined. */
export const MOST_AXES = 8;

/** `at(i, strides)`: the offset of the i-th index of `p.shape`, walked from the last axis on. */
export const OFFSETS = `
fn at(i: u32, low: vec4u, high: vec4u) -> u32 {
  var rest = i;
  var offset = 0u;
  for (var axis = 7i; axis >= 0; axis--) {
    let extent = select(p.shapeLow[u32(axis) & 3u], p.shapeHigh[u32(axis) & 3u], axis >= 4);
    if (extent == 1u) { continue; }
    let step = select(low[u32(axis) & 3u], high[u32(axis) & 3u], axis >= 4);
    offset += (rest % extent) * step;
    rest = rest / extent;
  }
  return offset;
}
`;
