"""Teachers' outputs, stored once per view. Views are redrawn to the bit, so their pixels need not be stored."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from asm.atomic import replacing
from kdloss.errors import DataError
from kdloss.prediction import predict_batch

# Raise it when the drawing of views changes: stored outputs then belong to pictures that no longer exist.
VIEW_VERSION = 1


def cached_teacher(teacher, checkpoint, batches, folder, progress=iter):
    """A teacher's points on every view of ``batches``.

    Args:
        teacher: the frozen network.
        checkpoint: its file; the hash of its bytes is part of the key.
        batches: a `ViewBatches` with a number of ``rounds``.
        folder: where the outputs are kept.
        progress: wraps the iterator over rounds.

    Returns:
        (rounds, m, N, 2) float32 unit points, memory-mapped.
    """
    path = Path(folder) / f"views-{_key(checkpoint, batches)}.npy"
    if not path.exists():
        outputs = []
        for round_ in progress(range(batches.rounds)):
            drawn = batches.in_order(round_)
            outputs.append(np.concatenate([predict_batch(teacher, images, batches.batch_size) for images, _ in drawn]))
        with replacing(path) as work:
            np.save(work, np.stack(outputs).astype(np.float32))
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: damaged ({error}): delete it, it is made again") from error


def _key(checkpoint, batches):
    digest = hashlib.sha256(Path(checkpoint).read_bytes())
    digest.update(np.ascontiguousarray(batches.rows).tobytes())
    digest.update(np.ascontiguousarray(batches.boxes[batches.rows]).tobytes())
    facts = {
        "version": VIEW_VERSION,
        "content": batches.prepared.manifest["content"],
        "stored_size": batches.prepared.size,
        "crop_scale": batches.prepared.manifest["crop_scale"],
        "augment": asdict(batches.augment),
        "size": batches.size,
        "seed": batches.seed,
        "rounds": batches.rounds,
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()[:20]
