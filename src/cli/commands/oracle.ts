/** `atalho oracle`: questions for a backend of any language, and the judgement of its answers. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SingleBar } from 'cli-progress';
import { Command, InvalidArgumentError, Option } from 'commander';
import { AtalhoError, FormatError } from '../../errors.js';
import { writeFileAtomic } from '../../io/atomic.js';
import { readFileBounded } from '../../io/readFile.js';
import { BFLOAT16, FAST, FLOAT16, NARROW, ONE_PASS, type Precision, TF32, WEBGPU, WIDE } from '../../oracle/bounds.js';
import { judgeDevice, type Report } from '../../oracle/judge.js';
import { checkModelTrace, makeModelTrace, readTraceManifest } from '../../oracle/modelTrace.js';
import type { Layout } from '../../oracle/problem.js';
import { htmlReport } from '../../oracle/report/html.js';
import { junitReport } from '../../oracle/report/junit.js';
import { jsonReport, textReport } from '../../oracle/report/text.js';
import { type Numbers, SUITES, type SuiteName } from '../../oracle/suites.js';
import { checkResults, makeVectors, readManifest } from '../../oracle/vectors.js';
import type { BoundKind } from '../../oracle/verdict.js';
import type { Shape } from '../../shape.js';
import { DEFAULT_DEVICE, deviceNames, makeDevice, type Threads } from '../devices.js';
import { attempt, systemCode } from '../errors.js';
import { modelEntry, modelNames } from '../models.js';
import { threadsOption, wholeNumber } from '../options.js';
import { print } from '../output.js';
import { inputOption } from '../shapeOption.js';
import { naming } from '../weights.js';

const MANIFEST = 'manifest.json';
const INPUTS = 'inputs.safetensors';
const TRUTH = 'truth.safetensors';
const ONNX = 'onnx';
const VALUES = 'values.safetensors';

const MAX_MANIFEST = 2 ** 26;
const MAX_VECTORS = 2 ** 31;

/** By the name that `--arithmetic` takes. */
const PRECISIONS: Readonly<Record<string, Precision>> = {
  ...{ float32: NARROW, wide: WIDE, winograd: FAST, webgpu: WEBGPU },
  ...{ 'one-pass': ONE_PASS, tf32: TF32, float16: FLOAT16, bfloat16: BFLOAT16 },
};

/** What the inputs are for an arithmetic. */
const numbersOf = (arithmetic: string): Numbers =>
  arithmetic === 'float16' || arithmetic === 'bfloat16' ? arithmetic : 'float32';

interface SuiteFlags {
  readonly suite: SuiteName;
  readonly seed: number;
  readonly layout: Layout;
  readonly arithmetic: string;
}

interface ReportFlags {
  readonly bound: BoundKind;
  readonly name?: string;
  readonly json?: string;
  readonly junit?: string;
  readonly html?: string;
}

/** A bar on a terminal, nothing elsewhere: a suite takes seconds. */
function bar(): { show(done: number, of: number): void; stop(): void } {
  let own: SingleBar | null = null;
  return {
    show(done, of) {
      if (!process.stderr.isTTY) return;
      if (own === null) {
        const format = '[{bar}] {value}/{total} cases, {eta} s left';
        own = new SingleBar({
          format,
          stream: process.stderr,
          barsize: 20,
          clearOnComplete: true,
          gracefulExit: false,
        });
        own.start(of, 0);
      }
      own.update(done);
    },
    stop: () => own?.stop(),
  };
}

function seedOf(text: string): number {
  const seed = Number(text);
  if (!/^\d{1,10}$/.test(text) || seed >= 2 ** 32) {
    throw new InvalidArgumentError('Want a whole number from 0 to 4294967295.');
  }
  return seed;
}

const arithmeticOption = (help: string): Option =>
  new Option('--arithmetic <name>', help).choices(Object.keys(PRECISIONS)).default('float32');

