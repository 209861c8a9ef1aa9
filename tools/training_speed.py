"""Images a second in the training of a student by KD-Loss: the published recipe's loop, and this project's training.

    python tools/training_speed.py --data data/300w
    python tools/training_speed.py --data data/300w --way cached device --image-size 224

Machines are shared and noisy. So in a round every way trains once, one after the other, and ratios are taken within the
round. The first round warms up and does not count.

published: the loop of Fard and Mahoor (CVIU 2022) as they describe it: eager steps; crops are augmented beforehand, and
each is a picture and a file of its points, opened with its batch; both frozen teachers predict every batch; Adam.
online: this project's training, with both teachers in every step. cached: the same, with stored points of the teachers.
device: as cached, with --views device.
"""

import argparse
import itertools
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate

from kdloss.machine import machine, quiet_libraries

TEACHERS = ("tough", "tolerant")


class _Work:
    """What all ways share: faces, views, and teachers in random weights."""

    def __init__(self, args, folder, views=0):
        import keras

        from kdloss.data.augmentation import augmentation
        from kdloss.data.batches import ViewBatches
        from kdloss.data.geometry import BoxPolicy
        from kdloss.data.prepared import PreparedDataset
        from kdloss.models import build_model
        from kdloss.models.checkpoint import save_model
        from kdloss.training.config import TrainConfig

        keras.utils.set_random_seed(0)
        prepared = PreparedDataset(args.data)
        num_points, name = prepared.scheme.num_points, prepared.dataset
        self.paths = {role: folder / f"{role}.keras" for role in TEACHERS}
        fields = {"image_size": args.image_size, "batch_size": args.batch_size, "augment": "paper"}
        fields |= {role: str(path) for role, path in self.paths.items()} | {"teacher_views": views}
        self.config = TrainConfig("student", name, args.student, method="kd-loss", **fields)
        self.batches = ViewBatches(
            prepared, prepared.indices("train")[: args.faces], size=args.image_size, batch_size=args.batch_size,
            policy=BoxPolicy.parse(self.config.box), augment=augmentation("paper"), rounds=views or None,
        )  # fmt: skip
        self.student = build_model(args.student, num_points, args.image_size)
        teacher = build_model(args.teacher, num_points, args.image_size)
        card = {"arch": args.teacher, "dataset": name, "scheme": prepared.scheme.to_json()}
        for path in self.paths.values():
            save_model(path, teacher, card | {"image_size": args.image_size, "box": self.config.box})


def _published(args):
    import keras
    import tensorflow as tf

    from kdloss.losses import KD_PRESETS, kd_loss
    from kdloss.models.checkpoint import load_model

    folder = tempfile.TemporaryDirectory()
    work, crops = _Work(args, Path(folder.name)), []
    for images, points in work.batches.in_order():
        for image, unit in zip(images, points["hard"], strict=True):
            crops.append(Path(folder.name) / f"{len(crops):06d}.jpg")
            Image.fromarray(image).save(crops[-1], quality=95)
            np.save(crops[-1].with_suffix(".npy"), unit, allow_pickle=False)
    teachers = [load_model(path)[0] for path in work.paths.values()]
    student, optimizer, order = work.student, keras.optimizers.Adam(1e-3), np.random.default_rng(0)

    def step(pictures):
        images = np.stack([np.asarray(Image.open(picture), np.float32) / 255 for picture in pictures])
        points = np.stack([np.load(picture.with_suffix(".npy"), allow_pickle=False) for picture in pictures])
        predicted = [np.asarray(teacher.predict_on_batch(images)) for teacher in teachers]
        with tf.GradientTape() as tape:
            answer = student(images, training=True)
            loss = kd_loss(points, answer, *predicted, KD_PRESETS["public"], args.image_size)
        optimizer.apply(tape.gradient(loss, student.trainable_variables), student.trainable_variables)
        return float(loss)

    def round_():
        started, _ = time.perf_counter(), folder  # the folder lives as long as this function
        for _ in range(args.steps):
            step([crops[i] for i in order.choice(len(crops), args.batch_size, replace=False)])
        return args.steps * args.batch_size / (time.perf_counter() - started)

    return round_


