"""The chapter's ResNet-18 in PyTorch: python3 pytorch.py GIVEN WORKLOAD THREADS LABELS; a line 'run' is answered by JSON."""
import json
import resource
import struct
import sys
import time

import numpy
import torch
from torch import nn

path, workload, threads, labels = sys.argv[1:]
torch.set_num_threads(int(threads))
# What the interpreter and the library take alone.
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

with open(path, 'rb') as file:
    content = file.read()
length = struct.unpack('<Q', content[:8])[0]
header = json.loads(content[8 : 8 + length])


def tensor(name):
    begin, end = header[name]['data_offsets']
    values = numpy.frombuffer(content[8 + length + begin : 8 + length + end], dtype='<f4').copy()
    return torch.from_numpy(values).reshape(header[name]['shape'])


class Residual(nn.Module):
    def __init__(self, inputs, channels, use_1x1conv=False, strides=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv3 = nn.Conv2d(inputs, channels, 1, stride=strides) if use_1x1conv else None
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (self.conv3(x) if self.conv3 else x))


def block(inputs, channels, first=False):
    shrinks = not first
    return nn.Sequential(
        Residual(inputs, channels, use_1x1conv=shrinks, strides=2 if shrinks else 1), Residual(channels, channels)
    )


x = tensor('input')
classes = [v['shape'] for k, v in header.items() if k.endswith('.bias')][-1][0]
net = nn.Sequential(
    nn.Sequential(
        nn.Conv2d(x.shape[1], 64, 7, stride=2, padding=3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
    ),
    block(64, 64, first=True),
    block(64, 128),
    block(128, 256),
    block(256, 512),
    nn.AdaptiveAvgPool2d((1, 1)),
    nn.Flatten(),
    nn.Linear(512, classes),
)
state = net.state_dict()
for name in state:
    if name in header:
        state[name] = tensor(name)
net.load_state_dict(state)
del content

if workload == 'infer':
    net.eval()

    def run():
        with torch.no_grad():
            return net(x).flatten().tolist()

else:
    net.train()
    target = torch.tensor([int(v) for v in labels.split(',')])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()

    def run():
        optimizer.zero_grad()
        loss = criterion(net(x), target)
        loss.backward()
        optimizer.step()
        return [loss.item()]


print(json.dumps({'version': torch.__version__}), flush=True)
for _ in sys.stdin:
    start, cpu = time.perf_counter(), time.process_time()
    outputs = run()
    took = (time.perf_counter() - start) * 1000
    print(
        json.dumps(
            {
                'outputs': outputs,
                'ms': took,
                'cpuMs': (time.process_time() - cpu) * 1000,
                'base': base,
                'peak': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        ),
        flush=True,
    )
