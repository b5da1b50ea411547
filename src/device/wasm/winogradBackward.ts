/** The gradients by Winograd's algorithm on linear memory, where `winogradTile` says so; direct kernels do the rest. */
import { convSizes } from '../../shape.js';
import { WEIGHT_TILES, winogradTile, winogradTiles } from '../winograd.js';
import { ScratchLayout, type WasmContext } from './context.js';
import { type ConvBackward, NO_EPILOGUE, runOnce, STRUCT_BYTES } from './convWork.js';
import { elements, winogradPlan } from './winogradPlan.js';

export function winogradBackward(w: WasmContext, direct: ConvBackward): ConvBackward {
  const { exports } = w;
  return {
    conv2dBackwardInput(o) {
      const m = winogradTile('input', o);
      if (m === 0) return direct.conv2dBackwardInput(o);
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
          source: w.address(o.dy, outSize),
          k,
          sourceHeight: o.outHeight,
          sourceWidth: o.outWidth,
          ...(stride === 1 ? { padTop: 2 - o.padTop, padLeft: 2 - o.padLeft } : { padTop: 0, padLeft: 0 }),
          out: w.address(o.dx, inSize),
          rows: channels,
          height: o.inHeight,
          width: o.inWidth,
          weight: w.address(o.weight, weightSize),
          rowStep: 36,
          step: channels * 36,
          flipped: true,
          bias: 0,
        },
        o,
        NO_EPILOGUE,
      );
      runOnce(w, plan);
    },

    conv2dBackwardWeight(o) {
      const m = winogradTile('weight', o);
      if (m === 0 || o.batch === 0) return direct.conv2dBackwardWeight(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const [x, dy, dweight] = [w.address(o.x, inSize), w.address(o.dy, outSize), w.address(o.dweight, weightSize)];
      const [channels, rows] = [o.inChannels / o.groups, o.outChannels / o.groups];
      const [tilesHigh, tilesWide] = winogradTiles(m, 'weight', o);
      const block = Math.max(WEIGHT_TILES, tilesWide);
      const stride = o.strideHeight;
      const [inPlane, outPlane] = [o.inHeight * o.inWidth * 4, o.outHeight * o.outWidth * 4];

      // A grid of input and output channels: each thread transforms what its part needs.
      const work = (o.batch * tilesHigh * tilesWide * elements(m, stride) * channels * rows) / 16;
      const most = Math.max(1, Math.min(w.threads, Math.floor(work / w.grain)));
      let rowParts = Math.floor(Math.sqrt(most));
      while (most % rowParts > 0) rowParts--;
      const columnRanges = w.ranges(channels, most / rowParts, 8);
      const rowRanges = w.ranges(rows, columnRanges.length === 1 ? most : rowParts, 4);
      const parts = columnRanges.flatMap((columns) => rowRanges.map((range) => [...columns, ...range]));
      const layout = new ScratchLayout();
      const plans = parts.map(([c0, c1, r0, r1]) => ({
        c0,
        c1,
        r0,
        r1,
        atStruct: layout.take(STRUCT_BYTES),
        atScratch: layout.take(
          exports.winogradWeightScratch(m, stride, o.batch, tilesHigh, tilesWide, block, c1 - c0, r1 - r0),
        ),
      }));
      const base = w.scratch(layout.total);
      for (let g = 0; g < o.groups; g++) {
        w.parallel(
          'winogradWeight',
          plans.map(({ c0, c1, r0, r1, atStruct, atScratch }) => {
            // The order of fields of WinogradWeight.
            w.writeInts(
              base + atStruct,
              [m, stride, o.batch, tilesHigh, tilesWide, block],
              [x + (g * channels + c0) * inPlane, o.inChannels * inPlane, c1 - c0, o.inHeight, o.inWidth],
              [o.padTop, o.padLeft],
              [dy + (g * rows + r0) * outPlane, o.outChannels * outPlane, r1 - r0, o.outHeight, o.outWidth],
              [dweight + ((g * rows + r0) * channels + c0) * 36, channels * 36, base + atScratch],
            );
            return [base + atStruct];
          }),
        );
      }
    },
  };
}
