"""``kdloss doctor``: one line a check, and what to do about what does not work."""

import pytest

from kdloss import doctor, pretrained
from tests.commands.conftest import started


def lines_of(capsys, *flags):
    """The exit status, and name of check -> (mark, what it said)."""
    status, lines = doctor.main(list(flags)), capsys.readouterr().out.splitlines()
    return status, {line[4:15].strip(): (line[:4].strip(), line[15:]) for line in lines}


def test_a_machine_that_works_passes_without_network_libraries():
    network = {"tensorflow", "keras", "jax", "torch", "onnxruntime"}
    code = (
        f"import sys; from kdloss import doctor; assert doctor.main([]) == 0; assert not {network} & {{*sys.modules}}"
    )
    finished = started(code=code)
    assert finished.returncode == 0, finished.stderr
    assert [line[:4] for line in finished.stdout.splitlines()] == ["ok  "] * len(doctor.CHECKS)


def test_what_does_not_work_says_what_to_do(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    monkeypatch.setattr(doctor, "_ENOUGH_MEMORY", 1 << 60)
    monkeypatch.setattr(doctor, "_ENOUGH_DISK", 1 << 60)
    monkeypatch.setattr(doctor, "_OPTIONAL", {"onnx_of_tomorrow": ("tomorrow", "exporting tomorrow")})
    monkeypatch.setattr(pretrained, "ROOT", tmp_path)
    status, found = lines_of(capsys)
    assert status == 1
    assert found["Keras"] == (
        "no",
        "Keras' back end is theano, which is not installed: pip install theano, or set KERAS_BACKEND",
    )
    assert found["extras"] == ("ok", "absent, and needed only for exporting tomorrow: pip install 'kdloss[tomorrow]'")
    assert {name for name, (mark, _) in found.items() if mark == "no"} == {"Keras", "models", "disk", "memory"}


def test_an_error_of_a_package_is_one_line(capsys, monkeypatch):
    def broken():
        raise ImportError("libGL.so.1:\ncannot open shared object file")

    monkeypatch.setitem(doctor.CHECKS, "films", broken)
    status, found = lines_of(capsys)
    assert status == 1
    assert found["films"] == ("no", "ImportError: libGL.so.1: cannot open shared object file")


@pytest.mark.tensorflow("starts TensorFlow")
def test_the_back_end_is_started_when_asked(capsys):
    _, found = lines_of(capsys, "--backend")
    assert found["back end"][0] == "ok"
