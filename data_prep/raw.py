"""What readers of raw data sets share: faces and reasons to skip them, read on demand, and held-out groups of faces."""

import collections
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kdloss.data.schemes import LandmarkScheme

# A file of this name at the root of an official layout marks its faces as rendered.
SYNTHETIC_MARK = "SYNTHETIC.json"
# No picture is that wide: a larger coordinate is a damaged number.
MAX_PIXEL = 1e6


@dataclass(frozen=True)
class Face:
    """One annotated face."""

    name: str  # unique in its data set; usually the image's path in the official layout
    image: np.ndarray  # (H, W, 3) uint8 RGB
    # (N, 2) float32, 0-based pixels of the image; NaN for a point that is not known; N = 0: without landmarks.
    points: np.ndarray
    split: str  # train, val, test or unlabelled; "": train or test, to be drawn
    source: str  # the part of the data set it belongs to, a key of `DatasetSpec.counts`
    group: str  # its photograph or person; the validation split never divides a group
    subsets: tuple[str, ...] = ()  # of the test set
    # x, y, width, height from the data set, 0-based pixels. A face without landmarks is cut around it.
    box: tuple[float, float, float, float] | None = None
    occluded: np.ndarray | None = None  # (N,) bool, or None if the data set has no such flags


@dataclass(frozen=True)
class SkippedFace:
    """A face that is left out. The manifest lists it. ``read``: its files were readable, its points are unusable."""

    name: str
    reason: str
    read: bool = False


@dataclass(frozen=True)
class FacesOnDisk(Sequence):
    """Faces that are read on access: memory does not grow with the data set."""

    described: Sequence[tuple]  # the arguments of `read` for each face
    read: Callable[..., Face | SkippedFace]

    def __len__(self):
        return len(self.described)

    def __getitem__(self, number):
        return self.read(*self.described[number])


@dataclass(frozen=True)
class RawDataset:
    """An official layout, opened by its reader."""

    scheme: LandmarkScheme
    entries: Sequence[Face | SkippedFace]  # the same ones in the same order each time it is opened
    synthetic: bool = False  # whether its faces were rendered
    warnings: tuple[str, ...] = ()  # one line each, printed and kept in the manifest
    read_as: str = ""  # the format that was found in a folder of any format


def as_points(values):
    """Numbers (N, 2) from a file as float32 points; a `ValueError` if one is not finite, or beyond `MAX_PIXEL`."""
    values = np.asarray(values, np.float64)
    if not (np.abs(values) < MAX_PIXEL).all():
        raise ValueError("a coordinate is not finite or far too large")
    return values.astype(np.float32)


def held_out(groups, wanted):
    """The set of groups to hold out, always the same ones, which together have at most ``wanted`` faces.

    ``groups`` names the group of each face, in bytes. Their hashes set the order in which groups are chosen.
    """
    sizes, held = collections.Counter(groups), set()
    for group in sorted(sizes, key=lambda group: hashlib.sha256(group).digest()):
        if sizes[group] <= wanted:
            held.add(group)
            wanted -= sizes[group]
    return held
