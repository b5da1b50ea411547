/**
 * Atalho's side of tools/pytorch_roundtrip.py, which runs it: `npm run build` first.
 *
 *     node tools/pytorch_roundtrip.mjs train NET OUT           a few steps from the first weights; their state dict into OUT
 *     node tools/pytorch_roundtrip.mjs step NET WEIGHTS BATCH OUT [float64]
 *
 * `step` loads WEIGHTS (.safetensors, or .pth as torch.save writes it), all of them and no other, and writes into OUT what it
 * makes of BATCH, whose tensors are x and labels: `before.*`, the state dict as loaded; `eval.logits`; `train.logits` and
 * `train.loss`; `after.*`, the state dict after one step of SGD. With float64 the
 * reference device does it, in float64.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import {
  crossEntropy,
  d2lResnet18,
  Generator,
  grad,
  keep,
  noGrad,
  readSafetensors,
  reference,
  resnet18,
  sgd,
  tensor,
  wasm,
  writeSafetensors,
} from '../dist/index.js';
import { pthStateDict, readPth } from '../dist/io/index.js';

const NETS = { 'd2l-resnet18': d2lResnet18, resnet18 };
/** As in the Python file. */
const SGD = { lr: 0.05, momentum: 0.9, weightDecay: 1e-4 };

const [command, name, ...files] = process.argv.slice(2);
const device = files[3] === 'float64' ? reference({ dtype: 'float64' }) : await wasm();
const net = NETS[name]({ device, seed: 0 });
const optimizer = sgd(net.parameters(), SGD);

/** One step of training; the logits and the loss before it. */
function step(images, shape, labels) {
  return device.scope(() => {
    const logits = keep(net.forward(tensor(images, shape, { device })));
    const loss = keep(crossEntropy(logits, labels));
    optimizer.step(grad(loss, optimizer.params));
    return { logits, loss };
  });
}

/** The state dict as it is now, under `prefix`. */
const state = (prefix) =>
  [...net.stateDict()].map(([key, t]) => [prefix + key, { shape: t.shape, data: t.dataSync() }]);

if (command === 'train') {
  const generator = new Generator(1);
  const shape = [8, name === 'resnet18' ? 3 : 1, 64, 64];
  for (let i = 0; i < 3; i++) {
    step(
      generator.uniformArray(shape, 1),
      shape,
      Int32Array.from({ length: 8 }, () => generator.int(10)),
    );
  }
  writeFileSync(files[0], writeSafetensors(net.stateDict()));
} else {
  const [weights, batch, out] = files;
  const bytes = readFileSync(weights);
  net.loadStateDict(weights.endsWith('.pth') ? pthStateDict(readPth(bytes)) : readSafetensors(bytes));
  const before = state('before.');
  const given = readSafetensors(readFileSync(batch));
  const { data, shape } = given.get('x');
  const labels = Int32Array.from(given.get('labels').data, Number);
  const logits = net.inMode(false, () => noGrad(() => net.forward(tensor(data, shape, { device }))));
  const trained = step(data, shape, labels);
  const results = { 'eval.logits': logits, 'train.logits': trained.logits, 'train.loss': trained.loss };
  writeFileSync(out, writeSafetensors([...before, ...Object.entries(results), ...state('after.')]));
}
