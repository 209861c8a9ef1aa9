"""How commands end: the line they print, and the exit status."""

import os
import signal
import subprocess
import sys

import pytest

from asm import ShapeError
from kdloss.errors import Terminated, UserError, exits_on_user_error
from tests.conftest import REPOSITORY

DENIED = PermissionError(13, "Permission denied", "locked/a")
ENDS = [
    (UserError("a: b\n  expected c"), "error: a: b expected c\n", 2),
    (ShapeError("shape model: d"), "error: shape model: d\n", 2),
    (DENIED, "error: locked/a: permission denied: give another, or the right to use it\n", 2),
    (RecursionError(), "error: folders, or values in a file, lie too deep in one another: give flatter ones\n", 2),
    (KeyboardInterrupt(), "interrupted\n", 130),
    (Terminated("run is saved"), "terminated: run is saved\n", 143),
]


@pytest.mark.parametrize(("error", "said", "status"), ENDS)
def test_each_error_has_its_line_and_status(error, said, status, capsys):
    def main(argv=None):
        raise error

    assert exits_on_user_error(main)() == status
    assert capsys.readouterr() == ("", said)


PRINT = """
import sys
from kdloss.errors import UserError, exits_on_user_error

@exits_on_user_error
def main(argv=None):
    print("\\u4eba", file=sys.stdout)
    open("data", "w").close()
    raise UserError("\\udcff\\x1b: a\\nb")

sys.exit(main())
"""


@pytest.mark.parametrize(
    ("shell", "status", "out", "err"),
    [
        ("", 2, "\\u4eba\n", "error: \\udcff\\x1b: a b\n"),
        ("2>&-", 2, "\\u4eba\n", ""),
        ("<&- >&- 2>&-", 2, "", ""),
        ("| true", 141, "", "error: \\udcff\\x1b: a b\n"),
    ],
)
def test_any_text_goes_to_any_stream(shell, status, out, err, tmp_path):
    command = f'(sleep 0.1; "{sys.executable}" -c "$0") {shell}; exit ${{PIPESTATUS[0]}}'
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        ["bash", "-c", command, PRINT], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


@pytest.mark.parametrize(("name", "verb"), [("asm", "kdloss.predict"), ("data_prep", "kdloss"), ("asm", "data_prep")])
def test_a_module_in_the_place_of_our_packages_is_not_run(name, verb, tmp_path):
    (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    for words in (["-m", verb], ["-c", "import kdloss"]):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
        )
        line = f"found {tmp_path}/{name}.py, expected the package {name} of kdloss: "
        assert done.stderr.splitlines()[-1].startswith(f"{'error' if words[0] == '-m' else 'ImportError'}: {line}")
        assert done.returncode == (2 if words[0] == "-m" else 1)
        assert not (tmp_path / "ran").exists()


COMMAND = """
import sys, time
from pathlib import Path
from kdloss.files import replacing
from kdloss.errors import exits_on_user_error

@exits_on_user_error
def main(argv=None):
    with replacing(sys.argv[1]) as work:
        work.write_text("half")
        print("ready", flush=True)
        time.sleep(60)

sys.exit(main())
"""


@pytest.mark.parametrize(
    ("number", "said", "status"), [(signal.SIGTERM, "terminated", 143), (signal.SIGINT, "interrupted", 130)]
)
def test_signals_end_a_command_in_order(number, said, status, tmp_path):
    command = [sys.executable, "-c", COMMAND, str(tmp_path / "a.txt")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate() == ("", f"{said}\n")
    assert process.returncode == status
    assert list(tmp_path.iterdir()) == []
