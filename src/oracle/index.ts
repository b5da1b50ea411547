/** The oracle: a table of op cases, naive functions with proved bounds, and the run that judges a device by them. */
export {
  allowance,
  type Ball,
  Balls,
  BFLOAT16,
  BINARY16,
  DOUBLE,
  type Expected,
  FAST,
  FLOAT16,
  type Format,
  gamma,
  LAMBDA,
  NARROW,
  ONE_PASS,
  type Precision,
  probableAllowance,
  sumOfProducts,
  TF32,
  WEBGPU,
  WEBGPU_FAST,
  WEBGPU_FAST_HALF,
  WEBGPU_HALF,
  WIDE,
} from './bounds.js';
export { type CallArguments, expectedOf, type KernelName } from './calls.js';
export {
  type BadInput,
  type DrawnPadding,
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
export type { Diagnosis } from './diagnose.js';
export { type Draw, drawFrom, type Fill, labelsOf, numbers, seededDraw } from './draw.js';
export {
  type Answer,
  type Backend,
  type CaseVerdict,
  type JudgeOptions,
  judge,
  judgeDevice,
  type Question,
  type Report,
  type SuiteOptions,
} from './judge.js';
export {
  checkModelTrace,
  type ModelTraceOptions,
  makeModelTrace,
  readTraceManifest,
  type TraceLeaf,
  type TraceManifest,
  type TraceNode,
} from './modelTrace.js';
/** The naive functions: every op and its gradients as textbook loops in float64. */
export * as naive from './naive.js';
export type { Layout, OutputKind, Problem } from './problem.js';
export { htmlReport } from './report/html.js';
export { junitReport } from './report/junit.js';
export { jsonReport, textReport } from './report/text.js';
export { type Numbers, SUITES, type SuiteName } from './suites.js';
export type { Term } from './terms.js';
export { type Call, type CallFinding, judgeTrace, replay, type TraceJudgement, type Tracer, trace } from './trace.js';
export {
  type CheckOptions,
  checkResults,
  type Manifest,
  type ManifestCase,
  makeVectors,
  readManifest,
  type VectorOptions,
  type Vectors,
} from './vectors.js';
export { type BoundKind, describeOutput, type OutputVerdict, ULP_EDGES, type WorstElement } from './verdict.js';
export { absoluteMatrices, type Paths, type Tile } from './winograd.js';
