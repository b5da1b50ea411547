/**
 * Peak memory, each row in a process of its own: models alone, and `atalho train` itself, which holds data, prepares
 * batches, tests and writes checkpoints besides. The target is for the latter.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const GIB = 2 ** 30;
/** A cold step of 256 images takes 15 s on a free core; two epochs' worth of them and a test must fit. */
const TIMEOUT_MS = 300_000;

/** The chapter's batch and size; two steps, each followed by a checkpoint, then a test on one batch. */
const TRAIN = '--batch-size 256 --resize 96 --limit 512 --epochs 1 --checkpoint-every 1 --test-limit 256';

function node(args, env = {}) {
  return execFileSync(process.execPath, args, {
    encoding: 'utf8',
    // What the child prints on stderr is part of the error, should there be one.
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    env: { ...process.env, ...env },
  });
}

function modelAlone(kind, batch, steps, math = 'exact') {
  return () => {
    const found = JSON.parse(node([here('memoryStep.mjs'), kind, String(batch), String(steps), math]));
    if (kind === 'training' && !Number.isFinite(found.loss)) throw new Error(`memory: loss is ${found.loss}`);
    return found;
  };
}

function commandLine() {
  const folder = mkdtempSync(join(tmpdir(), 'atalho-bench-'));
  try {
    const file = join(folder, 'resident');
    const hook = pathToFileURL(here('residentAtExit.mjs')).href;
    const program = [here('../dist/cli/main.js'), 'train', ...TRAIN.split(' '), '--out', join(folder, 'run')];
    const said = node(['--import', hook, ...program], { ATALHO_BENCH_RESIDENT: file });
    const speed = said.split('\n').find((text) => text.includes('examples/sec'));
    if (speed === undefined) throw new Error(`memory: atalho train did not finish:\n${said}`);
    return { command: `atalho train ${TRAIN}`, speed, residentBytes: Number(readFileSync(file, 'utf8')) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What loading resnet50's weights from a file takes beyond the model; the file's own bytes are part of it. */
function loading(dtype) {
  return () => {
    const folder = mkdtempSync(join(tmpdir(), 'atalho-bench-'));
    try {
      const file = join(folder, 'weights.safetensors');
      node([here('safetensorsMemory.mjs'), 'write', file, dtype]);
      const { fileBytes, peakBytes } = JSON.parse(node(['--expose-gc', here('safetensorsMemory.mjs'), 'load', file]));
      return { fileBytes, residentBytes: peakBytes, target: 1.3 * fileBytes };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
}

const rows = [
  { name: 'memory resnet18 forward 224×224 b1', run: modelAlone('forward', 1, 3) },
  { name: 'memory d2l training step 96×96 b32', run: modelAlone('training', 32, 2) },
  { name: 'memory d2l training step 96×96 b256', run: modelAlone('training', 256, 1) },
  { name: 'memory d2l training step 96×96 b256, relaxed', run: modelAlone('training', 256, 1, 'relaxed') },
  { name: 'memory atalho train 96×96 b256', run: commandLine, target: 3 * GIB },
  ...['F32', 'F16', 'BF16', 'unaligned'].map((dtype) => ({
    name: `memory loading resnet50 ${dtype}, beyond the model`,
    run: loading(dtype),
  })),
];

/** Rows whose names `wanted` accepts. */
export function* benchMemory(wanted) {
  for (const { name, run, target: fixed } of rows) {
    if (!wanted(name)) continue;
    const row = { name, section: 'memory', ...run() };
    const target = fixed ?? row.target;
    yield target === undefined ? row : { ...row, target, met: row.residentBytes <= target };
  }
}
