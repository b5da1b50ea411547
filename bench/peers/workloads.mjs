/** What is run: inference of ResNet-18 and ResNet-50 at 224×224, and the chapter's training step at 96×96. */
import { resnet50Forward, resnetForward, trainingStep } from '../models.mjs';

/** On a device: `net`, `x`, perhaps `labels`, `run`. */
export function makeWorkload(name, device) {
  if (name === 'infer') return resnetForward(device);
  if (name === 'infer50') return resnet50Forward(device);
  return trainingStep(device, Number(name.replace('train', '')));
}
