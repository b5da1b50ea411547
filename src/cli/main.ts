#!/usr/bin/env node
/** The `atalho` command. One file a command in `commands/`; errors end here, as one line and exit code 1. */
import { Command } from 'commander';
import { evalCommand } from './commands/eval.js';
import { oracleCommand } from './commands/oracle.js';
import { predictCommand } from './commands/predict.js';
import { shapesCommand } from './commands/shapes.js';
import { summaryCommand } from './commands/summary.js';
import { trainCommand } from './commands/train.js';
import { describeError } from './errors.js';
import { endWithReader } from './output.js';
import { VERSION } from './version.js';

endWithReader();

const program = new Command('atalho')
  .description('Residual networks, trained and run bit for bit the same on every machine.')
  .version(VERSION)
  .addCommand(trainCommand())
  .addCommand(evalCommand())
  .addCommand(predictCommand())
  .addCommand(shapesCommand())
  .addCommand(summaryCommand())
  .addCommand(oracleCommand());

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`error: ${describeError(error)}\n`);
  process.exitCode = 1;
}
