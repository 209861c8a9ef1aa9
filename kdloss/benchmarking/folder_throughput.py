"""Faces a second over a folder of photographs: `kdloss.predict`'s way beside the loop that a newcomer writes."""

import contextlib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kdloss import pretrained
from kdloss.benchmarking.inference import spread
from kdloss.benchmarking.runtimes import RUNTIMES, SUFFIXES
from kdloss.benchmarking.worker import Server
from kdloss.errors import ConfigError
from kdloss.geometry import BoxPolicy, FaceCrop, landmark_box
from kdloss.given_boxes import GivenBoxes
from kdloss.locate import checkpoint_path
from kdloss.photographs import read_photograph
from kdloss.predict import Finder, find_faces
from kdloss.sources import find_sources

WARM_UP = 10  # faces
QUALITY = 95  # of the JPEG files
PHOTOGRAPHS, BOXES, KERAS = "photographs", "boxes.json", "model.keras"
PRECISIONS = {"fp16": pretrained.HALF, "int8": pretrained.INT8}


@dataclass(frozen=True)
class Way:
    """One way to read the faces of a folder.

    Args:
        title: what tables call it.
        model: a Keras file, or what `kdloss.landmarker.Landmarker.load` takes.
        policy: the `BoxPolicy` that it was trained in.
        threads: of LiteRT; None: the loop over ``model.predict``, for which TensorFlow chooses.
    """

    title: str
    model: str
    policy: BoxPolicy
    threads: int | None = None


def measure_folder(checkpoint, prepared, *, split, threads, rounds, faces=None, announce=lambda line: None):
    """Writes stored crops as JPEG files and measures how fast the faces in them are read, in known boxes.

    In a round every way reads the whole folder once, one after the other, each in a process of its own; a first round
    over a few faces warms up and does not count.

    Args:
        checkpoint: a run folder, a ``.keras`` file or a shipped model's name.
        prepared: the `PreparedDataset`.
        split: ``test`` or ``val``.
        threads: a list of numbers, of LiteRT.
        rounds: how many count.
        faces: at most so many, evenly spaced; None: all.
        announce: takes a line of progress now and then.

    Returns:
        For JSON: ``model``, ``faces``, ``settings``, ``runtimes`` and ``rows``: ``way``, ``threads``,
        ``faces_per_second`` and ``ratio`` (to the first row in the same round), each a `spread`,
        ``seconds_of_rounds``, and ``difference``, ``median`` and ``largest`` of the points' distances from those of the
        first row, in pixels of the files.

    Raises:
        CheckpointError: no such checkpoint, damaged, or for another scheme.
        ConfigError: an exported file, trained in another box than one around the landmarks, or too little memory.
        DataError: the set lacks the split.
    """
    from kdloss.deploy.representative import spread_rows
    from kdloss.evaluation.evaluation import load_checkpoint

    versions = RUNTIMES["keras"].check() | RUNTIMES["litert"].check()
    if checkpoint_path(checkpoint).suffix in SUFFIXES:
        raise ConfigError(f"--checkpoint {checkpoint}: is an exported file: give the Keras model that it is made from")
    loaded = load_checkpoint(checkpoint, prepared.scheme)
    if loaded.box.source != "gt":
        raise ConfigError(f"{checkpoint}: trained in {loaded.box}, expected a box around the landmarks, as gt:1.25 is")
    rows = prepared.indices(split)
    rows = spread_rows(rows, faces or len(rows))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        announce(f"writing {len(rows)} photographs and the files of {loaded.label}")
        folder = Path(folder)
        write_photographs(prepared, rows, folder)
        files = _litert_files(checkpoint, loaded, prepared, folder)
        RUNTIMES["keras"].write(loaded.model, folder / KERAS, None)
        ways = [Way("loop over model.predict", str(folder / KERAS), loaded.box)]
        ways += [
            Way(f"kdloss.predict, LiteRT {precision}", model, loaded.box, count)
            for precision, model in files.items()
            for count in threads
        ]
        servers = [
            stack.enter_context(Server(way.title, _serve, way, folder, advice="give fewer --faces")) for way in ways
        ]
        seconds, points = [[] for _ in ways], [None] * len(ways)
        for number in range(rounds + 1):
            announce(f"round {number} of {rounds}" if number else "warming up")
            for i, server in enumerate(servers):
                taken, points[i] = server.ask(len(rows) if number else WARM_UP)
                seconds[i] += [taken] if number else []
    facts = {"dataset": prepared.dataset, "split": split, "n": len(rows), "side": prepared.size}
    return {
        "model": loaded.label,
        "checkpoint": loaded.record,
        "faces": facts | {"synthetic": bool(prepared.synthetic), "content": prepared.manifest["content"]},
        "settings": {"threads": threads, "rounds": rounds},
        "runtimes": versions,
        "rows": [
            {
                "way": way.title,
                "threads": way.threads,
                "faces_per_second": spread([len(rows) / taken for taken in seconds[i]]),
                "ratio": spread([first / taken for first, taken in zip(seconds[0], seconds[i], strict=True)]),
                "difference": _difference(points[i], points[0]),
                "seconds_of_rounds": seconds[i],
            }
            for i, way in enumerate(ways)
        ],
    }


