/**
 * What the kernels of this device share: commands are recorded in one encoder and submitted together; pipelines and bind
 * groups are made once; parameters of all calls lie in one uniform buffer, written once a batch. Nothing waits but `read`.
 */
import { type AtalhoError, DeviceError, DeviceLostError, OutOfMemoryError } from '../../errors.js';
import type { GPUDevice } from '../../hostTypes.js';
import type { Buffer, TypedArray } from '../device.js';
import { copyInto } from '../hostData.js';
import { type BlockedProduct, blockFor, PROCESSORS } from './blocks.js';
import { type Block, GpuMemory, type Held, isHalves, USAGE, WebgpuBuffer } from './memory.js';
import type { Profiler, ShaderTime } from './profile.js';
import { type Access, type Constant, FLAT, type ParamType, type Shader, wgsl } from './shader.js';

/** Bytes of parameters that a call may have, and where calls' parameters begin: every adapter's alignment divides it. */
const SLOT = 256;
/** Calls in a batch: past it what is recorded is submitted. */
const MOST_CALLS = 2048;
/** Every adapter's limit on workgroups along an axis. */
export const MOST_GROUPS = 65535;
/** Bind groups that are kept; past it all are made anew. */
const MOST_BIND_GROUPS = 16384;

/** Rows, columns and terms from which on a block of workgroup memory is filled well enough. */
const LEAST_BLOCKED = 16;

const MAP_READ = 1;
const COMPUTE_STAGE = 4;

interface Pipeline {
  readonly id: number;
  readonly gpu: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Which buffers a shader may see as which elements, by what they hold. */
const HOLDS: Readonly<Record<string, readonly Held[]>> = {
  f32: ['float32', 'float64'],
  f16: ['float16'],
  'f32/f16': ['float32', 'float16'],
  i32: ['int32'],
  words: ['float32', 'float64', 'int32', 'int64'],
};

/** A GPU, or a processor that acts as one: which shaders are chosen. */
export type AdapterKind = 'gpu' | 'software';

/** How a call is spread over the GPU: the elements of a `flat` shader, or workgroups along three axes. */
export type Extent = { readonly elements: number } | { readonly groups: readonly [number, number, number] };

/** Takes memory of float32, or of halves. */
export type Take = (size: number, held?: 'float32' | 'float16') => Buffer;

/** Calls since the device was made: what the bench and the tests count. */
export interface WebgpuCounts {
  dispatches: number;
  submits: number;
  reads: number;
}

/** The block for a product; null where tiles in registers suit it, or its blocks would be too many for a call. */
export function blockOf(
  g: Pick<WebgpuContext, 'leastBlocked' | 'processors'>,
  shape: BlockedProduct & { readonly terms: number },
): ReturnType<typeof blockFor> | null {
  const { rows, columns, terms, count } = shape;
  if (Math.min(rows, columns, terms) < g.leastBlocked) return null;
  const block = blockFor(shape, g.processors);
  const most = Math.max(columns / block.COLUMNS, rows / block.ROWS, count * block.parts);
  return most <= MOST_GROUPS ? block : null;
}

export class WebgpuContext {
  readonly memory: GpuMemory;
  /** Workgroups from which on the adapter has enough to do: many, unless it is a processor that acts as a GPU. */
  readonly busy: number;
  /** Workgroups of 256 from which on reductions read as fast as the memory gives; 1 where they are not to be split for it. */
  readonly busyReducing: number;
  /** Processors that blocks are chosen for. */
  readonly processors = PROCESSORS;
  /** Rows, columns and terms from which on a product is computed in workgroup memory; never where barriers are dear. */
  readonly leastBlocked: number;
  readonly counts: WebgpuCounts = { dispatches: 0, submits: 0, reads: 0 };
  private readonly pipelines = new Map<string, Pipeline>();
  private readonly layouts = new Map<string, GPUBindGroupLayout>();
  private readonly bindGroups = new Map<string, GPUBindGroup>();
  private readonly params: GPUBuffer;
  private readonly paramWords = new Uint32Array((MOST_CALLS * SLOT) / 4);
  private readonly paramFloats = new Float32Array(this.paramWords.buffer);
  /** Stand-ins for buffers that a call goes without, one a binding: two bindings must not write to the same. */
  private readonly missing: GPUBuffer[] = [];
  private encoder: GPUCommandEncoder | null = null;
  private pass: GPUComputePassEncoder | null = null;
  private calls = 0;
  private batch = 0;
  /** Buffers to destroy once the batch is submitted. */
  private passing: GPUBuffer[] = [];
  /** How all batches so far went: the first error that nobody was told of, once the GPU has said so. */
  private verdict: Promise<AtalhoError | null> = Promise.resolve(null);
  private readonly told = new WeakSet<AtalhoError>();
  private lost: DeviceLostError | null = null;
  private disposed = false;

