"""HDF5 files that somebody else made can point to other files of the machine: what does so is found here, unopened."""

import h5py

# A photograph of a hundred megapixels has 300 MB. What a file says of sizes it need not hold.
_MOST_BYTES = 512 << 20


def foreign_part(file):
    """What of an open file lies, or may lie, in another one, in words; None if it holds all of itself.

    A soft link leads to a place in its file, and from there an external one may lead on. Neither Keras nor MATLAB
    writes such, so both are named.
    """
    return file.visititems_links(_link) or file.visititems(_stored_elsewhere)


def read_dataset(dataset):
    """All of a dataset, once it is known to be that, in its own file, and of a size that fits in memory.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"found a {type(dataset).__name__}, expected an array")
    if foreign := _stored_elsewhere(dataset.name, dataset):
        raise ValueError(foreign)
    if dataset.nbytes > _MOST_BYTES:
        raise ValueError(f"found an array of {dataset.shape} {dataset.dtype}, expected {_MOST_BYTES >> 20} MB at most")
    return dataset[()]


def _link(name, link):
    if isinstance(link, h5py.HardLink):
        return None
    target = f"{link.filename}:{link.path}" if isinstance(link, h5py.ExternalLink) else link.path
    return f"{f'/{name}'!r} is a link to {target!r}"


def _stored_elsewhere(name, item):
    if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
        return f"{f'/{name}'!r} is stored in another file"
    return None
