"""The parts of ``kdloss.benchmark suite``: a short form of each benchmark, and the figures that stand for it."""

from collections.abc import Callable
from dataclasses import dataclass

MORE, LESS = "more", "less"
STARTED = ("import kdloss", "python -m kdloss.evaluate --help", "python -m kdloss.train_student --help")


@dataclass(frozen=True)
class Figure:
    """One number of a benchmark.

    Args:
        name: what it is of, unique within the benchmark.
        unit: of the values.
        better: `MORE` or `LESS`.
        values: one a round.
    """

    name: str
    unit: str
    better: str
    values: list


@dataclass(frozen=True)
class Part:
    """A benchmark in short.

    Args:
        words: its command, after ``python -m kdloss.benchmark``.
        figures: its record -> `Figure`\\ s.
        faces: whether it needs a data set.
    """

    words: str
    figures: Callable
    faces: bool = False


def _startup(record):
    for row in record["rows"]:
        if row["what"] in STARTED:
            yield Figure(row["what"], "ms", LESS, _milliseconds(row["seconds_of_rounds"]))


def _shapes(record):
    for row in record["rows"]:
        if row["shapes"] == max(record["settings"]["shapes"]):
            own, product = row["seconds_of_rounds"], row["product_seconds_of_rounds"]
            name = f"{row['step']}{', aligned' if row['align'] else ''}, {row['shapes']} shapes"
            yield Figure(name, "ms", LESS, _milliseconds(own))
            yield Figure(name, "x product", LESS, [one / other for one, other in zip(own, product, strict=True)])


def _inference(record):
    for row in record["rows"]:
        name = f"{row['model']}, {row['runtime']}"
        yield Figure(f"{name}, one image", "ms", LESS, row["ms_of_rounds"])
        yield Figure(f"{name}, batches", "images/s", MORE, row["images_per_second_of_rounds"])


def _predict(record):
    faces = record["faces"]["n"]
    for row in record["rows"]:
        yield Figure(row["way"], "faces/s", MORE, [faces / seconds for seconds in row["seconds_of_rounds"]])


def _pipeline(record):
    for row in record["rows"]:
        if row["group"] in ("together", "training"):
            threads = "" if row["threads"] is None else f", threads: {row['threads']}"
            yield Figure(row["what"] + threads, "views/s", MORE, row["views_per_second_of_rounds"])


def _training(record):
    for row in record["rows"]:
        if "fails" not in row:
            name = ", ".join([row["way"], *row["options"]])
            yield Figure(name, "images/s", MORE, row["images_per_second_of_rounds"])
            yield Figure(f"{name}, first step", "s", LESS, [row["first_step"]])


def _accuracy_time(record):
    for row in record["rows"]:
        last = [run["epochs"][-1] for run in row["runs"]]
        yield Figure(row["recipe"], "s", LESS, [epoch["seconds"] for epoch in last])
        yield Figure(row["recipe"], "val NME %", LESS, [epoch["val_nme"] for epoch in last])


def _milliseconds(seconds):
    return [1000 * one for one in seconds]


PARTS = {
    "startup": Part("startup --rounds 5", _startup),
    "shapes": Part("shapes --shapes 5000 10000 20000 --rounds 5", _shapes),
    "inference": Part(
        "inference --arch mobilenetv2 --image-size 112 --runtime keras litert --threads 1 --images 5 --rounds 5 "
        "--processes 0",
        _inference,
    ),
    "predict": Part("predict --faces 10 --threads 1 --rounds 5", _predict, faces=True),
    "pipeline": Part("pipeline --views 320 --threads 1 --steps 1 --rounds 5", _pipeline, faces=True),
    "training": Part(
        "training --backend tensorflow --option --teacher efficientnetb0 --image-size 64 --batch-size 16 --faces 32 "
        "--steps 1 --seconds 0.5 --rounds 5",
        _training,
        faces=True,
    ),
    "time-to-accuracy": Part(
        "time-to-accuracy --recipe cpu --seeds 0 --epochs 2 --minutes 1", _accuracy_time, faces=True
    ),
}
