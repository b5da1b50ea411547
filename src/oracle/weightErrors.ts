/** What errors of a convolution's weights come to in its results. */
import type { NormalisedConvolution } from './bounds.js';
import * as naive from './naive.js';
import * as winograd from './winograd.js';

type Values = ArrayLike<number>;

/** `weightErrors` of `normalisedConvolution`: the convolution of |x| with the errors, or of its transform with those of the transformed. */
export const weightErrorsOf =
  (x: Values, weight: Values, g: naive.NaiveConv): NormalisedConvolution['weightErrors'] =>
  (m, scale, error) => {
    const size = weight.length / g.outChannels;
    const sizes = Float64Array.from(weight, (w, i) => Math.abs(w * (scale?.[Math.floor(i / size)] ?? 1)));
    if (m > 0) return winograd.forwardPaths(m as winograd.Tile, x, sizes, null, g, error).magnitude;
    return naive.conv2d(Float64Array.from(x, Math.abs), sizes.map(error), null, g).value;
  };
