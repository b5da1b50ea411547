/** The oracle's suites on a device of this browser. */
import type { Device } from 'atalho';
import {
  type CaseVerdict,
  describeOutput,
  FAST,
  judgeDevice,
  NARROW,
  type Precision,
  WEBGPU,
  WEBGPU_FAST,
} from 'atalho/oracle';
import { describeDevice, makeDevice } from './devices.js';
import type { JudgedCase, JudgeRequest, LabTold } from './messages.js';

/** The arithmetic that the bounds assume. */
function precisionOf(device: Device, math: string): Precision {
  if (device.name === 'webgpu') return math === 'fast' ? WEBGPU_FAST : WEBGPU;
  return math === 'exact' ? NARROW : FAST;
}

/** A convolution that forgets its bias: what the report says of a device that is wrong. */
function plantMistake({ kernels }: Device): void {
  const { conv2d } = kernels;
  kernels.conv2d = (o) => conv2d.call(kernels, { ...o, bias: null });
}

function rowOf(verdict: CaseVerdict): JudgedCase {
  const { id, title, op, status, outputs, message, diagnosis = [] } = verdict;
  const bits = outputs.map(({ equalBits }) => equalBits);
  return {
    ...{ id, title, op, status },
    share: Math.max(0, ...outputs.map(({ probableShare }) => probableShare)),
    elements: outputs.reduce((sum, o) => sum + o.elements, 0),
    equalBits: bits.some((b) => b === null) ? null : bits.reduce<number>((sum, b) => sum + (b as number), 0),
    lines: [...(message === null ? [] : [message]), ...outputs.map(describeOutput)],
    causes: diagnosis.map(({ cause }) => cause),
  };
}

class Stopped extends Error {}

export async function judgeRun(request: JudgeRequest, told: LabTold<'judge'>, signal: AbortSignal): Promise<void> {
  const { suite, device: name, threads, math, mistake } = request;
  const device = await makeDevice(name, threads, math, told.warning);
  told.device(describeDevice(device));
  if (mistake) plantMistake(device);
  try {
    const options = { suite, precision: precisionOf(device, math), bits: math === 'exact' && device.name !== 'webgpu' };
    const report = await judgeDevice(device, {
      ...options,
      async onCase(verdict, done, of) {
        told.row(rowOf(verdict), done - 1, of);
        await new Promise((resolve) => setTimeout(resolve));
        if (signal.aborted) throw new Stopped();
      },
    });
    // Failures are looked into once all are known.
    report.cases.forEach((verdict, i) => {
      if (verdict.status === 'failed') told.row(rowOf(verdict), i, report.cases.length);
    });
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  } finally {
    device.dispose();
  }
}
