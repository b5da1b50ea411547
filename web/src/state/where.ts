/** Where to compute, and how: in the address, and what of it this browser can be asked for. */
import { DEVICES, type DeviceName, type Threads } from '../work/messages.js';

export interface Where {
  readonly device: DeviceName;
  readonly threads: Threads;
  readonly math: string;
}

/** Most threads that one may ask for by number. */
export const mostThreads = (): number => (crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 16) : 1);

/** Only wasm has fused multiply-adds to relax. */
export const mathsOf = (device: DeviceName): readonly string[] =>
  device === 'wasm' || device === 'auto' ? ['exact', 'fast', 'relaxed'] : ['exact', 'fast'];

/** What is no good value, or cannot be had here, is as usual: a link may come from a machine with more processors. */
export function whereOf(params: Readonly<Record<string, string>>): Where {
  const device = DEVICES.find((one) => one === params.device) ?? 'wasm';
  const threads = /^[1-9]\d?$/.test(params.threads ?? '') ? Number(params.threads) : 0;
  return {
    device,
    threads: threads >= 1 && threads <= mostThreads() ? threads : 'auto',
    math: mathsOf(device).find((one) => one === params.math) ?? 'exact',
  };
}

export function whereParams({ device, threads, math }: Where): Record<string, string> {
  return {
    ...(device !== 'wasm' && { device }),
    ...(threads !== 'auto' && { threads: String(threads) }),
    ...(math !== 'exact' && { math }),
  };
}
