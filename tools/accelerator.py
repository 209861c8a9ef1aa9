"""Trains a teacher, and the student that it teaches, within the minutes of a lent accelerator.

    python tools/pack_faces.py pack data/300w faces.zip
    KERAS_BACKEND=jax python tools/accelerator.py --faces faces.zip --out OUT --minutes 12
    KERAS_BACKEND=jax python tools/accelerator.py --faces faces.zip --out OUT --dry-run    # says what it would do
    KERAS_BACKEND=jax python tools/accelerator.py --faces faces.zip --out OUT --rehearse   # an epoch of each, 64 px

OUT gets a run folder of each network. Both are validated and saved about every `SAVE_EVERY` seconds; the same command
goes on with what is there. Each network compiles once. The learning rate falls over a number of epochs that is planned
from ``--rates``; a network that is slower ends in time with the best of its epochs.
"""

import argparse
import os
import time
from pathlib import Path

import pack_faces

from kdloss.data.prepared import PreparedDataset
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.experiments.recipes import HEATMAPS
from kdloss.training.config import TrainConfig

SAVE_EVERY = 45.0  # seconds of an epoch
COMPILING = 100.0  # seconds, of a network
TEACHER_SHARE = 0.4  # of the time
LARGEST = 45 << 20  # bytes of the packed faces

COMMON = HEATMAPS | {
    "dataset": "300w", "image_size": 224, "augment": "covered", "hard_draws": 2, "learning_rate": 2e-3,
    "batch_size": 64, "weight_decay": 0.02, "ema": 0.998, "precision": "mixed_bfloat16", "views": "device",
}  # fmt: skip
# Of this family the largest whose file, in 32 bits, stays below 16 MB.
TEACHER = {"kind": "tough", "arch": "efficientnet-lite1-fpn"}
STUDENT = {"kind": "student", "arch": "mobilenetv2-fpn", "method": "fa"}


def planned(args, faces):
    """Name -> (`TrainConfig`, minutes) of both networks, in their order."""
    left, plans = 60 * args.minutes, {}
    for name, fields, share, rate in (
        ("teacher", TEACHER, TEACHER_SHARE, args.rates[0]), ("student", STUDENT, 1 - TEACHER_SHARE, args.rates[1])
    ):  # fmt: skip
        seconds = share * left
        fields = COMMON | fields | {"weights": getattr(args, f"{name}_weights")}
        fields |= {"passes": max(1, round(SAVE_EVERY * rate / faces))}
        fields |= {"epochs": max(1, int((seconds - COMPILING) * rate / faces / fields["passes"]))}
        if name == "student":
            fields |= {"feature_teacher": str(args.out / "teacher")}
        if args.rehearse:
            small = {
                "image_size": 64,
                "batch_size": min(16, faces // 2),
                "epochs": 1,
                "passes": 1,
                "precision": "float32",
            }
            fields |= small | {"weights": "none"}
        plans[name] = TrainConfig(**fields), seconds / 60
    return plans


def opened(file, out):
    """The `PreparedDataset` of a packed file, unpacked into OUT once."""
    if (size := file.stat().st_size) > LARGEST:
        raise ConfigError(f"--faces {file}: has {size / 1e6:.0f} MB, expected {LARGEST / 1e6:.0f} at most: pack fewer")
    if not (folder := out / "faces").is_dir():
        pack_faces.unpack(file, folder)
    return PreparedDataset(folder)


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faces", type=Path, required=True, help="packed by tools/pack_faces.py")
    parser.add_argument("--out", type=Path, required=True, help="folder of both runs")
    parser.add_argument("--minutes", type=float, default=12.0, help="for both networks (default: %(default)s)")
    parser.add_argument(
        "--rates", type=float, nargs=2, default=[650.0, 700.0], metavar=("TEACHER", "STUDENT"),
        help="images a second that are expected (default: those of an H200 with views from the host)",
    )  # fmt: skip
    for name in ("teacher", "student"):
        parser.add_argument(f"--{name}-weights", default="none", help="first weights (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--rehearse", action="store_true", help="an epoch of each network, at 64 px")
    args = parser.parse_args(argv)
    started = time.monotonic()
    prepared = opened(args.faces, args.out)
    plans = planned(args, len(prepared.indices("train")))
    for name, (config, minutes) in plans.items():
        print(
            f"{name}: {config.arch}, {config.image_size} px, {config.epochs} epochs of {config.passes} passes over "
            f"{len(prepared.indices('train'))} faces, {minutes:.1f} min at most -> {args.out / name}", flush=True,
        )  # fmt: skip
    if args.dry_run:
        return 0
    # A network that was interrupted need not compile again.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(args.out / "compiled"))
    from kdloss.training.fit import train
    from kdloss.training.state import Deadline, OutOfTime

    for name, (config, _) in plans.items():
        end = args.minutes if name == "student" else TEACHER_SHARE * args.minutes
        left = end - (time.monotonic() - started) / 60
        try:
            train(config, prepared, args.out / name, deadline=Deadline(left))
        except OutOfTime as stopped:
            print(stopped, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
