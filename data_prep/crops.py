"""Cuts the faces of a raw data set out of their pictures, in one process or several.

Pixels go straight to their place in ``faces.npy``. Everything else returns to the caller, face by face.
"""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_prep.raw import SkippedFace
from kdloss.data.geometry import BoxPolicy, FaceCrop, invert, landmark_box
from kdloss.data.prepared import BOX_COLUMNS, IMAGE_COLUMN, SUBSET_PREFIX
from kdloss.errors import DataError

_CHUNK = 64  # faces that a process takes at a time
# A point this many image sides away is no landmark, and a crop around it would hold no face.
_FAR = 5


@dataclass(frozen=True)
class Crop:
    """A face that was cut; its pixels are in the file."""

    name: str
    row: dict  # of the table, texts
    outside: bool  # whether some of its points lie outside its image
    points: np.ndarray  # (N, 2) float32 pixels of the crop
    to_image: np.ndarray  # (2, 3) float64
    digest: np.ndarray  # (32,) uint8, SHA-256 of the pixels
    occluded: np.ndarray | None  # (N,) bool
    read = True  # as of a `SkippedFace`


@dataclass(frozen=True)
class FaceCutter:
    """Cuts single faces. Other processes work with copies of it."""

    entries: Sequence  # of a `RawDataset`
    path: Path  # of ``faces.npy``, which has a place for each entry
    start: int  # where the first place begins in the file, bytes
    size: int  # side of a crop, pixels
    crop_scale: float  # side of a crop over the longer side of the landmark box

    def __call__(self, number):
        """Cuts face ``number``; returns a `Crop`, or a `SkippedFace` with the reason why there is none."""
        face = self.entries[number]
        if isinstance(face, SkippedFace):
            return face
        height, width = face.image.shape[:2]
        known = face.points[np.isfinite(face.points).all(axis=-1)]
        outside = ((known < -0.5) | (known > (width - 0.5, height - 0.5))).any(axis=-1)
        if not len(face.points):
            box = np.array(face.box)
        elif outside.all() or np.abs(known).max() > _FAR * max(height, width):
            where = "no point lies inside" if outside.all() else "a point lies far outside"
            return SkippedFace(face.name, f"{where} its image of {width} x {height} pixels", read=True)
        else:
            box = landmark_box(known)
        if box[2:].max() < 1:
            what = "points lie within" if len(face.points) else "box is smaller than"
            return SkippedFace(face.name, f"its {what} one pixel", read=True)
        crop = FaceCrop.from_box(BoxPolicy("gt", self.crop_scale).grow(box), self.size)
        pixels = np.ascontiguousarray(crop.image(face.image))
        # Not through a memory map: on a full disk a signal would end the process.
        with open(self.path, "r+b") as file:
            file.seek(self.start + number * pixels.nbytes)
            file.write(pixels)
        known_box = [""] * 4 if face.box is None else [repr(float(value)) for value in face.box]
        row = {"name": face.name, "split": face.split, "source": face.source, "group": face.group}
        row |= dict(zip(BOX_COLUMNS, known_box, strict=True)) | {IMAGE_COLUMN: _image_hash(face.image)}
        row |= {SUBSET_PREFIX + name: "1" for name in face.subsets}
        return Crop(
            face.name,
            row,
            bool(outside.any()),
            crop.points(face.points.astype(np.float64)).astype(np.float32),
            invert(crop.matrix),
            np.frombuffer(hashlib.sha256(pixels).digest(), np.uint8),
            face.occluded,
        )


def _image_hash(image):
    """16 hexadecimal digits that tell a picture (H, W, 3) uint8 from others, whatever its name and file format."""
    digest = hashlib.sha256(repr(image.shape).encode())
    # To hash all pixels takes 8 % of the time of preparing; the sum of 32 parts tells pictures apart as well, in 4 %.
    pixels = np.ascontiguousarray(image).reshape(-1)
    whole = len(pixels) // 256 * 256
    digest.update(pixels[:whole].view("<u8").reshape(32, -1).sum(axis=0))
    digest.update(pixels[whole:])
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def cut_faces(cutter, processes):
    """Yields an iterator over the results of a `FaceCutter` for all of its faces, in their order.

    Several processes are spawned, not forked: the caller may have loaded TensorFlow, whose threads do not survive a
    fork. Raises a `DataError` if one of them is killed.
    """
    numbers = range(len(cutter.entries))
    if processes == 1:
        yield map(cutter, numbers)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(cutter,))
    try:
        # Processes inherit the mask, so that Ctrl-C reaches only this one, which then ends them.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results = pool.map(_cut, numbers, chunksize=_CHUNK)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield results
    except BrokenProcessPool as error:
        killed = "a process that cuts faces was killed, most likely for lack of memory"
        raise DataError(f"{killed}: run the same command again with fewer --processes") from error
    finally:
        pool.shutdown(cancel_futures=True)


_cutter = None  # of a worker process


def _start_worker(cutter):
    global _cutter
    _cutter = cutter
    cv2.setNumThreads(1)  # the other cores belong to the other processes
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _cut(number):
    return _cutter(number)
