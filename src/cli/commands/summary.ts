/** `atalho summary`: what a network consists of, as torchinfo shows it; or all networks in one table. */
import { Command } from 'commander';
import { meta } from '../../device/meta.js';
import { type LayerSummary, type Summary, summarize } from '../../nn/summarize.js';
import { formatShape, type Shape } from '../../shape.js';
import { modelEntry, modelNames } from '../models.js';
import { wholeNumber } from '../options.js';
import { print } from '../output.js';
import { inputOption } from '../shapeOption.js';

const DEFAULT_DEPTH = 3;

interface SummaryFlags {
  readonly input?: Shape;
  readonly channels?: number;
  readonly classes?: number;
  readonly depth: number;
}

function summaryOf(name: string, { input, channels, classes }: SummaryFlags): Summary {
  const { make, inputShape } = modelEntry(name);
  const [batch, own, ...size] = inputShape;
  const inChannels = channels ?? own;
  const net = make({ device: meta(), inChannels, ...(classes === undefined ? {} : { numClasses: classes }) });
  return summarize(net, { inputShape: input ?? [batch, inChannels, ...size] });
}

/** 11689512 as 11,689,512. */
const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

const giga = (value: number): string => (value / 1e9).toFixed(value < 1e8 ? 3 : 2);
const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(2);

/** Rows under a heading, between rules; the first column to the left, the others too, or to the right. */
function printTable(head: readonly string[], rows: readonly (readonly string[])[], numbersFrom: number): string {
  const widths = head.map((title, i) => rows.reduce((most, row) => Math.max(most, row[i].length), title.length));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i >= numbersFrom ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd();
  const rule = '='.repeat(widths.reduce((sum, width) => sum + width + 2, -2));
  for (const text of [rule, line(head), rule, ...rows.map(line), rule]) print(text);
  return rule;
}

/** "│    └─Conv2d (conv2)": bars where something on that level is still to come. */
function branch(layers: readonly LayerSummary[], at: number): string {
  const { depth, type, name } = layers[at];
  let bars = '';
  for (let level = 1; level <= depth; level++) {
    const next = layers.slice(at + 1).find((row) => row.depth <= level);
    const more = next !== undefined && next.depth === level;
    if (level === depth) bars += more ? '├─' : '└─';
    else bars += more ? '│    ' : '     ';
  }
  const own = name.slice(name.lastIndexOf('.') + 1);
  return own === '' ? type : `${bars}${type} (${own})`;
}

/** "--" where there is nothing, and for containers, whose parts have rows of their own. */
function cells(layers: readonly LayerSummary[], i: number, depth: number): string[] {
  const { outputShape, parameters, macs, leaf, repeated, depth: own } = layers[i];
  const hidden = leaf || own === depth;
  const number = (value: number): string => (hidden && value > 0 ? grouped(value) : '--');
  const shown = repeated && parameters > 0 ? '(recursive)' : number(parameters);
  return [branch(layers, i), formatShape(outputShape), shown, number(macs)];
}

function printOne(name: string, flags: SummaryFlags): void {
  const summary = summaryOf(name, flags);
  const layers = summary.layers.filter((layer) => layer.depth <= flags.depth);
  const rows = layers.map((_, i) => cells(layers, i, flags.depth));
  print(`${name}, input ${formatShape(summary.inputShape)}`);
  const rule = printTable(['Layer (name)', 'Output shape', 'Params', 'Mult-adds'], rows, 2);
  const { parameters, macs, inputBytes, forwardBackwardBytes, parameterBytes } = summary;
  for (const line of [
    `Total params: ${grouped(parameters)}`,
    `Trainable params: ${grouped(parameters)}`,
    'Non-trainable params: 0',
    `Total mult-adds (G): ${giga(macs)}`,
    rule,
    `Input size (MB): ${megabytes(inputBytes)}`,
    `Forward/backward pass size (MB): ${megabytes(forwardBackwardBytes)}`,
    `Params size (MB): ${megabytes(parameterBytes)}`,
    `Estimated total size (MB): ${megabytes(inputBytes + forwardBackwardBytes + parameterBytes)}`,
    rule,
  ])
    print(line);
}

function printAll(names: readonly string[], flags: SummaryFlags): void {
  const rows = names.map((name) => {
    const { inputShape, outputShape, parameters, macs } = summaryOf(name, flags);
    return [name, formatShape(inputShape), formatShape(outputShape), grouped(parameters), giga(macs)];
  });
  printTable(['Model', 'Input', 'Output', 'Params', 'GMACs'], rows, 3);
}

function summary(names: readonly string[], flags: SummaryFlags): void {
  if (names.length === 1) printOne(names[0], flags);
  else printAll(names.length === 0 ? modelNames : names, flags);
}

export function summaryCommand(): Command {
  return new Command('summary')
    .description(
      'Prints the layers of a network with their shapes, parameters and multiply-adds; of several, or without a name of all, a line each.',
    )
    .argument('[model...]', 'names of networks')
    .addOption(inputOption())
    .option('--channels <n>', 'channels of the images that the network takes (default: as published)', wholeNumber)
    .option('--classes <n>', 'classes that it tells apart (default: as published)', wholeNumber)
    .option('--depth <n>', 'levels of layers within layers that are shown', wholeNumber, DEFAULT_DEPTH)
    .addHelpText(
      'after',
      '\nMultiply-adds are those of convolutions and linear layers. Nothing is computed and no weight drawn.',
    )
    .action(summary);
}
