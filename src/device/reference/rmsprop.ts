/** The update of rmsprop, in place, by the rules of `update.ts`; in a file of its own for builds without that optimizer. */
import type { Kernels } from '../device.js';
import { type Host, round } from './host.js';

export function rmsprop(host: Host): Pick<Kernels, 'rmsprop'> {
  const { single } = host;
  const r = (value: number) => round(value, single);
  return {
    rmsprop({ weightDecay, ...o }) {
      const { size } = o.param;
      const param = host.floats('rmsprop', 'param', o.param, size);
      const grad = host.floats('rmsprop', 'grad', o.grad, size);
      const v = host.floats('rmsprop', 'v', o.v, size);
      const velocity = o.velocity && host.floats('rmsprop', 'velocity', o.velocity, size);
      const lr = r(o.lr);
      const alpha = r(o.alpha);
      const rest = r(1 - o.alpha);
      const eps = r(o.eps);
      const decay = r(weightDecay);
      const momentum = r(o.momentum);
      for (let i = 0; i < size; i++) {
        let g = grad[i];
        if (decay !== 0) g = r(g + r(decay * param[i]));
        const newV = r(r(alpha * v[i]) + r(r(rest * g) * g));
        v[i] = newV;
        let u = r(g / r(r(Math.sqrt(newV)) + eps));
        if (velocity) {
          u = r(r(momentum * velocity[i]) + u);
          velocity[i] = u;
        }
        param[i] = r(param[i] - r(lr * u));
      }
    },
  };
}
