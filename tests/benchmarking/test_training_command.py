"""``kdloss.benchmark training``: what is trained, counted and compared. How fast it is is nobody's to assert."""

import importlib
import json
import os
import subprocess
import sys
from typing import ClassVar

import keras
import numpy as np
import pytest
from PIL import Image

from kdloss.benchmark import main
from kdloss.benchmarking import published_loop, training_process, training_turns
from kdloss.benchmarking.project_training import batches_of, channels_first, config_of, train, write_teachers
from kdloss.benchmarking.published_loop import read_batch, train_as_published, write_crops
from kdloss.benchmarking.training_process import Pace
from kdloss.benchmarking.training_tables import training_tables
from kdloss.benchmarking.training_turns import measure_training
from kdloss.benchmarking.training_variants import Variant, Work
from kdloss.errors import ConfigError
from kdloss.evaluation.record_files import record_tables
from kdloss.evaluation.table import text_table
from kdloss.losses import KD_PRESETS, kd_loss
from kdloss.models import build_model
from kdloss.training.checkpoint import load_model
from tests.benchmarking import tiny_training_process
from tests.training.tiny_chain import ARCH, SIZE

FACES = 8


class Enough(Exception):
    pass


def counted(last):
    """``(seen, after_step)``: the steps of each call, until there are ``last`` calls."""
    seen = []

    def after_step(steps):
        seen.append(steps)
        if len(seen) == last:
            raise Enough

    return seen, after_step


