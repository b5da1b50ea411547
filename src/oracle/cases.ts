/** The case table: one row per op. Adding an op means one row here; tests, benchmarks and other people's backends
 * all read the same table. */

import type { OpCase } from './cases/case.js';
import { elementwiseCases } from './cases/elementwise.js';
import { inPlaceCases } from './cases/inplace.js';
import { movingCases } from './cases/moving.js';
import { normalizationCases } from './cases/normalization.js';
import { poolingCases } from './cases/pooling.js';
import { preparedCases } from './cases/prepared.js';
import { productCases } from './cases/products.js';
import { softmaxCases } from './cases/softmax.js';

/** All rows. */
export const cases: readonly OpCase[] = [
  ...elementwiseCases,
  ...movingCases,
  ...productCases,
  ...preparedCases,
  ...poolingCases,
  ...normalizationCases,
  ...softmaxCases,
  ...inPlaceCases,
];
