#!/usr/bin/env python3
"""Writes the files of test/pth: what torch.save makes of tensors, checkpoints, and things that must be refused.

Run from the repository root with a Python that has PyTorch (Debian: python3-torch, 1.13):

    /usr/bin/python3 tools/pth_files.py

Expected values are not stored. Element i of a tensor of `size` elements that begins at `start` is made from
k(i) = (7·(start + i) + 3) mod 23 − 11 by the rule of its dtype in VALUES; test/pth.test.ts has the same rules. NAME.pth
is the zip layout, NAME.legacy.pth the legacy one, NAME.p4.pth has pickle protocol 4 (else 2). Each file that can be
read is read back here with torch.load first.
"""
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import torch

FOLDER = "test/pth"

VALUES = {
    torch.float64: lambda k: k / 3,
    torch.float32: lambda k: k / 3,
    torch.float16: lambda k: k / 4,
    torch.bfloat16: lambda k: k / 4,
    torch.int64: lambda k: k * 2**50 + 1,
    torch.int32: lambda k: k * 2**20 + 1,
    torch.int16: lambda k: k * 2**9 + 1,
    torch.int8: lambda k: k,
    torch.uint8: lambda k: k + 200,
    torch.bool: lambda k: k > 0,
}


def tensor(*shape, start=0, dtype=torch.float32):
    size = 1
    for extent in shape:
        size *= extent
    values = [VALUES[dtype]((7 * (start + i) + 3) % 23 - 11) for i in range(size)]
    return torch.tensor(values, dtype=dtype).reshape(shape)


def write(name, data):
    with open(f"{FOLDER}/{name}", "wb") as file:
        file.write(data)


def saved(value, legacy=False, protocol=2):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return file.getvalue()


def save(name, value, protocols=(2,), layouts=("", ".legacy"), check=True):
    for legacy in layouts:
        for protocol in protocols:
            data = saved(value, bool(legacy), protocol)
            if check:
                torch.load(io.BytesIO(data))
            write(f"{name}{'' if protocol == 2 else f'.p{protocol}'}{legacy}.pth", data)


def rezipped(data, change=lambda entries: None, compression=zipfile.ZIP_STORED):
    """The same zip written by Python, after `change` of its entries."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as target:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            target.writestr(info, content)
    return out.getvalue()


class Reduced:
    """Pickled as a call of `function`."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


os.makedirs(FOLDER, exist_ok=True)

# Every dtype.
save("dtypes", {str(dtype)[6:]: tensor(2, 3, dtype=dtype) for dtype in VALUES})

# Every kind of window on a storage.
base = tensor(4, 6)
halves = tensor(3, 4, dtype=torch.float16)
longs = tensor(3, 4, dtype=torch.int64)
bytes_ = tensor(3, 4, dtype=torch.uint8)
shorts = tensor(3, 4, dtype=torch.int16)
windows = OrderedDict(
    base=base,
    transposed=base.t(),
    row=base[2],
    rows=base[1:3],
    column=base[:, 4],
    steps=base[1::2, ::3],
    flipped_axes=tensor(2, 3, 4).permute(2, 0, 1),
    channels_last=tensor(2, 3, 2, 2).to(memory_format=torch.channels_last),
    halves=halves.t(),
    longs=longs.t(),
    bytes=bytes_.t(),
    shorts=shorts[1:].t(),
    unit_axis=base[:, 1:2][2:3],
    scalar=tensor(),
    scalar_of_row=base[1, 3],
    empty=torch.zeros(0, 3),
    nothing=torch.zeros(0),
    empty_window=base[2:2],
    expanded=tensor(1, 3).expand(5, 3),
    parameter=torch.nn.Parameter(tensor(2, 2)),
    frozen=torch.nn.Parameter(base.t(), requires_grad=False),
)
windows["again"] = windows["row"]
save("windows", windows)


# A checkpoint as training scripts write it.
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.bn = torch.nn.BatchNorm2d(2)


net = Net()
with torch.no_grad():
    for parameter in net.parameters():
        parameter.copy_(tensor(*parameter.shape))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
for parameter in net.parameters():
    optimizer.state[parameter]["momentum_buffer"] = tensor(*parameter.shape, start=5)
checkpoint = {
    "state_dict": net.state_dict(),
    "optimizer": optimizer.state_dict(),
    "epoch": 12,
    "lr": 0.1,
    "shape": (1, (2, 3), []),
    "best": None,
    "done": True,
    "resumed": False,
    "large": [2**31, -(2**31) - 1, 2**53 - 1, 2**53, -(2**63), 2**100, -(2**100), -1, 255, 256, 65536],
    "floats": [float("inf"), float("-inf"), -0.0, 1e-300],
    "size": net.conv.weight.shape,
    "device": torch.device("cuda:1"),
    "dtype": torch.bfloat16,
    "naïve “名” 🙂": "ça 🙂\n\\u0041",
    (1, "a"): "tuple",
    7: "int",
    "__proto__": {"polluted": 1},
}
save("checkpoint", checkpoint, protocols=(2, 3, 4, 5))
save("checkpoint", checkpoint, protocols=(1,))
save("bytes", {"bytes": b"\x00\xff", "long": b"b" * 300}, protocols=(3, 5), layouts=("",))
plain = {k: v for k, v in checkpoint.items() if k in ("epoch", "lr", "shape", "best", "done", "resumed", "large", "floats")}
plain.update({k: v for k, v in checkpoint.items() if isinstance(v, str)})
save("plain", plain, protocols=(0,))