@pytest.fixture(scope="module")
def work(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    work = Work(faces.path, folder, ARCH, ARCH, SIZE, batch_size=4, faces=FACES, teacher_views=2)
    write_crops(write_teachers(work), work.crops)
    return work


def test_crops_are_the_views_as_files(work):
    batches = batches_of(work, config_of(work, "300w", cached=False))
    pictures = sorted(work.crops.glob("*.jpg"))
    images, points = read_batch(pictures)
    assert (len(pictures), images.dtype, images.shape) == (FACES, np.float32, (FACES, SIZE, SIZE, 3))
    views = [*batches.in_order()]
    drawn = np.concatenate([images for images, _ in views])
    expected = np.concatenate([points["hard"] for _, points in views])
    np.testing.assert_array_equal(points, expected)
    assert 0 < np.abs(images - drawn / 255).mean() < 0.03
    with Image.open(pictures[0]) as picture:
        assert picture.format == "JPEG"


def steps_of(batch):
    """``(losses, network)``: three published steps of a small network on one batch, from the same weights each time."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, use_bias=False)(inputs)
    x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
    network = keras.Model(inputs, keras.layers.Reshape((68, 2))(keras.layers.Dense(136, use_bias=False)(x)))
    draw = np.random.default_rng(0)
    network.set_weights(
        [
            0.02 * draw.standard_normal(weight.shape) + ("conv" not in weight.path and "dense" not in weight.path)
            for weight in network.weights
        ]
    )
    step = published_loop._STEPS[keras.backend.backend()](network, published_loop._loss(SIZE))
    return [float(step(*batch)) for _ in range(3)], network


def batch_of(work):
    images, points = read_batch(sorted(work.crops.glob("*.jpg"))[:4])
    return images, points, points + np.float32(0.01), points - np.float32(0.03)


ON_JAX = """
import sys, numpy as np
from tests.benchmarking.test_training_command import steps_of
with np.load(sys.argv[1], allow_pickle=False) as arrays:
    print(*steps_of(list(arrays.values()))[0])
"""


def test_the_published_loop(work):
    seen, after_step = counted(5)  # more than an epoch
    begun = []
    with pytest.raises(Enough):
        train_as_published(work, begun.append, after_step)
    assert (seen, begun) == ([1] * 5, [None])


def test_published_steps_are_adams_and_the_same_op_by_op_on_jax(work, tmp_path):
    batch = batch_of(work)
    np.savez(tmp_path / "batch.npz", *batch, allow_pickle=False)
    words = [sys.executable, "-c", ON_JAX, str(tmp_path / "batch.npz")]
    settings = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    on_jax = subprocess.Popen(words, env=os.environ | settings, stdout=subprocess.PIPE, text=True)
    losses, network = steps_of(batch)
    predicted = network(batch[0], training=True)
    assert (
        losses[0] > losses[1] > losses[2] > float(kd_loss(batch[1], predicted, *batch[2:], KD_PRESETS["public"], SIZE))
    )
    text, _ = on_jax.communicate()
    assert on_jax.returncode == 0
    assert [float(word) for word in text.split()] == pytest.approx(losses, rel=1e-4)


def stored_by(work, variant, calls):
    seen, after_step = counted(calls)
    begun = []
    with pytest.raises(Enough):
        train(work, variant, begun.append, after_step)
    return seen, begun[0]


def test_teachers_points_are_stored_once_for_all_variants(work):
    assert stored_by(work, Variant("tensorflow", "online"), 1) == ([1], None)
    seen, stored = stored_by(work, Variant("tensorflow", "cached"), 3)
    assert (seen, stored["views"]) == ([1, 1, 1], 2 * FACES)
    assert stored["seconds"] > 0
    files = sorted((work.folder / "teacher-views-tensorflow").glob("*/*.npy"))
    teacher, _ = load_model(work.checkpoint("tough"))
    batches = batches_of(work, config_of(work, "300w", cached=True))
    expected = np.concatenate(
        [teacher.predict_on_batch(images.astype(np.float32)) for images, _ in batches.in_order(1)]
    )
    np.testing.assert_allclose(np.load(files[1], allow_pickle=False), expected, atol=1e-5)
    assert stored_by(work, Variant("tensorflow", "cached", ("steps-8", "bfloat16")), 2) == ([8, 8], None)
    keras.config.set_dtype_policy("float32")


def test_channels_first_is_the_same_network():
    network = build_model(ARCH, 5, SIZE)
    turned = channels_first(network)
    assert [layer.data_format for layer in turned.layers if hasattr(layer, "data_format")] == ["channels_first"] * 3
    turned.set_weights(network.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(turned(images), network(images), atol=1e-5)


class Questions:
    """A connection to whoever asks these, and then no more."""

    def __init__(self, *questions):
        self.questions, self.answers = list(questions), []

    def recv(self):
        if not self.questions:
            raise EOFError
        return self.questions.pop(0)

    def send(self, answer):
        self.answers.append(answer)


def test_a_round_is_whole_steps_without_what_was_drawn_before(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(training_process.time, "perf_counter", lambda: now[0])
    asked = Questions((), (0, 0.0), (4, 2.0), (1, 8.0))
    pace = Pace(asked)
    pace.started({"views": 10, "seconds": 3.0})

    def train_on():
        while True:
            now[0] += 1.0 if now[0] else 5.0
            pace.after_step(2)

    with pytest.raises(EOFError):
        train_on()
    ready, first, fourth, eighth = asked.answers
    assert ready is None
    assert (first["seconds"], first["stored"]) == (2.0, {"views": 10, "seconds": 3.0})
    assert first["environment"]["backend"] == keras.backend.backend()
    assert (fourth["steps"], fourth["seconds"]) == (4, 2.0)
    assert (eighth["steps"], eighth["seconds"]) == (16, 8.0)
    # The first step at 5 s; 0.5 s of lead-in are one call, 2 s are two; then 2 s of lead-in and 8 s.
    assert now[0] == 5 + 1 + 2 + 2 + 8
    assert fourth["megabytes"] > 10
    assert fourth["accelerator_megabytes"] is None


class Rates:
    """In the place of `Trainer`: rounds of known rates, one process at a time of a group."""

    alive: ClassVar = []
    of: ClassVar = {}
    most = 0

    def __init__(self, work, variant):
        self.title, self.variant = variant.title, variant
        self.rates = iter(self.of.get((variant.way, *variant.options), [1.0] * 100))

    def __enter__(self):
        self.alive.append(self)
        Rates.most = max(Rates.most, len(self.alive))
        return self

    def __exit__(self, *error):
        self.alive.remove(self)

    def wait(self):
        pass

    def first_step(self):
        if self.variant.options == ("steps-8",):
            raise ConfigError("ValueError: one step alone")
        stored = {"views": 500, "seconds": 10.0} if self.variant.way == "cached" else None
        packages = {"tensorflow": "2", "keras": "3"}
        environment = {"packages": packages, "accelerators": [], "cores": 2, "processor": "X"}
        return {"seconds": 4.0, "stored": stored, "environment": environment}

    def round(self, steps, seconds):
        return {"steps": steps, "seconds": 1 / next(self.rates), "megabytes": 900.0, "accelerator_megabytes": None}


def test_ratios_are_taken_within_a_round_and_what_helps_is_combined(work, monkeypatch):
    # Of the first round nothing counts; then the machine is half as fast, and in the last round a tenth.
    machine = [9.0, 1.0, 1.0, 0.5, 0.5, 0.1]
    rates = {("published",): 10, ("online",): 20, ("cached",): 50, ("cached", "bfloat16"): 60, ("cached", "eager"): 20}
    rates |= {("cached", "one-thread"): 55, ("cached", "bfloat16", "one-thread"): 70}
    found = {key: [rate * speed for speed in machine] for key, rate in rates.items()}
    found["published",] = [10 * speed for speed in machine] * 5
    monkeypatch.setattr(Rates, "of", found)
    monkeypatch.setattr(training_turns, "Trainer", Rates)
    lines = []
    options = ["eager", "bfloat16", "steps-8", "one-thread", "best"]
    rows = measure_training(
        work,
        ["tensorflow"],
        ["published", "online", "cached"],
        options,
        rounds=5,
        steps=1,
        seconds=0.0,
        announce=lines.append,
    )
    by = {(row["way"], *row["options"]): row for row in rows}
    assert by["cached",]["ratio"] == pytest.approx({"median": 5.0, "low": 5.0, "high": 5.0})
    assert by["cached",]["images_per_second_of_rounds"] == pytest.approx([4 * 50 * speed for speed in machine[1:]])
    assert by["cached",]["images_per_second"]["median"] == pytest.approx(100)
    assert by["cached", "eager"]["ratio"]["median"] == pytest.approx(2.0)
    assert by["cached", "steps-8"]["fails"] == "ValueError: one step alone"
    assert [key for key in by if len(key) > 2] == [("cached", "bfloat16", "one-thread")]
    assert by["published",]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert (Rates.most, Rates.alive) == (1 + training_turns.TOGETHER, [])
    assert "round 5 of 5: tensorflow, cached teachers 20.0 images/s" in lines
    settings = {"student": ARCH, "teacher": ARCH, "image_size": SIZE, "batch_size": 4, "faces": 8}
    settings |= {"teacher_views": 1, "rounds": 5, "steps": 1, "seconds": 0.0}
    record = {"rows": rows, "settings": settings, "faces": {"dataset": "300w", "synthetic": True}}
    (table,) = training_tables(record)
    text = text_table(table)
    assert all(len(line) <= 120 for line in text.splitlines())
    assert "cached teachers, 8 steps a call: ValueError: one step alone" in text
    # 20 ms a view to store; a view with online teachers takes 1/40 s, with cached ones 1/100 s.
    assert "points: 20.0 s for 1000 views, once; paid after 1.3 epochs for each stored drawing" in text
    (row,) = (row for row in table.rows if row.cells["options"] == "bfloat16, one thread")
    assert (row.cells["rate"], row.cells["ratio"]) == pytest.approx((140, 7))


def test_without_the_published_recipe_there_are_no_ratios(work, monkeypatch):
    monkeypatch.setattr(Rates, "of", {("cached", "bfloat16"): [2.0] * 6, ("cached", "one-thread"): [1.5] * 6})
    monkeypatch.setattr(training_turns, "Trainer", Rates)
    options = ["bfloat16", "one-thread", "best"]
    rows = measure_training(work, ["jax", "torch"], ["cached"], options, rounds=5, steps=1, seconds=0.0)
    assert [(row["backend"], *row["options"]) for row in rows] == [
        (backend, *of)
        for backend in ("jax", "torch")
        for of in ((), ("bfloat16",), ("one-thread",), ("bfloat16", "one-thread"))
    ]
    assert all(row["ratio"] is None for row in rows)


def test_the_published_recipe_alone_and_a_back_end_without_it(work, monkeypatch):
    monkeypatch.setattr(Rates, "of", {("published",): [1.0] * 6})
    monkeypatch.setattr(training_turns, "Trainer", Rates)
    (row,) = measure_training(work, ["jax"], ["published"], ["best"], rounds=5, steps=1, seconds=0.0)
    assert len(row["images_per_second_of_rounds"]) == 5


def test_options_are_those_that_a_back_end_has():
    assert Variant("torch", "cached", ("one-thread",)).environment["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in Variant("torch", "cached").environment
    both = Variant("tensorflow", "online", ("compiled", "steps-8", "bfloat16"))
    assert both.compiled == {"jit_compile": True, "steps_per_execution": 8}
    assert both.precision == "mixed_bfloat16"
    assert both.title == "tensorflow, online teachers, XLA or torch.compile, 8 steps a call, bfloat16"


def test_the_command_measures_in_processes(faces, tmp_path, monkeypatch, capsys):
    for name in ("serve", "write"):
        monkeypatch.setattr(training_process, f"_{name}", getattr(tiny_training_process, name))
    words = ["--dataset", "300w", "--data", str(faces.path), "--backend", "tensorflow", "--way", "published", "cached"]
    words += ["--option", "--student", ARCH, "--teacher", ARCH, "--image-size", str(SIZE), "--batch-size", "4"]
    words += ["--rounds", "5", "--steps", "2", "--seconds", "0", "--json", str(tmp_path / "a.json")]
    assert main(["training", *words]) == 0
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    published, cached = record["rows"]
    faces_used = len(faces.indices("train"))
    assert (record["settings"]["faces"], cached["stored"]["views"]) == (faces_used, faces_used)
    for row in record["rows"]:
        assert len(row["images_per_second_of_rounds"]) == len(row["reference_of_rounds"]) == 5
        assert row["reference_of_rounds"] == published["images_per_second_of_rounds"]
        assert row["megabytes"] > 100
        assert row["environment"]["backend"] == "tensorflow"
    (table,) = record_tables(tmp_path / "a.json")
    printed = capsys.readouterr().out
    assert text_table(training_tables(record)[0]) in printed
    assert table.notes[-1].startswith("`python -m kdloss.benchmark training --dataset 300w")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "4"], "--rounds 4: expected 5 at least"),
        (["--steps", "0"], "--steps 0: expected 1 at least"),
        (["--backend", "jax"], "--backend jax: not installed, expected one of tensorflow"),
    ],
)
def test_wrong_options(words, message, faces, monkeypatch, capsys):
    command = importlib.import_module("kdloss.benchmarking.training_command")
    monkeypatch.setattr(command, "installed_backends", lambda: ["tensorflow"])
    assert main(["training", "--dataset", "300w", "--data", str(faces.path), *words]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
