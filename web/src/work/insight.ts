/** What goes on inside a network: a block's result for a picture, its filters, and what is said of the picture. */
import { Conv2d, type Device, type Module, noGrad, type Tensor, tensor } from 'atalho';
import type { Maps } from './messages.js';
import { modulesOf } from './networks.js';
import { filterTiles, mapTiles } from './tiles.js';

/** Runs `model` in eval mode on one picture `[1, C, H, W]`; the result of the block or layer called `name`, and the logits. */
export async function lookInside(
  model: Module,
  device: Device,
  picture: Float32Array,
  shape: readonly number[],
  name: string,
): Promise<{ maps: Maps; logits: ArrayLike<number> }> {
  const block = modulesOf(model).get(name);
  if (block === undefined) throw new Error(`the network has no block ${name}`);
  const forward = block.forward.bind(block);
  let seen: Tensor | null = null;
  // Sequential calls `forward` of what is inside, so a method of the object's own sees the result.
  block.forward = (x: Tensor): Tensor => {
    seen = forward(x);
    return seen;
  };
  let kept: Tensor[];
  try {
    kept = model.inMode(false, () =>
      device.scope(() =>
        noGrad(() => {
          const logits = model.forward(tensor(picture, shape, { device }));
          return [logits, seen as unknown as Tensor];
        }),
      ),
    );
  } finally {
    Reflect.deleteProperty(block, 'forward');
  }
  const [logits, result] = kept;
  try {
    const values = (await result.data()) as Float32Array;
    const [, channels, height = 1, width = 1] = result.shape;
    const conv = 'conv1' in block ? block.conv1 : block;
    const weight = conv instanceof Conv2d ? conv.weight : null;
    return {
      maps: {
        block: name,
        shape: result.shape,
        filterShape: weight?.shape ?? null,
        maps: mapTiles(values, channels, height, width),
        filters:
          weight && weight.shape[2] > 1 ? filterTiles((await weight.data()) as Float32Array, weight.shape) : null,
      },
      logits: (await logits.data()) as Float32Array,
    };
  } finally {
    logits.dispose();
    result.dispose();
  }
}

/** Softmax, for people to read: no bits are promised of it. */
export function shares(logits: ArrayLike<number>, from = 0, count = logits.length): number[] {
  const own = Array.from({ length: count }, (_, i) => logits[from + i]);
  const most = Math.max(...own);
  const powers = own.map((v) => Math.exp(v - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}
