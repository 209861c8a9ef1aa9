"""Two processes, or two devices, beside one: whether they train to the same weights, and what the death of one does.

    python benchmarks/two_workers.py --json workers.json

On rendered faces, float32, every run through ``kdloss.training.fit.train``, each in processes of its own:

- JAX: one process; two over loopback with half of each batch each; the two again, of which the second is killed with
  SIGKILL in the middle of the last epoch, after which one process goes on with what they left.
- TensorFlow: one device; two logical devices of the processor, mirrored, with half of each batch each. Without dropout,
  which TensorFlow draws for each replica by itself; JAX draws it for the whole batch, and has it here.
- For comparison, one device, TensorFlow, that sees the faces of each batch in reverse order. That is the same training
  but for the order in which float32 numbers are added up: how far it alone carries two runs apart.

A learning rate of 3e-5: in float32 no two runs stay together whose sums are taken in another order. Sooner or later a
coordinate's error or a ReLU changes its sign in one of them alone, and from there they part, the faster the higher the
rate: at 1e-4 within these steps to 1e-4, at 1e-3 to 5e-3, on one device too when its batches are turned round.

The difference is the largest of all that a run resumes from (weights, moving statistics, moving average of the weights,
moments of the optimizer), in each array relative to its largest number where that is above 1.

Exit status 1 if a difference is above 1e-4, or the survivor does not end with one line and status 1 within 30 s.
"""

import argparse
import dataclasses
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from kdloss.benchmarking.reliability_tables import workers_table
from keras import Model, layers

from asm.atomic import write_whole
from data_prep.layouts import write_layout
from data_prep.prepare import prepare
from kdloss.errors import exits_on_user_error
from kdloss.evaluation.table import text_table
from kdloss.models.regressors import REGRESSORS, Regressor
from kdloss.pipeline import ViewBatches
from kdloss.prepared import PreparedDataset
from kdloss.runs import machine
from kdloss.training.config import TrainConfig
from kdloss.training.distribution import distribution
from kdloss.training.divergence import LossWatch
from kdloss.training.fit import train

TOLERANCE, SECONDS = 1e-4, 30.0
SMALL = "small"  # four stages of convolution and batch normalisation, with dropout; any other network by its name
_WORKER = "--worker"


