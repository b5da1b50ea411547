/**
 * The one-dimensional transforms of Winograd's F(m, 3), operation by operation: over numbers in the reference, over names of
 * values where a device writes its code from them. docs/NUMERICS.md has them as formulas.
 */

export interface Arithmetic<V> {
  add(a: V, b: V): V;
  sub(a: V, b: V): V;
  /** A constant times a value. */
  times(a: number, b: V): V;
}

export type Line<V> = (v: readonly V[]) => V[];

/** The transforms of F(m, 3), to and from n elements: m + 2, or 2m + 1 with a stride of 2. */
export interface Transforms<V> {
  /** Bᵀ: n inputs. */
  readonly input: Line<V>;
  /** G: 3 filter taps to n. */
  readonly filter: Line<V>;
  /** Aᵀ: n sums to m outputs. */
  readonly output: Line<V>;
  /** A: m output gradients to n. */
  readonly outputGradient: Line<V>;
  /** Gᵀ: n sums to 3 filter gradients. */
  readonly filterGradient: Line<V>;
}

export function transforms<V>(m: number, { add, sub, times }: Arithmetic<V>): Transforms<V> {
  const root = Math.SQRT2;
  switch (m) {
    case 2:
      // Points 0, 1, −1, ∞.
      return {
        input: ([a, b, c, d]) => [sub(a, c), add(b, c), sub(c, b), sub(d, b)],
        filter([a, b, c]) {
          const [e, o] = [times(0.5, add(a, c)), times(0.5, b)];
          return [a, add(e, o), sub(e, o), c];
        },
        output: ([a, b, c, d]) => [add(add(a, b), c), add(sub(b, c), d)],
        outputGradient: ([a, b]) => [a, add(a, b), sub(a, b), b],
        filterGradient([a, b, c, d]) {
          const p = times(0.5, add(b, c));
          return [add(a, p), times(0.5, sub(b, c)), add(p, d)];
        },
      };
    case 3:
      // Points 0, 1, −1/2, −2, ∞.
      return {
        input: ([a, b, c, d, e]) => [
          add(sub(a, d), times(1.5, sub(b, c))),
          add(add(b, d), times(2.5, c)),
          sub(add(c, d), add(b, b)),
          sub(d, times(0.5, add(b, c))),
          add(sub(e, b), times(1.5, sub(d, c))),
        ],
        filter([a, b, c]) {
          const twice = add(b, b);
          return [
            a,
            times(2 / 9, add(add(a, b), c)),
            times(2 / 9, sub(add(times(4, a), c), twice)),
            times(1 / 9, sub(twice, add(a, times(4, c)))),
            c,
          ];
        },
        output: ([a, b, c, d, e]) => [
          add(add(add(a, b), c), d),
          sub(sub(b, times(0.5, c)), add(d, d)),
          add(add(add(b, times(0.25, c)), times(4, d)), e),
        ],
        outputGradient: ([a, b, c]) => [
          a,
          add(add(a, b), c),
          add(sub(a, times(0.5, b)), times(0.25, c)),
          add(sub(a, add(b, b)), times(4, c)),
          c,
        ],
        filterGradient: ([a, b, c, d, e]) => [
          add(a, sub(times(2 / 9, add(b, times(4, c))), times(1 / 9, d))),
          times(2 / 9, add(sub(b, add(c, c)), d)),
          add(sub(times(2 / 9, add(b, c)), times(4 / 9, d)), e),
        ],
      };
    default:
      // Points 0, ±√½, ±√2, ∞.
      return {
        input([a, b, c, d, e, f]) {
          const [p, q] = [sub(add(c, c), e), times(root / 2, sub(add(b, b), d))];
          const [u, v] = [sub(e, times(0.5, c)), times(root, sub(d, times(0.5, b)))];
          return [
            add(sub(a, times(2.5, c)), e),
            add(p, q),
            sub(p, q),
            add(u, v),
            sub(u, v),
            add(sub(b, times(2.5, d)), f),
          ];
        },
        filter([a, b, c]) {
          const third = times(1 / 3, c);
          const [p, q] = [add(times(2 / 3, a), third), times(root / 3, b)];
          const [u, v] = [add(times(1 / 6, a), third), times(0.5, q)];
          return [a, add(p, q), sub(p, q), add(u, v), sub(u, v), c];
        },
        output([a, b, c, d, e, f]) {
          const [p, q, u, v] = [add(b, c), sub(b, c), add(d, e), sub(d, e)];
          return [
            add(add(a, p), u),
            times(root, add(times(0.5, q), v)),
            add(times(0.5, p), add(u, u)),
            add(times(root, add(times(0.25, q), add(v, v))), f),
          ];
        },
        outputGradient([a, b, c, d]) {
          const [p, q] = [add(a, times(0.5, c)), times(root, add(times(0.5, b), times(0.25, d)))];
          const [u, v] = [add(a, add(c, c)), times(root, add(b, add(d, d)))];
          return [a, add(p, q), sub(p, q), add(u, v), sub(u, v), d];
        },
        filterGradient([a, b, c, d, e, f]) {
          const [p, q, u, v] = [add(b, c), sub(b, c), add(d, e), sub(d, e)];
          return [
            add(add(a, times(2 / 3, p)), times(1 / 6, u)),
            times(root / 3, add(q, times(0.5, v))),
            add(times(1 / 3, add(p, u)), f),
          ];
        },
      };
  }
}

/** `line` along the rows of a matrix, then along the columns of what that gives. */
export function square<V>(line: Line<V>, matrix: readonly (readonly V[])[]): V[][] {
  const rows = matrix.map(line);
  const columns = rows[0].map((_, j) => line(rows.map((row) => row[j])));
  return columns[0].map((_, i) => columns.map((column) => column[i]));
}
