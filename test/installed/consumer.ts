/**
 * What a stranger writes: a little of each sub-path. Type-checked against the installed declarations without any library of a
 * host, then run in Node.
 */
import { crossEntropy, d2lResnet, grad, NUMERICS_VERSION, sgd, tensor, wasm } from 'atalho';
import { batches, countBatches, type ImageDataset, resizeBilinear } from 'atalho/data';
import { type Device, meta, reference, type WasmOptions, type WebgpuOptions, webgpu } from 'atalho/device';
import * as embed from 'atalho/embed';
import * as embedInfer from 'atalho/embed/infer';
import * as embedReference from 'atalho/embed/reference';
import { gunzip, type Idx, readIdx, readPth, readSafetensors, writeSafetensors } from 'atalho/io';
import { BasicBlock, type BlockType, cifarResnet20, resnet18 } from 'atalho/models';
import { Conv2d, compile, Flatten, Linear, type Module, ReLU, Sequential, summarize } from 'atalho/nn';
import { adamw, type Optimizer } from 'atalho/optim';
import { conformance, judge, type Report, textReport } from 'atalho/oracle';
import { evaluateAccuracy, hashWeights, Trainer, trainStep, withWarmup } from 'atalho/train';

const small = (device: Device): Module => d2lResnet({ channels: [4, 8], blocks: [1, 1], device, seed: 0 });
const pixels = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => ((i * 37) % 101) / 101);
const data: ImageDataset = {
  shape: [8, 1, 16, 16],
  classes: ['a', 'b'],
  images: Uint8Array.from({ length: 8 * 256 }, (_, i) => (i * 7) % 251),
  labels: Uint8Array.from({ length: 8 }, (_, i) => i % 2),
};

/** Of the index and of `device`: equal losses on two devices, a step that lowers them, shapes without memory. */
export async function device(): Promise<unknown> {
  const losses: number[] = [];
  for (const on of [await wasm(), reference()]) {
    const net = small(on);
    const params = net.parameters();
    const optimizer: Optimizer = sgd(params, { lr: 0.1, momentum: 0.9 });
    for (let step = 0; step < 2; step++) {
      on.scope(() => {
        const loss = crossEntropy(net.forward(tensor(pixels(4 * 256), [4, 1, 16, 16], { device: on })), [0, 1, 0, 1]);
        losses.push(loss.item());
        optimizer.step(grad(loss, params));
      });
    }
  }
  const refused = await webgpu({ maxMemoryBytes: -1 }).catch((error: Error) => error.name);
  const none = meta();
  const { shape } = small(none).forward(tensor(new Float32Array(256), [1, 1, 16, 16], { device: none }));
  return { losses, refused, shape };
}

export async function models(): Promise<unknown> {
  const on = meta();
  const counts = [resnet18({ device: on, seed: 0 }), cifarResnet20({ device: on, seed: 0 })].map((net) =>
    net.parameters().reduce((sum, { size }) => sum + size, 0),
  );
  const block: BlockType = BasicBlock;
  return { counts, expansion: block.expansion };
}

export async function nn(): Promise<unknown> {
  const on = await wasm();
  const init = { device: on, seed: 1 };
  const net = new Sequential(new Conv2d(1, 2, 3, init), new ReLU(), new Flatten(), new Linear(8, 3, init));
  const { parameters } = summarize(net, { inputShape: [1, 1, 4, 4] });
  const plan = compile(net, { inputShape: [1, 1, 4, 4] });
  return { parameters, logits: plan.run(pixels(16)).shape };
}

export async function train(): Promise<unknown> {
  const on = await wasm();
  const net = small(on);
  const optimizer = adamw(net.parameters(), { lr: 0.01 });
  const { loss } = await trainStep(
    net,
    optimizer,
    { images: pixels(2 * 256), shape: [2, 1, 16, 16], labels: Int32Array.of(0, 1) },
    1,
  );
  let given = 0;
  for await (const { labels } of batches(data, { batchSize: 4 })) given += labels.length;
  const signal = { aborted: false };
  return {
    finite: Number.isFinite(loss),
    given,
    steps: countBatches(data, { batchSize: 4 }),
    accuracy: await evaluateAccuracy(net, data, { batchSize: 4, signal }),
    hash: (await hashWeights(net)).length,
    warm: withWarmup(() => 1, 1)(0, 4),
    trainer: typeof Trainer,
    resized: resizeBilinear(new Uint8Array(16), 4, 4, 2, 2).length,
  };
}

export async function io(): Promise<unknown> {
  const file = writeSafetensors([['a', { shape: [2], data: Float32Array.of(1, 2) }]]);
  const idx: Idx = readIdx(Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 2, 5, 6));
  const refused: string[] = [];
  for (const read of [() => readPth(Uint8Array.of(1, 2, 3)), () => gunzip(Uint8Array.of(1), { maxBytes: 9 })]) {
    try {
      await read();
    } catch (error) {
      refused.push((error as Error).name);
    }
  }
  return { a: [...readSafetensors(file)].map(([name, { shape }]) => [name, shape]), idx: [...idx.data], refused };
}

export async function oracle(): Promise<unknown> {
  const wrong: Report = await judge(
    ({ op, inputs: { x } }) => (op === 'relu' ? { y: Float32Array.from(x.data as Float32Array) } : null),
    { suite: 'edge', name: 'mine' },
  );
  const findings = await conformance(reference(), { seed: 1, runs: 1 });
  return { wrong: textReport(wrong).includes('relu'), failed: findings.filter(({ passed }) => !passed).length };
}

export async function embedded(): Promise<unknown> {
  const images = { images: pixels(4 * 256), shape: [4, 1, 16, 16] };
  const shape = { channels: [4, 8], blocks: [1, 1], seed: 0 };
  const on = await embed.wasm();
  const net = embed.d2lResnet({ ...shape, device: on });
  const inferring = embedInfer.d2lResnet({ ...shape, device: await embedInfer.wasm({ maxMemoryBytes: 2 ** 24 }) });
  const plain = embedReference.d2lResnet({ ...shape, device: embedReference.reference() });
  const logits = [
    await embed.predict(net, images),
    await embedInfer.predict(inferring, images),
    await embedReference.predict(plain, images),
  ];
  const optimizer = embed.sgd(net.parameters(), { lr: 0.1 });
  const losses = await embed.fit(net, optimizer, { ...images, labels: [0, 1, 0, 1], steps: 2, batchSize: 4 });
  return { equal: logits.every((row) => row.join() === logits[0].join()), steps: losses.length };
}

// The declarations are there: each of these would be no error if they were not.
export function refused(on: Device, net: Module): void {
  // @ts-expect-error a learning rate is a number
  sgd(net.parameters(), { lr: 'fast' });
  // @ts-expect-error there is no such mode
  const _math: WasmOptions['math'] = 'approximate';
  // @ts-expect-error a device of a GPU is an object
  const _gpu: WebgpuOptions['device'] = 5;
  // @ts-expect-error a name is not a device
  small('wasm');
  // @ts-expect-error no option of an embedded device
  embed.wasm({ relaxed: true });
  // @ts-expect-error it compiles no models
  embedReference.compile(net, { inputShape: [1, on.name.length] });
  // @ts-expect-error a number
  NUMERICS_VERSION.trim();
}
