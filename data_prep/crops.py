"""Cuts the faces of a raw data set out of their pictures, in one process or several.

Pixels go straight to their place in ``faces.npy``; all else comes back to the caller, face by face.
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
from kdloss.data.prepared import BOX_COLUMNS, SUBSET_PREFIX
from kdloss.errors import DataError

# Faces that a process is given at a time.
_CHUNK = 64
# A point this many image sides away is no landmark, and a crop around it would hold no face.
_FAR = 5


@dataclass(frozen=True)
class Crop:
    """A face that was cut; its pixels are in the file."""

    row: dict  # of the table, texts
    outside: bool  # whether it has points outside its image
    points: np.ndarray  # (N, 2) float32 pixels of the crop
    to_image: np.ndarray  # (2, 3) float64
    digest: np.ndarray  # (32,) uint8, SHA-256 of the pixels
    occluded: np.ndarray | None  # (N,) bool
    read = True

    @property
    def name(self):
        return self.row["name"]


@dataclass(frozen=True)
class FaceCutter:
    """Cuts single faces. Another process can use a copy."""

    entries: Sequence  # of a `RawDataset`
    path: Path  # of ``faces.npy``, which has a place for each entry
    start: int  # where in the file the first place begins, bytes
    size: int  # side of a crop, pixels
    crop_scale: float  # side of a crop over the longer side of the landmark box

    def __call__(self, number):
        """Cuts face ``number``; returns a `Crop`, or the `SkippedFace` that says why there is none.

        Raises:
            OSError: the pixels cannot be written.
        """
        face = self.entries[number]
        if isinstance(face, SkippedFace):
            return face
        off_image = _off_image(face)
        if reason := _unusable(face, off_image):
            return SkippedFace(face.name, reason, read=True)
        crop = FaceCrop.from_box(BoxPolicy("gt", self.crop_scale).grow(landmark_box(face.points)), self.size)
        pixels = np.ascontiguousarray(crop.image(face.image))
        # Not through a memory map: a full disk would end the process by a signal.
        with open(self.path, "r+b") as file:
            file.seek(self.start + number * pixels.nbytes)
            file.write(pixels)
        box = ["" if face.box is None else repr(float(value)) for value in (face.box or (0,) * 4)]
        row = (
            {"name": face.name, "split": face.split, "source": face.source, "group": face.group}
            | dict(zip(BOX_COLUMNS, box, strict=True))
            | {SUBSET_PREFIX + subset: "1" for subset in face.subsets}
        )
        return Crop(
            row,
            bool(off_image.any()),
            crop.points(face.points.astype(np.float64)).astype(np.float32),
            invert(crop.matrix),
            np.frombuffer(hashlib.sha256(pixels).digest(), np.uint8),
            face.occluded,
        )


@contextlib.contextmanager
def cut_faces(cutter, processes):
    """Yields an iterator over what a `FaceCutter` returns of all its faces, in their order.

    Several processes are started afresh, never forked: the caller may have loaded TensorFlow, whose threads don't
    survive that.

    Raises:
        DataError: one of several processes was killed.
    """
    numbers = range(len(cutter.entries))
    if processes == 1:
        _keep_memory()
        yield map(cutter, numbers)
        return
    context, others = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    pool = ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(cutter,))
    try:
        # Processes that are started now never see Ctrl-C: this one ends them.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results = pool.map(_cut, numbers, chunksize=_CHUNK)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield results
    except BaseException as error:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()  # it may wait for a slow disk
        if isinstance(error, BrokenProcessPool):
            raise DataError(
                "a process that cuts faces was ended, most likely for want of memory: run the same command again with "
                "fewer --processes"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_cutter = None


def _start_worker(cutter):
    global _cutter
    _cutter = cutter
    _keep_memory()
    cv2.setNumThreads(1)  # the other cores are for the other processes
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _keep_memory():
    """Lets the C library keep what a picture took for the next one, as it does once it has seen a larger block freed.

    Otherwise the system clears the pages anew for each picture, a tenth of all the time.
    """
    np.empty(1 << 24, np.uint8)


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _cut(number):
    return _cutter(number)


def _off_image(face):
    """(N,) bool: which points lie outside the face's image."""
    height, width = face.image.shape[:2]
    return ((face.points < -0.5) | (face.points > (width - 0.5, height - 0.5))).any(axis=-1)


def _unusable(face, off_image):
    height, width = face.image.shape[:2]
    if off_image.all() or np.abs(face.points).max() > _FAR * max(height, width):
        where = "no point lies inside" if off_image.all() else "a point lies far outside"
        return f"{where} its image of {width} x {height} pixels"
    if landmark_box(face.points)[2:].max() < 1:
        return "its points lie within one pixel"
    return None
