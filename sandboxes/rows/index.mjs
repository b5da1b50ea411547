/** All rows, in the table's order. */
import browsers from './browsers.mjs';
import engines from './engines.mjs';
import node from './node.mjs';

/** @type {readonly import('../lib/row.mjs').Row[]} */
export const rows = [...node, ...engines, ...browsers];
