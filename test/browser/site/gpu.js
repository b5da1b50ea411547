// The work of the GPU tests in a page.
import { wasm, webgpu } from 'atalho';
import { cases, conformance, WEBGPU, WEBGPU_FAST, WEBGPU_FAST_HALF, WEBGPU_HALF } from 'atalho/oracle';
import { steps } from './work.js';

const KINDS = {
  direct: [{}, WEBGPU],
  fast: [{ math: 'fast' }, WEBGPU_FAST],
  float16: [{ storage: 'float16' }, WEBGPU_HALF],
  'fast, float16': [{ math: 'fast', storage: 'float16' }, WEBGPU_FAST_HALF],
};

/** One for each kind that was asked for. */
const devices = {};
async function deviceOf(kind) {
  devices[kind] ??= await webgpu(KINDS[kind][0]);
  return devices[kind];
}

/** The adapter's own words. */
async function adapter() {
  return (await deviceOf('direct')).adapter;
}

const rows = () => cases.map((row) => row.name);

/** What the case table finds wrong on a kind of device, and how much it looked at. */
async function judge(kind, row, runs, seed) {
  const options = { cases: [row], runs, seed, precision: KINDS[kind][1] };
  const findings = await conformance(await deviceOf(kind), options);
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
