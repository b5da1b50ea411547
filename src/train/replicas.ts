/** Data-parallel training: a copy of the model on each device, each with its share of a batch, one update for all. */
import type { Batch } from '../data/loader.js';
import type { Device } from '../device/device.js';
import { ArgumentError, DeviceError } from '../errors.js';
import { BatchNorm2d } from '../nn/batchNorm2d.js';
import type { Module } from '../nn/module.js';
import type { Optimizer } from '../optim/optimizer.js';
import { formatShape, sameShape } from '../shape.js';
import { Tensor, tensor } from '../tensor.js';
import { countCorrect } from './accuracy.js';
import { NonFiniteLossError } from './nonFinite.js';
import { differentiate, type Gradients, nonFinite, type StepResult } from './step.js';

/** A part of a batch. */
type Shard = Pick<Batch, 'images' | 'shape' | 'labels'>;

/** The batch in `count` runs of images, as equal as can be, the longer ones first. */
function shardsOf({ images, shape, labels }: Shard, count: number): Shard[] {
  const [total, channels, height, width] = shape;
  if (!(total >= count)) {
    throw new ArgumentError(
      `replicas: the batch has ${total} image${total === 1 ? '' : 's'} for ${count} devices; want at least one for each`,
    );
  }
  const size = channels * height * width;
  let from = 0;
  return Array.from({ length: count }, (_, i) => {
    const to = from + Math.floor(total / count) + (i < total % count ? 1 : 0);
    const shard: Shard = {
      images: images.subarray(from * size, to * size),
      shape: [to - from, channels, height, width],
      labels: labels.subarray(from, to),
    };
    from = to;
    return shard;
  });
}

/** Brings the modes of all modules inside `to` to those of `from`, and what is frozen. */
function copyModes(from: Module, to: Module): void {
  const all: Module[] = [];
  from.apply((module) => all.push(module));
  let next = 0;
  to.apply((module) => {
    const one = all[next++];
    module.training = one.training;
    if (module instanceof BatchNorm2d && one instanceof BatchNorm2d) module.frozen = one.frozen;
  });
}

/** Mean of the same buffer of each replica, added up in their order. */
function meanOf(values: readonly ArrayLike<number>[]): Float64Array {
  return Float64Array.from({ length: values[0].length }, (_, i) => {
    return values.reduce((sum, value) => sum + value[i], 0) / values.length;
  });
}

/** Copies of one model, of which the first is the one to use, save and load; the others follow it. */
export class Replicas {
  /** The model on the first device. The optimizer is over its parameters. */
  readonly model: Module;
  /** What of the first model the others have by now: the version of each of its tensors. */
  private readonly copied = new Map<string, number>();
  private disposed = false;

  /** Use `replicas`. */
  constructor(
    readonly devices: readonly Device[],
    /** One a device, in their order. */
    readonly models: readonly Module[],
  ) {
    this.model = models[0];
  }

  /**
   * Trains on one batch, as `trainStep` does: its shares go to the devices, each computes loss and gradient of its own;
   * gradients, weighted by the images of a share, are added up in the order of the devices; `optimizer` updates the first
   * model, and the others get its weights. Same devices, same bits.
   *
   * Batch norm uses the statistics of each share alone. Running statistics become the mean of the replicas', as
   * MirroredStrategy reads them, whatever the sizes of the shares; counters are the first's. Modules are in the mode that
   * they have in the first model. Devices that compute on the processor take turns.
   * @param step number of the step, counted from 1, for messages
   * @throws NonFiniteLossError when a loss is NaN or infinite; no parameter was updated then
   * @throws ArgumentError when the batch has fewer images than there are devices
   */
  async step(optimizer: Optimizer, batch: Shard, step: number): Promise<StepResult> {
    const { models, devices } = this;
    const names = this.namesOf(optimizer);
    const shards = shardsOf(batch, devices.length);
    await this.follow();
    for (const model of models.slice(1)) copyModes(this.model, model);
    const total = batch.shape[0];
    const made: Gradients[] = [];
    try {
      // All devices have their work before any is waited for.
      for (const [i, model] of models.entries()) {
        const all = model.namedParameters();
        const params = names.map((name) => all.get(name) as Tensor);
        made.push(differentiate(model, params, shards[i], step, { share: shards[i].shape[0] / total }));
      }
      const losses = await Promise.all(made.map(({ loss }) => loss.data()));
      const logits = await Promise.all(made.map((one) => one.logits.data()));
      let loss = 0;
      let correct = 0;
      for (const [i, { labels }] of shards.entries()) {
        loss += Number(losses[i][0]) * (labels.length / total);
        correct += countCorrect(logits[i] as Float32Array, labels);
      }
      if (!Number.isFinite(loss)) throw nonFinite(loss, step, null);
      await this.addUp(made);
      optimizer.step(made[0].grads);
      await this.averageBuffers();
      await this.follow();
      return { loss, correct };
    } catch (error) {
      if (!(error instanceof NonFiniteLossError) || error.layer === null) throw error;
      const where = `on device ${made.length + 1} of ${devices.length}`;
      throw new NonFiniteLossError(`${error.message}, ${where}`, step, error.loss, error.layer);
    } finally {
      for (const { loss, logits, grads } of made) for (const t of [loss, logits, ...grads]) t.dispose();
    }
  }

