/** `atalho/onnx`, which wants `@bufbuild/protobuf` beside it. */
import { d2lResnet, reference } from 'atalho';
import { exportOnnx, importOnnx } from 'atalho/onnx';

export async function onnx(): Promise<unknown> {
  const device = reference();
  const net = d2lResnet({ channels: [4], blocks: [1], device, seed: 0 });
  const file = exportOnnx(net, { inputShape: [1, 1, 16, 16] });
  return { parameters: importOnnx(file, { device }).parameters().length === net.parameters().length };
}
