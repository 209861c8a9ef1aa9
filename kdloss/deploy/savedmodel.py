"""TensorFlow's SavedModel: networks as folders that TensorFlow Serving and TensorFlow.js take."""

from pathlib import Path

import numpy as np

from kdloss.deploy.exported_files import attach_export, image_signature, prepare_export
from kdloss.errors import ConfigError
from kdloss.files import new_folder
from kdloss.inference.metadata import POINTS, SPREAD


def export_savedmodel(model, path, card=None):
    """Writes a Keras model as a SavedModel in 32 bits for batches of any size.

    Inputs and outputs of its signature ``serve`` are those of `kdloss.deploy.litert.export_litert`, with B images in
    place of one.

    Args:
        path: the folder to make; it appears whole or not at all.
        model, card: see there.

    Raises:
        ConfigError: the folder exists, or Keras has another back end than TensorFlow.
    """
    path, (network, _) = Path(path), prepare_export(model, "SavedModel")
    if path.exists():
        raise ConfigError(f"{path}: exists already: remove it, or give another place")
    with new_folder(path) as work:
        network.export(str(work), format="tf_saved_model", input_signature=image_signature(network), verbose=False)
        attach_export(work, card, network, "savedmodel", "fp32")


def read_savedmodel(path, images):
    """The points (B, N, 2), and the spread (B, N) or None, of images (B, S, S, 3) RGB 0..255 in a SavedModel."""
    import tensorflow as tf

    network = tf.saved_model.load(str(path))  # keep it: its variables live as long as it does
    found = network.serve(np.asarray(images, np.float32))
    return found[POINTS].numpy(), found[SPREAD].numpy() if SPREAD in found else None
