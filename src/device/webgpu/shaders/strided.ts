/** Where element `i` of a shape lies in arrays of other strides: what copy, binary and expand share. */

/** Axes that a shader can walk, once neighbours are joined. */
export const MOST_AXES = 8;

/** `name(i, strides)`: the offset of the i-th index of a shape whose last `axes` extents count, walked from the last on. */
export function walk(name: string, shape: string, axes: number): string {
  const part = (vectors: string, axis: number): string => `${vectors}${axis < 4 ? 'Low' : 'High'}[${axis % 4}]`;
  const steps = Array.from({ length: axes }, (_, i) => MOST_AXES - 1 - i).map((axis, i) => {
    const stride = `${axis < 4 ? 'low' : 'high'}[${axis % 4}]`;
    // The first axis has what is left.
    if (i === axes - 1) return `return offset + rest * ${stride};`;
    const extent = part(shape, axis);
    return `offset += (rest % ${extent}) * ${stride}; rest = rest / ${extent};`;
  });
  return `
fn ${name}(i: u32, low: vec4u, high: vec4u) -> u32 {
  var rest = i;
  var offset = 0u;
  ${steps.join('\n  ')}
}
`;
}

/** `at(i, strides)` over the AXES last extents of `p.shape…`. */
export const offsets = (axes: unknown): string => walk('at', 'p.shape', Number(axes));
