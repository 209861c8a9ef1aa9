"""Accuracy against time and size on one thread, in one run: the shipped files, two public networks, regression trees.

    python tools/frontier.py --peers NETWORKS --points POINTS --trees runs/peer-ert --out docs/results/frontier.json

NETWORKS holds ``mobilefacenet.xml`` with its ``.bin``, and ``pfld_cunjian.onnx``; POINTS the points that these gave on
the test faces (``mobilefacenet-cunjian.npz``, ``pfld-cunjian.npz``); runs/peer-ert what ``tools/peer_ert.py`` made,
left out without --trees. Our files run in LiteRT and in OpenVINO, which computes in bfloat16 where the processor
can. A time is from a cut face to its points, in turns: each round takes the median over some faces.
"""

import argparse
import functools
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import dlib
import numpy as np
import openvino
import peer_ert
from tabulate import tabulate

from data_prep.find import find_prepared
from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy, FaceCrop
from kdloss.deploy.onnx import export_onnx
from kdloss.deploy.timing import spread
from kdloss.errors import exits_on_user_error
from kdloss.evaluation.evaluation import evaluate_loaded, evaluate_predicted, load_checkpoint
from kdloss.evaluation.predictions import load_predictions
from kdloss.experiments.flags import add_data_flags
from kdloss.files import write_whole
from kdloss.machine import environment

PEER_SIDE = 112  # pixels of the public networks' crops
ONE_THREAD = {"INFERENCE_NUM_THREADS": 1}
SUBSETS = ("common", "challenging", "full")


class OpenVino:
    """A network in OpenVINO on one thread, as a model with ``predict_on_batch``."""

    def __init__(self, file, shape):
        core = openvino.Core()
        network = core.read_model(file)
        network.reshape(shape)
        self.input_shape, self._network = (None, *shape[1:]), core.compile_model(network, "CPU", ONE_THREAD)

    def predict_on_batch(self, images):
        return np.concatenate([next(iter(self._network(image[None]).values())) for image in images])


def our_files(prepared, rows, folder):
    """(name, `Evaluation`, MB, function of a face's place in ``rows``) of each shipped network in 8 and 16 bits."""
    for name in pretrained.names():
        for file in pretrained.FILES[1:]:
            loaded = load_checkpoint(f"{name}/{file}", prepared.scheme)
            label = f"{name}, {file.removesuffix('.tflite')}, {{}} px, LiteRT"
            yield _ours(prepared, rows, loaded, pretrained.path(name, file), label)
        loaded, file = load_checkpoint(name, prepared.scheme), folder / f"{name}.onnx"
        export_onnx(loaded.model, file)
        model = OpenVino(file, (1, *loaded.model.input_shape[1:]))
        yield _ours(prepared, rows, replace(loaded, model=model), file, f"{name}, {{}} px, OpenVINO")


def _ours(prepared, rows, loaded, file, label):
    size, boxes = loaded.model.input_shape[1], prepared.boxes(loaded.box)
    crops = [FaceCrop.from_box(boxes[row], size).image(prepared.faces[row]) for row in rows]
    run = functools.partial(_read, loaded.model, [crop[None].astype(np.float32) for crop in crops])
    return label.format(size), evaluate_loaded(prepared, loaded), file.stat().st_size / 1e6, run


def _read(model, images, place):
    return model.predict_on_batch(images[place])


def peers(prepared, networks, points):
    """The same of the public networks. Their time does not depend on what they see."""
    shape = (1, 3, PEER_SIDE, PEER_SIDE)
    images = [np.random.default_rng(0).random(shape, np.float32)] * len(prepared)
    for name, graph, weights in (
        ("MobileFaceNet", "mobilefacenet.xml", "mobilefacenet.bin"), ("PFLD", "pfld_cunjian.onnx", "pfld_cunjian.onnx")
    ):  # fmt: skip
        evaluation = predicted(prepared, points / f"{name.lower()}-cunjian.npz")
        run = functools.partial(_read, OpenVino(networks / graph, shape), images)
        yield f"{name} (cunjian), 112 px, OpenVINO", evaluation, (networks / weights).stat().st_size / 1e6, run


def trees_of(prepared, rows, folder):
    """The same of dlib's regression trees."""
    file = folder / peer_ert.TREES
    trees, boxes = dlib.shape_predictor(str(file)), prepared.boxes(BoxPolicy())
    inputs = [peer_ert.picture(prepared, row, boxes[row])[:2] for row in rows]
    evaluation = predicted(prepared, folder / "predictions.npz")
    megabytes = file.stat().st_size / 1e6
    yield "dlib's regression trees, our faces", evaluation, megabytes, lambda i: peer_ert.predict(trees, *inputs[i])


def predicted(prepared, file):
    rows = prepared.indices("test")
    return evaluate_predicted(prepared, load_predictions(file, prepared, rows)[0])


def times(contenders, faces, rounds):
    """Milliseconds a face of each contender: a list of one median a round."""
    found = [[] for _ in contenders]
    for number in range(rounds + 1):
        seconds = [[] for _ in contenders]
        for i in range(faces):
            for run, took in zip(contenders, seconds, strict=True):
                started = time.perf_counter()
                run(i)
                took.append(time.perf_counter() - started)
        for took, ms in zip(seconds, found, strict=True):
            ms += [1000 * float(np.median(took))] if number else []  # the first warms caches
    return found


def record(found, ms):
    """For JSON: the measurements, and the table of `tools/tables.py`."""
    rows = []
    for (label, evaluation, megabytes, _), values in zip(found, ms, strict=True):
        nme = {name: of["nme_interocular"] for name, of in evaluation.metrics["subsets"].items() if of["n"]}
        ratios = [one / first for one, first in zip(values, ms[0], strict=True)]
        rows.append({"label": label, "nme": nme, "MB": megabytes, "ms": spread(values), "ratio": spread(ratios)})
    rows.sort(key=lambda row: row["ms"]["median"])
    cells = []
    for row in rows:
        ms = "{median:.2f} ({low:.2f} to {high:.2f})".format(**row["ms"])
        cells.append([row["label"], *(f"{row['nme'][name]:.2f}" for name in SUBSETS), f"{row['MB']:.1f}", ms])
    facts = environment()
    notes = [f"one thread, {facts['processor']}, {time.strftime('%Y-%m-%d')}; ms: median of the rounds (least to most)"]
    columns = ["system", *SUBSETS, "MB", "ms a face"]
    table = {"title": "300-W: NME against time and size", "columns": columns, "rows": cells, "notes": notes}
    return {"rows": rows, "machine": facts, "tables": {"frontier": table}}


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_flags(parser, default="300w")
    for name in ("peers", "points", "trees"):
        parser.add_argument(f"--{name}", type=Path, required=name != "trees", metavar="FOLDER")
    parser.add_argument("--faces", type=int, default=100, help="of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="that count (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    args = parser.parse_args(argv)
    prepared = find_prepared(args.dataset, args.data)
    rows = prepared.indices("test")[: args.faces]
    with tempfile.TemporaryDirectory() as folder:
        found = [*our_files(prepared, rows, Path(folder)), *peers(prepared, args.peers, args.points)]
    found += trees_of(prepared, rows, args.trees) if args.trees else []
    measured = record(found, times([run for *_, run in found], len(rows), args.rounds))
    write_whole(args.out, json.dumps(measured, indent=1, allow_nan=False) + "\n")
    table = measured["tables"]["frontier"]
    print(tabulate(table["rows"], table["columns"], disable_numparse=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
