"""Which file is meant where a model is named. Imports no network library."""

from pathlib import Path

from kdloss import pretrained
from kdloss.errors import CheckpointError

EXPORTED = (".tflite", ".onnx")  # suffixes of files that hold a network as a runtime takes it


def checkpoint_path(path):
    """The file of a checkpoint that is named by a run folder, by the file itself, or as a shipped model.

    Args:
        path: a file, a run folder, a shipped model's name, or one of its files (``mobilenetv2-300w/int8.tflite``).

    Raises:
        CheckpointError: there is none, or the shipped one is not as it was shipped.
    """
    path = Path(path)
    name, file = (path.parent, path.name) if path.name in pretrained.FILES else (path, pretrained.MODEL)
    if not path.exists() and str(name) in pretrained.names():
        return pretrained.path(str(name), file)
    if path.is_dir():
        path = path / "best.keras"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint: give a .keras file, a run folder that holds best.keras, an exported file "
            f"({', '.join(EXPORTED)}), or the name of a shipped model ({pretrained.shipped()})"
        )
    return path
