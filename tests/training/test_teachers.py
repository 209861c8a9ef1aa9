"""Teachers of any side and box, teachers out of fold, the placebo of shuffled errors, and labels by teachers."""

import numpy as np
import pytest

from kdloss.data.augmentation import AugmentConfig
from kdloss.data.batches import ViewBatches
from kdloss.data.geometry import BoxPolicy, from_unit, to_unit
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import CheckpointError
from kdloss.models.checkpoint import load_model, save_model
from kdloss.training import teachers as module
from kdloss.training.checks import teacher_files
from kdloss.training.faces import fold_numbers
from kdloss.training.state import Deadline
from kdloss.training.teachers import (
    Teacher,
    load_teachers,
    pseudo_labels,
    recuts_of,
    shuffled_errors,
    stored_points,
)
from tests.data.dots import dotted_faces, find_dots
from tests.training.tiny_chain import SIZE, student_config, tiny_config

MOVES = AugmentConfig(rotation=10, scale=0.05, shift=0.02, mirror=0.5)


class Finder:
    """A network that finds the three dots of a picture and says (0, 0) for all other points."""

    def __init__(self, side):
        self.input_shape = (None, side, side, 3)

    def predict_on_batch(self, images):
        points = np.zeros((len(images), 29, 2), np.float32)
        # A batch is padded with black pictures.
        for own, image in zip(points, images, strict=True):
            own[:3] = to_unit(find_dots(image), len(image)) if image.any() else 0
        return points


class Constant:
    """A network that says the same of every face: all points at (value, value)."""

    def __init__(self, value, points=29, side=SIZE):
        self.value, self.points, self.input_shape = value, points, (None, side, side, 3)

    def predict_on_batch(self, images):
        return np.full((len(images), self.points, 2), self.value, np.float32)


def teacher_of(folder, networks, box="gt:1.25"):
    paths = [folder / f"{number}.keras" for number in range(len(networks))]
    for path in paths:
        path.write_bytes(path.name.encode())
    return Teacher(tuple(networks), tuple(paths), BoxPolicy.parse(box))


def views_of(prepared, rows=None, **options):
    rows = np.arange(len(prepared)) if rows is None else rows
    return ViewBatches(prepared, rows, **{"size": SIZE, "batch_size": 4, "rounds": 2, "augment": MOVES} | options)


@pytest.mark.parametrize(("side", "box"), [(64, "gt:1.8"), (96, "gt:1.8"), (96, "gt:2.2"), (80, "paper")])
def test_stored_points_of_another_side_and_box_are_where_the_view_shows_them(tmp_path, side, box):
    prepared, _ = dotted_faces(tmp_path, "cofw")
    batches = views_of(prepared, size=64, policy=BoxPolicy.parse("gt:1.8"))
    teacher = teacher_of(tmp_path, [Finder(side)], box)
    rounds = stored_points(teacher, batches, tmp_path / "views", Deadline(), labelled=True)
    assert [(points.shape, points.dtype) for points in rounds] == 2 * [((29, 29, 2), np.float32)]
    for round_, points in enumerate(rounds):
        for position in range(len(prepared)):
            image, _ = batches.view(position, round_)
            np.testing.assert_allclose(from_unit(points[position, :3], 64), find_dots(image), atol=0.25)


def test_each_face_gets_the_points_of_the_network_that_has_not_seen_it(random_faces, tmp_path):
    rows = np.array([9, 2, 4, 0, 7, 5])
    teacher = teacher_of(tmp_path, [Constant(0.125), Constant(0.25), Constant(0.5)])
    numbers = fold_numbers(random_faces, 3)[rows]
    assert len(set(numbers)) == 3
    found = stored_points(teacher, views_of(random_faces, rows), tmp_path / "views", Deadline(), labelled=True)
    expected = np.choose(numbers - 1, [0.125, 0.25, 0.5])
    for points in found:
        np.testing.assert_array_equal(points, np.broadcast_to(expected[:, None, None], (6, 29, 2)))
    # None has seen faces without labels.
    found = stored_points(teacher, views_of(random_faces, rows), tmp_path / "views", Deadline(), labelled=False)
    np.testing.assert_allclose(found, np.full((2, 6, 29, 2), 0.875 / 3), rtol=1e-6)


def test_shuffled_errors_are_the_teachers_at_other_faces(random_faces):
    batches = views_of(random_faces, batch_size=5)
    truth = [np.concatenate([points["hard"] for _, points in batches.in_order(round_)]) for round_ in range(2)]
    rng = np.random.default_rng(1)
    rounds = [points + rng.normal(size=points.shape).astype(np.float32) for points in truth]
    batches.stored = {"tough": rounds}
    placebo = shuffled_errors(rounds, batches, seed=4)
    for points, shuffled, hard in zip(rounds, placebo, truth, strict=True):
        errors, others = points - hard, shuffled - hard
        # Each point keeps its distribution of errors, and so the teacher's NME.
        np.testing.assert_allclose(np.sort(others, axis=0), np.sort(errors, axis=0), atol=1e-6)
        # Of 13 faces one in 13 keeps its own error by chance.
        assert np.mean(np.abs(others - errors) < 1e-6) < 0.15
        assert abs(np.corrcoef(errors.ravel(), others.ravel())[0, 1]) < 0.15
    again, other = (shuffled_errors(rounds, batches, seed=seed) for seed in (4, 5))
    np.testing.assert_array_equal(placebo, again)
    assert not np.array_equal(placebo, other)
    assert not np.allclose(placebo[0] - truth[0], placebo[1] - truth[1])


