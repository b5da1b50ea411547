/** Winograd's transforms as WGSL: the operations of `winogradLines.ts` on named values, all of a tile in registers. */
import { square, type Transforms, transforms } from '../../winogradLines.js';
import { type Constant, params } from '../shader.js';

/** Invocations in a workgroup of a transform, one a tile or filter of one channel. */
export const TRANSFORM_LANES = 64;

export interface Transformed {
  readonly code: string;
  /** Names of the results. */
  readonly values: readonly (readonly string[])[];
}

/** One of the transforms of F(m, 3) in two dimensions, of a square of names. */
export function transformed(kind: keyof Transforms<string>, m: Constant, names: readonly string[][]): Transformed {
  const lines: string[] = [];
  const named = (value: string): string => {
    const name = `t_${lines.length}`;
    lines.push(`let ${name} = ${value};`);
    return name;
  };
  const arithmetic = {
    add: (a: string, b: string) => named(`${a} + ${b}`),
    sub: (a: string, b: string) => named(`${a} - ${b}`),
    times: (a: number, b: string) => named(`${a} * ${b}`),
  };
  const values = square(transforms(Number(m), arithmetic)[kind], names);
  return { code: lines.join('\n  '), values };
}

/** `name_i_j` of a square. */
export const squareOf = (name: string, size: number): string[][] =>
  Array.from({ length: size }, (_, i) => Array.from({ length: size }, (__, j) => `${name}_${i}_${j}`));

/** WGSL for each element of a square: its name, row, column and number. */
export const eachOf = (
  names: readonly (readonly string[])[],
  text: (name: string, i: number, j: number, at: number) => string,
): string => names.flatMap((row, i) => row.map((name, j) => text(name, i, j, i * names.length + j))).join('\n  ');

/** What `oneEach` takes: elements of a plane, of a matrix in it, and how far matrices lie apart. */
export const PLANES = params({ size: 'u32', matrix: 'u32', pitch: 'u32' });

/** An entry point that runs `body` for each element `i` of a plane: it lies at `at`, and `step` further in the next plane. */
export const oneEach = (body: string): string => `
@compute @workgroup_size(${TRANSFORM_LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let size = p.size;
  let i = (group.y * groups.x + group.x) * ${TRANSFORM_LANES}u + lane;
  if (i >= size) { return; }
  let at = (i / p.matrix) * p.pitch + i % p.matrix;
  let step = (size / p.matrix) * p.pitch;
  ${body}
}`;
