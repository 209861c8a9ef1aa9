"""Faces a second over a folder of photographs: `kdloss.predict` beside the loop that a newcomer writes."""

import contextlib
import functools
import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy, FaceCrop, landmark_box
from kdloss.data.images import read_image
from kdloss.deploy.litert import export_litert
from kdloss.deploy.representative import representative_crops
from kdloss.deploy.runtimes import RUNTIMES, load_keras
from kdloss.deploy.timing import spread, worker
from kdloss.errors import ConfigError
from kdloss.evaluation.evaluation import load_checkpoint
from kdloss.evaluation.protocol import spread_rows
from kdloss.inference.landmarker import Landmarker, find_faces
from kdloss.inference.sources import GivenBoxes, find_sources
from kdloss.models.checkpoint import read_card

WARM_UP = 10  # faces
QUALITY = 95  # of the JPEG files
PHOTOGRAPHS, BOXES, KERAS = "photographs", "boxes.json", "model.keras"
LITERT_FILES = {"fp16": pretrained.HALF, "int8": pretrained.INT8}


class Way(NamedTuple):
    """One way to read faces."""

    title: str
    model: str  # a file or a shipped model's name
    policy: BoxPolicy  # of its crops
    threads: int | None = None  # of a `Landmarker` with LiteRT; None: a loop over ``model.predict``


def measure_photographs(checkpoint, prepared, *, split, threads, rounds, faces, announce):
    """Writes stored crops as JPEG files, and measures how fast the faces in them are read from known boxes.

    In a round, every way reads the whole folder once, in turns, each in a process of its own. A first round over a few
    faces warms up and does not count.

    Args:
        checkpoint: a run folder, a ``.keras`` file or a shipped model's name.
        prepared, split: the faces: a `PreparedDataset`, and ``test`` or ``val``.
        threads: a list of numbers, of LiteRT.
        rounds: how many count.
        faces: how many at most, evenly spaced; None: all.
        announce: called with a line of progress now and then.

    Returns:
        For JSON: ``model``, ``checkpoint``, ``faces``, ``settings``, ``runtimes`` and ``rows``. The first row is the
        reference of each ``ratio`` (within a round) and ``difference`` (of the points, in pixels of the files).

    Raises:
        CheckpointError: damaged, or for another scheme.
        ConfigError: trained in another box than one around the landmarks, or too little memory.
    """
    loaded = load_checkpoint(checkpoint, prepared.scheme)
    if loaded.box.source != "gt":
        raise ConfigError(f"{checkpoint}: trained in {loaded.box}, expected a box around the landmarks, as gt:1.25 is")
    rows = prepared.indices(split)
    rows = spread_rows(rows, faces or len(rows))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        announce(f"writing {len(rows)} photographs and the files of {loaded.label}")
        folder = Path(folder)
        write_photographs(prepared, rows, folder)
        loaded.model.save(folder / KERAS)
        ways = [Way("loop over model.predict", str(folder / KERAS), loaded.box)]
        for precision, model in _litert_files(checkpoint, loaded, prepared, folder).items():
            ways += [Way(f"kdloss.predict, LiteRT {precision}", model, loaded.box, count) for count in threads]
        runs = [stack.enter_context(worker(f"the process of {way.title}", "give fewer --faces")) for way in ways]
        seconds, points = [[] for _ in ways], [None] * len(ways)
        for number in range(rounds + 1):
            announce(f"round {number} of {rounds}" if number else "warming up")
            for i, (way, run) in enumerate(zip(ways, runs, strict=True)):
                taken, points[i] = run(_read, way, folder, len(rows) if number else WARM_UP)
                seconds[i] += [taken] if number else []
    about = {"dataset": prepared.dataset, "split": split, "n": len(rows), "side": prepared.size}
    return {
        "model": loaded.label,
        "checkpoint": loaded.record,
        "faces": about | {"synthetic": bool(prepared.synthetic), "content": prepared.manifest["content"]},
        "settings": {"threads": threads, "rounds": rounds},
        "runtimes": RUNTIMES["keras"].version | RUNTIMES["litert"].version,
        "rows": [_row(way, len(rows), seconds[i], seconds[0], points[i], points[0]) for i, way in enumerate(ways)],
    }


def write_photographs(prepared, rows, folder):
    """Writes stored crops as JPEG files into a folder, and beside them the file of their boxes for `GivenBoxes`."""
    (folder / PHOTOGRAPHS).mkdir()
    boxes = {}
    for row in rows:
        name = f"{row:06d}.jpg"
        Image.fromarray(prepared.faces[row]).save(folder / PHOTOGRAPHS / name, quality=QUALITY)
        boxes[name] = [landmark_box(prepared.points[row].astype(np.float64)).tolist()]
    (folder / BOXES).write_text(json.dumps(boxes), encoding="utf-8")


def _litert_files(checkpoint, loaded, prepared, folder):
    """Precision -> the path of a LiteRT file, or the name of a shipped one."""
    if str(checkpoint) in pretrained.names():
        return {precision: f"{checkpoint}/{file}" for precision, file in LITERT_FILES.items()}
    for precision, file in LITERT_FILES.items():
        crops = representative_crops(prepared, loaded) if precision == "int8" else None
        export_litert(loaded.model, folder / file, precision, crops, card=read_card(checkpoint))
    return {precision: str(folder / file) for precision, file in LITERT_FILES.items()}


def _row(way, count, seconds, first_seconds, points, first_points):
    distances = np.linalg.norm(points - first_points, axis=-1)
    return {
        "way": way.title,
        "threads": way.threads,
        "faces_per_second": spread([count / taken for taken in seconds]),
        "ratio": spread([first / taken for first, taken in zip(first_seconds, seconds, strict=True)]),
        "difference": {"median": float(np.median(distances)), "largest": float(distances.max())},
        "seconds_of_rounds": seconds,
    }


# The functions below run in the processes.


def _read(way, folder, count):
    """Seconds for the first ``count`` photographs, and the points (count, N, 2) of their faces."""
    read = _reader(way, folder / BOXES)
    photographs = find_sources([folder / PHOTOGRAPHS])[0][:count]
    started = time.perf_counter()
    points = read(photographs)
    return time.perf_counter() - started, np.stack(points)


@functools.cache
def _reader(way, boxes):
    """A function from photographs to the points of their faces."""
    given = GivenBoxes(boxes)
    if way.threads is not None:
        landmarker = Landmarker.load(way.model, detector=None, threads=way.threads)
        return lambda photographs: [faces[0].landmarks for _, _, faces in find_faces(landmarker, photographs, given)]
    model = load_keras(way.model)

    def one_by_one(photograph):
        crop = FaceCrop.from_box(way.policy.grow(given.of(photograph.name)[0]), model.input_shape[1])
        face = crop.image(read_image(photograph.path))
        return crop.inverse_unit(model.predict(face[None], verbose=0)[0])

    return lambda photographs: [one_by_one(photograph) for photograph in photographs]