def _difference(points, first):
    distances = np.linalg.norm(points - first, axis=-1)
    return {"median": float(np.median(distances)), "largest": float(distances.max())}


def write_photographs(prepared, rows, folder):
    """Writes stored crops as JPEG files below a folder, and the file of their landmark boxes, for `GivenBoxes`."""
    (folder / PHOTOGRAPHS).mkdir()
    boxes = {}
    for row in rows:
        name = f"{row:06d}.jpg"
        Image.fromarray(prepared.faces[row]).save(folder / PHOTOGRAPHS / name, quality=QUALITY)
        boxes[name] = [landmark_box(prepared.points[row].astype(np.float64)).tolist()]
    (folder / BOXES).write_text(json.dumps(boxes), encoding="utf-8")


def _litert_files(checkpoint, loaded, prepared, folder):
    """Precision -> path of a LiteRT file, or the name of a shipped one."""
    from kdloss.deploy.litert import export_litert
    from kdloss.deploy.representative import representative_crops
    from kdloss.training.checkpoint import read_card

    if str(checkpoint) in pretrained.names():
        return {precision: f"{checkpoint}/{file}" for precision, file in PRECISIONS.items()}
    files = {precision: folder / file for precision, file in PRECISIONS.items()}
    for precision, file in files.items():
        seen = representative_crops(prepared, loaded) if precision == "int8" else None
        export_litert(loaded.model, file, precision, seen, card=read_card(checkpoint))
    return {precision: str(file) for precision, file in files.items()}


def _serve(connection, way, folder):
    read = None
    while True:
        (count,) = connection.recv()
        read = read or (_loop_over_predict if way.threads is None else _own_way)(way, folder / BOXES)
        photographs = find_sources([folder / PHOTOGRAPHS])[:count]
        started = time.perf_counter()
        points = read(photographs)
        connection.send((time.perf_counter() - started, np.stack(points)))


def _loop_over_predict(way, boxes):
    import keras

    import kdloss.models  # noqa: F401 - registers the project's own layers

    model = keras.saving.load_model(way.model, compile=False, safe_mode=True)
    size, given = model.input_shape[1], GivenBoxes(boxes)

    def read(photographs):
        points = []
        for photograph in photographs:
            (box,) = given.of(photograph.name)
            crop = FaceCrop.from_box(way.policy.grow(box), size)
            face = crop.image(read_photograph(photograph.path))
            points.append(crop.inverse_unit(model.predict(face[None], verbose=0)[0]))
        return points

    return read


def _own_way(way, boxes):
    from kdloss.landmarker import Landmarker

    finder = Finder(Landmarker.load(way.model, detector=None, threads=way.threads), GivenBoxes(boxes))

    def read(photographs):
        return [faces[0].landmarks for _, _, faces in find_faces(finder, photographs)]

    return read
