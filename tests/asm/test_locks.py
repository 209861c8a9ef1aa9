"""One process at a time in a folder, however the others end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asm.atomic import held, is_held
from asm.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
HOLDS = """
import sys
from asm.atomic import held

with held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_held_folder_is_refused_until_its_holder_ends(tmp_path):
    assert not is_held(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], env=environment, stdin=-1, stdout=-1, text=True
    )
    assert holder.stdout.readline() == "held\n"
    assert is_held(tmp_path)
    with pytest.raises(UserError, match="another process works there: wait until it is done"), held(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with held(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