  constructor(
    readonly gpu: GPUDevice,
    maxBytes: number,
    /** Held as long as this is: without its instance Dawn's device would end. */
    readonly host: unknown,
    private readonly profiler: Profiler | null = null,
    /** What the adapter is; by default as it tells. */
    kind: AdapterKind = gpu.adapterInfo?.isFallbackAdapter ? 'software' : 'gpu',
  ) {
    this.busy = kind === 'software' ? 4 : 512;
    this.busyReducing = kind === 'software' ? 1 : 1024;
    this.leastBlocked = kind === 'software' ? Infinity : LEAST_BLOCKED;
    this.memory = new GpuMemory(
      gpu,
      maxBytes,
      () => this.submit(),
      () => this.batch,
    );
    this.openScopes();
    this.params = gpu.createBuffer({ size: MOST_CALLS * SLOT, usage: USAGE.uniform | USAGE.copyDestination });
    void gpu.lost.then(({ reason, message }) => {
      if (this.disposed) return;
      this.lost = new DeviceLostError(
        `webgpu: the GPU device was lost (${reason || 'unknown'}: ${message}); its tensors are gone, so go on from the last checkpoint, on another device if need be`,
      );
    });
  }

  private check(): void {
    if (this.disposed) throw new DeviceError('webgpu: the device was disposed');
    if (this.lost !== null) throw this.lost;
  }

  alloc(size: number, held: Held): WebgpuBuffer {
    this.check();
    return this.memory.alloc(size, held);
  }

