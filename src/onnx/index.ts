/** `atalho/onnx`: models to and from ONNX files. Needs the package `@bufbuild/protobuf`. */
export { type ExportOnnxOptions, exportOnnx } from './export.js';
export { type ImportOnnxOptions, importOnnx, OnnxModel } from './import.js';
