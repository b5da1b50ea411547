/**
 * ONNX's messages as far as this library reads and writes them, with the field numbers of onnx.proto3. Fields that are
 * not listed are skipped.
 * @see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
 */
import { bytes, double, float, int32, int64, type MessageOf, message, optional, repeated, string } from './protobuf.js';

/** TensorProto.DataType. */
export const DATA_TYPE = {
  FLOAT: 1,
  UINT8: 2,
  INT8: 3,
  UINT16: 4,
  INT16: 5,
  INT32: 6,
  INT64: 7,
  STRING: 8,
  BOOL: 9,
  FLOAT16: 10,
  DOUBLE: 11,
  UINT32: 12,
  UINT64: 13,
  COMPLEX64: 14,
  COMPLEX128: 15,
  BFLOAT16: 16,
} as const;

/** AttributeProto.AttributeType. */
export const ATTRIBUTE_TYPE = {
  FLOAT: 1,
  INT: 2,
  STRING: 3,
  TENSOR: 4,
  GRAPH: 5,
  FLOATS: 6,
  INTS: 7,
  STRINGS: 8,
  TENSORS: 9,
  GRAPHS: 10,
  SPARSE_TENSOR: 11,
} as const;

const StringStringEntryProto = {
  key: optional(1, string),
  value: optional(2, string),
};

export const TensorProto = {
  dims: repeated(1, int64),
  dataType: optional(2, int32),
  floatData: repeated(4, float),
  /** Also FLOAT16 and BFLOAT16, as bits, and BOOL. */
  int32Data: repeated(5, int32),
  int64Data: repeated(7, int64),
  name: optional(8, string),
  rawData: optional(9, bytes),
  doubleData: repeated(10, double),
  externalData: repeated(13, message(StringStringEntryProto)),
  /** 1: the elements are in a file of their own. */
  dataLocation: optional(14, int32),
};

/** Graphs in attributes, which only control flow has, stay bytes; so files nest to a fixed depth. */
export const AttributeProto = {
  name: optional(1, string),
  f: optional(2, float),
  i: optional(3, int64),
  s: optional(4, bytes),
  t: optional(5, message(TensorProto)),
  g: optional(6, bytes),
  floats: repeated(7, float),
  ints: repeated(8, int64),
  strings: repeated(9, bytes),
  type: optional(20, int32),
  refAttrName: optional(21, string),
};

export const NodeProto = {
  input: repeated(1, string),
  output: repeated(2, string),
  name: optional(3, string),
  opType: optional(4, string),
  attribute: repeated(5, message(AttributeProto)),
  domain: optional(7, string),
};

const Dimension = {
  dimValue: optional(1, int64),
  dimParam: optional(2, string),
};

const TensorShapeProto = {
  dim: repeated(1, message(Dimension)),
};

const TypeProtoTensor = {
  elemType: optional(1, int32),
  shape: optional(2, message(TensorShapeProto)),
};

const TypeProto = {
  tensorType: optional(1, message(TypeProtoTensor)),
};

export const ValueInfoProto = {
  name: optional(1, string),
  type: optional(2, message(TypeProto)),
};

export const GraphProto = {
  node: repeated(1, message(NodeProto)),
  name: optional(2, string),
  initializer: repeated(5, message(TensorProto)),
  input: repeated(11, message(ValueInfoProto)),
  output: repeated(12, message(ValueInfoProto)),
  sparseInitializer: repeated(15, bytes),
};

const OperatorSetIdProto = {
  domain: optional(1, string),
  version: optional(2, int64),
};

export const ModelProto = {
  irVersion: optional(1, int64),
  producerName: optional(2, string),
  producerVersion: optional(3, string),
  docString: optional(6, string),
  graph: optional(7, message(GraphProto)),
  opsetImport: repeated(8, message(OperatorSetIdProto)),
};

export type OnnxTensor = MessageOf<typeof TensorProto>;
export type OnnxAttribute = MessageOf<typeof AttributeProto>;
export type OnnxNode = MessageOf<typeof NodeProto>;
export type OnnxValueInfo = MessageOf<typeof ValueInfoProto>;
export type OnnxGraph = MessageOf<typeof GraphProto>;
export type OnnxFile = MessageOf<typeof ModelProto>;
