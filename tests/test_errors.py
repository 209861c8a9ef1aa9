"""How commands end: the line they print, and the exit status."""

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
    (KeyboardInterrupt(), "interrupted\n", 130),
    (KeyboardInterrupt("run is saved"), "interrupted: run is saved\n", 130),
    (Terminated(), "terminated\n", 143),
    (Terminated("run is saved"), "terminated: run is saved\n", 143),
]


@pytest.mark.parametrize(("error", "said", "status"), ENDS)
def test_each_error_has_its_line_and_status(error, said, status, capsys):
    def main(argv=None):
        raise error

    assert exits_on_user_error(main)() == status
    assert capsys.readouterr() == ("", said)


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
