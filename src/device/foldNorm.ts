/** Batch norm by given statistics as part of the convolution before it, as fast modes have it. */

export interface NormValues {
  readonly mean: ArrayLike<number>;
  readonly variance: ArrayLike<number>;
  readonly weight: ArrayLike<number> | null;
  readonly bias: ArrayLike<number> | null;
  readonly eps: number;
}

/** Scale and shift of (y − mean)·scale + shift for each channel, in float64. */
export function normFactors({ variance, weight, bias, eps }: NormValues): { scale: Float64Array; shift: Float64Array } {
  const scale = Float64Array.from(variance, (v, c) => (weight ? weight[c] : 1) * (1 / Math.sqrt(v + eps)));
  const shift = Float64Array.from(variance, (_, c) => (bias ? bias[c] : 0));
  return { scale, shift };
}

/**
 * The filters times their channel's scale, and the bias (bias − mean)·scale + shift: float64, to be rounded once when stored.
 * `filterSize`: elements of one output channel's filter.
 */
export function foldNorm(
  filters: ArrayLike<number>,
  filterSize: number,
  bias: ArrayLike<number> | null,
  norm: NormValues,
): { filters: Float64Array; bias: Float64Array } {
  const { scale, shift } = normFactors(norm);
  return {
    filters: Float64Array.from(filters, (v, i) => v * scale[Math.floor(i / filterSize)]),
    bias: scale.map((s, c) => ((bias ? bias[c] : 0) - norm.mean[c]) * s + shift[c]),
  };
}
