"""The stages of a view, each timed alone: on the way of one batch, so that every stage finds what it finds in training.

Views are drawn into the memory of their batch: there is nothing to stack.
"""

import time

import numpy as np

from kdloss.augment import AugmentConfig, draw_crop, vary_pixels, view_rng

STAGES = {
    "geometry": "geometry: random numbers, crop",
    "read": "read: rows of the stored face",
    "crop": "crop: sampling the picture",
    "vary": "augment: pixels",
    "points": "points of the batch",
}
KINDS = ("colour", "grey", "blur", "noise", "occlusion")


def draw_in_stages(batches, positions, round_):
    """Draws what `ViewBatches.batch` draws, with a watch.

    Args:
        batches: a `ViewBatches`.
        positions: (B,) indices into its rows.
        round_: number of the drawing.

    Returns:
        ``(seconds, images, points)``: `STAGES` -> seconds of the batch; the batch.
    """
    images = np.empty((len(positions), batches.size, batches.size, 3), np.uint8)
    faces, mirrorable = batches.prepared.faces, batches.permutation is not None
    stamps, crops, mirrored = [], [], []
    for row, image in zip(batches.rows[positions].tolist(), images, strict=True):
        stamps.append(time.perf_counter())
        rng = view_rng(batches.seed, round_, row)
        crop, turned = draw_crop(rng, batches.augment, batches.boxes[row], batches.size, mirrorable)
        stamps.append(time.perf_counter())
        face = faces.read_part(row, crop.sampled(*faces.shape[1:3])[0])
        stamps.append(time.perf_counter())
        crop.image(face, image)
        stamps.append(time.perf_counter())
        vary_pixels(rng, batches.augment, image)
        stamps.append(time.perf_counter())
        crops.append(crop)
        mirrored.append(turned)
    taken = np.diff(np.reshape(stamps, (len(positions), -1)), axis=1).sum(axis=0).tolist()
    started = time.perf_counter()
    points = batches.points(positions, round_, crops, mirrored)
    return dict(zip(STAGES, [*taken, time.perf_counter() - started], strict=True)), images, points


def vary_in_kinds(config, images, seed):
    """Varies copies of views by each kind of pixel variation that a configuration has, as often as it says.

    Args:
        config: an `AugmentConfig`.
        images: (B, S, S, 3) uint8.
        seed: of the variation.

    Returns:
        Some of `KINDS` -> seconds.
    """
    seconds = {}
    for kind in KINDS:
        if strength := getattr(config, kind):
            only, copies = AugmentConfig(**{kind: strength}), images.copy()
            rngs = [view_rng(seed, 0, number) for number in range(len(images))]
            started = time.perf_counter()
            for rng, image in zip(rngs, copies, strict=True):
                vary_pixels(rng, only, image)
            seconds[kind] = time.perf_counter() - started
    return seconds
