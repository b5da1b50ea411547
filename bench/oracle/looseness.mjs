/**
 * How loose are the bounds? For each element of the `resnet` suite, bound over error of a plain float32 evaluation: float32.mjs, and
 * where it lacks an op, exact mode's bits. Prints the medians, by op and of all; exit code 1 where the median by the probable bound is over 30.
 */
import { readSafetensors } from '../../dist/io/index.js';
import { makeVectors } from '../../dist/oracle/index.js';
import { float32 } from './float32.mjs';

const { manifest, inputs, truth } = await makeVectors({ suite: 'resnet', bits: true });
const [all, given] = [truth, inputs].map(readSafetensors);
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const ratios = new Map();
for (const { id, op, attributes, inputs: names, outputs } of manifest.cases) {
  const values = Object.fromEntries(names.map(({ name }) => [name, given.get(`${id}/${name}`).data]));
  const shapes = Object.fromEntries(names.map(({ name, shape }) => [name, shape]));
  // Of adaptive pooling the suite asks for the mean of all.
  const plain = float32(op, values, shapes, attributes);
  for (const { name } of outputs) {
    const [value, strict, probable, bits] = ['', '.strict', '.probable', '.bits'].map(
      (end) => all.get(`${id}/${name}${end}`).data,
    );
    const own = ratios.get(op) ?? { strict: [], probable: [] };
    ratios.set(op, own);
    for (let i = 0; i < value.length; i++) {
      const off = Math.abs((plain?.[name] ?? bits)[i] - value[i]);
      // An element that only was chosen has neither error nor bound.
      if (strict[i] === 0) continue;
      own.strict.push(strict[i] / off);
      own.probable.push(probable[i] / off);
    }
  }
}
const show = (v) => (v >= 100 ? v.toFixed(0) : v.toPrecision(3));
for (const [op, { strict, probable }] of ratios) {
  if (strict.length > 0)
    console.log(
      `${op.padEnd(20)} ${strict.length} elements, strict ${show(median(strict))}×, probable ${show(median(probable))}×`,
    );
}
const joined = (kind) => [...ratios.values()].flatMap((one) => one[kind]);
const [strict, probable] = [median(joined('strict')), median(joined('probable'))];
console.log(`median of all: strict ${show(strict)}×, probable ${show(probable)}×`);
if (probable > 30) process.exitCode = 1;
