/** The rest of torchvision's family by test/goldens/torchvision.safetensors (tools/torchvision_goldens.py). */
import * as atalho from '../src/index.js';
import { devices, fastDevices } from './devices.js';
import { goldens } from './goldens.js';
import { describeNet, MEDIUM } from './goldens-net.js';

/** Loading their weights takes longer than running them, so they run in both orders of sums, once each. */
const on = [...devices, ...fastDevices].filter(
  (d) => d.name === 'wasm, 3 threads' || d.name === 'wasm, fast, 3 threads',
);
const file = goldens('torchvision');

for (const net of [
  { name: 'resnet34', make: atalho.resnet34, parameters: 21_797_672 },
  { name: 'resnet101', make: atalho.resnet101, parameters: 44_549_160 },
  { name: 'resnet152', make: atalho.resnet152, parameters: 60_192_808 },
  { name: 'resnext50_32x4d', make: atalho.resnext50_32x4d, parameters: 25_028_904 },
  { name: 'resnext101_32x8d', make: atalho.resnext101_32x8d, parameters: 88_791_336 },
  { name: 'wide_resnet50_2', make: atalho.wideResnet50_2, parameters: 68_883_240 },
  { name: 'wide_resnet101_2', make: atalho.wideResnet101_2, parameters: 126_886_696 },
])
  describeNet({ ...net, single: MEDIUM, file, prefix: `${net.name}.`, on });
