import { test } from 'vitest';
import { reference } from '../src/device/reference.js';
import { conformance, NARROW } from '../src/oracle/index.js';
test('x', async () => {
  for (const precision of [undefined, NARROW]) {
    const f = await conformance(reference({ dtype: 'float32' }), { runs: 100, precision });
    const m = new Map<string, number[]>();
    for (const x of f) {
      if (x.check === 'badInput' || x.check === 'memory') continue;
      const s = /([\d.e+-]+) % of/.exec(x.detail);
      const k = x.case + ' ' + x.check;
      m.set(k, [...(m.get(k) ?? []), s ? Number(s[1]) : 0]);
    }
    for (const [k, v] of m) { v.sort((a, b) => a - b); console.log(k.padEnd(30), 'median', v[v.length >> 1], 'max', v.at(-1)); }
  }
}, 300000);
