"""The arrays of a PyTorch file in the format before 1.6, read without PyTorch and without unpickling.

Such a file describes its tensors as a pickle, which can call anything. This module disassembles the opcodes, which
executes nothing, and interprets the few that plain tensors need: data, and four names.
"""

import io
import pickletools
import warnings

import numpy as np

from kdloss.errors import CheckpointError

_DTYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
_DICT, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_NAMES = {_DICT, _TENSOR, *_DTYPES}
_PLAIN = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_torch_arrays(content):
    """Name -> array of a file, which holds descriptions first and then the numbers.

    Args:
        content: its bytes.

    Raises:
        CheckpointError: cut short, damaged, or not plain tensors only; the message does not name the file.
    """
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes in texts
            return _arrays(file)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged program makes the interpreter raise anything
        raise CheckpointError(f"no tensors that can be read ({type(error).__name__}: {str(error)[:200]!r})") from error


def _arrays(file):
    for _ in range(3):  # magic number, version, byte order
        _described(file)
    tensors, keys = _described(file), _described(file)
    counts = {tensor.key: (tensor.dtype, tensor.count) for tensor in tensors.values()}
    storages = {key: _storage(file, *counts[key]) for key in keys}
    return {name: tensor.array(storages[tensor.key]) for name, tensor in tensors.items()}


def _storage(file, dtype, count):
    (stored,) = np.frombuffer(file.read(8), "<i8")
    if stored != count:
        raise CheckpointError(f"weights of {stored} numbers where {count} are described")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


class _Tensor:
    """The description of a tensor, which comes before its numbers."""

    def __init__(self, storage, offset, shape, strides, requires_grad, hooks):
        _, name, self.key, _, self.count, _ = storage
        self.dtype, self._offset, self._shape, self._strides = _DTYPES[name], offset, shape, strides

    def array(self, storage):
        """A view of the stored numbers."""
        places = zip(self._shape, self._strides, strict=True)
        last = self._offset + sum((length - 1) * stride for length, stride in places)
        # Memory beyond the storage would be read otherwise.
        if min((self._offset, *self._shape, *self._strides)) < 0 or last >= storage.size:
            raise CheckpointError(f"a tensor of {self._shape} that leaves the {storage.size} numbers it is part of")
        steps = tuple(storage.itemsize * stride for stride in self._strides)
        return np.lib.stride_tricks.as_strided(storage[self._offset :], self._shape, steps)


def _described(file):
    """The value that the next pickle of a file describes. Reads up to the end of this pickle."""
    stack, marks, memo = [], [], {}

    def since_mark():
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO" | "STOP":
                pass
            case name if name in _PLAIN:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case name if name in _TUPLES:
                items = [stack.pop() for _ in range(_TUPLES[name])]
                stack.append(tuple(reversed(items)))
            case "APPENDS":
                items = since_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                items = since_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BUILD":  # an attribute of the dict, with the versions of layers
                stack.pop()
            case "GLOBAL":
                if argument not in _NAMES:
                    raise CheckpointError(f"weights that ask for {argument.replace(' ', '.')}: expected only arrays")
                stack.append(argument)
            case "BINPERSID":
                pass  # a storage stays the tuple that describes it
            case "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                stack.append(_made(called, arguments))
            case name:
                raise CheckpointError(f"weights with the opcode {name}: expected only arrays")
    (value,) = stack
    return value


def _made(called, arguments):
    """The result of a call of one of the two allowed names."""
    if called == _DICT and not arguments:
        return {}
    if called == _TENSOR:
        return _Tensor(*arguments)
    raise CheckpointError(f"weights that call {called!r}: expected only arrays")