def _small_trunk(inputs):
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    for number, width in enumerate((16, 32, 64, 128)):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.BatchNormalization(name=f"norm{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    return Model(inputs, x)


def work(spec):
    """One process of one run, as the dict ``spec`` tells."""
    REGRESSORS[SMALL] = Regressor(_small_trunk, lambda size: ("", ""), dropout=spec["dropout"])
    if spec["backwards"]:
        positions = ViewBatches._positions
        ViewBatches._positions = lambda self, epoch, step: positions(self, epoch, step)[::-1]
    if spec["die"]:
        die_after(*spec["die"])
    if spec["where"] == "devices" and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    faces = PreparedDataset(Path(spec["faces"]))
    with distribution(spec["where"], spec["processes"], spec["process"]) as among:
        train(TrainConfig(**spec["config"]), faces, Path(spec["run"]), verbose=0, distribution=among)
    return 0


def die_after(epoch, step):
    """This process kills itself after a step (both are counted from 0), and says when."""
    check = LossWatch.check

    def dies(self, now, at, mean):
        check(self, now, at, mean)
        if [now, at] == [epoch, step]:
            print(f"{time.time()}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    LossWatch.check = dies


class Trainings:
    """Runs of one configuration, each below ``folder``."""

    def __init__(self, folder, faces, config):
        self.folder, self.faces, self.config = folder, faces, config

    def run(self, name, backend, *, where=None, processes=1, dropout=0.3, backwards=False, die=None):
        """Trains in processes of their own.

        Returns:
            Of each process ``(exit status, what it printed, what it complained of, when it ended)``.
        """
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parents[1]), *sys.path])
        environment |= {"JAX_COMPILATION_CACHE_DIR": str(self.folder / "xla")}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        begun = []
        for process in range(processes):
            spec = {"config": dataclasses.asdict(self.config), "faces": str(self.faces), "run": str(self.folder / name)}
            spec |= {"where": where, "processes": None, "process": None, "dropout": dropout, "backwards": backwards}
            if processes > 1:
                spec |= {"processes": processes, "process": process}
            spec["die"] = die if process else None
            command = [sys.executable, __file__, _WORKER, json.dumps(spec)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            begun.append(subprocess.Popen(command, env=environment, text=True, **pipes))
        ended = []
        for process in begun:
            printed, complained = process.communicate(timeout=600)
            ended.append((process.returncode, printed, complained, time.time()))
        return ended

    def finished(self, name, backend, **settings):
        """The same of a run that has to end well."""
        for status, _, complained, _ in self.run(name, backend, **settings):
            if status:
                raise RuntimeError(f"{name}: exit status {status}: {complained[-2000:]}")

    def difference(self, name, other):
        """The largest difference between what two runs resume from, see above."""
        largest = 0.0
        first, second = self._state(name), self._state(other)
        if first.keys() != second.keys():
            raise RuntimeError(f"{name}, {other}: not the same arrays")
        for key, array in first.items():
            size = max(1.0, float(np.abs(array).max(initial=0)))
            largest = max(largest, float(np.abs(array - second[key]).max(initial=0)) / size)
        return largest

    def seconds_a_step(self, name, steps):
        """Of the last epoch, which compiles nothing."""
        lines = (self.folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return json.loads(lines[-1])["seconds"] / steps

    def _state(self, name):
        with np.load(self.folder / name / "last" / "state.npz", allow_pickle=False) as file:
            return {key: file[key].astype(np.float64) for key in file.files if key.startswith("v")}


def measure(trainings, steps):
    """All runs; the record's rows, and what came of the death."""
    address, last = _address, trainings.config.epochs - 1
    dropout = {"dropout": 0.3 if trainings.config.arch == SMALL else 0.0}
    runs = [
        ("jax-one", "JAX, one process", "jax", {}),
        ("jax-two", "JAX, two processes", "jax", {"where": address(), "processes": 2}),
        ("tf-one", "TensorFlow, one device", "tensorflow", {"dropout": 0.0}),
        ("tf-two", "TensorFlow, two devices, mirrored", "tensorflow", {"where": "devices", "dropout": 0.0}),
        ("tf-backwards", "TensorFlow, batches in reverse", "tensorflow", {"backwards": True, "dropout": 0.0}),
    ]
    beside = {"jax-two": "jax-one", "tf-two": "tf-one", "tf-backwards": "tf-one"}
    rows = []
    for name, label, backend, settings in runs:
        trainings.finished(name, backend, **(dropout | settings))
        found = trainings.difference(name, beside[name]) if name in beside else None
        row = {"run": label, "seconds_a_step": trainings.seconds_a_step(name, steps), "difference": found}
        rows.append(row | {"held_to": TOLERANCE if name.endswith("two") else None})
        print(
            f"{label}: {row['seconds_a_step']:.3f} s a step" + ("" if found is None else f", {found:.2g}"), flush=True
        )
    survivor, victim = trainings.run(
        "jax-death", "jax", where=address(), processes=2, die=[last, steps // 2], **dropout
    )
    death = {
        "killed_at": [last + 1, steps // 2 + 1],
        "victim_status": victim[0],
        "status": survivor[0],
        "seconds": survivor[3] - float(victim[1].split()[-1]),
        "line": survivor[2].strip().splitlines()[-1].replace(str(trainings.folder) + os.sep, "runs/"),
    }
    trainings.finished("jax-death", "jax", **dropout)
    death["difference"] = trainings.difference("jax-death", "jax-one")
    return rows, death


def missed(rows, death):
    """What misses its target: a list of texts."""
    short = [
        f"{row['run']}: difference {row['difference']:.2g}, expected {row['held_to']} at most"
        for row in rows
        if row["held_to"] and not row["difference"] <= row["held_to"]
    ]
    if not death["difference"] <= TOLERANCE:
        short.append(f"resumed after the death: difference {death['difference']:.2g}, expected {TOLERANCE} at most")
    if death["status"] != 1 or death["seconds"] > SECONDS or "process 1 of 2 is gone" not in death["line"]:
        short.append(f"death: status {death['status']} after {death['seconds']:.1f} s: {death['line']}")
    return short


def _address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    if typed[:1] == [_WORKER]:
        return work(json.loads(typed[1]))
    args = _parser().parse_args(argv)
    config = TrainConfig(
        "tough",
        "300w",
        args.arch,
        loss="l1",
        image_size=args.image_size,
        batch_size=args.batch_size,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        ema=0.99,
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_layout("300w", folder / "raw", count=args.faces, test_count=1, size=2 * args.image_size)
        prepare("300w", folder / "raw", folder / "faces", size=2 * args.image_size, progress=lambda faces, total: faces)
        count = len(PreparedDataset(folder / "faces").indices("train"))
        steps = count // config.batch_size
        rows, death = measure(Trainings(folder, folder / "faces", config), steps)
    record = {
        "kind": "workers",
        "command": f"python benchmarks/two_workers.py {shlex.join(typed)}".strip(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "settings": {"arch": config.arch, "image_size": config.image_size, "batch_size": config.batch_size}
        | {"learning_rate": config.learning_rate}
        | {"epochs": config.epochs, "steps": steps * config.epochs, "faces": count, "tolerance": TOLERANCE},
        "rows": rows,
        "death": death,
    }
    print(text_table(workers_table(record)))
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1))
    short = missed(rows, death)
    for line in short:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if short else 0


def _parser():
    parser = argparse.ArgumentParser(prog="python benchmarks/two_workers.py", description=__doc__.split("\n")[0])
    parser.add_argument("--arch", default=SMALL, help="network (default: a small one of this command's own)")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    parser.add_argument("--faces", type=int, default=192, help="rendered faces; a tenth of them validates")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
