/** Axes as kernels walk them. */

/** `extent` steps of `strides`, in elements, one for each array that is walked. */
export interface Axis {
  extent: number;
  strides: number[];
}

/** Drops axes of extent 1 and joins neighbours that one stride walks, so that the inner loop is as long as it can be. */
export function joinAxes(shape: readonly number[], ...strides: (readonly number[])[]): Axis[] {
  const axes: Axis[] = [];
  shape.forEach((extent, i) => {
    if (extent === 1) return;
    const own = strides.map((s) => s[i]);
    const before = axes.at(-1);
    if (before?.strides.every((stride, j) => stride === own[j] * extent)) {
      before.extent *= extent;
      before.strides = own;
    } else axes.push({ extent, strides: own });
  });
  return axes.length > 0 ? axes : [{ extent: 1, strides: strides.map(() => 1) }];
}
