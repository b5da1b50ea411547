#!/usr/bin/env python3
"""Writes test/goldens/pillow-resize.safetensors: what Pillow gives for resize(BILINEAR) and convert('L').

Run from the repository root with a Python that has Pillow (Debian: python3-pil):

    /usr/bin/python3 tools/pillow_resize_goldens.py

Inputs are not stored. Pixel i (row-major, channels last for colour) of the image called NAME is the top byte of
fmix32(i XOR crc32(NAME)), with fmix32 MurmurHash3's 32-bit finalizer; cases named "fashion*" take an image of
data/fashion-mnist (test split). Outputs are stored in Pillow's own order: rows, channels last.
"""
import gzip
import io
import json
import struct
import zlib

import PIL
from PIL import Image

# name, height, width, output height, output width, channels
SIZES = [
    ("up_28_96", 28, 28, 96, 96, 1),
    ("up_28_224", 28, 28, 224, 224, 1),
    ("down_96_28", 96, 96, 28, 28, 1),
    ("same_28_28", 28, 28, 28, 28, 1),
    ("wider_only", 13, 17, 13, 40, 1),
    ("taller_only", 13, 17, 31, 17, 1),
    ("up_down", 20, 50, 41, 7, 1),
    ("down_up", 50, 20, 7, 41, 1),
    ("odd", 37, 53, 61, 29, 1),
    ("one_pixel", 1, 1, 9, 5, 1),
    ("to_one_pixel", 23, 19, 1, 1, 1),
    ("one_wide", 31, 1, 12, 3, 1),
    ("one_tall", 1, 31, 3, 12, 1),
    ("far_down", 301, 199, 3, 2, 1),
    ("by_one_down", 65, 65, 64, 64, 1),
    ("by_one_up", 64, 64, 65, 65, 1),
    ("colour_up", 17, 23, 40, 31, 3),
    ("colour_down", 60, 45, 13, 22, 3),
]
FASHION = [(0, 96), (1, 96), (2, 64), (3, 224)]


def pixels(name, count):
    salt = zlib.crc32(name.encode())
    out = bytearray(count)
    for i in range(count):
        x = (i ^ salt) & 0xFFFFFFFF
        x ^= x >> 16
        x = x * 0x85EBCA6B & 0xFFFFFFFF
        x ^= x >> 13
        x = x * 0xC2B2AE35 & 0xFFFFFFFF
        x ^= x >> 16
        out[i] = x >> 24
    return bytes(out)


def image(name, height, width, channels):
    return Image.frombytes("L" if channels == 1 else "RGB", (width, height), pixels(name, height * width * channels))


def encoded(picture, **options):
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()


tensors = {}
cases = {}
for name, h, w, oh, ow, c in SIZES:
    result = image(name, h, w, c).resize((ow, oh), Image.BILINEAR)
    tensors[name] = ([oh, ow, c], result.tobytes())
    cases[name] = {"from": [h, w], "to": [oh, ow], "channels": c}

with gzip.open("data/fashion-mnist/t10k-images-idx3-ubyte.gz") as file:
    fashion = file.read()[16:]
for index, size in FASHION:
    name = f"fashion{index}_{size}"
    source = Image.frombytes("L", (28, 28), fashion[784 * index : 784 * (index + 1)])
    tensors[name] = ([size, size, 1], source.resize((size, size), Image.BILINEAR).tobytes())
    cases[name] = {"from": [28, 28], "to": [size, size], "channels": 1, "fashion": index}

colour = image("gray", 48, 40, 3)
tensors["gray"] = ([48, 40, 1], colour.convert("L").tobytes())

# Files as Pillow writes them, with what Pillow reads back as gray.
small = image("files", 12, 16, 3).resize((32, 24), Image.BILINEAR)
files = {
    "rgb.png": (small, {"format": "PNG"}),
    "rgba.png": (small.convert("RGBA"), {"format": "PNG"}),
    "gray.png": (small.convert("L"), {"format": "PNG"}),
    "palette.png": (small.quantize(16), {"format": "PNG"}),
    "bilevel.png": (small.convert("L").point(lambda v: 255 if v > 127 else 0).convert("1"), {"format": "PNG"}),
    "transparent.png": (small.convert("L"), {"format": "PNG", "transparency": small.convert("L").getpixel((3, 5))}),
    "rgb.jpg": (small, {"format": "JPEG", "quality": 95, "subsampling": 0}),
    "gray.jpg": (small.convert("L"), {"format": "JPEG", "quality": 95}),
    "progressive.jpg": (small, {"format": "JPEG", "quality": 95, "subsampling": 0, "progressive": True}),
}
for name, (picture, options) in files.items():
    data = encoded(picture, **options)
    tensors["file." + name] = ([len(data)], data)
    tensors["gray." + name] = ([24, 32, 1], Image.open(io.BytesIO(data)).convert("L").tobytes())

header = {"__metadata__": {"pillow": PIL.__version__, "cases": json.dumps(cases), "files": json.dumps(list(files))}}
offset = 0
for name, (shape, data) in tensors.items():
    header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [offset, offset + len(data)]}
    offset += len(data)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open("test/goldens/pillow-resize.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, data in tensors.values()))
print(f"{len(tensors)} tensors, {8 + len(text) + offset} bytes, Pillow {PIL.__version__}")
