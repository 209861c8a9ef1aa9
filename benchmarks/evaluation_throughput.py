"""What evaluation costs over the model itself: faces a second of both, in turns, and the seconds of a predictions file.

    python benchmarks/evaluation_throughput.py --dataset 300w --checkpoint runs/student --json throughput.json

``batch``: the model on one batch already in memory. ``evaluation``: all test faces of the prepared set, from stored
crops to points in the source images, as ``kdloss.evaluate`` predicts them. Both run in every repetition, one after the
other, so that whatever else the machine does meets both; the ratio is taken within the repetition. ``file``: from
opening the prepared set and a predictions file to all numbers of the protocol, imports excepted.

Exit status 1 if the median ratio misses its share, or the predictions file its time in any repetition.
``python -m kdloss.results add-throughput`` records what ``--json`` writes.
"""

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from asm.atomic import write_whole
from kdloss.data_location import find_prepared
from kdloss.datasets import DATASETS
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import evaluate_predicted, load_checkpoint
from kdloss.evaluation.predictions import load_predictions, save_predictions
from kdloss.geometry import FaceCrop
from kdloss.prediction import predict_dataset
from kdloss.prepared import PreparedDataset
from kdloss.runs import environment

# Evaluation must reach this share of the model's own throughput, and a predictions file must be measured in this time.
SHARE, SECONDS = 0.80, 2.0


def batch_in_memory(loaded, prepared, rows, batch_size):
    """(batch_size, S, S, 3) float32: test faces cut as evaluation cuts them, in turn until the batch is full."""
    size, boxes = loaded.model.input_shape[1], prepared.boxes(loaded.box)
    chosen = np.resize(rows, batch_size)
    return np.stack(
        [FaceCrop.from_box(boxes[row], size).image(prepared.faces[row]) for row in chosen], dtype=np.float32
    )


def model_rate(model, batch, count):
    """Faces a second of the model alone, over as many batches as ``count`` faces take."""
    batches = -(-count // len(batch))
    started = time.perf_counter()
    for _ in range(batches):
        model.predict_on_batch(batch)
    return batches * len(batch) / (time.perf_counter() - started)


def evaluation_rate(loaded, prepared, rows, batch_size):
    """Faces a second from stored crops to points in the source images, and the points."""
    started = time.perf_counter()
    points = predict_dataset(loaded.model, prepared, rows, loaded.box, batch_size)
    return len(rows) / (time.perf_counter() - started), points


def file_seconds(path, folder):
    """Seconds from a prepared folder and a predictions file to all numbers of the protocol."""
    started = time.perf_counter()
    prepared = PreparedDataset(folder)
    evaluate_predicted(prepared, load_predictions(path, prepared, prepared.indices("test"))[0])
    return time.perf_counter() - started


def measure(prepared, loaded, batch_size, repeats):
    """All repetitions: a dict of lists, one value a repetition."""
    rows = prepared.indices("test")
    batch = batch_in_memory(loaded, prepared, rows, batch_size)
    found = {"batch": [], "evaluation": [], "ratio": [], "file": []}
    model_rate(loaded.model, batch, 2 * batch_size)  # compiles
    _, points = evaluation_rate(loaded, prepared, rows, batch_size)  # reads the stored crops into the page cache
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.npz"
        save_predictions(path, prepared.table["name"][rows], points, prepared.source_points[rows])
        for _ in range(repeats):
            found["batch"].append(model_rate(loaded.model, batch, len(rows)))
            found["evaluation"].append(evaluation_rate(loaded, prepared, rows, batch_size)[0])
            found["ratio"].append(found["evaluation"][-1] / found["batch"][-1])
            found["file"].append(file_seconds(path, prepared.path))
    return found


def summary(values):
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def missed(found):
    """What falls short of `SHARE` and `SECONDS` in a dict of `summary`: a list of texts."""
    ratio, file = found["ratio"]["median"], found["file"]["max"]
    short = [f"evaluation / model: median {ratio:.3f}, expected {SHARE} at least"] if ratio < SHARE else []
    return short + ([f"predictions file: {file:.3f} s, expected {SECONDS} s at most"] if file > SECONDS else [])


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    if args.batch_size < 1 or args.repeats < 5:
        raise ConfigError(
            f"--batch-size {args.batch_size} --repeats {args.repeats}: expected 1 and 5 at least, to see the spread"
        )
    prepared = find_prepared(args.dataset, args.data)
    loaded = load_checkpoint(args.checkpoint, prepared.scheme)
    found = measure(prepared, loaded, args.batch_size, args.repeats)
    record = {
        "dataset": prepared.dataset,
        "n": len(prepared.indices("test")),
        "synthetic": prepared.synthetic,
        "checkpoint": loaded.record,
        "box": str(loaded.box),
        "batch_size": args.batch_size,
        "repeats": args.repeats,
        "command": f"python benchmarks/evaluation_throughput.py {shlex.join(typed)}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": environment(),
        "summary": {name: summary(values) for name, values in found.items()},
        "repetitions": found,
    }
    print(f"{record['n']} test faces of {prepared.path}, batches of {args.batch_size}, {args.repeats} repetitions")
    titles = {
        "batch": ("model alone, faces/s", 1),
        "evaluation": ("evaluation, faces/s", 1),
        "ratio": (f"evaluation / model (at least {SHARE})", 3),
        "file": (f"predictions file, s (at most {SECONDS})", 3),
    }
    for name, (title, digits) in titles.items():
        value = {key: f"{number:.{digits}f}" for key, number in record["summary"][name].items()}
        print(f"{title:<36} median {value['median']:>8}   from {value['min']} to {value['max']}")
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1))
    short = missed(record["summary"])
    for line in short:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if short else 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python benchmarks/evaluation_throughput.py", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--dataset", default="300w", choices=list(DATASETS))
    parser.add_argument("--data", help="prepared or official folder (default: data/DATASET)")
    parser.add_argument("--checkpoint", required=True, help=".keras file or run folder")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7, help="5 at least")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
