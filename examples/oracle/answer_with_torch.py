"""PyTorch's answers to `atalho oracle vectors --out DIR`: python3 answer_with_torch.py DIR results.safetensors"""
import json, sys
import numpy as np, torch, torch.nn.functional as F

folder, out = sys.argv[1:]
raw = open(f'{folder}/inputs.safetensors', 'rb').read()
length = int.from_bytes(raw[:8], 'little')
header = json.loads(raw[8:8 + length])
header.pop('__metadata__', None)

def tensor(name):  # the float32 inputs of a case; see https://github.com/huggingface/safetensors#format
    info = header[name]
    begin, end = (8 + length + offset for offset in info['data_offsets'])
    return torch.from_numpy(np.frombuffer(raw[begin:end], '<f4').copy().reshape(info['shape']))

def padded(x, a, value=0.0):  # padding as [top, bottom, left, right]
    top, bottom, left, right = a['padding']
    return F.pad(x, [left, right, top, bottom], value=value)

OPS = {
    'conv2d': lambda a, x, weight, bias=None: F.conv2d(padded(x, a), weight, bias, a['stride'], 0, a['dilation'], a['groups']),
    'linear': lambda a, x, weight, bias=None: F.linear(x, weight, bias),
    'matmul': lambda a, /, **t: torch.matmul(t['a'], t['b']),
    'batchNorm.eval': lambda a, x, runningMean, runningVar, weight=None, bias=None: F.batch_norm(x, runningMean, runningVar, weight, bias, eps=a['eps']),
    'relu': lambda a, x: torch.relu(x),
    'add': lambda a, /, **t: t['a'] + t.get('b', a.get('scalar')),
    'mul': lambda a, /, **t: t['a'] * t.get('b', a.get('scalar')),
    'softmax': lambda a, x: torch.softmax(x, a['dim']),
    'logSoftmax': lambda a, x: torch.log_softmax(x, a['dim']),
    'sum': lambda a, x: x.sum(a['dim'], a['keepdim']) if a['dim'] else x.sum(),
    'mean': lambda a, x: x.mean(a['dim'], a['keepdim']) if a['dim'] else x.mean(),
    'adaptiveAvgPool2d': lambda a, x: F.adaptive_avg_pool2d(x, a['outputSize']),
}

entries, body = {}, b''
for case in json.load(open(f'{folder}/manifest.json'))['cases']:
    if case['op'] not in OPS:
        continue
    inputs = {i['name']: tensor(f"{case['id']}/{i['name']}") for i in case['inputs'] if i['name'] != 'dy'}
    y = OPS[case['op']](case['attributes'], **inputs).contiguous().numpy().astype('<f4')
    entries[f"{case['id']}/y"] = {'dtype': 'F32', 'shape': list(y.shape), 'data_offsets': [len(body), len(body) + y.nbytes]}
    body += y.tobytes()
text = json.dumps(entries).encode()
open(out, 'wb').write(len(text).to_bytes(8, 'little') + text + body)
