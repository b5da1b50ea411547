/** What is run: inference of ResNet-18 at 224×224, and the chapter's training step at 96×96. */
import { resnetForward, trainingStep } from '../models.mjs';

/** On a device: `net`, `x`, perhaps `labels`, `run`. */
export function makeWorkload(name, device) {
  if (name === 'infer') return resnetForward(device);
  return trainingStep(device, Number(name.replace('train', '')));
}
