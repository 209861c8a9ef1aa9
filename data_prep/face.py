"""What a reader of a raw data set yields: a face, or the reason why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kdloss.schemes import LandmarkScheme

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
    """One annotated face.

    Args:
        name: unique in its data set; usually the image's path in the official layout.
        image: (H, W, 3) uint8 RGB.
        points: (N, 2) float32, 0-based pixels of ``image``.
        split: ``train`` or ``test``.
        source: the part of the data set it came from (a key of `DatasetSpec.counts`).
        group: faces of one group (same photograph, same person) never stand on both sides of the validation split.
        subsets: names of the test subsets it belongs to.
        box: x, y, width, height the data set ships, 0-based pixels, or None.
        occluded: (N,) bool, or None where the data set does not say.
    """

    name: str
    image: np.ndarray
    points: np.ndarray
    split: str
    source: str
    group: str
    subsets: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    occluded: np.ndarray | None = None


@dataclass(frozen=True)
class SkippedFace:
    """A face that is left out; it is counted and listed in the manifest. ``read``: its files could be read at least."""

    name: str
    reason: str
    read: bool = False


@dataclass(frozen=True)
class FacesOnDisk(Sequence):
    """Faces that are read when they are asked for, so that memory does not grow with the data set.

    Args:
        described: for each face, what ``read`` takes.
        read: makes of it a `Face` or a `SkippedFace`.
    """

    described: Sequence[tuple]
    read: Callable[..., Face | SkippedFace]

    def __len__(self):
        return len(self.described)

    def __getitem__(self, number):
        return self.read(*self.described[number])


@dataclass(frozen=True)
class RawDataset:
    """An official layout, opened by its reader.

    Args:
        scheme: of the points.
        entries: its faces and skipped faces, by number. Opened again it has the same at the same numbers.
        synthetic: the folder says that its faces were rendered.
        warnings: one line each, printed and kept in the manifest.
    """

    scheme: LandmarkScheme
    entries: Sequence[Face | SkippedFace]
    synthetic: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def total(self):
        """How many faces and skipped faces there are."""
        return len(self.entries)
