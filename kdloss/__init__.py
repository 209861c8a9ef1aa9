"""Facial landmarks by knowledge distillation. Importing this imports no network library; `load` and `Landmarker` do."""

__all__ = ["Landmarker", "load"]


def load(name_or_path):
    """Loads a trained network.

    Args:
        name_or_path: a shipped model's name (`kdloss.pretrained.names`), a run folder, or a ``.keras`` file.

    Returns:
        A Keras model from images (B, S, S, 3), RGB 0..255, to points (B, N, 2) float32 in unit coordinates of the
        image: ``(unit + 0.5) * S - 0.5`` are its pixels. The image is the crop of a face, see the model's card.

    Raises:
        CheckpointError: no such model, damaged, or not one of this project's.

    Example:
        >>> points = kdloss.load("runs/student").predict(images)
    """
    from kdloss.models.checkpoint import load_model

    return load_model(name_or_path)[0]


def __getattr__(name):
    if name == "Landmarker":
        from kdloss.inference.landmarker import Landmarker

        return Landmarker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
