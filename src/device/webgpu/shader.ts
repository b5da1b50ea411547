/**
 * What a shader is: its buffers, its scalar parameters and its WGSL. The declarations are written from the description,
 * so that names and types are stated once, and TypeScript checks each call against them.
 */

/**
 * How WGSL sees a buffer: elements read, or also written (`out`). `words` are 32 bits of whatever kind. `f16`: two IEEE halves in
 * a word, of which the first has the lower bits, read and written word by word. `f32/f16`: float32 or halves, as the buffer
 * that is handed in holds: the shader is the same for both, and has element i of `x` as `x_at(i)`, elements i and i + 1 of an even i as
 * `x_pair(i)`, float32 all.
 */
export type Access = 'f32' | 'f32 out' | 'f16' | 'f16 out' | 'f32/f16' | 'i32' | 'i32 out' | 'words' | 'words out';

/** A uniform of 4 bytes, or a vector of 16. Vectors come first in a description, which keeps every field aligned. */
export type ParamType = 'u32' | 'i32' | 'f32' | 'vec4u';

export type Constant = number | boolean;

export interface Shader<B extends string = string, P extends string = string> {
  readonly name: string;
  /** In the order of their bindings, at most 8: what every adapter has. A buffer `x` that may be missing is told by `has_x`. */
  readonly buffers: Readonly<Record<B, Access>>;
  readonly params: Readonly<Record<P, ParamType>>;
  /** WGSL without its declarations, with an entry point `main`; may depend on the constants that it is specialised by. */
  readonly code: string | ((constants: Readonly<Record<string, Constant>>) => string);
}

/** A shader, with the names of its buffers and parameters kept in its type. */
export function shader<B extends string, P extends string>(description: Shader<B, P>): Shader<B, P> {
  return description;
}

/** Parameters that several shaders share, with their names kept in their type. */
export function params<P extends string>(types: Readonly<Record<P, ParamType>>): Readonly<Record<P, ParamType>> {
  return types;
}

/** Invocations in a workgroup of a `flat` shader, and the elements that each computes. */
const LANES = 256;
const HELD = 4;
/** Elements that a workgroup of a `flat` shader computes. */
export const FLAT = LANES * HELD;

/** A shader of one element after the other: `body` computes element `i`, and returns where `i` is past the end. */
export function flat(body: string): string {
  return `
fn element(i: u32) {
  ${body}
}
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let first = (group.y * groups.x + group.x) * ${FLAT}u + lane;
  ${Array.from({ length: HELD }, (_, k) => `element(first + ${k * LANES}u);`).join('\n  ')}
}`;
}

/**
 * WGSL lets a compiler assume that there is no NaN and no infinity, so they are told apart by their bits; and its exp and
 * log may make a number of NaN.
 * https://www.w3.org/TR/WGSL/#floating-point-evaluation
 */
const PRELUDE = `
fn isNan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }
fn expOf(v: f32) -> f32 { return select(exp(v), v, isNan(v)); }
fn logOf(v: f32) -> f32 { return select(log(v), v, isNan(v)); }
`;

const ELEMENT: Readonly<Record<string, string>> = { f32: 'f32', f16: 'u32', i32: 'i32', words: 'u32' };

/** How element i of an `f32/f16` is read. Unpacking is exact, but that it may take a subnormal half as 0. */
const READ: Readonly<Record<string, (name: string) => readonly [string, string]>> = {
  f32: (name) => [`${name}[i]`, `vec2f(${name}[i], ${name}[i + 1u])`],
  f16: (name) => [`unpack2x16float(${name}[i >> 1u] >> (16u * (i & 1u))).x`, `unpack2x16float(${name}[i >> 1u])`],
};

function constantText(value: Constant): string {
  if (typeof value === 'boolean') return String(value);
  // Whole numbers stay abstract: they serve as i32, u32 and f32.
  return Number.isInteger(value) ? String(value) : `f32(${value})`;
}

/** The whole WGSL of a shader: parameters at binding 0, buffers after it in their order. */
export function wgsl(s: Shader, constants: Readonly<Record<string, Constant>>): string {
  const fields = Object.entries(s.params).map(([name, type]) => `  ${name}: ${type},`);
  // An empty struct is not allowed.
  if (fields.length === 0) fields.push('  none: u32,');
  const lines = ['struct Params {', ...fields, '}', '@group(0) @binding(0) var<uniform> p: Params;'];
  Object.entries(s.buffers).forEach(([name, access], i) => {
    const [kind, out] = access.split(' ');
    const mode = out === undefined ? 'read' : 'read_write';
    const either = kind === 'f32/f16';
    const element = either ? (constants[`half_${name}`] === true ? 'f16' : 'f32') : kind;
    lines.push(`@group(0) @binding(${i + 1}) var<storage, ${mode}> ${name}: array<${ELEMENT[element]}>;`);
    if (either) {
      const [one, pair] = READ[element](name);
      lines.push(
        `fn ${name}_at(i: u32) -> f32 { return ${one}; }`,
        `fn ${name}_pair(i: u32) -> vec2f { return ${pair}; }`,
      );
    }
  });
  for (const [name, value] of Object.entries(constants)) lines.push(`const ${name} = ${constantText(value)};`);
  return `${lines.join('\n')}\n${PRELUDE}${typeof s.code === 'string' ? s.code : s.code(constants)}\n`;
}