  /** What `fn` makes of memory that it takes, and how to give that back; where `fn` throws, it is given back at once. */
  holding<T>(fn: (take: Take) => T): { readonly value: T; release(): void } {
    const held: Buffer[] = [];
    const release = (): void => {
      while (held.length > 0) held.pop()?.release();
    };
    try {
      const value = fn((size, kind = 'float32') => {
        const buffer = this.alloc(size, kind);
        held.push(buffer);
        return buffer;
      });
      return { value, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Records calls with memory of their own, which goes back once they are recorded, or one is refused. */
  withScratch(record: (take: Take) => void): void {
    this.holding(record).release();
  }

  /**
   * A buffer's block.
   * @throws DeviceError when it is another device's, given back, too small or holds something else
   */
  private block(name: string, buffer: Buffer, size: number, holds: readonly Held[] | null): Block {
    if (!(buffer instanceof WebgpuBuffer) || buffer.memory !== this.memory) {
      throw new DeviceError(`webgpu: ${name} is a buffer of another device`);
    }
    if (!buffer.live) throw new DeviceError(`webgpu: ${name} was used after its memory was given back`);
    if (holds !== null && !holds.includes(buffer.held)) {
      throw new DeviceError(`webgpu: ${name} holds ${buffer.held}; want ${holds.join(' or ')}`);
    }
    if (buffer.size < size) {
      throw new DeviceError(`webgpu: ${name} has ${buffer.size} elements; want at least ${size}`);
    }
    return buffer.block;
  }

  /** Throws unless the buffer is this device's and has at least `size` elements of float32. */
  expect(kernel: string, name: string, buffer: Buffer | null, size: number, held: Held = 'float32'): void {
    if (buffer !== null) this.block(`${kernel}: ${name}`, buffer, size, [held]);
  }

  /** Records a copy of a buffer's first `size` elements, which the kernel keeps. */
  keepCopy(from: Buffer, to: Buffer, size: number): void {
    if (size === 0) return;
    const [source, target] = [this.block('copy: from', from, size, null), this.block('copy: to', to, size, null)];
    this.commands().copyBufferToBuffer(source.gpu, 0, target.gpu, 0, 4 * size);
    source.lastBatch = target.lastBatch = this.batch;
  }

  write(buffer: Buffer, data: ArrayLike<number> | ArrayLike<bigint>): void {
    this.check();
    const block = this.block('write: the buffer', buffer, 0, null);
    let array: TypedArray;
    if (buffer.dtype === 'int64') array = new BigInt64Array(buffer.size);
    else if (buffer.dtype === 'int32') array = new Int32Array(buffer.size);
    else array = new Float32Array(buffer.size);
    if (data instanceof Float32Array && array instanceof Float32Array && data.length === array.length) array = data;
    else copyInto(array, data);
    if (array.byteLength === 0) return;
    const bytes = array as Float32Array<ArrayBuffer>;
    if (block.lastBatch !== this.batch) {
      this.gpu.queue.writeBuffer(block.gpu, 0, bytes);
      return;
    }
    // Recorded commands still use the block, so the new contents wait their turn.
    const staging = this.gpu.createBuffer({
      size: array.byteLength,
      usage: USAGE.copySource,
      mappedAtCreation: true,
    });
    new Uint8Array(staging.getMappedRange()).set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    staging.unmap();
    this.commands().copyBufferToBuffer(staging, 0, block.gpu, 0, array.byteLength);
    this.passing.push(staging);
  }

  async read(buffer: Buffer): Promise<TypedArray> {
    this.check();
    const block = this.block('read: the buffer', buffer, 0, null);
    this.counts.reads++;
    const { size, dtype } = buffer;
    const bytes = size * (dtype === 'int64' ? 8 : 4);
    let words = new ArrayBuffer(0);
    let { verdict } = this;
    if (bytes > 0) {
      const staging = this.gpu.createBuffer({ size: bytes, usage: USAGE.mapRead | USAGE.copyDestination });
      this.commands().copyBufferToBuffer(block.gpu, 0, staging, 0, bytes);
      block.lastBatch = this.batch;
      this.submit();
      // As it is now: another who waits may be told first.
      verdict = this.verdict;
      try {
        await staging.mapAsync(MAP_READ);
        words = staging.getMappedRange().slice(0);
        staging.unmap();
      } catch (error) {
        await this.settled(verdict);
        throw new DeviceError(`webgpu: reading failed: ${String(error)}`);
      } finally {
        staging.destroy();
      }
    }
    await this.settled(verdict);
    if (dtype === 'int32') return new Int32Array(words);
    if (dtype === 'int64') return new BigInt64Array(words);
    const floats = new Float32Array(words);
    return dtype === 'float64' ? Float64Array.from(floats) : floats;
  }

  /** Time by shader since it was last asked; null where it is not measured. */
  async profile(): Promise<ReadonlyMap<string, ShaderTime> | null> {
    if (this.profiler === null) return null;
    await this.finished();
    return this.profiler.take();
  }

  /** Submits what is recorded and waits until all is done. */
  async finished(): Promise<void> {
    this.check();
    this.submit();
    await this.gpu.queue.onSubmittedWorkDone();
    await this.settled();
  }

  /** Waits until the GPU has told how every batch went. @throws the first error that it told of, once */
  async settled(verdict = this.verdict): Promise<void> {
    const failure = await verdict;
    if (this.lost !== null) throw this.lost;
    if (failure === null) return;
    this.told.add(failure);
    // Whoever asks from now on is not told again.
    this.verdict = this.verdict.then((error) => (error === failure ? null : error));
    throw failure;
  }

  /** The encoder between passes. */
  private commands(): GPUCommandEncoder {
    this.pass?.end();
    this.pass = null;
    this.encoder ??= this.gpu.createCommandEncoder();
    return this.encoder;
  }

  private openScopes(): void {
    this.gpu.pushErrorScope('internal');
    this.gpu.pushErrorScope('validation');
    this.gpu.pushErrorScope('out-of-memory');
  }

  /** Closes the scopes of what was done since the last batch; an error is thrown when the verdict is awaited. */
  private closeScopes(batch: number): void {
    const scopes = [this.gpu.popErrorScope(), this.gpu.popErrorScope(), this.gpu.popErrorScope()];
    const { used } = this.memory.use();
    const own = Promise.all(scopes).then(
      ([memory, validation, internal]): AtalhoError | null => {
        if (memory !== null) {
          // Buffers that could not be had look like others until they are used.
          this.memory.distrust(batch);
          return new OutOfMemoryError(
            `webgpu: out of memory: the GPU has none left with ${used} bytes in use (${memory.message}); use smaller shapes or batches`,
            0,
            used,
          );
        }
        const error = validation ?? internal;
        return error === null ? null : new DeviceError(`webgpu: the GPU refused a command: ${error.message}`);
      },
      // Scopes of a lost device.
      () => null,
    );
    const before = this.verdict;
    this.verdict = before.then(async (error) => (error !== null && !this.told.has(error) ? error : own));
  }

  /** Hands what is recorded to the GPU. */
  submit(): void {
    if (this.encoder === null || this.disposed) return;
    const encoder = this.commands();
    this.profiler?.endBatch(encoder);
    if (this.calls > 0) {
      this.gpu.queue.writeBuffer(this.params, 0, this.paramWords, 0, (this.calls * SLOT) / 4);
    }
    this.gpu.queue.submit([encoder.finish()]);
    this.counts.submits++;
    for (const buffer of this.passing) buffer.destroy();
    this.passing = [];
    this.encoder = null;
    this.calls = 0;
    this.closeScopes(this.batch++);
    this.openScopes();
  }

  private pipeline(s: Shader, constants: Readonly<Record<string, Constant>>): Pipeline {
    const key = `${s.name} ${JSON.stringify(constants)}`;
    const known = this.pipelines.get(key);
    if (known !== undefined) return known;
    const layout = this.layout(Object.values<Access>(s.buffers));
    const module = this.gpu.createShaderModule({ label: key, code: wgsl(s, constants) });
    const gpu = this.gpu.createComputePipeline({
      label: key,
      layout: this.gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    });
    const pipeline = { id: this.pipelines.size, gpu, layout };
    this.pipelines.set(key, pipeline);
    return pipeline;
  }

  private layout(accesses: readonly Access[]): GPUBindGroupLayout {
    const written = accesses.map((access) => access.endsWith(' out'));
    const key = written.map(Number).join('');
    let layout = this.layouts.get(key);
    if (layout === undefined) {
      layout = this.gpu.createBindGroupLayout({
        entries: [
          {
            binding: 0,
            visibility: COMPUTE_STAGE,
            buffer: { type: 'uniform', hasDynamicOffset: true, minBindingSize: 0 },
          },
          ...written.map((out, i) => ({
            binding: i + 1,
            visibility: COMPUTE_STAGE,
            buffer: { type: out ? ('storage' as const) : ('read-only-storage' as const) },
          })),
        ],
      });
      this.layouts.set(key, layout);
    }
    return layout;
  }

  /** Records a call of a shader. `constants` specialise it; a buffer that is null is not there, and `has_…` says so. */
  dispatch<B extends string, P extends string>(
    s: Shader<B, P>,
    buffers: Readonly<Record<B, Buffer | null>>,
    params: Readonly<Record<P, number | readonly number[]>>,
    extent: Extent,
    constants: Readonly<Record<string, Constant>> = {},
  ): void {
    this.check();
    const names = Object.keys(s.buffers) as B[];
    const all: Record<string, Constant> = { ...constants };
    const blocks: (Block | null)[] = [];
    for (const name of names) {
      const buffer = buffers[name];
      all[`has_${name}`] = buffer !== null;
      const [access] = s.buffers[name].split(' ');
      blocks.push(buffer === null ? null : this.block(`${s.name}: ${name}`, buffer, 0, HOLDS[access]));
      if (access === 'f32/f16') all[`half_${name}`] = isHalves(buffer);
    }
    const groups = 'groups' in extent ? extent.groups : grid(Math.ceil(extent.elements / FLAT));
    if (groups.includes(0)) return;
    if (groups.some((n) => n > MOST_GROUPS)) {
      throw new DeviceError(
        `webgpu: ${s.name} wants ${groups.join('×')} workgroups; an adapter allows ${MOST_GROUPS} along an axis, so use smaller shapes or batches`,
      );
    }
    if (this.calls === MOST_CALLS) this.submit();
    const pipeline = this.pipeline(s as Shader, all);
    this.writeParams(s.params, params);
    this.encoder ??= this.gpu.createCommandEncoder();
    if (this.profiler !== null) {
      this.pass?.end();
      this.pass = this.profiler.pass(this.encoder, s.name);
    }
    this.pass ??= this.encoder.beginComputePass();
    this.pass.setPipeline(pipeline.gpu);
    this.pass.setBindGroup(0, this.bindGroup(pipeline, blocks), [this.calls * SLOT]);
    this.pass.dispatchWorkgroups(...groups);
    this.calls++;
    this.counts.dispatches++;
    for (const block of blocks) if (block !== null) block.lastBatch = this.batch;
  }

  private writeParams<P extends string>(
    types: Readonly<Record<P, ParamType>>,
    values: Readonly<Record<P, number | readonly number[]>>,
  ): void {
    let at = (this.calls * SLOT) / 4;
    for (const name in types) {
      const value: number | readonly number[] = values[name];
      if (typeof value === 'number') {
        if (types[name] === 'f32') this.paramFloats[at++] = value;
        else this.paramWords[at++] = value;
      } else for (const one of value) this.paramWords[at++] = one;
    }
  }

  private bindGroup(pipeline: Pipeline, blocks: readonly (Block | null)[]): GPUBindGroup {
    // Ids of blocks are not used twice, so a group of one that was destroyed is never asked for again.
    const key = `${pipeline.id},${blocks.map((block) => block?.id ?? '').join()}`;
    const known = this.bindGroups.get(key);
    if (known !== undefined) return known;
    if (this.bindGroups.size >= MOST_BIND_GROUPS) this.bindGroups.clear();
    const group = this.gpu.createBindGroup({
      layout: pipeline.layout,
      entries: [
        { binding: 0, resource: { buffer: this.params, size: SLOT } },
        ...blocks.map((block, i) => ({ binding: i + 1, resource: { buffer: block?.gpu ?? this.standIn(i) } })),
      ],
    });
    this.bindGroups.set(key, group);
    return group;
  }

  private standIn(binding: number): GPUBuffer {
    this.missing[binding] ??= this.gpu.createBuffer({ size: SLOT, usage: USAGE.storage });
    return this.missing[binding];
  }

  dispose(ownsDevice: boolean): void {
    if (this.disposed) return;
    this.submit();
    this.disposed = true;
    this.closeScopes(this.batch);
    this.bindGroups.clear();
    this.memory.close();
    this.params.destroy();
    for (const buffer of this.missing) buffer?.destroy();
    if (ownsDevice) this.gpu.destroy();
  }
}

/** As many workgroups as asked for or a few more, on two axes where one is too short. */
export function grid(groups: number): [number, number, number] {
  if (groups <= MOST_GROUPS) return [groups, 1, 1];
  const rows = Math.ceil(groups / MOST_GROUPS);
  return [Math.ceil(groups / rows), rows, 1];
}
