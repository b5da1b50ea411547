/** The gradients by Winograd's algorithm on linear memory, where `winogradTile` says so; direct kernels do the rest. */
import { convSizes } from '../../shape.js';
import { WEIGHT_TILES, winogradTile, winogradTiles } from '../winograd.js';
import { ScratchLayout, type WasmContext } from './context.js';
import { type ConvBackward, NO_EPILOGUE, runOnce } from './convWork.js';
import type { Step } from './team.js';
import { elements, winogradPlan } from './winogradPlan.js';

export function winogradBackward(w: WasmContext, direct: ConvBackward): ConvBackward {
  return {
    conv2dBackwardInput(o) {
      const m = winogradTile('input', o);
      if (m === 0) return direct.conv2dBackwardInput(o);
      const start = w.besides?.start ?? 0;
      const [inSize, outSize, weightSize] = convSizes(o);
      const [channels, k] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const [tilesHigh, tilesWide] = winogradTiles(m, 'input', o);
      const stride = o.strideHeight;
      const plan = winogradPlan(
        w,
        {
          m,
          stride,
          transposed: stride === 2,
          tilesHigh,
          tilesWide,
          batch: o.batch,
          groups: o.groups,
          source: w.input(o.dy, outSize),
          k,
          sourceHeight: o.outHeight,
          sourceWidth: o.outWidth,
          ...(stride === 1 ? { padTop: 2 - o.padTop, padLeft: 2 - o.padLeft } : { padTop: 0, padLeft: 0 }),
          out: w.address(o.dx, inSize),
          rows: channels,
          height: o.inHeight,
          width: o.inWidth,
          weight: w.input(o.weight, weightSize),
          rowStep: 36,
          filters: (from, count, to) =>
            stride === 1
              ? ['winogradFarFilters', [m, from, count, k, channels * 36, ...to]]
              : ['winogradFilters', [m, stride, from, count, k, 36, channels * 36, 1, ...to]],
          bias: 0,
        },
        o,
        NO_EPILOGUE,
        false,
      );
      runOnce(w, plan);
      w.besides?.wrote(start, o.dx, [o.dy, o.weight]);
    },

    conv2dBackwardWeight(o) {
      const m = winogradTile('weight', o);
      if (m === 0 || o.batch === 0) return direct.conv2dBackwardWeight(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const [x, dy, dweight] = [w.input(o.x, inSize), w.input(o.dy, outSize), w.address(o.dweight, weightSize)];
      const [channels, rows] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const [tilesHigh, tilesWide] = winogradTiles(m, 'weight', o);
      const block = Math.max(WEIGHT_TILES, tilesWide);
      const stride = o.strideHeight;
      const [inPlane, outPlane] = [o.inHeight * o.inWidth * 4, o.outHeight * o.outWidth * 4];

      // A grid of input and output channels: each thread transforms what its part needs.
      const work = (o.batch * tilesHigh * tilesWide * elements(m, stride) * channels * rows) / 16;
      const most = Math.max(1, Math.min(w.threads, Math.floor(work / w.grain)));
      let few = Math.floor(Math.sqrt(most));
      while (most % few > 0) few--;
      // What is not divided is transformed by each: with a stride of 2 it costs less that this is the input (measured).
      const [columnParts, rowParts] = stride === 2 ? [few, most / few] : [most / few, few];
      const columnRanges = w.ranges(channels, columnParts, 8);
      const rowRanges = w.ranges(
        rows,
        columnRanges.length < columnParts ? Math.floor(most / columnRanges.length) : rowParts,
        4,
      );
      const parts = columnRanges.flatMap((columns) => rowRanges.map((range) => [...columns, ...range]));
      const layout = new ScratchLayout();
      const plans = parts.map(([c0, c1, r0, r1]) => ({
        c0,
        c1,
        r0,
        r1,
        atScratch: layout.take(
          w.sizes.winogradWeightScratch(m, stride, o.batch, tilesHigh, tilesWide, block, c1 - c0, r1 - r0),
        ),
      }));
      const programs = (base: number, g: number): Step[][] =>
        plans.map(({ c0, c1, r0, r1, atScratch }) => {
          // The order of fields of WinogradWeight.
          const struct = w.tables.write(
            [m, stride, o.batch, tilesHigh, tilesWide, block],
            [x + (g * channels + c0) * inPlane, o.inChannels * inPlane, c1 - c0, o.inHeight, o.inWidth],
            [o.padTop, o.padLeft],
            [dy + (g * rows + r0) * outPlane, o.outChannels * outPlane, r1 - r0, o.outHeight, o.outWidth],
            [dweight + ((g * rows + r0) * channels + c0) * 36, channels * 36, base + atScratch],
          );
          return [['winogradWeight', [struct]]];
        });
      const alone = o.groups === 1;
      if (alone && w.besides?.run(layout.total, [o.x, o.dy], o.dweight, (base) => programs(base, 0))) return;
      const base = w.scratch(layout.total);
      for (let g = 0; g < o.groups; g++) w.run(programs(base, g));
    },
  };
}
