#!/usr/bin/env python3
"""Weights go from atalho to PyTorch and back, and both make the same of them. Needs `npm run build`, and PyTorch with torchvision.

Run from the repository root (Debian: python3-torch and python3-torchvision, 1.13):

    /usr/bin/python3 tools/pytorch_roundtrip.py

Two networks: the chapter's, trained by `atalho train` on Fashion-MNIST, as the chapter's nn.Sequential; and torchvision's
resnet18. Each goes atalho -> PyTorch (safetensors) -> one SGD step there -> atalho (safetensors and torch.save's file) -> one
step here -> PyTorch, and once more from weights that PyTorch drew. Every file is loaded with strict=True, and the names must
agree here as well. On each side the same batch gives logits in eval mode, logits and loss in training mode, and a step of SGD
with momentum and weight decay.

A line a comparison: `equal` or `DIFFERS`, what, how far apart, and the bound. Weights on their way must not differ in a bit.
Results are float32 sums in two orders, so each bound is some multiple of what float32 rounding does: logits and loss relative
to the largest logit; a step relative to its length, in the Euclidean norm over all weights. A ReLU or a maximum whose inputs
are equal but for rounding may be decided the other way, which moves a gradient by far more than rounding itself; how far PyTorch
is from its own float64 result stands behind the figure. So the step is done in float64 too, by both, on a small part of the
batch: there nothing but rounding is left. Exit code 1 when a line says DIFFERS.
"""
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}  # as in pytorch_roundtrip.mjs
LOGITS = 2e-5
STEP = 2e-2
STATISTICS = 1e-5
DOUBLE = 1e-11

DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
CODES = {numpy.dtype(code): name for name, code in DTYPES.items()}


