"""What an installed copy holds."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("package", ["asm", "data_prep", "kdloss"])
def test_every_folder_of_modules_is_a_package(package):
    """setuptools leaves out a folder without ``__init__.py``: an installed copy would lack its modules."""
    for folder in {module.parent for module in (REPOSITORY / package).rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), folder
