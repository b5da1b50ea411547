/**
 * The convolutions of ResNet-18 at 224×224 and of the chapter's training step, as kernels: forward, input gradient,
 * weight gradient. FLOPs are those of the direct convolution, two for each tap, padding counted. Judged by the median.
 */

import { oracle, winogradTile } from './library.mjs';
import { measure } from './measure.mjs';

const GRADIENT_TARGET = 0.88;

/** Images need no gradient, so training never computes this one; 1 or 3 channels cannot fill a tile of 4 rows either. */
const IMAGE_NOTE = 'not computed in training';

/** Square maps and kernels; padding keeps the map at stride 1. */
function convolution(label, batch, inChannels, outChannels, extent, kernel, stride, target) {
  const out = Math.floor((extent - 1) / stride) + 1;
  const pad = (kernel - 1) / 2;
  return {
    label: `${label} b${batch}`,
    target,
    ofImages: inChannels <= 3,
    geometry: {
      batch,
      inChannels,
      outChannels,
      inHeight: extent,
      inWidth: extent,
      outHeight: out,
      outWidth: out,
      kernelHeight: kernel,
      kernelWidth: kernel,
      strideHeight: stride,
      strideWidth: stride,
      padTop: pad,
      padLeft: pad,
      dilationHeight: 1,
      dilationWidth: 1,
      groups: 1,
    },
  };
}

export const convolutions = [
  convolution('64@56', 1, 64, 64, 56, 3, 1, 0.9),
  convolution('128@28', 1, 128, 128, 28, 3, 1, 0.9),
  convolution('256@14', 1, 256, 256, 14, 3, 1, 0.9),
  convolution('512@7', 1, 512, 512, 7, 3, 1, 0.78),
  convolution('64@24', 32, 64, 64, 24, 3, 1, 0.9),
  convolution('128@12', 32, 128, 128, 12, 3, 1, 0.9),
  convolution('256@6', 32, 256, 256, 6, 3, 1, 0.9),
  convolution('512@3', 32, 512, 512, 3, 3, 1, 0.9),
  convolution('stem 3→64@224 7×7/2', 1, 3, 64, 224, 7, 2, 0.9),
  convolution('stem 1→64@96 7×7/2', 32, 1, 64, 96, 7, 2, 0.9),
  convolution('64→128@56 3×3/2', 1, 64, 128, 56, 3, 2, 0.78),
  convolution('128→256@28 3×3/2', 1, 128, 256, 28, 3, 2, 0.78),
  convolution('256→512@14 3×3/2', 1, 256, 512, 14, 3, 2, 0.78),
  convolution('64→128@56 1×1/2', 1, 64, 128, 56, 1, 2, 0.78),
  convolution('128→256@28 1×1/2', 1, 128, 256, 28, 1, 2, 0.78),
  convolution('64→128@24 3×3/2', 32, 64, 128, 24, 3, 2, 0.78),
  convolution('128→256@12 3×3/2', 32, 128, 256, 12, 3, 2, 0.78),
  convolution('256→512@6 3×3/2', 32, 256, 512, 6, 3, 2, 0.78),
  convolution('64→128@24 1×1/2', 32, 64, 128, 24, 1, 2, 0.78),
  convolution('128→256@12 1×1/2', 32, 128, 256, 12, 1, 2, 0.78),
  convolution('256→512@6 1×1/2', 32, 256, 512, 6, 1, 2, 0.78),
];

const DIRECTIONS = { forward: 'forward', 'input gradient': 'input', 'weight gradient': 'weight' };

/**
 * Rows of the convolutions whose names `wanted` accepts; in a fast mode those alone that Winograd computes, which have no target
 * of their own.
 */
export function* benchConvolutions(device, wanted, context) {
  const { math } = device;
  const prefix = math === 'exact' ? 'conv' : `conv ${math}`;
  for (const { label, geometry: g, target, ofImages } of convolutions) {
    const kinds = [
      ['forward', target],
      ['input gradient', ofImages ? null : GRADIENT_TARGET],
      ['weight gradient', GRADIENT_TARGET],
    ]
      .map(([kind, goal]) => ({ kind, goal, name: `${prefix} ${label} ${kind}` }))
      .filter(({ kind }) => math === 'exact' || winogradTile(DIRECTIONS[kind], g) !== 0);
    if (!kinds.some(({ name }) => wanted(name))) continue;

    const buffers = [];
    const random = (name, size) => {
      const buffer = device.alloc(size);
      device.write(buffer, oracle.numbers(3, name, size, -1, 1));
      buffers.push(buffer);
      return buffer;
    };
    const inSize = g.batch * g.inChannels * g.inHeight * g.inWidth;
    const outSize = g.batch * g.outChannels * g.outHeight * g.outWidth;
    const weightSize = g.outChannels * g.inChannels * g.kernelHeight * g.kernelWidth;
    const [x, weight, dy] = [random('x', inSize), random('weight', weightSize), random('dy', outSize)];
    // Written once, so that no kernel stores into pages that were never touched.
    const [out, dx, dweight] = [random('out', outSize), random('dx', inSize), random('dweight', weightSize)];
    const run = {
      forward: () => device.kernels.conv2d({ ...g, x, weight, bias: null, out }),
      'input gradient': () => device.kernels.conv2dBackwardInput({ ...g, dy, weight, dx }),
      'weight gradient': () => device.kernels.conv2dBackwardWeight({ ...g, x, dy, dweight }),
    };
    const flops = 2 * outSize * g.inChannels * g.kernelHeight * g.kernelWidth;
    for (const { kind, goal, name } of kinds) {
      if (!wanted(name)) continue;
      const intensity = flops / (4 * (inSize + outSize + weightSize));
      const measured = measure(name, run[kind], { flops }, context);
      const row = { ...measured, section: 'conv', label, kind, mode: math, intensity };
      if (math !== 'exact') {
        yield { ...row, note: 'Winograd' };
        continue;
      }
      yield goal === null
        ? { ...row, note: IMAGE_NOTE }
        : { ...row, target: goal, met: row.share.median >= goal, metAtBest: row.share.best >= goal };
    }
    for (const buffer of buffers) buffer.release();
  }
}
