#!/usr/bin/env python3
"""Writes test/goldens/torchvision.safetensors: what torchvision's ResNets compute, in float64 from float32 inputs.

Run from the repository root with a Python that has torchvision (Debian: python3-torchvision):

    /usr/bin/python3 tools/torchvision_goldens.py

Neither inputs nor weights are stored: element i of the tensor called NAME is lo + (hi - lo) * fmix32(i XOR crc32(NAME)) / 2^32,
rounded once to float32, with the ranges of `state` below; the images, NAME "x", lie in [-2, 2]. For each network NET:
NET.eval.logits; for those in TRAINED also NET.train.logits, NET.train.loss, the norm and the first 16 values of each
gradient, and the first 8 values of each running statistic after that pass.
"""
import json
import struct
import zlib

import numpy
import torch
import torchvision

SHAPE = [2, 3, 64, 64]
LABELS = [3, 917]
NETS = ["resnet34", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"]
TRAINED = ["resnet34"]


def formula(name, shape, lo=-1.0, hi=1.0):
    x = numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint32) ^ numpy.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> numpy.uint32(shift))) * numpy.uint32(factor)
    x ^= x >> numpy.uint32(16)
    values = lo + (hi - lo) * x.astype(numpy.float64) / 2**32
    return torch.from_numpy(values.astype(numpy.float32).astype(numpy.float64).reshape(shape))


def state(name, shape):
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_mean"):
        return formula(name, shape, -0.1, 0.1)
    if name.endswith("running_var"):
        return formula(name, shape, 0.5, 1.5)
    if len(shape) == 1:
        return formula(name, shape, 0.8, 1.2) if name.endswith("weight") else formula(name, shape, -0.1, 0.1)
    bound = ((1 if len(shape) == 2 else 6) / numpy.prod(shape[1:])) ** 0.5
    return formula(name, shape, -bound, bound)


def write(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, values in tensors.items():
        array = values.detach().numpy().astype("<f8")
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


tensors = {}
for name in NETS:
    net = getattr(torchvision.models, name)().double()
    net.load_state_dict({key: state(key, list(value.shape)) for key, value in net.state_dict().items()})
    x = formula("x", SHAPE, -2, 2)
    with torch.no_grad():
        tensors[f"{name}.eval.logits"] = net.eval()(x)
    if name in TRAINED:
        logits = net.train()(x)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS))
        loss.backward()
        tensors[f"{name}.train.logits"] = logits
        tensors[f"{name}.train.loss"] = loss
        for key, parameter in net.named_parameters():
            tensors[f"{name}.grad.{key}.norm"] = parameter.grad.norm()
            tensors[f"{name}.grad.{key}.head"] = parameter.grad.flatten()[:16]
        for key, buffer in net.named_buffers():
            if not key.endswith("num_batches_tracked"):
                tensors[f"{name}.buffer.{key}.head"] = buffer[:8]
    print(name, float(tensors[f"{name}.eval.logits"].abs().max()))
write(
    "test/goldens/torchvision.safetensors",
    tensors,
    {"x": json.dumps(SHAPE), "x_range": "[-2, 2]", "labels": json.dumps(LABELS), "torch": torch.__version__, "torchvision": torchvision.__version__},
)
