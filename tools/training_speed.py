"""Images a second in the training of a student by KD-Loss: the published recipe's loop, and this project's training.

    python tools/training_speed.py --data data/300w
    python tools/training_speed.py --data data/300w --way cached --against ../other-checkout
    python tools/training_speed.py --data data/300w --way cached device --image-size 224

published: the loop of Fard and Mahoor (CVIU 2022) as they describe it: eager steps; crops are augmented beforehand, and
each is a picture and a file of its points, opened with its batch; both frozen teachers predict every batch; Adam.
online: this project's training, with both teachers in every step. cached: the same, with stored points of the teachers.
device: as cached, with --views device.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import rounds
from PIL import Image

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
        started, _ = args.now(), folder  # the folder lives as long as this function
        for _ in range(args.steps):
            step([crops[i] for i in order.choice(len(crops), args.batch_size, replace=False)])
        return args.steps * args.batch_size / (args.now() - started)

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
            self.ends = (*self.ends, args.now())

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


WAYS = {
    "published": rounds.Way(_published, "published"),
    "online": rounds.Way(lambda args: _own(args, 0), "published"),
    "cached": rounds.Way(lambda args: _own(args, args.teacher_views), "published"),
    "device": rounds.Way(lambda args: _own(args, args.teacher_views, "device"), "cached"),
}


def _describe(args):
    views = f"{args.image_size} px, batches of {args.batch_size}, {args.faces} faces of {args.data} at most"
    return f"{args.student} by KD-Loss of two {args.teacher}, {views}; {args.steps} steps a round"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, metavar="FOLDER", help="prepared folder")
    parser.add_argument("--student", default="mobilenetv2", help="architecture (default: %(default)s)")
    parser.add_argument("--teacher", default="efficientnetb3", help="architecture (default: %(default)s)")
    for flag, value in {"image-size": 112, "batch-size": 32, "faces": 512, "teacher-views": 2, "steps": 10}.items():
        parser.add_argument(f"--{flag}", type=int, default=value, help="default: %(default)s")
    rounds.main(parser, WAYS, "images", _describe)
