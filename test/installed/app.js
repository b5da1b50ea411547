/** An app for bundlers. */
import { crossEntropy, d2lResnet, grad, sgd, tensor, wasm } from 'atalho';

const device = await wasm();
const net = d2lResnet({ channels: [4, 8], blocks: [1, 1], device, seed: 0 });
const params = net.parameters();
const optimizer = sgd(params, { lr: 0.1 });
const losses = [];
for (let step = 0; step < 2; step++) {
  device.scope(() => {
    const loss = crossEntropy(net.forward(tensor(new Float32Array(512).fill(0.5), [2, 1, 16, 16], { device })), [0, 1]);
    losses.push(loss.item());
    optimizer.step(grad(loss, params));
  });
}
console.log(JSON.stringify(losses));
