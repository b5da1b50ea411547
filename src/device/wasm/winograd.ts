/** Winograd's forward pass on linear memory, where `winogradTile` says so; direct kernels do the rest. */
import { convSizes } from '../../shape.js';
import { winogradTile, winogradTiles } from '../winograd.js';
import type { WasmContext } from './context.js';
import { type ConvForward, type ConvPlan, NO_EPILOGUE, type PlanConv, runOnce } from './convWork.js';
import { winogradPlan } from './winogradPlan.js';

/** The forward pass by tiles of m. */
function forwardPlan(
  w: WasmContext,
  m: number,
  ...[o, { x, weight, bias, out }, epilogue, keeps]: Parameters<PlanConv>
): ConvPlan {
  const [k, rows] = [o.inChannels / o.groups, o.outChannels / o.groups];
  const [tilesHigh, tilesWide] = winogradTiles(m, 'forward', o);
  return winogradPlan(
    w,
    {
      m,
      stride: o.strideHeight,
      transposed: false,
      tilesHigh,
      tilesWide,
      batch: o.batch,
      groups: o.groups,
      source: x,
      k,
      sourceHeight: o.inHeight,
      sourceWidth: o.inWidth,
      padTop: o.padTop,
      padLeft: o.padLeft,
      out,
      rows,
      height: o.outHeight,
      width: o.outWidth,
      weight,
      rowStep: k * 36,
      filters: (from, count, to) => ['winogradFilters', [m, o.strideHeight, from, count, k, k * 36, 36, 0, ...to]],
      bias,
    },
    o,
    epilogue,
    keeps,
  );
}

export function winogradForward(w: WasmContext, direct: ConvForward): ConvForward {
  return {
    planConv(...call) {
      const m = winogradTile('forward', call[0]);
      return m === 0 ? direct.planConv(...call) : forwardPlan(w, m, ...call);
    },

    conv2d(o) {
      const m = winogradTile('forward', o);
      if (m === 0) return direct.conv2d(o);
      const [inSize, outSize, weightSize] = convSizes(o);
      const addresses = { x: w.input(o.x, inSize), weight: w.input(o.weight, weightSize) };
      const [bias, out] = [w.optional(o.bias, o.outChannels), w.address(o.out, outSize)];
      runOnce(w, forwardPlan(w, m, o, { ...addresses, bias, out }, NO_EPILOGUE, false));
    },
  };
}
