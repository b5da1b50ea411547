/** The oracle: a table of op cases, naive functions with proved bounds, and the run that judges a device by them. */
export {
  allowance,
  type Ball,
  Balls,
  DOUBLE,
  type Expected,
  FAST,
  gamma,
  NARROW,
  type Precision,
  sumOfProducts,
  WEBGPU,
  WEBGPU_FAST,
  WIDE,
} from './bounds.js';
export {
  type BadInput,
  defineCase,
  type Input,
  type OpCase,
  type Outcome,
  type Trial,
  type TypedCase,
} from './cases/case.js';
export * from './cases/elementwise.js';
export * from './cases/inplace.js';
export * from './cases/moving.js';
export * from './cases/normalization.js';
export * from './cases/pooling.js';
export * from './cases/prepared.js';
export {
  type ConvOptions,
  conv2dCase,
  type LinearOptions,
  linearCase,
  type MatmulOptions,
  matmulCase,
} from './cases/products.js';
export * from './cases/softmax.js';
export { cases } from './cases.js';
export {
  type Check,
  type ConformanceOptions,
  conformance,
  examine,
  examineBadInput,
  type Finding,
  type Judgement,
} from './conformance.js';
export { type Draw, drawFrom, type Fill, labelsOf, numbers, seededDraw } from './draw.js';
export * as naive from './naive.js';
export { absoluteMatrices, type Paths, type Tile } from './winograd.js';
