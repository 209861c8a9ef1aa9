"""PyTorch files in the format before 1.6, made byte by byte."""

import struct

import numpy as np

HEAD = b"\x80\x02K\x01." * 3  # in place of magic number, version and byte order, which are ignored


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _whole(value):
    return b"J" + struct.pack("<i", value)


def packed(*items):
    return b"(" + b"".join(items) + b"t"


def torch_tensor(shape, strides, offset=0, count=6, kind="FloatStorage"):
    storage = packed(text("storage"), f"ctorch\n{kind}\n".encode(), text("7"), text("cpu"), _whole(count), b"N") + b"Q"
    hooks = b"ccollections\nOrderedDict\n)R"
    sizes = (packed(*map(_whole, numbers)) for numbers in (shape, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + packed(storage, _whole(offset), *sizes, b"\x89", hooks) + b"R"


def torch_file(tensor, numbers=b"", key="7"):
    described = b"\x80\x02ccollections\nOrderedDict\n)R" + text("w") + tensor + b"s."
    return HEAD + described + b"\x80\x02](" + text(key) + b"e." + numbers


def torch_numbers(values, kind="<f4"):
    return struct.pack("<q", len(values)) + np.array(values, kind).tobytes()
