/** Time on the GPU by shader: each call in a pass of its own, with a timestamp before and after. */
import type { GPUCommandEncoder, GPUComputePassEncoder, GPUDevice } from '../../hostTypes.js';
import { USAGE } from './memory.js';

/** Calls that a set of timestamps can hold; every implementation allows sets of 4096. */
const MOST_CALLS = 2048;
const QUERY_RESOLVE = 0x0200;
const MAP_READ = 1;

/** What one shader has taken. */
export interface ShaderTime {
  readonly calls: number;
  readonly seconds: number;
}

export class Profiler {
  private readonly set: GPUQuerySet;
  private names: string[] = [];
  private readonly results: { names: readonly string[]; buffer: GPUBuffer }[] = [];

  constructor(private readonly gpu: GPUDevice) {
    this.set = gpu.createQuerySet({ type: 'timestamp', count: 2 * MOST_CALLS });
  }

  /** A pass whose time goes to `name`; null once the set is full. */
  pass(encoder: GPUCommandEncoder, name: string): GPUComputePassEncoder | null {
    const at = 2 * this.names.length;
    if (at === 2 * MOST_CALLS) return null;
    this.names.push(name);
    const writes = { querySet: this.set, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
    return encoder.beginComputePass({ timestampWrites: writes });
  }

  /** Records what brings the timestamps of a batch where they can be read. */
  endBatch(encoder: GPUCommandEncoder): void {
    const { names } = this;
    if (names.length === 0) return;
    const size = 16 * names.length;
    const resolved = this.gpu.createBuffer({ size, usage: QUERY_RESOLVE | USAGE.copySource });
    encoder.resolveQuerySet(this.set, 0, 2 * names.length, resolved, 0);
    const buffer = this.gpu.createBuffer({ size, usage: USAGE.mapRead | USAGE.copyDestination });
    encoder.copyBufferToBuffer(resolved, 0, buffer, 0, size);
    this.results.push({ names, buffer });
    this.names = [];
  }

  /** Time by shader since the last call, the longest first. */
  async take(): Promise<Map<string, ShaderTime>> {
    const times = new Map<string, ShaderTime>();
    for (const { names, buffer } of this.results.splice(0)) {
      await buffer.mapAsync(MAP_READ);
      const stamps = new BigUint64Array(buffer.getMappedRange());
      names.forEach((name, i) => {
        const { calls, seconds } = times.get(name) ?? { calls: 0, seconds: 0 };
        times.set(name, { calls: calls + 1, seconds: seconds + Number(stamps[2 * i + 1] - stamps[2 * i]) / 1e9 });
      });
      buffer.destroy();
    }
    return new Map([...times].sort((a, b) => b[1].seconds - a[1].seconds));
  }
}
