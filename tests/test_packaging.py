"""What an installed copy holds, and which warnings its tests overlook."""

import datetime
import re
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def test_every_folder_of_modules_is_a_package():
    """setuptools leaves out a folder without ``__init__.py``: an installed copy would lack its modules."""
    for package in ("asm", "data_prep", "kdloss"):
        for folder in {module.parent for module in (REPOSITORY / package).rglob("*.py")}:
            assert (folder / "__init__.py").is_file(), folder


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
