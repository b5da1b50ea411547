import { readFileSync } from 'node:fs';
import { it } from 'vitest';
import { resizeBilinear } from '../src/data/resize.js';
import { Generator, crossEntropy, d2lResnet18, grad, sgd, tensor, wasm } from '../src/index.js';
import { gunzip } from '../src/io/gzip.js';
import { readIdx } from '../src/io/idx.js';
import { goldens, loadFormula } from './goldens.js';
it('c', { timeout: 600000 }, async () => {
  const curve = goldens('curve_d2l_resnet18');
  const idx = async (name: string) => readIdx(await gunzip(readFileSync(new URL(`../data/fashion-mnist/${name}.gz`, import.meta.url)), { maxBytes: 60_000 * 784 + 16 })).data as Uint8Array;
  const images = await idx('train-images-idx3-ubyte'); const labels = await idx('train-labels-idx1-ubyte');
  for (const perturb of [0, 1, 2]) {
    const device = await wasm();
    const net = d2lResnet18({ device }); loadFormula(net); net.train();
    const params = net.parameters();
    const g = new Generator(perturb);
    if (perturb) for (const p of params) p.write((p.dataSync() as Float32Array).map((v) => v * (1 + (g.uniform(-1, 1)) * 2 ** -23)));
    const opt = sgd(params, { lr: 0.0005 });
    const out = [];
    for (let s = 0; s < 12; s++) {
      const px = new Float32Array(32 * 9216);
      for (let i = 0; i < 32; i++) px.set(Float32Array.from(resizeBilinear(images.subarray((s * 32 + i) * 784, (s * 32 + i + 1) * 784), 28, 28, 96, 96), (v) => v / 255), i * 9216);
      const loss = device.scope(() => { const l = crossEntropy(net.forward(tensor(px, [32, 1, 96, 96], { device })), Int32Array.from(labels.subarray(s * 32, s * 32 + 32))); opt.step(grad(l, params)); return l; });
      out.push((loss.item() - curve.get('loss.float64').data[s]).toExponential(1)); loss.dispose();
    }
    console.log('DIFF', perturb, out.join(' '));
    device.dispose();
  }
});
