/** Parameters and multiply-adds of a network, counted from the shapes of one forward pass. */
import { Conv2d, Linear, noGrad, tensor } from 'atalho';

/** @param {import('atalho').Module} model */
export function countParameters(model) {
  return model.parameters().reduce((sum, { size }) => sum + size, 0);
}

/**
 * Multiply-adds of the convolutions and linear layers for one input, without biases, batch norm and pooling, as papers count.
 * Each output element of a layer takes one for each weight of its channel.
 * @param {import('atalho').Module} model
 * @param {readonly number[]} shape of the input, `[1, C, H, W]`
 * @param {import('atalho').Device} device
 */
export function countMacs(model, shape, device) {
  let macs = 0;
  const watched = [];
  model.apply((layer) => {
    if (layer instanceof Conv2d || layer instanceof Linear) watched.push(layer);
  });
  for (const layer of watched) {
    layer.forward = (x) => {
      const y = Object.getPrototypeOf(layer).forward.call(layer, x);
      macs += (y.size * layer.weight.size) / layer.weight.shape[0];
      return y;
    };
  }
  try {
    const size = shape.reduce((a, b) => a * b, 1);
    model.inMode(false, () =>
      device.scope(() => noGrad(() => void model.forward(tensor(new Float32Array(size), shape, { device })))),
    );
  } finally {
    for (const layer of watched) delete layer.forward;
  }
  return macs;
}

/** 11689512 as "11,689,512", in every locale. */
export function grouped(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}
