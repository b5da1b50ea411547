/** resnet18 and resnet50 by PyTorch 1.13's values, on every device. Of the plain loops in float32, wasm has the bits. */
import { resnet18, resnet50 } from '../src/index.js';
import { DOUBLE } from '../src/oracle/index.js';
import { devices, fastDevices } from './devices.js';
import { goldens } from './goldens.js';
import { DEEP, describeNet, SHALLOW } from './goldens-net.js';
import { gpuDevices } from './gpu.js';

// Plain loops take minutes for what the conformance table shows to be wasm's; but in float64 nothing else can differ.
const on = [...[...devices, ...fastDevices].filter((d) => d.fast || d.precision === DOUBLE), ...gpuDevices];

describeNet({
  ...{ name: 'resnet18', make: resnet18, parameters: 11_689_512, single: SHALLOW },
  ...{ file: goldens('resnet18'), prefix: '', on },
});
describeNet({
  ...{ name: 'resnet50', make: resnet50, parameters: 25_557_032, single: DEEP },
  ...{ file: goldens('resnet50'), prefix: '', on },
});