  /** Gives the memory of all copies back, the first model's included; the devices stay. */
  dispose(): void {
    this.disposed = true;
    for (const model of this.models) model.dispose();
  }

  /** The names of the optimizer's parameters. */
  private namesOf(optimizer: Optimizer): string[] {
    if (this.disposed) throw new DeviceError('replicas: they were disposed');
    const names = new Map([...this.model.namedParameters()].map(([name, t]) => [t, name]));
    return optimizer.params.map((p, i) => {
      const name = names.get(p);
      if (name === undefined) {
        throw new ArgumentError(
          `replicas: params[${i}] ${formatShape(p.shape)} of the optimizer is no parameter of the first model; want an optimizer over replicas.model.parameters()`,
        );
      }
      if (p.disposed) throw new DeviceError(`replicas: the first model's ${name} was disposed`);
      return name;
    });
  }

  /** Adds the gradients of the other devices to those of the first, in place. */
  private async addUp([first, ...others]: readonly Gradients[]): Promise<void> {
    const [device] = this.devices;
    for (const { grads } of others) {
      for (const [i, g] of grads.entries()) {
        const x = tensor(await g.data(), g.shape, { device });
        try {
          device.kernels.accumulate({ x: x.buffer, out: first.grads[i].buffer });
        } finally {
          x.dispose();
        }
      }
    }
  }

  private async averageBuffers(): Promise<void> {
    // A frozen parameter is a buffer of the first model alone, and the same in all.
    const all = this.models.map((model) => model.namedBuffers());
    for (const [name, own] of all[0]) {
      if (own.dtype === 'int64' || !all.every((one) => one.has(name))) continue;
      own.write(meanOf((await Promise.all(all.map((one) => (one.get(name) as Tensor).data()))) as Float32Array[]));
    }
  }

  /** Copies what has changed in the first model into the others: parameters by their version, and all buffers. */
  private async follow(): Promise<void> {
    const others = this.models.slice(1).map((model) => model.stateDict());
    for (const [name, t] of this.model.stateDict()) {
      const { version } = t.buffer;
      if (t.requiresGrad && this.copied.get(name) === version) continue;
      const data = await t.data();
      for (const other of others) (other.get(name) as Tensor).write(data);
      this.copied.set(name, version);
    }
  }
}

function describe(device: Device, i: number): string {
  return `devices[${i}] (${device.name})`;
}

/**
 * One model on several devices, for data-parallel training.
 * @param make makes the model on the device that it is given; the copies take over the first one's weights
 * @throws ArgumentError when there is no device, one twice, devices of two dtypes, or models that differ
 * @see https://www.tensorflow.org/api_docs/python/tf/distribute/MirroredStrategy
 * @example
 * const team = replicas([await webgpu(), await wasm()], (device) => d2lResnet18({ device, seed: 0 }));
 * const optimizer = sgd(team.model.parameters(), { lr: 0.05 });
 * const { loss } = await team.step(optimizer, batch, 1);
 */
export function replicas(devices: readonly Device[], make: (device: Device) => Module): Replicas {
  if (!Array.isArray(devices) || devices.length === 0) {
    throw new ArgumentError('replicas: devices is empty; want at least one');
  }
  devices.forEach((device, i) => {
    const first = devices.indexOf(device);
    if (first !== i) {
      throw new ArgumentError(`replicas: ${describe(device, i)} is devices[${first}] again; want each once`);
    }
    if (device.dtype !== devices[0].dtype) {
      throw new ArgumentError(
        `replicas: ${describe(device, i)} computes in ${device.dtype} and devices[0] in ${devices[0].dtype}; want one dtype`,
      );
    }
  });
  const models: Module[] = [];
  try {
    for (const [i, device] of devices.entries()) {
      const model = make(device);
      models.push(model);
      checkModel(model, models[0], device, i);
    }
  } catch (error) {
    for (const model of models) model?.dispose?.();
    throw error;
  }
  return new Replicas([...devices], models);
}

/** Throws unless `model` is on `device` and has what the first one has. */
function checkModel(model: Module, first: Module, device: Device, i: number): void {
  const own = model.stateDict();
  const wanted = first.stateDict();
  if (own.size === 0) throw new ArgumentError('replicas: the model has no parameters; want one with weights');
  if (model === first && i > 0) {
    throw new ArgumentError(`replicas: make gave the same model for ${describe(device, i)} again; want one for each`);
  }
  for (const [name, t] of own) {
    if (!(t instanceof Tensor) || t.device !== device) {
      throw new ArgumentError(`replicas: ${name} is not on ${describe(device, i)}; want make to use its argument`);
    }
    const like = wanted.get(name);
    if (like === undefined || !sameShape(like.shape, t.shape) || like.requiresGrad !== t.requiresGrad) {
      throw new ArgumentError(
        `replicas: ${name} ${formatShape(t.shape)} of ${describe(device, i)} is ${like === undefined ? 'missing' : formatShape(like.shape)} in the first model; want equal models`,
      );
    }
  }
  if (own.size !== wanted.size) {
    throw new ArgumentError(
      `replicas: the model of ${describe(device, i)} has ${own.size} tensors and the first ${wanted.size}; want equal models`,
    );
  }
}
