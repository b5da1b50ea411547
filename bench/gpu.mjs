/**
 * `npm run bench -- --device webgpu`: every op of the oracle's table, the chapter's training step and a compiled model on a GPU, by its own
 * timestamps, next to the rate of multiply-adds that the adapter reaches in registers in the same run. Dawn's first adapter;
 * on a software one (VK_ICD_FILENAMES names it) smaller shapes.
 */
import { performance } from 'node:perf_hooks';
import { compile, crossEntropy, d2lResnet18, grad, noGrad, oracle, sgd, tensor, webgpu } from './library.mjs';
import { median } from './measure.mjs';
import { sizes } from './ops.mjs';
import { percent } from './report.mjs';

const RUNS = 3;
/** Milliseconds for which steps are taken before any is timed, and how many steps at most. */
const [WARM_MS, MOST_WARM] = [2000, 50];
let dawn = null;
/** Independent chains of multiply-adds in an invocation, and turns of its loop. */
const [CHAINS, TURNS] = [16, 1024];
/** Workgroups at first and at most, and the milliseconds on which enough of them take the GPU: what a submit costs is lost in it. */
const [FEWEST, MOST, LONG] = [256, 65535, 20];

const PEAK = `
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = f32(id.x) * 1e-9;
  let b = 1.0 - a;
  ${Array.from({ length: CHAINS }, (_, i) => `var s${i} = f32(${i});`).join(' ')}
  for (var i = 0u; i < ${TURNS / 8}u; i++) {
    ${Array.from({ length: CHAINS }, (_, i) => `s${i} = ${'('.repeat(8)}s${i}${' * b + a)'.repeat(8)};`).join(' ')}
  }
  out[id.x] = ${Array.from({ length: CHAINS }, (_, i) => `s${i}`).join(' + ')};
}`;

/** GFLOP/s of multiply-adds on registers, the best of five; workgroups double until they keep the GPU busy for long enough. */
async function peakOf(gpu) {
  const buffer = gpu.createBuffer({ size: 4 * 64 * MOST, usage: 128 });
  const compute = { module: gpu.createShaderModule({ code: PEAK }), entryPoint: 'main' };
  const pipeline = gpu.createComputePipeline({ layout: 'auto', compute });
  const entries = [{ binding: 0, resource: { buffer } }];
  const group = gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const time = async (groups) => {
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(groups);
    pass.end();
    const began = performance.now();
    gpu.queue.submit([encoder.finish()]);
    await gpu.queue.onSubmittedWorkDone();
    return performance.now() - began;
  };
  let groups = FEWEST;
  // The first compiles.
  await time(groups);
  while (groups < MOST && (await time(groups)) < LONG) groups = Math.min(2 * groups, MOST);
  let best = 0;
  for (let i = 0; i < 5; i++) best = Math.max(best, (2 * CHAINS * TURNS * 64 * groups) / (await time(groups)) / 1e6);
  buffer.destroy();
  return best;
}

const total = (profile) => [...profile.values()].reduce((sum, { seconds }) => sum + seconds, 0);

/** Median milliseconds on the GPU of `fn`, once warm. */
async function gpuTime(device, fn) {
  fn();
  await device.profile();
  const times = [];
  for (let i = 0; i < RUNS; i++) {
    fn();
    times.push(1000 * total(await device.profile()));
  }
  return median(times);
}

