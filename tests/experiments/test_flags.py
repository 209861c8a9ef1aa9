"""Flags that commands share, and old names that still work."""

import pytest

from kdloss.__main__ import main

# Words with an old name; the line that names the new one; what the command then finds wrong, as it does with that.
OLD_NAMES = {
    "reproduce --preset smoke --data nix": ("--preset is now --recipe", "--data nix: no such folder"),
    "reproduce --preset=huge": ("", "argument --preset: invalid choice: 'huge'"),
    "train_student --preset dev2020 --data nix": ("--preset is now --kd-preset", "--data nix: no such folder"),
    "train_student --method fa --preset dev2020": ("--preset is now --kd-preset", "--kd-preset belongs to --method"),
    "confidence --checkpoint nix --dataset 300w --data nix": (
        "kdloss confidence is now kdloss calibrate confidence",
        "--data nix: no such folder",
    ),
}


@pytest.mark.parametrize("words", OLD_NAMES)
def test_an_old_name_works_and_names_the_new_one(words, capsys):
    said, wrong = OLD_NAMES[words]
    with pytest.raises(SystemExit, match="2"):
        raise SystemExit(main(words.split()))
    error = capsys.readouterr().err
    assert error.startswith(f"{said}\n" if said else "usage: ")
    assert wrong in error
