/** Element by element, and sums over axes. Storing into the output's typed array is the one rounding. */
import { reach, sizeOf, stridesOf } from '../../shape.js';
import type { BinaryOperator, Kernels } from '../device.js';
import { type Host, Lanes, Walk } from './host.js';

const operators: Record<BinaryOperator, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
};

type Elementwise = Pick<Kernels, 'fill' | 'binary' | 'accumulate' | 'relu' | 'reluBackward' | 'sum' | 'expand'>;

export function elementwise(host: Host): Elementwise {
  return {
    fill(o) {
      const out = host.array('fill', 'out', o.out);
      if (out instanceof BigInt64Array) out.fill(BigInt(o.value));
      else out.fill(o.value);
    },

    binary({ operator, shape, aStrides, bStrides, ...o }) {
      const size = sizeOf(shape);
      const a = host.floats(operator, 'a', o.a, reach(shape, aStrides));
      const b = host.floats(operator, 'b', o.b, reach(shape, bStrides));
      const out = host.floats(operator, 'out', o.out, size);
      const apply = operators[operator];
      const atA = new Walk(shape, aStrides);
      const atB = new Walk(shape, bStrides);
      for (let i = 0; i < size; i++) {
        out[i] = apply(a[atA.offset], b[atB.offset]);
        atA.next();
        atB.next();
      }
    },

    accumulate(o) {
      const x = host.floats('accumulate', 'x', o.x, o.out.size);
      const out = host.floats('accumulate', 'out', o.out, o.out.size);
      for (let i = 0; i < out.length; i++) out[i] += x[i];
    },

    relu(o) {
      const x = host.floats('relu', 'x', o.x, o.out.size);
      const out = host.floats('relu', 'out', o.out, o.out.size);
      for (let i = 0; i < out.length; i++) out[i] = x[i] > 0 || Number.isNaN(x[i]) ? x[i] : 0;
    },

    reluBackward(o) {
      const y = host.floats('reluBackward', 'y', o.y, o.dx.size);
      const dy = host.floats('reluBackward', 'dy', o.dy, o.dx.size);
      const dx = host.floats('reluBackward', 'dx', o.dx, o.dx.size);
      for (let i = 0; i < dx.length; i++) dx[i] = y[i] > 0 || Number.isNaN(y[i]) ? dy[i] : 0;
    },

    sum({ shape, reduce, divisor, ...o }) {
      const strides = stridesOf(shape);
      const kept = <T>(values: readonly T[]) => values.filter((_, axis) => !reduce[axis]);
      const reduced = <T>(values: readonly T[]) => values.filter((_, axis) => reduce[axis]);
      const outputs = sizeOf(kept(shape));
      const terms = sizeOf(reduced(shape));
      const x = host.floats('sum', 'x', o.x, sizeOf(shape));
      const out = host.floats('sum', 'out', o.out, outputs);
      const atOut = new Walk(kept(shape), kept(strides));
      const atTerm = new Walk(reduced(shape), reduced(strides));
      const lanes = new Lanes();
      for (let i = 0; i < outputs; i++) {
        lanes.clear();
        for (let k = 0; k < terms; k++) {
          lanes.add(k, x[atOut.offset + atTerm.offset]);
          atTerm.next();
        }
        out[i] = lanes.total() / divisor;
        atOut.next();
      }
    },

    expand({ shape, xStrides, divisor, ...o }) {
      const size = sizeOf(shape);
      const x = host.floats('expand', 'x', o.x, reach(shape, xStrides));
      const out = host.floats('expand', 'out', o.out, size);
      const atX = new Walk(shape, xStrides);
      for (let i = 0; i < size; i++) {
        out[i] = x[atX.offset] / divisor;
        atX.next();
      }
    },
  };
}
