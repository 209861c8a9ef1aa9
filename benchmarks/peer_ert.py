"""A peer for every student: dlib's ensemble of regression trees on the same faces, boxes and mirror images.

    python benchmarks/peer_ert.py train --dataset 300w --data RAW --out runs/peer-ert
    python benchmarks/peer_ert.py time --dataset 300w --data RAW --peer runs/peer-ert --checkpoint runs/student ...

``train`` fits the trees (Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, CVPR
2014; dlib's implementation, package ``dlib-bin``) on the training faces and their mirror images, predicts the test
faces and writes ``trees.dat``, ``predictions.npz`` and ``peer.json``. ``time`` measures the trees and checkpoints (as
LiteRT files in 32 bits) in one run, face by face in turns, on one thread, from a cut face to its points, and writes
``timing.json`` beside the trees.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from asm.atomic import replacing, write_whole
from kdloss.benchmarking.inference import spread
from kdloss.data_location import find_prepared
from kdloss.datasets import DATASETS
from kdloss.deploy.litert import export_litert, litert_function
from kdloss.errors import ConfigError, DataError, exits_on_user_error
from kdloss.evaluation import metrics
from kdloss.evaluation.evaluation import load_checkpoint
from kdloss.evaluation.predictions import save_predictions
from kdloss.geometry import BoxPolicy, FaceCrop, mirror_points, transform_points
from kdloss.runs import machine

try:
    import dlib
except ImportError:
    dlib = None

# dlib's landmarks are whole pixels: in a picture twice as large as the stored one that costs 0.3 % of the eyes'
# distance, which hardly shows beside errors of 3 % and more.
SIDE = 512
TREES, FACTS, PREDICTIONS, TIMING = "trees.dat", "peer.json", "predictions.npz", "timing.json"


def picture(prepared, row):
    """The stored crop of a face in grey, (SIDE, SIDE) uint8, and the `FaceCrop` that made it."""
    size = prepared.size
    crop = FaceCrop.from_box((-0.5, -0.5, size, size), SIDE)
    return cv2.cvtColor(crop.image(prepared.faces[row]), cv2.COLOR_RGB2GRAY), crop


def rectangle(box, crop):
    """A box of stored crop pixels as a dlib rectangle of the picture."""
    (left, top), (right, bottom) = crop.points(np.array([box[:2], box[:2] + box[2:]])).round().astype(int).tolist()
    return dlib.rectangle(left, top, right - 1, bottom - 1)


def examples(prepared, boxes):
    """Pictures and annotated rectangles of the training faces, each followed by its mirror image."""
    pictures, objects = [], []
    for row in prepared.indices("train"):
        grey, crop = picture(prepared, row)
        points = crop.points(prepared.points[row].astype(np.float64))
        pictures.append(grey)
        objects.append([annotated(rectangle(boxes[row], crop), points)])
        box = rectangle(boxes[row], crop)
        mirrored = dlib.rectangle(SIDE - 1 - box.right(), box.top(), SIDE - 1 - box.left(), box.bottom())
        pictures.append(np.ascontiguousarray(grey[:, ::-1]))
        objects.append([annotated(mirrored, mirror_points(points, SIDE, prepared.scheme.mirror))])
    return pictures, objects


def annotated(box, points):
    return dlib.full_object_detection(box, [dlib.point(*point) for point in points.round().astype(int).tolist()])


def predict(trees, grey, box):
    """(N, 2) points of one picture."""
    return np.array([(part.x, part.y) for part in trees(grey, box).parts()], np.float64)


def train(args, prepared):
    policy = BoxPolicy.parse(args.box)
    boxes = prepared.boxes(policy)
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.tree_depth, options.nu = args.cascades, args.depth, 0.1
    options.oversampling_amount, options.num_threads = args.oversampling, args.threads
    options.random_seed, options.be_verbose = str(args.seed), True
    pictures, objects = examples(prepared, boxes)
    print(f"{len(pictures)} training pictures (half of them mirrored); {options}", flush=True)
    started = time.perf_counter()
    trees = dlib.train_shape_predictor(pictures, objects, options)
    seconds = time.perf_counter() - started
    with replacing(args.out / TREES) as work:
        trees.save(str(work))
    rows = prepared.indices("test")
    points = np.empty((len(rows), prepared.scheme.num_points, 2))
    for i, row in enumerate(rows):
        grey, crop = picture(prepared, row)
        found = crop.inverse_points(predict(trees, grey, rectangle(boxes[row], crop)))
        points[i] = transform_points(prepared.to_image[row], found)
    truth = prepared.source_points[rows]
    save_predictions(args.out / PREDICTIONS, prepared.table["name"][rows], points, truth)
    megabytes = round((args.out / TREES).stat().st_size / 1e6, 2)
    facts = {
        "method": "dlib regression trees",
        "dataset": prepared.dataset,
        "content": prepared.manifest["content"],
        "synthetic": prepared.synthetic,
        "training_faces": len(pictures) // 2,
        "box": str(policy),
        "cascades": args.cascades,
        "tree_depth": args.depth,
        "trees_per_cascade": options.num_trees_per_cascade_level,
        "oversampling": args.oversampling,
        "seed": args.seed,
        "seconds": round(seconds),
        "megabytes": megabytes,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    write_whole(args.out / FACTS, json.dumps(facts, indent=1))
    errors = metrics.image_errors(points, truth, prepared.scheme, "interocular")
    print(f"test NME {metrics.nme(errors):.2f} %, {megabytes} MB, trained in {seconds / 60:.0f} min")


def measure(args, prepared):
    """Times the trees and the checkpoints in turns; prints and writes what it found."""
    for name in (TREES, FACTS):
        if not (args.peer / name).is_file():
            raise DataError(f"--peer {args.peer}: holds no {name}: run the train command first")
    rows = prepared.indices("test")[: args.faces]
    trees = dlib.shape_predictor(str(args.peer / TREES))
    facts = json.loads((args.peer / FACTS).read_text(encoding="utf-8"))
    boxes = prepared.boxes(BoxPolicy.parse(facts["box"]))
    cut = [picture(prepared, row) for row in rows]
    inputs = [(grey, rectangle(boxes[row], crop)) for row, (grey, crop) in zip(rows, cut, strict=True)]
    contenders = {facts["method"]: (lambda i: predict(trees, *inputs[i]), facts["megabytes"])}
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(args.checkpoint):
            loaded = load_checkpoint(path, prepared.scheme)
            size, own = loaded.model.input_shape[1], prepared.boxes(loaded.box)
            images = [FaceCrop.from_box(own[row], size).image(prepared.faces[row])[None] for row in rows]
            images = [image.astype(np.float32) for image in images]
            file = Path(folder) / f"{number}.tflite"
            export_litert(loaded.model, file)
            run, megabytes = litert_function(file, threads=1), file.stat().st_size / 1e6
            label = f"{loaded.label} ({loaded.record['arch']}, {size} px, LiteRT fp32)"
            contenders[label] = (lambda i, run=run, images=images: run(images[i]), megabytes)
        found = in_turns({label: run for label, (run, _) in contenders.items()}, len(rows), args.repeats)
    record = {
        label: {"ms": found[label], "megabytes": round(megabytes, 2)} for label, (_, megabytes) in contenders.items()
    }
    about = {"faces": len(rows), "repeats": args.repeats, "threads": 1, "date": time.strftime("%Y-%m-%d")}
    write_whole(args.peer / TIMING, json.dumps(about | {"machine": machine(), "contenders": record}, indent=1))
    first = found[facts["method"]]["median"]
    for label, values in record.items():
        ms = values["ms"]
        print(
            f"{label}: {ms['median']:.2f} ms a face ({ms['low']:.2f} to {ms['high']:.2f}), "
            f"{ms['median'] / first:.2f} times the trees, {values['megabytes']:.1f} MB"
        )


def in_turns(functions, count, repeats):
    """Milliseconds of each function over inputs 0 to ``count``: median of the repeats' medians, lowest and highest."""
    medians = {label: [] for label in functions}
    for repeat in range(repeats + 1):
        seconds = {label: [] for label in functions}
        for i in range(count):
            for label, function in functions.items():
                started = time.perf_counter()
                function(i)
                seconds[label].append(time.perf_counter() - started)
        if repeat:  # the first round warms caches
            for label, values in seconds.items():
                medians[label].append(1000 * float(np.median(values)))
    return {label: spread(values) for label, values in medians.items()}


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    if dlib is None:
        raise ConfigError("dlib is not installed: pip install 'kdloss[peer]'")
    for name in ("cascades", "depth", "oversampling", "faces", "repeats"):
        if getattr(args, name, 1) < 1:
            raise ConfigError(f"--{name} {getattr(args, name)}: expected 1 at least")
    prepared = find_prepared(args.dataset, args.data)
    if args.command == "train":
        if not prepared.scheme.mirrorable:
            raise DataError(
                f"{prepared.path}: scheme {prepared.scheme.name} names no mirror partners, so no mirror images"
            )
        train(args, prepared)
    else:
        measure(args, prepared)
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python benchmarks/peer_ert.py", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dataset", default="300w", choices=list(DATASETS))
    common.add_argument("--data", help="prepared or official folder (default: data/DATASET)")
    one = commands.add_parser("train", parents=[common], help="fit the trees and predict the test faces")
    one.add_argument("--box", default="gt:1.25", help="gt:SCALE, dataset:SCALE or paper")
    one.add_argument("--cascades", type=int, default=15)
    one.add_argument("--depth", type=int, default=4)
    one.add_argument("--oversampling", type=int, default=20, help="initial shapes drawn for each training picture")
    one.add_argument("--threads", type=int, default=0, help="default: all")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--out", type=Path, required=True)
    other = commands.add_parser("time", parents=[common], help="milliseconds a face beside checkpoints")
    other.add_argument("--peer", type=Path, required=True, help="folder that train wrote")
    other.add_argument("--checkpoint", nargs="*", default=[], help="run folders or .keras files to time beside it")
    other.add_argument("--faces", type=int, default=100)
    other.add_argument("--repeats", type=int, default=7)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
