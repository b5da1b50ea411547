/** What training does element by element: gradients added up, relu's gradient, the optimizers' updates; on linear memory. */
import type { Kernels } from '../device.js';
import type { WasmContext } from './context.js';
import { rangesOf } from './elementwise.js';

export function updateKernels(
  w: WasmContext,
): Pick<Kernels, 'accumulate' | 'reluBackward' | 'sgd' | 'adam' | 'rmsprop'> {
  return {
    accumulate({ x, out }) {
      const [from, to] = [w.input(x, out.size), w.address(out)];
      w.parallel(
        'accumulate',
        rangesOf(w, out.size, (at, n) => [from + at, to + at, n]),
      );
    },
    reluBackward({ y, dy, dx }) {
      const [a, b, to] = [w.input(y, dx.size), w.input(dy, dx.size), w.address(dx)];
      w.parallel(
        'reluBackward',
        rangesOf(w, dx.size, (at, n) => [a + at, b + at, to + at, n]),
      );
    },
    sgd({ param, grad, velocity, first, lr, momentum, nesterov, weightDecay }) {
      const [p, g, v] = [w.address(param), w.input(grad, param.size), w.optional(velocity, param.size)];
      const rest = [Number(first), Number(nesterov), lr, momentum, weightDecay];
      w.parallel(
        'sgd',
        rangesOf(w, param.size, (at, n) => [p + at, g + at, v === 0 ? 0 : v + at, n, ...rest]),
      );
    },
    adam({ param, grad, m, v, lr, beta1, beta2, eps, weightDecay, decoupled, correction1, correction2 }) {
      const addresses = [
        w.address(param),
        w.input(grad, param.size),
        w.address(m, param.size),
        w.address(v, param.size),
      ];
      const rest = [
        Number(decoupled),
        weightDecay,
        1 - lr * weightDecay,
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        lr / correction1,
        Math.sqrt(correction2),
        eps,
      ];
      w.parallel(
        'adam',
        rangesOf(w, param.size, (at, n) => [...addresses.map((address) => address + at), n, ...rest]),
      );
    },
    rmsprop({ param, grad, v, velocity, lr, alpha, eps, weightDecay, momentum }) {
      const addresses = [w.address(param), w.input(grad, param.size), w.address(v, param.size)];
      const last = w.optional(velocity, param.size);
      const rest = [lr, alpha, 1 - alpha, eps, weightDecay, momentum];
      w.parallel(
        'rmsprop',
        rangesOf(w, param.size, (at, n) => [
          ...addresses.map((address) => address + at),
          last === 0 ? 0 : last + at,
          n,
          ...rest,
        ]),
      );
    },
  };
}
