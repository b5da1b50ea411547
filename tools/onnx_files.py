"""Writes test/onnx/*.onnx, small networks as PyTorch exports them, and expected.json, what PyTorch computes with them in float64.

    python3 tools/onnx_files.py test/onnx     # PyTorch 1.13; needs no onnx package

The input is x[i] = ((7919 i) mod 255) / 128 - 1, row-major.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

# As the network is: batch norm stays apart, and no weight is computed in advance.
PRESERVE = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
DYNAMIC = {"x": {0: "N"}, "y": {0: "N"}}


class Residual(nn.Module):
    def __init__(self, inputs, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, stride=stride)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(inputs, channels, 1, stride=stride) if stride > 1 else None
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.conv3 is None else self.conv3(x)))


def resnet():
    stem = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2, padding=2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    head = (nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Dropout(), nn.Linear(6, 3))
    return nn.Sequential(stem, Residual(4, 4), Residual(4, 6, 2), *head)


class Pools(nn.Module):
    def __init__(self):
        super().__init__()
        self.even = nn.Conv2d(2, 4, (2, 3), padding=(0, 1), groups=2)
        self.wide = nn.Conv2d(4, 4, 3, dilation=2, padding=2, bias=False)

    def forward(self, x):
        x = F.max_pool2d(self.even(F.pad(x, (0, 0, 0, 1))), 3, 2, 1, ceil_mode=True)
        x = F.avg_pool2d(self.wide(x), 3, 2, 1, ceil_mode=True, count_include_pad=False)
        x = F.avg_pool2d(F.max_pool2d(x, 2, 1, dilation=2), 2, 1, 1)
        return F.adaptive_max_pool2d(x, 1).flatten(1)


class Moves(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 3).reshape(1, 3, 1, 1))
        self.table = nn.Parameter(torch.linspace(-1, 1, 4 * 5).reshape(4, 5))

    def forward(self, x):
        x = torch.cat([x * self.scale, F.pad(x, (2, 3, 0, 2), value=0.5)[:, 1:, :4, ::2]], 1)
        x = (x.permute(0, 2, 3, 1).reshape(-1, 4, 5) / 2 - 0.25).softmax(-1)
        x = torch.matmul(x.transpose(1, 2), self.table)
        return F.log_softmax(x.mean(1) + x.sum((1,), keepdim=True).reshape(-1, 5), dim=1)


def spread(net):
    """Statistics and factors that are not 0 and 1."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for t, low, high in ((module.weight, 0.5, 1.5), (module.running_var, 0.5, 1.5), (module.running_mean, -0.2, 0.2)):
                nn.init.uniform_(t, low, high)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return net


def main(folder):
    torch.manual_seed(0)
    trained = spread(resnet())
    exports = {
        "resnet-folded": (trained, (2, 1, 20, 20), dict(opset_version=11)),
        "resnet": (trained, (2, 1, 20, 20), dict(opset_version=17, dynamic_axes=DYNAMIC, **PRESERVE)),
        "resnet-fresh": (resnet(), (2, 1, 20, 20), dict(opset_version=13, **PRESERVE)),
        "resnet-old": (trained, (2, 1, 20, 20), dict(opset_version=8, **PRESERVE)),
        "pools": (Pools(), (1, 2, 15, 18), dict(opset_version=15)),
        "moves-11": (Moves(), (2, 3, 4, 5), dict(opset_version=11)),
        "moves-16": (Moves(), (2, 3, 4, 5), dict(opset_version=16)),
    }
    expected = {}
    for name, (net, shape, options) in exports.items():
        net.eval()
        count = torch.Size(shape).numel()
        x = ((torch.arange(count) * 7919 % 255).double() / 128 - 1).reshape(shape)
        torch.onnx.export(net, x.float(), str(folder / f"{name}.onnx"), input_names=["x"], output_names=["y"], **options)
        with torch.no_grad():
            y = net.double()(x)
        net.float()
        state = [key for key in net.state_dict() if not key.endswith("num_batches_tracked")]
        expected[name] = {"x": list(shape), "state": state, "shape": list(y.shape), "y": y.flatten().tolist()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in expected.items())
    (folder / "expected.json").write_text("{\n" + lines + "\n}\n")


main(Path(sys.argv[1]))
