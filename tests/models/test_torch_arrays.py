"""PyTorch files, made byte by byte: their arrays are read, and nothing in them is executed."""

import numpy as np
import pytest

from kdloss.errors import CheckpointError
from kdloss.models.torch_arrays import read_torch_arrays
from tests.models.torch_files import packed, text, torch_file, torch_numbers, torch_tensor


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch_tensor((2, 3), (3, 1)), [[0, 1, 2], [3, 4, 5]]),
        (torch_tensor((3, 2), (1, 3)), [[0, 3], [1, 4], [2, 5]]),
        (torch_tensor((2,), (2,), offset=3), [3, 5]),
        (torch_tensor((), ()), 0),
    ],
)
def test_arrays_are_laid_out_as_their_strides_say(tensor, expected):
    found = read_torch_arrays(torch_file(tensor, torch_numbers(range(6))))
    assert list(found) == ["w"]
    assert found["w"].dtype == np.float32
    np.testing.assert_array_equal(found["w"], expected)
    # Whole numbers stay whole.
    whole = torch_tensor((6,), (1,), kind="LongStorage")
    found = read_torch_arrays(torch_file(whole, torch_numbers([2**40] * 6, "<i8")))
    assert found["w"].tolist() == [2**40] * 6


@pytest.mark.parametrize(
    "tensor",
    [torch_tensor((7,), (1,)), torch_tensor((2,), (6,)), torch_tensor((2,), (-1,)), torch_tensor((1,), (1,), -1)],
)
def test_memory_beyond_the_numbers_is_never_read(tensor):
    with pytest.raises(CheckpointError, match="leaves the 6 numbers it is part of"):
        read_torch_arrays(torch_file(tensor, torch_numbers(range(6))))


def test_numbers_that_do_not_fit_their_description_are_refused():
    tensor = torch_tensor((6,), (1,))
    with pytest.raises(CheckpointError, match="weights of 5 numbers where 6 are described"):
        read_torch_arrays(torch_file(tensor, torch_numbers(range(5))))
    with pytest.raises(CheckpointError, match="no tensors that can be read"):
        read_torch_arrays(torch_file(tensor, torch_numbers(range(6))[:-1]))


def _protocol_0(module, name):
    return b"c" + module + b"\n" + name + b"\n"


@pytest.mark.parametrize(
    ("asks", "named"),
    [
        (_protocol_0(b"posix", b"system") + text("touch executed") + b"\x85R", r"ask for posix\.system"),
        (_protocol_0(b"builtins", b"eval") + text("open('executed', 'w')") + b"\x85R", r"ask for builtins\.eval"),
        (b"(S'touch executed'\nios\nsystem\n", "with the opcode STRING"),
        (text("os") + text("system") + b"\x93", "with the opcode STACK_GLOBAL"),
        (b"\x82\x01", "with the opcode EXT1"),
        (text("builtins eval") + packed(text("1")) + b"R", "call 'builtins eval'"),
        (b")ctorch\nFloatStorage\n)R", "call 'torch FloatStorage'"),
    ],
)
def test_content_that_would_execute_is_refused(asks, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=named):
        read_torch_arrays(torch_file(asks))
    assert not list(tmp_path.iterdir())
