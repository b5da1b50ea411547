/** The shape of a network's input, as a flag takes it. */
import { InvalidArgumentError, Option } from 'commander';
import { sizeOf } from '../shape.js';

/** Beyond this an input would be computed for minutes. */
const MOST_ELEMENTS = 2 ** 24;

function parseShape(text: string): number[] {
  const shape = text.split(',').map((part) => (/^\s*[1-9]\d{0,8}\s*$/.test(part) ? Number(part) : Number.NaN));
  if (shape.some(Number.isNaN) || shape.length !== 4 || sizeOf(shape) > MOST_ELEMENTS) {
    throw new InvalidArgumentError('Want four whole numbers N,C,H,W, such as 1,1,224,224.');
  }
  return shape;
}

export function inputOption(): Option {
  return new Option(
    '--input <N,C,H,W>',
    'shape of the input (default: an image as the model was published for)',
  ).argParser(parseShape);
}
