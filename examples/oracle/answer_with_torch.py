"""PyTorch's answers to `atalho oracle vectors --out DIR`: python3 answer_with_torch.py DIR results.safetensors"""
import json, sys
import numpy as np, torch, torch.nn.functional as F

folder, out = sys.argv[1:]
raw = open(f'{folder}/inputs.safetensors', 'rb').read()  # https://github.com/huggingface/safetensors#format
length = int.from_bytes(raw[:8], 'little')
header, arrays = json.loads(raw[8:8 + length]), np.frombuffer(raw[8 + length:], '<f4')
tensor = lambda dtype, shape, data_offsets: torch.tensor(arrays[data_offsets[0] // 4:data_offsets[1] // 4].reshape(shape))
sides = lambda top, bottom, left, right: [left, right, top, bottom]  # padding, as F.pad takes it

OPS = {  # a: attributes, t: inputs
    'conv2d': lambda a, t: F.conv2d(F.pad(t['x'], sides(*a['padding'])), t['weight'], t.get('bias'), a['stride'], 0, a['dilation'], a['groups']),
    'linear': lambda a, t: F.linear(t['x'], t['weight'], t.get('bias')),
    'matmul': lambda a, t: torch.matmul(t['a'], t['b']),
    'batchNorm.eval': lambda a, t: F.batch_norm(t['x'], t['runningMean'], t['runningVar'], t.get('weight'), t.get('bias'), eps=a['eps']),
    'relu': lambda a, t: torch.relu(t['x']),
    'add': lambda a, t: t['a'] + t.get('b', a.get('scalar')),
    'mul': lambda a, t: t['a'] * t.get('b', a.get('scalar')),
    'sum': lambda a, t: t['x'].sum(a['dim'], a['keepdim']) if a['dim'] else t['x'].sum(),
    'mean': lambda a, t: t['x'].mean(a['dim'], a['keepdim']) if a['dim'] else t['x'].mean(),
    'softmax': lambda a, t: torch.softmax(t['x'], a['dim']),
    'logSoftmax': lambda a, t: torch.log_softmax(t['x'], a['dim']),
    'adaptiveAvgPool2d': lambda a, t: F.adaptive_avg_pool2d(t['x'], a['outputSize']),
}

entries, body = {}, b''
for case in (case for case in json.load(open(f'{folder}/manifest.json'))['cases'] if case['op'] in OPS):
    inputs = {i['name']: tensor(**header[f"{case['id']}/{i['name']}"]) for i in case['inputs']}
    y = OPS[case['op']](case['attributes'], inputs).contiguous().numpy()
    entries[f"{case['id']}/y"] = {'dtype': 'F32', 'shape': list(y.shape), 'data_offsets': [len(body), len(body) + y.nbytes]}
    body += y.tobytes()
text = json.dumps(entries).encode()
open(out, 'wb').write(len(text).to_bytes(8, 'little') + text + body)
