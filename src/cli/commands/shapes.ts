/** `atalho shapes`: the chapter's tour through a network, one line a stage. */
import { Command, Option } from 'commander';
import { noGrad } from '../../autograd.js';
import { meta } from '../../device/meta.js';
import { ArgumentError } from '../../errors.js';
import { type D2lTab, d2lLayerNames } from '../../models/index.js';
import { formatShape, type Shape, sizeOf } from '../../shape.js';
import { Tensor } from '../../tensor.js';
import { modelEntry, tabNames } from '../models.js';
import { print } from '../output.js';
import { inputOption } from '../shapeOption.js';

function shapes(name: string, { input, tab }: { input?: Shape; tab?: D2lTab }): void {
  const { make, ofTab, inputShape } = modelEntry(name);
  if (tab !== undefined && ofTab === undefined) {
    throw new ArgumentError(`--tab ${tab} with ${name}, which is not one of the chapter's networks; want d2l-resnet18`);
  }
  const device = meta();
  const model = (tab === undefined || ofTab === undefined ? make({ device }) : ofTab({ device, tab })).eval();
  const [batch, ...image] = inputShape;
  const shape = input ?? (tab === 'tensorflow' ? [batch, ...image.slice(1), image[0]] : inputShape);
  const names = d2lLayerNames(model);
  noGrad(() => {
    let x = new Tensor(device, shape, device.alloc(sizeOf(shape)));
    [...model].forEach((layer, i) => {
      x = layer.forward(x);
      print(`${tab === undefined ? layer.constructor.name : names[i]} output shape:\t ${formatShape(x.shape)}`);
    });
  });
}

export function shapesCommand(): Command {
  return new Command('shapes')
    .description("Prints the shape of each stage's output.")
    .argument('<model>', 'its name; `atalho summary` lists them')
    .addOption(inputOption())
    .addOption(
      new Option(
        '--tab <name>',
        "the chapter's networks as one of its tabs has them; images are N,H,W,C in TensorFlow's",
      ).choices(tabNames),
    )
    .action(shapes);
}