@pytest.fixture
def labellers(monkeypatch, tmp_path):
    """Two teachers that disagree by a fifth of the box, which is of other sizes in the stored crops."""
    networks = {"a": (Constant(0.1), {"box": "dataset:1.25"}), "b": (Constant(-0.1, side=48), {"box": "dataset:1.25"})}
    for name in networks:
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(module, "teacher_files", lambda path: [tmp_path / path])
    monkeypatch.setattr(module, "load_model", lambda path: networks[path.name])


def test_labels_are_the_mean_over_teachers_and_mirror_tests_of_the_surest_faces(random_faces, labellers, tmp_path):
    rows, boxes = random_faces.indices("train"), random_faces.boxes(BoxPolicy.parse("dataset:1.25"))
    for keep, count in ((1.0, 9), (0.5, 4), (0.01, 1)):
        config = tiny_config(
            "student", "cofw", unlabelled="rest", label_share=0.5, pseudo_teacher="a,b", pseudo_keep=keep
        )
        points, kept = pseudo_labels(config, random_faces.scheme, random_faces, rows, tmp_path / "cache")
        assert (points.shape, points.dtype) == ((13, 29, 2), np.float32)
        # Both answers and their mirror images average to the middle of the box ...
        middle = boxes[rows, :2] + boxes[rows, 2:] / 2
        np.testing.assert_allclose(points[rows], np.repeat(middle[:, None], 29, axis=1), atol=1e-3)
        # ... and they are the nearer in pixels, the smaller the box.
        expected = rows[np.argsort(boxes[rows, 2])[:count]]
        assert kept.tolist() == sorted(expected.tolist())


def test_labels_of_points_without_mirror_partners(make_prepared, monkeypatch, tmp_path):
    """The scheme is that of the teachers, whatever points the faces without labels have."""
    faces, scheme = make_prepared("cofw", train=4, test=1), LandmarkScheme.plain(5)
    (tmp_path / "a").write_text("a")
    monkeypatch.setattr(module, "teacher_files", lambda path: [tmp_path / path])
    monkeypatch.setattr(module, "load_model", lambda path: (Constant(0.25, points=5), {"box": "dataset:1.1"}))
    config = tiny_config("student", unlabelled="other", pseudo_teacher="a")
    rows = faces.unlabelled_rows()
    points, kept = pseudo_labels(config, scheme, faces, rows, tmp_path / "cache")
    boxes = faces.boxes(BoxPolicy.parse("dataset:1.1"))[rows]
    expected = boxes[:, :2] + 0.75 * boxes[:, 2:]
    np.testing.assert_allclose(points[rows], np.repeat(expected[:, None], 5, axis=1), atol=1e-3)
    assert kept.tolist() == rows.tolist()
    # A second call reads what the first one stored.
    monkeypatch.setattr(module, "load_model", None)
    np.testing.assert_array_equal(pseudo_labels(config, scheme, faces, rows, tmp_path / "cache")[0], points)


def test_teachers_are_loaded_once_with_their_side_and_box(taught, faces):
    both = load_teachers(student_config(taught, tolerant=str(taught / "tough" / "best.keras")), faces)
    assert both["tough"] is both["tolerant"]
    teacher = both["tough"]
    assert (teacher.size, str(teacher.policy), len(teacher.networks)) == (SIZE, "gt:1.25", 1)
    here, there = (
        ViewBatches(faces, np.arange(4), size=side, batch_size=2, policy=BoxPolicy.parse(box))
        for side, box in ((SIZE, "gt:1.25"), (48, "paper"))
    )
    assert recuts_of(both, here) == {}
    assert recuts_of(both, there) == {"gt:1.25 at 32 px": (SIZE, BoxPolicy.parse("gt:1.25"))}


@pytest.fixture
def folds(taught, tmp_path):
    """A folder of two folds."""
    network, card = load_model(taught / "tough")
    for number in (1, 2):
        (tmp_path / "folds" / f"fold-{number}").mkdir(parents=True)
        save_model(tmp_path / "folds" / f"fold-{number}" / "best.keras", network, card | {"fold": [number, 2]})
    return tmp_path / "folds"


def test_a_folder_of_folds_is_one_teacher(folds, faces):
    (folds / "fold-notes").mkdir()  # not one of ours
    config = student_config(folds, tough=str(folds), tolerant=None, teacher_views=1)
    teacher = load_teachers(config, faces)["tough"]
    assert [path.parent.name for path in teacher.paths] == ["fold-1", "fold-2"]
    assert len({id(network) for network in teacher.networks}) == 2


def test_a_fold_that_is_missing_is_named(folds):
    (folds / "fold-2" / "best.keras").unlink()
    with pytest.raises(CheckpointError, match=r"fold-2/best.keras: no such checkpoint"):
        teacher_files(folds)
    (folds / "fold-2").rmdir()
    with pytest.raises(CheckpointError, match=r"fold-1/best.keras: is fold \[1, 2\], expected \[1, 1\]: train the"):
        teacher_files(folds)