async function benchOps(device, wanted, peak) {
  console.log(`\n${'op'.padEnd(30)} ${'ms'.padStart(9)} ${'GFLOP/s'.padStart(9)} ${'of peak'.padStart(8)}  operands`);
  for (const row of oracle.cases) {
    const trial = sizes[row.name] ? row.trial(sizes[row.name]) : row.draw(oracle.seededDraw(1, row.name));
    const tensors = trial.inputs.map(({ data, shape, differentiable }) =>
      tensor(data, shape, { device, requiresGrad: differentiable }),
    );
    const xs = tensors.filter((t) => t.requiresGrad);
    const shapes = trial.inputs.map((input) => `[${input.shape.join(', ')}]`).join(' ');
    const print = (name, ms, flops) => {
      const rate = flops > 0 ? flops / ms / 1e6 : null;
      const columns = rate === null ? ['-', '-'] : [rate.toFixed(2), percent(rate / peak)];
      console.log(
        `${name.padEnd(30)} ${ms.toFixed(3).padStart(9)} ${columns[0].padStart(9)} ${columns[1].padStart(8)}  ${shapes}`,
      );
    };
    const forward = () => device.scope(() => void noGrad(() => trial.run(tensors)));
    if (wanted(`op ${row.name} forward`)) print(`${row.name} forward`, await gpuTime(device, forward), trial.flops);
    if (row.op !== null && xs.length > 0 && wanted(`op ${row.name} gradient`)) {
      const both = () =>
        device.scope(() => {
          const y = trial.run(tensors);
          const dy = tensor(oracle.numbers(5, 'dy', y.size, -1, 1), y.shape, { device });
          grad(y, xs, dy);
        });
      print(`${row.name} with its gradient`, await gpuTime(device, both), row.name === 'conv2d' ? 3 * trial.flops : 0);
    }
    for (const t of tensors) t.dispose();
  }
}

/** A training step of the chapter's network. */
function training(device, batch, size) {
  const net = d2lResnet18({ device, seed: 0 });
  const params = net.parameters();
  const optimizer = sgd(params, { lr: 0.01 });
  const pixels = oracle.numbers(7, 'image', batch * size * size, 0, 1);
  const labels = Int32Array.from({ length: batch }, (_, i) => (3 * i) % 10);
  return {
    step: () =>
      device.scope(() => {
        const loss = crossEntropy(net.forward(tensor(pixels, [batch, 1, size, size], { device })), labels);
        optimizer.step(grad(loss, params));
      }),
    dispose() {
      optimizer.dispose();
      net.dispose();
    },
  };
}

/** Steps until the clocks are up, or enough of them; then so many launched one after the other: milliseconds each. */
async function pace(device, step) {
  const began = performance.now();
  let steps = 0;
  do {
    step();
    await device.finished();
    steps++;
  } while (performance.now() - began < WARM_MS && steps < MOST_WARM);
  const count = Math.max(RUNS, Math.min(MOST_WARM, steps));
  const from = performance.now();
  for (let i = 0; i < count; i++) step();
  await device.finished();
  return (performance.now() - from) / count;
}

/** `plain` measures no times on the GPU: each call of a shader would be a pass of its own, and wait for the last. */
async function benchStep(device, plain, batch, size, peak) {
  const cold = performance.now();
  const own = training(plain, batch, size);
  own.step();
  await plain.finished();
  const compiled = performance.now() - cold;
  const ms = await pace(plain, own.step);
  own.dispose();
  const { step, dispose } = training(device, batch, size);
  await pace(device, step);
  await device.profile();
  let before = device.counts;
  for (let i = 0; i < RUNS; i++) {
    before = device.counts;
    step();
    await device.finished();
  }
  const after = device.counts;
  const profile = await device.profile();
  const gpuMs = (1000 * total(profile)) / RUNS;
  // 0.319 GMAC forward at 96×96, three times as much trained; the pixels decide.
  const flops = 1.91e9 * batch * (size / 96) ** 2;
  const { peak: bytes, reserved } = plain.memory();
  console.log(`\ntraining step of the chapter's network, ${size}×${size}, batch ${batch}: ${ms.toFixed(1)} ms, ${((1000 * batch) / ms).toFixed(1)} images/s
  on the GPU ${gpuMs.toFixed(1)} ms, ${(flops / gpuMs / 1e6).toFixed(2)} GFLOP/s of direct work, ${percent(flops / gpuMs / 1e6 / peak)} of the peak
  ${after.dispatches - before.dispatches} calls of shaders, ${after.submits - before.submits} submits, ${after.reads - before.reads} reads; the first step, which compiles, ${(compiled / 1000).toFixed(1)} s
  memory: ${(bytes / 2 ** 20).toFixed(0)} MiB most in use, ${(reserved / 2 ** 20).toFixed(0)} MiB held; process ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB`);
  for (const [name, { calls, seconds }] of profile) {
    console.log(
      `    ${name.padEnd(28)} ${((1000 * seconds) / RUNS).toFixed(2).padStart(9)} ms ${String(calls / RUNS).padStart(5)} calls`,
    );
  }
  dispose();
}