state_dict = {"weight": tensor(2, 3), "bias": tensor(2)}
save("tensor", tensor(2, 3))
save("wrapped", {f"module.{name}": value for name, value in state_dict.items()}, layouts=("",))
save("half_wrapped", {"module.weight": tensor(2, 3), "bias": tensor(2)}, layouts=("",))

# The zip layout as others write it.
small = saved({"weight": tensor(2, 3), "bias": tensor(2)})
zipfile.ZIP64_LIMIT = 0
zip64 = rezipped(small)
zipfile.ZIP64_LIMIT = (1 << 31) - 1
with_order = rezipped(small, lambda entries: entries.update({"archive/byteorder": b"little"}))
for name, data in {
    "zip64": zip64,
    "stored": rezipped(small),
    "deflated": rezipped(saved({"weight": tensor(20, 30), "zeros": torch.zeros(999)}), compression=zipfile.ZIP_DEFLATED),
    "byteorder": with_order,
}.items():
    torch.load(io.BytesIO(data))
    write(f"{name}.pth", data)
write("big_endian.pth", rezipped(small, lambda entries: entries.update({"archive/byteorder": b"big"})))
write("bzip2.pth", rezipped(small, compression=zipfile.ZIP_BZIP2))
scripted = io.BytesIO()
torch.jit.save(torch.jit.script(torch.nn.ReLU()), scripted)
write("torchscript.pt", scripted.getvalue())

# Forms of old: a Parameter as its class, with the state of a Variable; an OrderedDict of Python 2; views of storages.
old = Reduced(
    OrderedDict,
    [
        ["weight", Reduced(torch.nn.Parameter, tensor(2, 3), True)],
        ["bias", Reduced(torch.nn.Parameter, tensor(2), state=(True, False, OrderedDict()))],
    ],
)
save("old", old)


class ViewPickler(pickle.Pickler):
    """Storages as PyTorch 0.1 wrote them: views of one root. A pair (key, offset) stands for such a view."""

    def persistent_id(self, value):
        if isinstance(value, tuple) and len(value) == 3 and value[0] == "view":
            return ("storage", torch.FloatStorage, "root", "cpu", 24, (f"view{value[1]}", value[1], value[2]))
        return None


views = io.BytesIO()
for header in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
    pickle.dump(header, views, protocol=2)
ViewPickler(views, protocol=2).dump(
    {
        "at6": Reduced(torch._utils._rebuild_tensor, ("view", 6, 12), 0, (2, 3), (6, 1)),
        "at12": Reduced(torch._utils._rebuild_tensor, ("view", 12, 6), 1, (3,), (2,)),
    }
)
pickle.dump(["root"], views, protocol=2)
views.write(struct.pack("<q24f", 24, *tensor(24).tolist()))
views.seek(0)
assert torch.equal(torch.load(views)["at6"], base.flatten()[6:].as_strided((2, 3), (6, 1)))
write("views.legacy.pth", views.getvalue())
write("big_endian.legacy.pth", saved(state_dict, legacy=True).replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))

# What must be refused. None of these is loaded here.
save("system", {"weight": tensor(2), "run": Reduced(os.system, "echo pwned")}, check=False, protocols=(2, 4))
save("eval", Reduced(eval, "1 + 1"), check=False)
save("module", torch.nn.Linear(2, 1), check=False)
save("own_module", net, check=False, layouts=("",))
save("instance", Reduced(zipfile.ZipInfo), check=False, layouts=("",))
loop = [1]
loop.append(loop)
save("loop", {"loop": loop}, check=False, layouts=("",))
save("set", {"set": {1, 2}}, check=False, layouts=("",), protocols=(2, 4))
save("complex", torch.zeros(2, dtype=torch.complex64), check=False, layouts=("",))
save("sparse", torch.eye(2).to_sparse(), check=False, layouts=("",))
save("storage", {"storage": tensor(2).storage()}, check=False)
save("type", {"type": torch.FloatStorage, "size": torch.Size}, check=False, layouts=("",))
save("huge_expanded", {"weight": tensor(2), "huge": torch.zeros(1).expand(10**9)}, check=False)
negated = Reduced(
    torch._utils._rebuild_tensor_v2, tensor(2).storage(), 0, (2,), (1,), False, OrderedDict(), {"neg": True}
)
save("negated", negated, check=False, layouts=("",))

files = sorted(os.listdir(FOLDER))
total = sum(os.path.getsize(f"{FOLDER}/{name}") for name in files)
print(f"{len(files)} files, {total} bytes, PyTorch {torch.__version__}")
