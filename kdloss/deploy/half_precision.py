"""Checkpoints of half the size: their kernels are stored in 16 bits, and loaded in 32 again."""

import io
import zipfile

import numpy as np

from kdloss.files import replacing
from kdloss.models.checkpoint import save_model

WEIGHTS = "model.weights.h5"
TOLERANCE = 2.0**-11  # relative error of rounding to 11 significant bits, at most


def save_half(path, model, card):
    """As `kdloss.models.checkpoint.save_model`, with kernels in float16. `load_model` reads the file."""
    with replacing(path) as work:
        save_model(work, model, card)
        with zipfile.ZipFile(work) as whole:
            members = [(info, whole.read(info)) for info in whole.infolist()]
        with zipfile.ZipFile(work, "w") as smaller:
            for info, content in members:
                if info.filename == WEIGHTS:
                    # HDF5 leaves room between many small arrays, which compresses well.
                    content, info.compress_type = _halved(content), zipfile.ZIP_DEFLATED
                smaller.writestr(info, content)


def half(array):
    """A float32 kernel as float16; any other array, and a kernel that would lose too much, as it is.

    Vectors stay in 32 bits. They are a few percent of a network, and their precision counts: in 16 bits, the last
    layer's bias, which is the mean face, would move by hundredths of a pixel, and a variance below 6e-5 would lose most
    digits. Kernels stay if float16 cannot hold them: numbers beyond 65504, or many below 6e-5.
    """
    if array.dtype != np.float32 or array.ndim < 2:
        return array
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    loss = np.linalg.norm((array - rounded.astype(np.float32)).astype(np.float64))
    # If a number overflows, the loss is NaN or infinite, and the comparison is false.
    return rounded if loss <= TOLERANCE * np.linalg.norm(array.astype(np.float64)) else array


def _halved(content):
    """The bytes of an HDF5 file with its float32 arrays replaced as `half` says."""
    import h5py  # here, because the ONNX export does without it

    result = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(result, "w") as new:
        new.attrs.update(old.attrs)

        def copy(name, item):
            is_array = isinstance(item, h5py.Dataset)
            made = new.create_dataset(name, data=half(item[()])) if is_array else new.require_group(name)
            made.attrs.update(item.attrs)

        old.visititems(copy)
    return result.getvalue()
