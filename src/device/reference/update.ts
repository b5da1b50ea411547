/**
 * Updates of sgd and adam, in place. Scalars are computed in float64 from the options and rounded to the dtype once, before
 * the loop; then every operation rounds.
 */
import type { Kernels } from '../device.js';
import { type Host, round } from './host.js';

export function update(host: Host): Pick<Kernels, 'sgd' | 'adam'> {
  const { single } = host;
  const r = (value: number) => round(value, single);
  return {
    sgd({ first, nesterov, weightDecay, ...o }) {
      const { size } = o.param;
      const param = host.floats('sgd', 'param', o.param, size);
      const grad = host.floats('sgd', 'grad', o.grad, size);
      const velocity = o.velocity && host.floats('sgd', 'velocity', o.velocity, size);
      const lr = r(o.lr);
      const momentum = r(o.momentum);
      const decay = r(weightDecay);
      for (let i = 0; i < size; i++) {
        let g = grad[i];
        if (decay !== 0) g = r(g + r(decay * param[i]));
        if (velocity) {
          const v = first ? g : r(r(momentum * velocity[i]) + g);
          velocity[i] = v;
          g = nesterov ? r(g + r(momentum * v)) : v;
        }
        param[i] = r(param[i] - r(lr * g));
      }
    },

    adam({ weightDecay, decoupled, ...o }) {
      const { size } = o.param;
      const param = host.floats('adam', 'param', o.param, size);
      const grad = host.floats('adam', 'grad', o.grad, size);
      const m = host.floats('adam', 'm', o.m, size);
      const v = host.floats('adam', 'v', o.v, size);
      const beta1 = r(o.beta1);
      const beta2 = r(o.beta2);
      const rest1 = r(1 - o.beta1);
      const rest2 = r(1 - o.beta2);
      const eps = r(o.eps);
      const decay = r(weightDecay);
      const shrink = r(1 - o.lr * weightDecay);
      const step = r(o.lr / o.correction1);
      const rootCorrection2 = r(Math.sqrt(o.correction2));
      for (let i = 0; i < size; i++) {
        let p = param[i];
        let g = grad[i];
        if (decay !== 0) {
          if (decoupled) p = r(p * shrink);
          else g = r(g + r(decay * p));
        }
        const newM = r(r(m[i] * beta1) + r(rest1 * g));
        const newV = r(r(v[i] * beta2) + r(r(rest2 * g) * g));
        m[i] = newM;
        v[i] = newV;
        const denominator = r(r(r(Math.sqrt(newV)) / rootCorrection2) + eps);
        param[i] = r(p - r(step * r(newM / denominator)));
      }
    },
  };
}
