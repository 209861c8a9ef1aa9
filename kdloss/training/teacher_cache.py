"""Teachers' points, stored once per view. Views are reproducible to the bit, so their pixels need not be stored."""

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kdloss.data.prepared import file_hash
from kdloss.errors import DataError
from kdloss.files import map_npy, replacing
from kdloss.inference.prediction import predict_batch
from kdloss.training.state import Deadline, OutOfTime

# Increase it when views are drawn differently: stored points would then belong to other pictures.
VIEW_VERSION = 2


def cached_teacher(teacher, checkpoint, batches, folder, deadline=None):
    """A teacher's points on every view of ``batches``, one file per round. Complete files are used again.

    Args:
        teacher: the frozen network.
        checkpoint: its file, whose hash is part of the folder's name.
        batches: a `ViewBatches` with a number of ``rounds``.
        folder: the cache.
        deadline: a `Deadline`; a round starts only if it is likely to end in time.

    Returns:
        For each round, (m, N, 2) float32 unit points, memory-mapped.

    Raises:
        DataError: a file is damaged.
        OutOfTime: the deadline came first.
    """
    place, deadline, seconds = Path(folder) / f"views-{_key(checkpoint, batches)}", deadline or Deadline(), 0.0
    for round_ in range(batches.rounds):
        path = place / f"{round_:04d}.npy"
        if not path.exists():
            if not deadline.leaves(seconds):
                raise OutOfTime(
                    f"{place}: a teacher's points on {round_} of {batches.rounds} rounds of views are stored"
                )
            started = time.monotonic()
            views = batches.in_order(round_)
            points = [predict_batch(teacher, images, batches.batch_size) for images, _ in views]
            with replacing(path, durable=True) as work:
                np.save(work, np.concatenate(points).astype(np.float32), allow_pickle=False)
            seconds = time.monotonic() - started
    return [_read(place / f"{round_:04d}.npy") for round_ in range(batches.rounds)]


def cached_points(predict, files, faces, rows, folder):
    """What ``predict()`` returns, an array of points of the faces ``rows``, stored under the hashes of ``files``."""
    digest = hashlib.sha256(b"".join(bytes.fromhex(file_hash(file)) for file in files))
    digest.update(np.ascontiguousarray(rows).tobytes() + faces.manifest["content"].encode())
    path = Path(folder) / f"labels-{digest.hexdigest()[:20]}.npy"
    if not path.exists():
        points = predict()
        with replacing(path, durable=True) as work:
            np.save(work, points, allow_pickle=False)
    return _read(path)


def _read(path):
    try:
        return map_npy(path)
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}): delete it; it will be made again") from error


def _key(checkpoint, batches):
    digest = hashlib.sha256(Path(checkpoint).read_bytes())
    digest.update(np.ascontiguousarray(batches.rows).tobytes())
    digest.update(np.ascontiguousarray(batches.boxes[batches.rows]).tobytes())
    settings = {
        "version": VIEW_VERSION,
        "content": batches.prepared.manifest["content"],
        "stored_size": batches.prepared.size,
        "crop_scale": batches.prepared.manifest["crop_scale"],
        "augment": asdict(batches.augment),
        "size": batches.size,
        "seed": batches.seed,
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()[:20]
