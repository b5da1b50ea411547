#!/usr/bin/env node
/** The `atalho` command. One file a command in `commands/`; errors end here, as one line and exit code 1. */
import { Command } from 'commander';
import { evalCommand } from './commands/eval.js';
import { predictCommand } from './commands/predict.js';
import { shapesCommand } from './commands/shapes.js';
import { trainCommand } from './commands/train.js';
import { describeError, systemCode } from './report.js';
import { VERSION } from './version.js';

// A reader that has gone, as in `atalho ... | head`, ends the program without a complaint.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error) => {
    if (systemCode(error) === 'EPIPE') process.exit(0);
    throw error;
  });
}

const program = new Command('atalho')
  .description('Residual networks, trained and run bit for bit the same on every machine.')
  .version(VERSION)
  .addCommand(trainCommand())
  .addCommand(evalCommand())
  .addCommand(predictCommand())
  .addCommand(shapesCommand());

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`error: ${describeError(error)}\n`);
  process.exitCode = 1;
}
