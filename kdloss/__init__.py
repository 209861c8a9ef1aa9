"""Facial landmarks by knowledge distillation. Importing this imports no network library; `load` and `Landmarker` do."""

import importlib.util
import os
import sys

__all__ = ["Landmarker", "load"]


def _require_own_packages():
    """Refuses a stranger's module in place of our other packages, before it runs.

    Their names are ordinary ones, and the folder that somebody works in comes first on Python's path.
    """
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    for name in ("asm", "data_prep"):
        spec = importlib.util.find_spec(name)
        found = os.path.realpath(spec.origin) if spec and spec.origin else "nothing"
        if os.path.dirname(found) == os.path.join(home, name):
            continue
        line = f"found {found}, expected the package {name} of kdloss: rename that file, or work in another folder"
        words = sys.orig_argv
        if "-m" in words and words[words.index("-m") + 1].partition(".")[0] in ("kdloss", "asm", "data_prep"):
            print(f"error: {line}", file=sys.stderr)
            raise SystemExit(2)
        raise ImportError(line)


_require_own_packages()


def load(name_or_path):
    """Loads a trained network.

    Args:
        name_or_path: a shipped model's name (`kdloss.pretrained.names`), a run folder, or a ``.keras`` file.

    Returns:
        A Keras model from images (B, S, S, 3), RGB 0..255, to points (B, N, 2) float32 in unit coordinates of the
        image: ``(unit + 0.5) * S - 0.5`` are its pixels. The image is the crop of a face, see the model's card.

    Raises:
        CheckpointError: no such model, damaged, or not one of this project's.

    Examples:
        >>> points = kdloss.load("runs/student").predict(images)
    """
    from kdloss.models.checkpoint import load_model

    return load_model(name_or_path)[0]


def __getattr__(name):
    if name == "Landmarker":
        from kdloss.inference.landmarker import Landmarker

        return Landmarker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
