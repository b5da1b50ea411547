/** The chapter's network, of its PyTorch tab alone, under the names of the whole library. */
export {
  type PytorchResnetOptions as D2lResnetOptions,
  pytorchResnet as d2lResnet,
  pytorchResnet18 as d2lResnet18,
} from '../models/d2lPytorch.js';
