#!/usr/bin/env python3
"""Writes test/goldens/torchvision-transforms.safetensors: what torchvision's Resize, CenterCrop, ToTensor and Normalize give.

Run from the repository root with a Python that has torchvision and Pillow (Debian: python3-torchvision):

    /usr/bin/python3 tools/torchvision_transform_goldens.py

Inputs are not stored. Pixel i (rows, channels last) of the image called NAME is the top byte of
fmix32(i XOR crc32(NAME)), as in pillow_resize_goldens.py. Bytes are stored as they are, rows, channels last; floats
[C, H, W]; of the case at ImageNet's own size only the SHA-256 of the floats.
"""
import hashlib
import json
import struct
import zlib

import PIL
import torchvision
from PIL import Image
from torchvision import transforms as T

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# name, height, width, resize, crop height, crop width, channels
CASES = [
    ("landscape", 37, 61, 32, 28, 28, 3),
    ("portrait", 61, 37, 32, 28, 28, 3),
    ("square", 40, 40, 32, 28, 28, 3),
    ("same", 32, 45, 32, 27, 27, 3),
    ("odd_rest", 33, 33, 29, 24, 22, 3),
    ("up", 9, 14, 24, 20, 21, 3),
    ("smaller", 20, 31, 12, 17, 15, 3),
    ("smaller_odd", 21, 12, 9, 16, 16, 3),
    ("gray", 30, 50, 16, 14, 14, 1),
]

def image(name, height, width, channels):
    salt = zlib.crc32(name.encode())
    out = bytearray(height * width * channels)
    for i in range(len(out)):
        x = (i ^ salt) & 0xFFFFFFFF
        x ^= x >> 16
        x = x * 0x85EBCA6B & 0xFFFFFFFF
        x ^= x >> 13
        x = x * 0xC2B2AE35 & 0xFFFFFFFF
        out[i] = (x ^ x >> 16) >> 24
    return Image.frombytes("L" if channels == 1 else "RGB", (width, height), bytes(out))


tensors = {}
cases = {}
for name, h, w, size, ch, cw, c in CASES:
    cut = T.CenterCrop((ch, cw))(T.Resize(size)(image(name, h, w, c)))
    tensors[name] = ("U8", [ch, cw, c], cut.tobytes())
    cases[name] = {"from": [h, w], "resize": size, "crop": [ch, cw], "channels": c}

column = Image.merge("RGB", [Image.frombytes("L", (16, 16), bytes(range(256)))] * 3)
floats = T.Normalize(MEAN, STD)(T.ToTensor()(column))
tensors["normalized"] = ("F32", list(floats.shape), floats.numpy().tobytes())

whole = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize(MEAN, STD)])(image("whole", 375, 500, 3))
sizes = []
for h, w, size in [(375, 500, 256), (500, 375, 256), (333, 499, 256), (1, 7, 3), (97, 1021, 232), (1023, 768, 256)]:
    out = T.Resize(size)(Image.new("L", (w, h)))
    sizes.append([h, w, size, out.height, out.width])

header = {
    "__metadata__": {
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "cases": json.dumps(cases),
        "sizes": json.dumps(sizes),
        "whole": hashlib.sha256(whole.numpy().tobytes()).hexdigest(),
    }
}
offset = 0
for name, (dtype, shape, data) in tensors.items():
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
    offset += len(data)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open("test/goldens/torchvision-transforms.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))
print(f"{len(tensors)} tensors, {8 + len(text) + offset} bytes, torchvision {torchvision.__version__}")
