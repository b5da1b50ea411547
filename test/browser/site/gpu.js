// The work of the GPU tests in a page.
import { wasm, webgpu } from 'atalho';
import { cases, conformance, WEBGPU } from 'atalho/oracle';
import { steps } from './work.js';

let device = null;

/** The adapter's own words. */
async function adapter() {
  device ??= await webgpu();
  return device.adapter;
}

const rows = () => cases.map((row) => row.name);

/** What the case table finds wrong, and how much it looked at. */
async function judge(row, runs, seed) {
  const findings = await conformance(device, { cases: [row], runs, seed, precision: WEBGPU });
  return { count: findings.length, failures: findings.filter((f) => !f.passed).map((f) => f.detail) };
}

/** Five steps of a small ResNet here and on `wasm()`: how far weights are apart, and by how much they have moved. */
async function train() {
  const weightsOf = async (make) => {
    const own = await make();
    const model = steps(own);
    const values = [];
    for (const t of model.parameters()) values.push(...(await t.data()));
    own.dispose();
    return values;
  };
  const [here, there] = [await weightsOf(() => webgpu()), await weightsOf(() => wasm())];
  return Math.max(...here.map((v, i) => Math.abs(v - there[i])));
}

/** What comes of a GPU that goes away between two ops. */
async function lose() {
  const own = await (await navigator.gpu.requestAdapter()).requestDevice();
  const lost = await webgpu({ device: own });
  const model = steps(lost);
  own.destroy();
  try {
    await model.parameters()[0].data();
    return 'nothing';
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

globalThis.gpu = { adapter, rows, judge, train, lose };
