/** `atalho/data`: data sets, the resize, batches. What needs Node is imported only when it is called. */
export type { Augmentation } from './augment.js';
export { checkDataset, type ImageDataset } from './dataset.js';
export { type FashionMnistOptions, fashionMnist, fashionMnistClasses } from './fashionMnist.js';
export { type ImageFolderOptions, imageFolder, imageFolderClasses } from './imageFolder.js';
export { type Batch, type BatchOptions, batches, countBatches } from './loader.js';
export { imagenetNormalization, type Normalization } from './normalize.js';
export type { Prefetch } from './prefetch.js';
export {
  centerCrop,
  type ImagePlanes,
  normalize,
  type PreprocessOptions,
  preprocess,
  resizeShorterSide,
} from './preprocess.js';
export { Resizer, resizeBilinear } from './resize.js';