/** The chapter's network compiled on the device, with what its prepared convolutions keep in bytes. */
function compiledOn(device, batch, size) {
  const net = d2lResnet18({ device, seed: 0 });
  const { kernels } = device;
  const prepare = kernels.prepareConv2d;
  let kept = 0;
  kernels.prepareConv2d = (o) => {
    const before = device.memory().used;
    const prepared = prepare(o);
    kept += device.memory().used - before;
    return prepared;
  };
  const compiled = compile(net, { inputShape: [batch, 1, size, size] });
  kernels.prepareConv2d = prepare;
  return {
    kept,
    run: (pixels) => device.scope(() => compiled.run(pixels)),
    dispose() {
      compiled.dispose();
      net.dispose();
    },
  };
}

/** Inference with weights of each storage, the same input, taking turns. */
async function benchInference(devices, batch, size) {
  const turns = 5 * RUNS;
  const pixels = oracle.numbers(7, 'image', batch * size * size, 0, 1);
  const own = [];
  for (const [storage, device] of devices) {
    const model = compiledOn(device, batch, size);
    const result = await model.run(pixels).data();
    await device.profile();
    own.push({ storage, device, model, result: Float32Array.from(result), walls: [], times: [] });
  }
  for (let i = 0; i < turns; i++) {
    for (const { device, model, walls, times } of own) {
      const began = performance.now();
      await model.run(pixels).data();
      walls.push(performance.now() - began);
      times.push(1000 * total(await device.profile()));
    }
  }
  console.log(`\ninference of the chapter's network, compiled, ${size}×${size}, batch ${batch}, medians of ${turns}`);
  const largest = Math.max(...own[0].result.map(Math.abs));
  for (const { storage, model, result, walls, times } of own) {
    const off = Math.max(...result.map((v, i) => Math.abs(v - own[0].result[i]))) / largest;
    console.log(
      `  storage ${storage}: ${median(walls).toFixed(1)} ms, on the GPU ${median(times).toFixed(1)} ms; convolutions keep ${(model.kept / 2 ** 20).toFixed(2)} MiB${storage === own[0].storage ? '' : `; results off by ${off.toExponential(1)} of the largest`}`,
    );
    model.dispose();
  }
}

export async function benchGpu(wanted, { batch, size, math, storage }) {
  const { create } = await import('webgpu');
  // Held to the end: without its instance Dawn aborts.
  // Timestamps as the GPU gives them: rounded to 0.1 ms, as for pages, a call of a large GPU would take none.
  dawn = create(['disable-dawn-features=timestamp_quantization']);
  const adapter = await dawn.requestAdapter();
  if (adapter === null) throw new Error('no adapter; VK_ICD_FILENAMES may name a software one');
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const gpu = await adapter.requestDevice({
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
    requiredFeatures: ['timestamp-query'],
  });
  const device = await webgpu({ device: gpu, profile: true, math, storage });
  const slow = gpu.adapterInfo?.isFallbackAdapter === true;
  const peak = await peakOf(gpu);
  console.log(
    `${device.adapter}${slow ? ', a software adapter' : ''}, math ${math}; multiply-adds on registers: ${peak.toFixed(1)} GFLOP/s`,
  );
  if (wanted('model training step')) {
    const plain = await webgpu({ device: gpu, math, storage });
    await benchStep(device, plain, batch ?? (slow ? 4 : 256), size ?? (slow ? 64 : 96), peak);
    plain.dispose();
  }
  if (wanted('model inference')) {
    // float16 beside float32 of the same moment.
    const plain = storage === 'float16' ? await webgpu({ device: gpu, profile: true, math }) : null;
    const devices = [...(plain ? [['float32', plain]] : []), [storage, device]];
    await benchInference(devices, batch ?? 1, size ?? (slow ? 64 : 224));
    plain?.dispose();
  }
  await benchOps(device, wanted, peak);
  device.dispose();
  gpu.destroy();
}
