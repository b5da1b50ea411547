// The work of the browser tests. Node runs the same file, for the hashes that it must come to.
import { crossEntropy, DeviceError, d2lResnet, Generator, grad, reference, sgd, tensor, wasm } from 'atalho';
import { hashWeights } from 'atalho/train';

/** Hands out even the least work, and counts the calls that the owner leaves to its workers. */
function watch(device) {
  const { context } = device;
  context.grain = 1;
  const { team } = context;
  if (team === null) return () => 0;
  const { run, exports } = team;
  let left = 0;
  team.run = (programs) => {
    for (const steps of programs) left += steps.length;
    run.call(team, programs);
  };
  team.exports = new Proxy(
    {},
    {
      get: (_, kernel) => {
        left--;
        return exports[kernel];
      },
    },
  );
  return () => left;
}

/** Five steps of a small ResNet with all of its layers. */
export function steps(device) {
  const generator = new Generator(3);
  const model = d2lResnet({ device, generator, channels: [8, 12], blocks: [1, 1] });
  const optimizer = sgd(model.parameters(), { lr: 0.05, momentum: 0.9, weightDecay: 1e-3 });
  for (let step = 0; step < 5; step++) {
    const x = Float32Array.from({ length: 9 * 24 * 24 }, () => generator.uniform(-1, 1));
    const labels = Int32Array.from({ length: 9 }, (_, i) => (i * 7 + step) % 10);
    device.scope(() => {
      const loss = crossEntropy(model.forward(tensor(x, [9, 1, 24, 24], { device })), labels);
      optimizer.step(grad(loss, optimizer.params));
    });
  }
  return model;
}

async function outcome(make, warnings = []) {
  try {
    const device = await make();
    const helped = device.name === 'wasm' ? watch(device) : () => 0;
    const hash = await hashWeights(steps(device));
    const { math, threads } = device;
    device.dispose();
    return { hash, math, threads, helped: helped(), warnings };
  } catch (error) {
    return { error: `${error instanceof DeviceError ? 'DeviceError: ' : ''}${error.message}`, warnings };
  }
}

/** Trains on `wasm(options)`; what it came to, or its error. */
function train({ processors, ...options } = {}) {
  // As on a machine with so many.
  if (processors) Object.defineProperty(navigator, 'hardwareConcurrency', { value: processors, configurable: true });
  const warnings = [];
  return outcome(() => wasm({ ...options, onWarning: (message) => warnings.push(message) }), warnings);
}

/** The same on `reference(options)`. */
function trainReference(options) {
  return outcome(() => reference(options));
}

let held = null;

/** Makes a device, uses it and keeps it. */
async function hold(options) {
  held = await wasm(options);
  steps(held);
}

function letGo() {
  held.dispose();
  held = null;
}

/** Evaluates text, for the policy to forbid. */
function evaluateText() {
  try {
    return new Function('return "evaluated"')();
  } catch (error) {
    return error.name;
  }
}

export const work = { train, trainReference, hold, letGo, evaluateText };