function withSuite(command: Command): Command {
  return command
    .addOption(new Option('--suite <name>', 'which calls').choices(SUITES).default('resnet'))
    .addOption(new Option('--seed <n>', 'decides the numbers').argParser(seedOf).default(1))
    .addOption(new Option('--layout <name>', 'how images lie').choices(['NCHW', 'NHWC']).default('NCHW'))
    .addOption(arithmeticOption('what the bounds assume: see docs/ORACLE.md'));
}

function withReport(command: Command): Command {
  return command
    .addOption(new Option('--bound <kind>', 'which bound counts').choices(['probable', 'strict']).default('probable'))
    .option('--name <text>', "the backend's name in the report")
    .option('--json <file>', 'write the whole report as JSON')
    .option('--junit <file>', 'write it as JUnit XML')
    .option('--html <file>', 'write it as one page');
}

/**
 * Writes one call as an ONNX file. Loaded when it is needed: the package behind it is optional.
 * @throws AtalhoError where it is not installed
 */
async function onnxWriter(): Promise<typeof import('../onnxCase.js').onnxCase> {
  try {
    return (await import('../onnxCase.js')).onnxCase;
  } catch (error) {
    if (systemCode(error) !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new AtalhoError('oracle: ONNX files take the package @bufbuild/protobuf: npm install it, or give --no-onnx');
  }
}

async function vectors({ out, onnx, ...flags }: SuiteFlags & { out: string; onnx: boolean }): Promise<void> {
  attempt(`make ${out}`, () => mkdirSync(join(out, ONNX), { recursive: true }));
  // What an older one says of these files is true no more.
  attempt(`clear ${out}`, () => rmSync(join(out, MANIFEST), { force: true }));
  const write = (name: string, content: string | Uint8Array): void =>
    attempt(`write ${join(out, name)}`, () => writeFileAtomic(join(out, name), content));
  // ONNX knows one layout.
  const onnxCase = onnx && flags.layout === 'NCHW' ? await onnxWriter() : null;
  const progress = bar();
  const { manifest, inputs, truth } = await makeVectors({
    ...flags,
    precision: PRECISIONS[flags.arithmetic],
    numbers: numbersOf(flags.arithmetic),
    bits: true,
    onCase: progress.show,
    onnx(problem) {
      const model = onnxCase?.(problem) ?? null;
      if (model === null) return null;
      const name = `${ONNX}/${problem.id}.onnx`;
      write(name, model);
      return name;
    },
  });
  progress.stop();
  write(INPUTS, inputs);
  write(TRUTH, truth);
  // Last: a folder with a manifest is whole.
  write(MANIFEST, `${JSON.stringify(manifest, null, 1)}\n`);
  const models = manifest.cases.filter((one) => one.onnx !== undefined).length;
  const megabytes = ((inputs.length + truth.length) / 1e6).toFixed(1);
  print(`${manifest.cases.length} cases, ${models} of them ONNX files too, ${megabytes} MB of vectors in ${out}`);
}

/** Prints the report, writes it where it was asked for; the exit code says whether all is well. */
function conclude(report: Report, { json, junit, html }: ReportFlags): void {
  const write = (path: string | undefined, content: () => string): void => {
    if (path !== undefined) attempt(`write ${path}`, () => writeFileAtomic(path, content()));
  };
  write(json, () => jsonReport(report));
  write(junit, () => junitReport(report));
  write(html, () => htmlReport([report], `Oracle: ${report.backend}`));
  print(textReport(report));
  const judged = report.cases.filter(({ status }) => status !== 'absent');
  if (judged.length === 0) throw new FormatError('no case was answered');
  if (judged.some(({ status }) => status !== 'passed')) process.exitCode = 1;
}

interface TraceFlags {
  readonly model: string;
  readonly input?: Shape;
  readonly classes: number;
  readonly seed: number;
  readonly out: string;
}

/** Two small images: the bounds are found by plain loops. */
const TRACE_SIDE = 32;

async function traceModel({ model, input, classes, seed, out }: TraceFlags): Promise<void> {
  const { make, inputShape } = modelEntry(model);
  const [, channels] = inputShape;
  const shape = input ?? [2, channels, TRACE_SIDE, TRACE_SIDE];
  const { manifest, values } = await makeModelTrace(
    (own) => make({ device: own, inChannels: shape[1], numClasses: classes }),
    { name: model, inputShape: shape, classes, seed },
  );
  attempt(`make ${out}`, () => mkdirSync(out, { recursive: true }));
  attempt(`write ${out}`, () => {
    writeFileAtomic(join(out, VALUES), values);
    writeFileAtomic(join(out, MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`);
  });
  print(
    `${manifest.nodes.length} calls of a training step of ${model} on ${shape.join('×')}, ${(values.length / 1e6).toFixed(1)} MB in ${out}`,
  );
}

type CheckFlags = ReportFlags & { readonly arithmetic: string };

function check(folder: string, results: string, { bound, arithmetic, name = results, ...flags }: CheckFlags): void {
  const file = (path: string, most: number): Uint8Array => attempt(`read ${path}`, () => readFileBounded(path, most));
  const path = join(folder, MANIFEST);
  const text = new TextDecoder().decode(file(path, MAX_MANIFEST));
  let report: Report;
  try {
    const trace = readTraceManifest(text);
    const truth = file(join(folder, trace ? VALUES : TRUTH), MAX_VECTORS);
    const answers = file(results, MAX_VECTORS);
    report = trace
      ? checkModelTrace(trace, truth, answers, { name, precision: PRECISIONS[arithmetic] })
      : checkResults(readManifest(text), truth, answers, { name, bound });
  } catch (error) {
    throw naming(`${folder} and ${results}`, error);
  }
  conclude(report, { bound, ...flags });
}

type DeviceFlags = SuiteFlags & ReportFlags & { readonly threads?: Threads; readonly math: string };

async function device(which: string, { threads, math, ...flags }: DeviceFlags): Promise<void> {
  const own = await makeDevice(which, threads, math);
  const progress = bar();
  try {
    const precision = PRECISIONS[flags.arithmetic];
    const numbers = numbersOf(flags.arithmetic);
    const options = { ...flags, name: flags.name ?? own.name, precision, numbers, bits: true };
    const report = await judgeDevice(own, { ...options, onCase: (_, done, of) => progress.show(done, of) });
    progress.stop();
    conclude(report, flags);
  } finally {
    progress.stop();
    own.dispose();
  }
}

export function oracleCommand(): Command {
  const own = new Command('oracle').description('Judges backends: is each result within what its arithmetic allows?');
  withSuite(own.command('vectors'))
    .description('Writes the questions of a suite: a manifest, the inputs, the truth with its bounds, ONNX files.')
    .requiredOption('--out <folder>', 'where to')
    .option('--no-onnx', 'leave out the ONNX files')
    .action(vectors);
  own
    .command('trace')
    .description("Writes a model's training step, call by call, to find where another's goes wrong.")
    .addOption(new Option('--model <name>', 'which network').choices(modelNames).default('d2l-resnet18'))
    .addOption(inputOption().default(undefined, `2 images of ${TRACE_SIDE}×${TRACE_SIDE}`))
    .addOption(new Option('--classes <n>', 'of the last layer').argParser(wholeNumber).default(10))
    .addOption(new Option('--seed <n>', 'decides the numbers').argParser(seedOf).default(1))
    .requiredOption('--out <folder>', 'where to')
    .action(traceModel);
  withReport(own.command('check'))
    .description('Judges the answers to the questions in a folder.')
    .argument('<folder>', 'what vectors, or trace, wrote')
    .argument('<results>', 'a safetensors file with the outputs that the manifest names, as ID/NAME')
    .addOption(
      arithmeticOption('of a trace: what its bounds assume; those of vectors were decided when they were made'),
    )
    .action(check);
  withReport(withSuite(own.command('device')))
    .description("Judges one of atalho's own devices.")
    .addOption(new Option('--math <mode>', 'of the device').choices(['exact', 'fast', 'relaxed']).default('exact'))
    .addOption(threadsOption())
    .argument('[name]', `one of ${deviceNames.join(', ')}`, DEFAULT_DEVICE)
    .action(device);
  return own;
}
