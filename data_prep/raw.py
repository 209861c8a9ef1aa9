"""What a reader of a raw data set yields: a face, or the reason why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kdloss.data.schemes import LandmarkScheme

# A file of this name at the root of an official layout says that its faces were rendered.
SYNTHETIC_MARK = "SYNTHETIC.json"
# No picture is that wide: a larger coordinate is a damaged number.
MAX_PIXEL = 1e6


def as_points(values):
    """Numbers read from a file, (N, 2), as float32 points.

    Raises:
        ValueError: one is not finite, or beyond `MAX_PIXEL`.
    """
    values = np.asarray(values, np.float64)
    if not (np.abs(values) < MAX_PIXEL).all():
        raise ValueError("a coordinate is not finite or far too large")
    return values.astype(np.float32)


@dataclass(frozen=True)
class Face:
    """One annotated face."""

    name: str  # unique in its data set; usually the image's path in the official layout
    image: np.ndarray  # (H, W, 3) uint8 RGB
    points: np.ndarray  # (N, 2) float32, 0-based pixels of the image
    split: str  # train or test
    source: str  # the part of the data set it came from, a key of `DatasetSpec.counts`
    group: str  # faces of one group (photograph, person) never stand on both sides of the validation split
    subsets: tuple[str, ...] = ()  # of the test set
    box: tuple[float, float, float, float] | None = None  # x, y, width, height the data set ships, 0-based pixels
    occluded: np.ndarray | None = None  # (N,) bool, or None where the data set does not say


@dataclass(frozen=True)
class SkippedFace:
    """A face that is left out; it is counted and listed in the manifest. ``read``: its files could be read at least."""

    name: str
    reason: str
    read: bool = False


@dataclass(frozen=True)
class FacesOnDisk(Sequence):
    """Faces that are read when they are asked for, so that memory does not grow with the data set."""

    described: Sequence[tuple]  # for each face, what `read` takes
    read: Callable[..., Face | SkippedFace]

    def __len__(self):
        return len(self.described)

    def __getitem__(self, number):
        return self.read(*self.described[number])


@dataclass(frozen=True)
class RawDataset:
    """An official layout, opened by its reader."""

    scheme: LandmarkScheme
    entries: Sequence[Face | SkippedFace]  # opened again it has the same at the same numbers
    synthetic: bool = False  # the folder says that its faces were rendered
    warnings: tuple[str, ...] = ()  # one line each, printed and kept in the manifest

    @property
    def total(self):
        """How many faces and skipped faces there are."""
        return len(self.entries)
