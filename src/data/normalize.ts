/** From bytes to the floats a model takes: value / 255, and then per channel (value − mean) / std. */
import { ArgumentError } from '../errors.js';

/** What each channel is shifted and divided by, in units of the full range 0 to 1: one number a channel. */
export interface Normalization {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** Mean and deviation of ImageNet's channels red, green and blue, as torchvision's networks were trained with them. */
export const imagenetNormalization: Normalization = Object.freeze({
  mean: Object.freeze([0.485, 0.456, 0.406]),
  std: Object.freeze([0.229, 0.224, 0.225]),
});

/**
 * What each byte becomes, `[channels, 256]`: equal bit for bit to torchvision's ToTensor and Normalize, which round the
 * quotient by 255, the difference and the quotient by std to float32, one after the other.
 * @throws ArgumentError when mean and std are not one finite number a channel each, std above 0
 */
export function byteTable(op: string, channels: number, normalization?: Normalization): Float32Array<ArrayBuffer> {
  const { fround } = Math;
  for (const option of ['mean', 'std'] as const) {
    const values = normalization?.[option];
    const good = (v: number): boolean => Number.isFinite(v) && (option === 'mean' || fround(v) > 0);
    if (values !== undefined && !(Array.isArray(values) && values.length === channels && values.every(good))) {
      const want = `${channels} finite number${channels === 1 ? '' : 's'}${option === 'std' ? ' above 0' : ''}`;
      throw new ArgumentError(`${op}: ${option} is ${JSON.stringify(values)}; want ${want}, one a channel`);
    }
  }
  const table = new Float32Array(channels * 256);
  for (let i = 0; i < table.length; i++) {
    const unit = fround((i % 256) / 255);
    const channel = Math.floor(i / 256);
    table[i] =
      normalization === undefined
        ? unit
        : fround(unit - fround(normalization.mean[channel])) / fround(normalization.std[channel]);
  }
  return table;
}