def _own(args, views, where="host"):
    import keras

    from kdloss.data.batches import MixedBatches, training_data
    from kdloss.data.device_views import placed
    from kdloss.training.state import Deadline
    from kdloss.training.teachers import load_teachers, stored_points
    from kdloss.training.trainer import compiled_trainer

    class Watch(keras.callbacks.Callback):
        ends = ()

        def on_train_batch_end(self, batch, logs=None):
            float(logs["loss"])  # an accelerator may still be at work
            self.ends = (*self.ends, time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        work = _Work(args, Path(folder), views)
        batches, teachers = work.batches, load_teachers(work.config, work.batches.prepared)
        if views:
            for role in TEACHERS:
                teacher = teachers.pop(role)
                batches.stored[role] = stored_points(teacher, batches, Path(folder), Deadline(), labelled=True)
    batches, drawn = placed(MixedBatches([batches]), where)
    trainer = compiled_trainer(work.config, work.student, teachers, batches.steps, views=drawn)
    starts, steps = itertools.count(step=args.steps + 1), args.steps + 1

    def round_():
        watch, first = Watch(), next(starts)
        data = training_data(batches, first, first + steps)
        trainer.fit(data, steps_per_epoch=steps, callbacks=[watch], verbose=0, shuffle=False)
        return args.steps * args.batch_size / (watch.ends[-1] - watch.ends[0])

    return round_


# Name -> a function of the arguments that returns one of a round, which returns images a second.
WAYS = {
    "published": _published,
    "online": lambda args: _own(args, 0),
    "cached": lambda args: _own(args, args.teacher_views),
    "device": lambda args: _own(args, args.teacher_views, "device"),
}


def _spread(values):
    return [f"{number:.4g}" for number in (np.median(values), min(values), max(values))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, metavar="FOLDER", help="prepared folder")
    parser.add_argument("--student", default="mobilenetv2", help="architecture (default: %(default)s)")
    parser.add_argument("--teacher", default="efficientnetb3", help="architecture (default: %(default)s)")
    parser.add_argument("--way", nargs="+", choices=list(WAYS), default=list(WAYS), help="default: all")
    numbers = {"image-size": 112, "batch-size": 32, "faces": 512, "teacher-views": 2, "steps": 10, "rounds": 7}
    for flag, value in numbers.items():
        parser.add_argument(f"--{flag}", type=int, default=value, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    args = parser.parse_args()
    quiet_libraries()
    ways = {name: WAYS[name](args) for name in args.way}
    rates = {name: [] for name in ways}
    for number in range(args.rounds + 1):
        for name, work in ways.items():
            rate = work()
            rates[name] += [rate] if number else []
            print(f"round {number} of {args.rounds}: {name}: {rate:.4g} images/s", file=sys.stderr)
    columns = ["way", "images/s", "least", "most", f"x {args.way[0]}", "least", "most"]
    rows = [[name, *_spread(found), *_spread(np.divide(found, rates[args.way[0]]))] for name, found in rates.items()]
    views = f"{args.image_size} px, batches of {args.batch_size}, {args.faces} faces of {args.data} at most"
    here = machine()
    notes = [
        f"{args.student} by KD-Loss of two {args.teacher}, {views}; {args.steps} steps a round",
        f"{here['processor'] or here['platform']}, {here['cores']} cores",
        f"`python tools/training_speed.py {shlex.join(sys.argv[1:])}`, {time.strftime('%Y-%m-%d')}",
    ]
    print(tabulate(rows, columns, disable_numparse=True), *notes, sep="\n")
    if args.json:
        table = {"title": parser.description, "columns": columns, "rows": rows, "notes": notes}
        record = {"rounds": rates, "machine": here, "tables": {"training_speed": table}}
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
