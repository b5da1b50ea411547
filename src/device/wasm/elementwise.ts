/** Elementwise kernels, reductions and the optimizers on linear memory; the loops are in assembly/. */
import type { BinaryOperator, Kernels } from '../device.js';
import type { WasmContext } from './context.js';

const OPERATOR: Record<BinaryOperator, number> = { add: 0, sub: 1, mul: 2, div: 3 };

interface Axis {
  extent: number;
  strides: number[];
}

/** Drops axes of extent 1 and joins neighbours that one stride walks, so that the inner loop is as long as it can be. */
function joinAxes(shape: readonly number[], ...strides: (readonly number[])[]): Axis[] {
  const axes: Axis[] = [];
  shape.forEach((extent, i) => {
    if (extent === 1) return;
    const own = strides.map((s) => s[i]);
    const before = axes.at(-1);
    if (before?.strides.every((stride, j) => stride === own[j] * extent)) {
      before.extent *= extent;
      before.strides = own;
    } else axes.push({ extent, strides: own });
  });
  return axes.length > 0 ? axes : [{ extent: 1, strides: strides.map(() => 1) }];
}

export function elementwiseKernels(
  w: WasmContext,
): Pick<
  Kernels,
  'fill' | 'binary' | 'accumulate' | 'relu' | 'reluBackward' | 'sum' | 'expand' | 'sgd' | 'adam' | 'rmsprop'
> {
  const { exports } = w;
  return {
    fill({ out, value }) {
      exports.fill(w.address(out), value, out.size);
    },

    binary({ operator, a, b, out, shape, aStrides, bStrides }) {
      if (out.size === 0) return;
      const axes = joinAxes(shape, aStrides, bStrides);
      const table = w.scratch(axes.length * 16);
      w.writeInts(table, [
        ...axes.map((axis) => axis.extent),
        ...axes.map((axis) => axis.strides[0]),
        ...axes.map((axis) => axis.strides[1]),
      ]);
      exports.binary(OPERATOR[operator], w.address(a), w.address(b), w.address(out), axes.length, table);
    },

    accumulate({ x, out }) {
      exports.accumulate(w.address(x, out.size), w.address(out), out.size);
    },
    relu({ x, out }) {
      exports.relu(w.address(x, out.size), w.address(out), out.size);
    },
    reluBackward({ y, dy, dx }) {
      exports.reluBackward(w.address(y, dx.size), w.address(dy, dx.size), w.address(dx), dx.size);
    },

    sum({ x, out, shape, reduce, divisor }) {
      if (out.size === 0) return;
      const kept: [number, number][] = [];
      const reduced: [number, number][] = [];
      let stride = 1;
      // Innermost first: neighbours of one kind join.
      for (let i = shape.length - 1; i >= 0; i--) {
        if (shape[i] !== 1) {
          const list = reduce[i] ? reduced : kept;
          const outer = list[0];
          if (outer !== undefined && outer[0] * outer[1] === stride) outer[0] *= shape[i];
          else list.unshift([shape[i], stride]);
        }
        stride *= shape[i];
      }
      if (reduced.length === 0) reduced.push([1, 1]);
      const rank = kept.length + reduced.length;
      const scratch = w.scratch(64 + rank * 12);
      const table = scratch + 64;
      w.writeInts(
        table,
        [kept, reduced].flatMap((list) => [...list.map((axis) => axis[0]), ...list.map((axis) => axis[1])]),
      );
      exports.sum(w.address(x), w.address(out), kept.length, reduced.length, table, divisor, scratch);
    },

    expand({ x, out, shape, xStrides, divisor }) {
      if (out.size === 0) return;
      const axes = joinAxes(shape, xStrides);
      const table = w.scratch(axes.length * 12);
      w.writeInts(table, [...axes.map((axis) => axis.extent), ...axes.map((axis) => axis.strides[0])]);
      exports.expand(w.address(x), w.address(out), axes.length, table, divisor);
    },

    sgd({ param, grad, velocity, first, lr, momentum, nesterov, weightDecay }) {
      const addresses = [w.address(param), w.address(grad, param.size), w.optional(velocity, param.size)] as const;
      exports.sgd(...addresses, param.size, Number(first), Number(nesterov), lr, momentum, weightDecay);
    },
    adam({ param, grad, m, v, lr, beta1, beta2, eps, weightDecay, decoupled, correction1, correction2 }) {
      exports.adam(
        ...([
          w.address(param),
          w.address(grad, param.size),
          w.address(m, param.size),
          w.address(v, param.size),
          param.size,
        ] as const),
        ...([Number(decoupled), weightDecay, 1 - lr * weightDecay, beta1, 1 - beta1, beta2, 1 - beta2] as const),
        ...([lr / correction1, Math.sqrt(correction2), eps] as const),
      );
    },
    rmsprop({ param, grad, v, velocity, lr, alpha, eps, weightDecay, momentum }) {
      const addresses = [
        w.address(param),
        w.address(grad, param.size),
        w.address(v, param.size),
        w.optional(velocity, param.size),
      ] as const;
      exports.rmsprop(...addresses, param.size, lr, alpha, 1 - alpha, eps, weightDecay, momentum);
    },
  };
}
