/** Whole networks. */
export { type D2lResnetOptions, d2lResnet, d2lResnet18 } from './d2l.js';
