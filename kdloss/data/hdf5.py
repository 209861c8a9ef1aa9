"""Safe reading of HDF5 files from elsewhere, which can refer to other files of this machine or claim any size."""

import h5py

# A photograph of a hundred megapixels has 300 MB. A file can claim more than it holds.
_MOST_BYTES = 512 << 20


def foreign_part(file):
    """Describes a part of an open file that lies, or may lie, in another file; None if there is no such part.

    A soft link stays in its file, but can lead on to an external link. Neither Keras nor MATLAB writes either kind, so
    both count.
    """
    return file.visititems_links(_link) or file.visititems(_stored_elsewhere)


def require_plain(file, most_bytes):
    """Checks that an open file holds all of its arrays itself, as they are: no links, compression, chunks or holes.

    Then no array is larger than the file, in which all together may have ``most_bytes``. Keras writes such files.

    Raises:
        ValueError: an array of another kind, or too large.
    """
    if foreign := foreign_part(file):
        raise ValueError(foreign)
    sizes = []

    def check(name, item):
        if isinstance(item, h5py.Dataset):
            if item.chunks is not None or item.id.get_storage_size() != item.nbytes:
                raise ValueError(f"{f'/{name}'!r}, an array of {item.shape} {item.dtype}, is not stored as it is")
            sizes.append(item.nbytes)

    file.visititems(check)
    if sum(sizes) > most_bytes:
        raise ValueError(f"its arrays have {sum(sizes)} bytes, expected {most_bytes} at most")


def read_dataset(dataset):
    """The array of a dataset; a `ValueError` if it is no dataset, lies in another file, or is too large."""
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
