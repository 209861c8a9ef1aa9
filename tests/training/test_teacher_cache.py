"""The stored points of a teacher are those that it gives for the same views."""

import os
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kdloss.data.augmentation import AugmentConfig, augmentation
from kdloss.data.batches import ViewBatches
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import DataError
from kdloss.training.state import OutOfTime
from kdloss.training.teacher_cache import cached_teacher

SIZE, ROUNDS = 16, 2


class NeverAsked:
    """A teacher that must not be run."""

    def predict_on_batch(self, images):
        raise AssertionError("the teacher was run again")


@pytest.fixture(scope="module")
def teacher():
    """A network whose output depends on every pixel."""
    keras.utils.set_random_seed(1)
    images = keras.Input((SIZE, SIZE, 3))
    points = keras.layers.Dense(29 * 2)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 2550)(images)))
    return keras.Model(images, keras.layers.Reshape((29, 2))(points))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "best.keras"
    path.write_bytes(b"weights")
    return path


def views_of(prepared, rows=None, **options):
    rows = prepared.indices("train") if rows is None else rows
    given = {"size": SIZE, "batch_size": 4, "augment": augmentation("strong"), "rounds": ROUNDS, "seed": 3}
    return ViewBatches(prepared, rows, **given | options)


def test_outputs_are_those_of_the_views_that_training_sees(random_faces, teacher, checkpoint, tmp_path):
    before, batches = [weight.copy() for weight in teacher.get_weights()], views_of(random_faces)
    stored = cached_teacher(teacher, checkpoint, batches, tmp_path / "views")
    assert [outputs.shape for outputs in stored] == ROUNDS * [(9, 29, 2)]
    assert all(outputs.dtype == np.float32 and isinstance(outputs, np.memmap) for outputs in stored)
    batches.stored = {"tough": stored}
    for epoch in range(3):
        for step in range(batches.steps):
            images, points = batches.batch(epoch, step)
            said = keras.ops.convert_to_numpy(teacher(images.astype(np.float32)))
            np.testing.assert_allclose(points["tough"], said, atol=1e-5)
    assert np.abs(stored[0] - stored[1]).max() > 0.01
    assert all(np.array_equal(old, new) for old, new in zip(before, teacher.get_weights(), strict=True))


def test_a_second_call_reads_the_files(random_faces, teacher, checkpoint, tmp_path):
    first = cached_teacher(teacher, checkpoint, views_of(random_faces), tmp_path / "views")
    file = _first_file(tmp_path)
    os.utime(file, ns=(10**18, 10**18))
    second = cached_teacher(NeverAsked(), checkpoint, views_of(random_faces), tmp_path / "views")
    np.testing.assert_array_equal(first, second)
    assert file.stat().st_mtime_ns == 10**18
    # The batch size does not change the views, so the same files serve.
    cached_teacher(NeverAsked(), checkpoint, views_of(random_faces, batch_size=3), tmp_path / "views")
    more = cached_teacher(teacher, checkpoint, views_of(random_faces, rounds=ROUNDS + 1), tmp_path / "views")
    assert len(more) == ROUNDS + 1
    assert file.stat().st_mtime_ns == 10**18


def test_whatever_changes_a_view_makes_another_file(random_faces, make_prepared, teacher, checkpoint, tmp_path):
    folder, plain = tmp_path / "views", views_of(random_faces)
    others = {
        "seed": views_of(random_faces, seed=4),
        "augment": views_of(random_faces, augment=AugmentConfig(rotation=1)),
        "box": views_of(random_faces, policy=BoxPolicy.parse("gt:1.3")),
        "rows": views_of(random_faces, random_faces.indices("train")[::-1]),
        "content": views_of(make_prepared("cofw", train=10, test=3, size=48, seed=5)),
        "stored size": views_of(make_prepared("cofw", train=10, test=3, size=40)),
    }
    # All boxes are equal: faces and data sets must not be told apart only by their boxes.
    for batches in (plain, *(others[name] for name in others if name != "box")):
        batches.boxes = np.tile([8.0, 8.0, 32.0, 32.0], (13, 1))
    cached_teacher(teacher, checkpoint, plain, folder)
    for number, (name, batches) in enumerate(others.items(), start=2):
        stored = cached_teacher(teacher, checkpoint, batches, folder)
        assert len([*folder.iterdir()]) == number, name
        images, _ = batches.view(0, 0)
        said = keras.ops.convert_to_numpy(teacher(images[None].astype(np.float32)))[0]
        np.testing.assert_allclose(stored[0][0], said, atol=1e-5, err_msg=name)
    checkpoint.write_bytes(b"other weights")
    with pytest.raises(AssertionError, match="run again"):
        cached_teacher(NeverAsked(), checkpoint, plain, folder)


def test_a_damaged_file_is_named_and_made_again_once_it_is_gone(random_faces, teacher, checkpoint, tmp_path):
    cached_teacher(teacher, checkpoint, views_of(random_faces), tmp_path / "views")
    file = _first_file(tmp_path)
    for content in (b"", b"not an array", file.read_bytes()[:-100]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"{file}.*damaged .* delete it; it will be made again"):
            cached_teacher(teacher, checkpoint, views_of(random_faces), tmp_path / "views")
    file.unlink()
    assert len(cached_teacher(teacher, checkpoint, views_of(random_faces), tmp_path / "views")) == ROUNDS


def test_a_call_that_is_cut_off_goes_on_where_it_stopped(random_faces, teacher, checkpoint, tmp_path):
    whole = cached_teacher(teacher, checkpoint, views_of(random_faces), tmp_path / "whole")
    answers = iter([True, False])
    leaves_one = SimpleNamespace(leaves=lambda seconds: next(answers))
    with pytest.raises(OutOfTime, match=f"1 of {ROUNDS} rounds"):
        cached_teacher(teacher, checkpoint, views_of(random_faces), tmp_path / "views", leaves_one)
    kept = _first_file(tmp_path)
    os.utime(kept, ns=(10**18, 10**18))
    again = cached_teacher(teacher, checkpoint, views_of(random_faces), tmp_path / "views")
    np.testing.assert_array_equal(whole, again)
    assert kept.stat().st_mtime_ns == 10**18


def _first_file(tmp_path):
    (file,) = (tmp_path / "views").glob("*/0000.npy")
    return file
