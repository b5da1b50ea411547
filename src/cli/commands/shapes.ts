/** `atalho shapes`: the chapter's tour through a network, one line a stage. */
import { Command } from 'commander';
import { noGrad } from '../../autograd.js';
import { meta } from '../../device/meta.js';
import { formatShape, sizeOf } from '../../shape.js';
import { Tensor } from '../../tensor.js';
import { modelEntry } from '../models.js';
import { print } from '../output.js';
import { inputOption } from '../shapeOption.js';

function shapes(name: string, { input }: { input?: number[] }): void {
  const { make, inputShape } = modelEntry(name);
  const shape = input ?? inputShape;
  const device = meta();
  const model = make({ device }).eval();
  noGrad(() => {
    let x = new Tensor(device, shape, device.alloc(sizeOf(shape)));
    for (const layer of model) {
      x = layer.forward(x);
      print(`${layer.constructor.name} output shape:\t ${formatShape(x.shape)}`);
    }
  });
}

export function shapesCommand(): Command {
  return new Command('shapes')
    .description("Prints the shape of each stage's output.")
    .argument('<model>', 'its name; `atalho summary` lists them')
    .addOption(inputOption())
    .action(shapes);
}
