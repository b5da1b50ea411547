/** The peers in a browser: TensorFlow.js on each of its backends, onnxruntime-web on WebGPU; and atalho there. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import '@tensorflow/tfjs-backend-cpu';
import { setThreadsCount, setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import { webgpu } from '../../../dist/index.js';
import { judge, judgeDevice, WEBGPU } from '../../../dist/oracle/index.js';
import { ortBackend } from './ort.mjs';
import { tfjsBackend } from './tfjs.mjs';

async function tfjs(backend, o) {
  setWasmPaths(new URL('tfjs/', location.href).href);
  setThreadsCount(1);
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no ${backend} here`);
  await tf.ready();
  return judge(tfjsBackend(tf), { ...o, layout: 'NHWC', name: `TensorFlow.js ${tf.version_core}, ${backend}` });
}

const contestants = {
  'tfjs-cpu': (o) => tfjs('cpu', o),
  'tfjs-wasm': (o) => tfjs('wasm', o),
  'tfjs-webgl': (o) => tfjs('webgl', o),
  'tfjs-webgpu': (o) => tfjs('webgpu', o),
  async 'ort-webgpu'(o) {
    // Its own bundle, served beside the page with its WASM.
    const address = new URL('ort/ort.webgpu.bundle.min.mjs', location.href).href;
    const ort = await import(/* @vite-ignore */ address);
    ort.env.wasm.wasmPaths = new URL('ort/', location.href).href;
    ort.env.logLevel = 'error';
    const backend = ortBackend(ort, { executionProviders: ['webgpu'] }, o);
    return judge(backend, { ...o, name: `onnxruntime-web ${ort.env.versions.web}, webgpu` });
  },
  async 'atalho-webgpu'(o) {
    const device = await webgpu();
    const report = await judgeDevice(device, { ...o, precision: WEBGPU, name: 'atalho, webgpu' });
    device.dispose();
    return report;
  },
};

globalThis.oracle = { names: Object.keys(contestants), run: (name, o) => contestants[name](o) };
