/** `atalho shapes`: the chapter's tour through a network, one line a stage. */
import { Argument, Command, InvalidArgumentError } from 'commander';
import { noGrad } from '../../autograd.js';
import { formatShape, sizeOf } from '../../shape.js';
import { tensor } from '../../tensor.js';
import { DEFAULT_DEVICE, makeDevice } from '../devices.js';
import { makeModel, modelNames } from '../models.js';
import { print } from '../output.js';

/** Beyond this an input would be computed for minutes. */
const MOST_ELEMENTS = 2 ** 24;

function parseShape(text: string): number[] {
  const shape = text.split(',').map((part) => (/^\s*[1-9]\d{0,8}\s*$/.test(part) ? Number(part) : Number.NaN));
  if (shape.some(Number.isNaN) || shape.length !== 4 || sizeOf(shape) > MOST_ELEMENTS) {
    throw new InvalidArgumentError('Want four whole numbers N,C,H,W, such as 1,1,224,224.');
  }
  return shape;
}

async function shapes(name: string, { input }: { input: number[] }): Promise<void> {
  const device = await makeDevice(DEFAULT_DEVICE);
  const model = makeModel(name, { device }).eval();
  const lines = device.scope(() =>
    noGrad(() => {
      let x = tensor(new Float32Array(sizeOf(input)), input, { device });
      return [...model].map((layer) => {
        x = layer.forward(x);
        return `${layer.constructor.name} output shape:\t ${formatShape(x.shape)}`;
      });
    }),
  );
  for (const line of lines) print(line);
}

export function shapesCommand(): Command {
  return new Command('shapes')
    .description("Prints the shape of each stage's output.")
    .addArgument(new Argument('<model>', `one of ${modelNames.join(', ')}`))
    .option('--input <N,C,H,W>', 'shape of the input', parseShape, [1, 1, 224, 224])
    .action(shapes);
}