def read(path):
    """The tensors of a safetensors file, by name."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        begin, end = (8 + length + offset for offset in info["data_offsets"])
        tensors[name] = torch.from_numpy(numpy.frombuffer(data[begin:end], DTYPES[info["dtype"]]).reshape(info["shape"]).copy())
    return tensors


def write(path, tensors):
    """A safetensors file of these tensors."""
    header, data = {}, b""
    for name, values in tensors.items():
        array = numpy.ascontiguousarray(values.detach().numpy())
        header[name] = {"dtype": CODES[array.dtype], "shape": list(values.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


# The chapter's network, as d2l.ai writes it (7.6, PyTorch).
class Residual(nn.Module):
    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1 = nn.BatchNorm2d(num_channels)
        self.bn2 = nn.BatchNorm2d(num_channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.conv3:
            x = self.conv3(x)
        return F.relu(y + x)


def resnet_block(input_channels, num_channels, num_residuals, first_block=False):
    first = Residual(input_channels, num_channels, use_1x1conv=not first_block, strides=1 if first_block else 2)
    return [first] + [Residual(num_channels, num_channels) for _ in range(num_residuals - 1)]


def chapter_net():
    b1 = nn.Sequential(nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    b2 = nn.Sequential(*resnet_block(64, 64, 2, first_block=True))
    rest = [nn.Sequential(*resnet_block(64 * 2**i, 128 * 2**i, 2)) for i in range(3)]
    return nn.Sequential(b1, b2, *rest, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(512, 10))


NETS = {
    "d2l-resnet18": {"make": chapter_net, "shape": (8, 1, 96, 96), "classes": 10},
    "resnet18": {"make": torchvision.models.resnet18, "shape": (8, 3, 64, 64), "classes": 1000},
}

failed = False


def report(net, what, figure, bound, note=""):
    global failed
    good = figure <= bound
    failed |= not good
    shown = f"{figure:.1e} (bound {bound:.0e})" if isinstance(figure, float) else f"{figure} differ (bound {bound})"
    print(f"{'equal  ' if good else 'DIFFERS'}  {net:12}  {what:64}  {shown}{note}", flush=True)


def same_bits(net, what, got, want):
    different = sum(int((got[key].numpy().view("u1") != want[key].numpy().view("u1")).any()) for key in want if want[key].ndim > 0)
    different += sum(int(got[key].item() != want[key].item()) for key in want if want[key].ndim == 0)
    different += len(got.keys() ^ want.keys())
    report(net, what, different, 0, f" of {len(want)} tensors")


def under(tensors, prefix):
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def step_there(make, weights, batch, dtype=torch.float32):
    """What `pytorch_roundtrip.mjs step` does, by PyTorch."""
    net = make()
    net.load_state_dict(weights, strict=True)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.to(dtype)
    x, labels = batch["x"].to(dtype), batch["labels"]
    with torch.no_grad():
        logits = net.eval()(x)
    optimizer = torch.optim.SGD(net.parameters(), **SGD)
    train = net.train()(x)
    loss = F.cross_entropy(train, labels)
    loss.backward()
    optimizer.step()
    after = {f"after.{key}": value.detach().clone() for key, value in net.state_dict().items()}
    parameters = [key for key, _ in net.named_parameters()]
    results = {"eval.logits": logits, "train.logits": train.detach(), "train.loss": loss.detach(), **after}
    return results, before, parameters


def step_here(net, weights, batch, folder, *dtype):
    write(f"{folder}/batch.safetensors", batch)
    out = f"{folder}/here.safetensors"
    subprocess.run(["node", "tools/pytorch_roundtrip.mjs", "step", net, weights, f"{folder}/batch.safetensors", out, *dtype], check=True)
    return read(out)


def distance(a, b, parameters, before):
    """Of two sets of weights, relative to the length of the step from `before` to `b`."""
    off = sum(((a[f"after.{key}"].double() - b[f"after.{key}"].double()) ** 2).sum() for key in parameters)
    step = sum(((before[key].double() - b[f"after.{key}"].double()) ** 2).sum() for key in parameters)
    return float((off / step) ** 0.5)


def compare(net, path, weights, batch, folder):
    """The file's weights through both; returns the state dict after PyTorch's step."""
    make = NETS[net]["make"]
    here = step_here(net, weights, batch, folder)
    loaded = torch.load(weights) if str(weights).endswith(".pth") else read(weights)
    there, before, parameters = step_there(make, loaded, batch)
    exact, _, _ = step_there(make, loaded, batch, torch.float64)
    same_bits(net, f"{path}: loaded by PyTorch, strict=True, bits", before, loaded)
    same_bits(net, f"{path}: loaded by atalho, written back, bits", under(here, "before."), before)
    for key in ("eval.logits", "train.logits", "train.loss"):
        largest = exact[key.replace("loss", "logits")].abs().max()
        off, own = (float((there[key] - other[key].reshape(there[key].shape)).abs().max() / largest) for other in (here, exact))
        report(net, f"{path}: {key.replace('.', ' mode, ')}", off, LOGITS, f"; PyTorch's own {own:.1e}")
    own = distance(there, exact, parameters, before)
    report(net, f"{path}: weights after one step of SGD", distance(here, there, parameters, before), STEP, f"; PyTorch's own {own:.1e}")
    small = {"x": batch["x"][:4, :, :32, :32], "labels": batch["labels"][:4]}
    double, _, _ = step_there(make, loaded, small, torch.float64)
    off = distance(step_here(net, weights, small, folder, "float64"), double, parameters, before)
    report(net, f"{path}: the same of 4 images of 32x32, in float64", off, DOUBLE)
    counted = [key for key in before if key.endswith("num_batches_tracked")]
    statistics = [key for key in before if key.endswith(("running_mean", "running_var"))]
    off = max(float((here[f"after.{key}"] - there[f"after.{key}"]).abs().max() / there[f"after.{key}"].abs().max()) for key in statistics)
    report(net, f"{path}: running statistics after it", off, STATISTICS)
    same_bits(net, f"{path}: batches counted", *({key: side[f"after.{key}"] for key in counted} for side in (here, there)))
    return under(there, "after.")


def main():
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        for net, spec in NETS.items():
            batch = {"x": torch.rand(spec["shape"]) * 2 - 1, "labels": torch.randint(spec["classes"], spec["shape"][:1])}
            ours = f"{folder}/{net}.safetensors"
            if net == "d2l-resnet18":
                flags = "--limit 64 --test-limit 16 --batch-size 16 --epochs 1 --lr 0.01".split()
                run = ["node", "dist/cli/main.js", "train", "--model", net, *flags, "--out", f"{folder}/run"]
                subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                ours = f"{folder}/run/weights.safetensors"
            else:
                subprocess.run(["node", "tools/pytorch_roundtrip.mjs", "train", net, ours], check=True)
            after = compare(net, "atalho's", ours, batch, folder)
            write(f"{folder}/back.safetensors", after)
            compare(net, "PyTorch's, from those", f"{folder}/back.safetensors", batch, folder)
            fresh = spec["make"]().state_dict()
            torch.save(fresh, f"{folder}/fresh.pth")
            compare(net, "PyTorch's own, .pth", f"{folder}/fresh.pth", batch, folder)
    sys.exit(1 if failed else 0)


main()
