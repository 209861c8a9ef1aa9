"""What an installed copy holds, and which warnings its tests overlook."""

import datetime
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("asm", "data_prep", "kdloss")


@pytest.mark.slow
def test_a_wheel_holds_every_file_of_the_packages(tmp_path):
    """Without an ``__init__.py`` modules would be missing, and pages and weights that setup.cfg does not name."""
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "."]
    subprocess.run(command, cwd=tmp_path, check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = (file for package in PACKAGES for file in (tmp_path / package).rglob("*") if file.is_file())
    assert packed == {file.relative_to(tmp_path).as_posix() for file in files}


def test_the_citation_is_of_this_version():
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == setup["metadata"]["version"]


def test_warnings_are_overlooked_for_a_reason_a_while_and_the_version_that_was_looked_at():
    """Each exception follows a comment ``# DATE, PACKAGE MAJOR.MINOR: reason``."""
    filters = (REPOSITORY / "pyproject.toml").read_text().partition("filterwarnings = [")[2].partition("\n]")[0]
    lines = filters.strip().splitlines()
    exceptions = [i for i, line in enumerate(lines) if line.strip().startswith('"') and '"error"' not in line]
    for i in exceptions:
        stated = re.fullmatch(r"\s*# (\d{4}-\d\d-\d\d), (\S+) (\d+\.\d+): .+", lines[i - 1])
        assert stated, f"no date, package and reason before {lines[i]}"
        date, package, seen = stated.groups()
        assert version(package).startswith(f"{seen}."), f"{package} {version(package)}: still needed? {lines[i]}"
        age = datetime.date.today() - datetime.date.fromisoformat(date)
        assert age < datetime.timedelta(days=366), f"a year old: still needed? {lines[i]}"
