"""Checkpoints of half the size: kernels in 16 bits, which loading turns into 32 again."""

import io
import zipfile

import h5py
import numpy as np

from kdloss.files import replacing

WEIGHTS = "model.weights.h5"
# Rounding to 11 significant bits changes a number by 2^-12 of it, on average over sizes, and by 2^-11 at most.
TOLERANCE = 2.0**-11


def save_half(path, model, card):
    """`kdloss.models.checkpoint.save_model` with kernels in float16; `load_model` reads the file as any other.

    Args:
        path, model, card: see there. The file appears whole or not at all.
    """
    from kdloss.models.checkpoint import save_model  # Keras, which those who read exported files can spare

    with replacing(path) as work:
        save_model(work, model, card)
        with zipfile.ZipFile(work) as whole:
            members = [(info, whole.read(info)) for info in whole.infolist()]
        with zipfile.ZipFile(work, "w") as smaller:
            for info, content in members:
                if info.filename == WEIGHTS:
                    # HDF5 leaves room between many small arrays, which packs well.
                    content, info.compress_type = _halved(content), zipfile.ZIP_DEFLATED
                smaller.writestr(info, content)


def _halved(content):
    """The bytes of an HDF5 file as those of one with float16 in place of float32, where `half` allows it."""
    result = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(result, "w") as new:
        new.attrs.update(old.attrs)

        def copy(name, item):
            made = new.create_dataset(name, data=half(item[()])) if isinstance(item, h5py.Dataset) else None
            made = new.require_group(name) if made is None else made
            made.attrs.update(item.attrs)

        old.visititems(copy)
    return result.getvalue()


def half(array):
    """A kernel as float16; what would lose by it, and what is no float32 kernel, as it is.

    Vectors stay: they are a few percent of a network, and precision counts there. 16 bits would take hundredths of a
    pixel of the last layer's bias, which is the mean face, and most digits of a variance below 6e-5. So do kernels that
    float16 cannot hold: with numbers beyond 65504, or with so many below 6e-5 that rounding is felt.
    """
    if array.dtype != np.float32 or array.ndim < 2:
        return array
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    loss = np.linalg.norm((array - rounded.astype(np.float32)).astype(np.float64))
    # Not a number, where one overflows, is no less than anything.
    return rounded if loss <= TOLERANCE * np.linalg.norm(array.astype(np.float64)) else array
