"""Batches of views: image and points move together, and every kind of data set gives the same bytes."""

import itertools

import numpy as np
import pytest

from kdloss.data.augmentation import AugmentConfig, augmentation
from kdloss.data.batches import KerasBatches, MixedBatches, ViewBatches, tf_dataset, training_data
from kdloss.data.geometry import BoxPolicy, FaceCrop, from_unit
from kdloss.errors import ConfigError
from tests.data.dots import dotted_faces, find_dots, signed_area

MOVES = AugmentConfig(rotation=30, scale=0.15, shift=0.06, mirror=0.5)
AUGMENTS = {"none": AugmentConfig(), "moves": MOVES, "strong": augmentation("strong")}
AUGMENTS |= {name: AugmentConfig(**{name: 0.5}) for name in ("colour", "grey", "blur", "noise", "occlusion")}


def views_of(prepared, rows=None, **options):
    rows = np.arange(len(prepared)) if rows is None else rows
    return ViewBatches(prepared, rows, **{"size": 24, "batch_size": 4, "augment": MOVES} | options)


def same(first, second):
    """Whether two batches are the same to the bit."""
    (images, points), (others, other_points) = first, second
    assert points.keys() == other_points.keys()
    return np.array_equal(images, others) and all(np.array_equal(points[name], other_points[name]) for name in points)


@pytest.mark.parametrize(("dataset", "size", "rounds"), [("cofw", 80, 3), ("300w", 32, 1), ("wflw", 80, 1)])
def test_image_and_points_move_together(tmp_path, dataset, size, rounds):
    """Dots found in the picture stand where the points say, under the name that a mirrored face has for them."""
    prepared, shown = dotted_faces(tmp_path, dataset)
    targets = {"hard": prepared.points, "soft": prepared.points + np.float32([3, -2])}
    batches = views_of(prepared, size=size, augment=MOVES, policy=BoxPolicy.parse("gt:1.8"), targets=targets)
    mirror, mirrored_views = prepared.scheme.mirror, 0
    for row, named in enumerate(shown):
        for round_ in range(rounds):
            image, points = batches.view(row, round_)
            found = find_dots(image)
            mirrored = signed_area(found) * signed_area(prepared.points[row, named]) < 0
            mirrored_views += mirrored
            expected = from_unit(points["hard"], size)[mirror[named] if mirrored else named]
            np.testing.assert_allclose(found, expected, atol=0.1)
            # A shift of all points by one vector stays one, mirrored where they are.
            shift = points["soft"] - points["hard"]
            np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)
    assert 0.2 < mirrored_views / (rounds * len(shown)) < 0.8


def test_a_face_that_repeats_is_drawn_in_other_views(random_faces):
    once, twice = views_of(random_faces), views_of(random_faces, [*range(len(random_faces)), 3])
    for position in (3, 5):
        np.testing.assert_array_equal(once.view(position, 1)[0], twice.view(position, 1)[0])
    first, second = (twice.view(position, 1)[1]["hard"] for position in (3, len(random_faces)))
    assert np.abs(first - second).max() > 0.01
    frames = twice.frames_from(once, 1, [3])
    np.testing.assert_allclose(frames, np.eye(2, 3)[None], atol=1e-12)


def test_an_unvaried_view_is_the_crop_of_the_box(random_faces):
    policy = BoxPolicy.parse("dataset:1.1")
    batches = views_of(random_faces, size=20, augment=AugmentConfig(), policy=policy)
    for row in (0, 5):
        image, points = batches.view(row, 0)
        crop = FaceCrop.from_box(random_faces.boxes(policy)[row], 20)
        np.testing.assert_array_equal(image, crop.image(random_faces.faces[row]))
        np.testing.assert_allclose(points["hard"], crop.unit_points(random_faces.points[row].astype(float)), atol=1e-6)


@pytest.mark.parametrize("augment", ["strong", "none"])
def test_views_and_their_order_depend_on_the_seed_alone(random_faces, augment):
    first, again, other = (views_of(random_faces, seed=seed, augment=augmentation(augment)) for seed in (3, 3, 4))
    assert same(first.batch(1, 2), again.batch(1, 2))
    assert not same(first.batch(1, 2), other.batch(1, 2))
    assert same(next(first.in_order()), next(other.in_order())) is (augment == "none")


def test_every_epoch_draws_anew_unless_rounds_repeat(random_faces):
    fresh = views_of(random_faces)
    assert [fresh.round(epoch) for epoch in range(5)] == [0, 1, 2, 3, 4]
    assert not np.array_equal(fresh.view(0, 0)[0], fresh.view(0, 1)[0])
    turns = views_of(random_faces, rounds=2, batch_size=len(random_faces))
    first, second, again = ([image.tobytes() for image in turns.batch(epoch, 0)[0]] for epoch in range(3))
    assert sorted(first) == sorted(again)
    assert first != again
    assert not set(first) & set(second)


def test_an_epoch_is_a_shuffle_of_the_named_faces_without_repeats(random_faces):
    batches = views_of(random_faces, augment=AugmentConfig(), batch_size=4)
    rows = {batches.view(row, 0)[0].tobytes(): row for row in range(len(random_faces))}
    assert len(rows) == len(random_faces)
    assert batches.steps == len(random_faces) // 4
    orders = []
    for epoch in range(6):
        images = np.concatenate([batches.batch(epoch, step)[0] for step in range(batches.steps)])
        orders.append([rows[image.tobytes()] for image in images])
        assert len(set(orders[-1])) == 4 * batches.steps
        assert batches.faces_of(epoch, 1) == random_faces.table["name"][orders[-1][4:8]].tolist()
    assert len({tuple(order) for order in orders}) == len(orders)
    # No face is left out for good.
    assert set().union(*orders) == set(range(len(random_faces)))


def test_a_view_does_not_depend_on_its_batch_nor_on_the_other_faces(random_faces):
    rows = np.array([7, 2, 9])
    few = views_of(random_faces, rows, batch_size=2, augment=augmentation("strong"))
    everyone = views_of(random_faces, batch_size=5, augment=augmentation("strong"))
    drawn = [*few.in_order(1)]
    assert [len(images) for images, _ in drawn] == [2, 1]
    for position, row in enumerate(rows):
        one, other = few.view(position, 1), everyone.view(row, 1)
        images, points = drawn[position // 2]
        assert same(one, other)
        assert same((images[position % 2], {"hard": points["hard"][position % 2]}), other)


def test_a_view_of_any_size_has_the_same_points(random_faces):
    """A teacher's points of the views at one size can therefore be learnt at another."""
    small, large = (views_of(random_faces, size=size, augment=augmentation("strong"), seed=2) for size in (16, 97))
    for epoch, step in ((0, 0), (1, 2)):
        assert small.faces_of(epoch, step) == large.faces_of(epoch, step)
        hard, other = (batches.batch(epoch, step)[1]["hard"] for batches in (small, large))
        np.testing.assert_allclose(hard, other, atol=1e-6)


def test_a_batch_larger_than_the_set_is_refused(random_faces):
    assert views_of(random_faces, batch_size=13).steps == 1
    with pytest.raises(ConfigError, match="--batch-size 14: larger than the 13 faces"):
        views_of(random_faces, batch_size=14)


@pytest.mark.parametrize("name", AUGMENTS)
def test_every_kind_of_data_set_gives_the_same_batches_to_the_bit_from_any_step_on(random_faces, name):
    """A run that was interrupted in the middle of an epoch goes on from such a step."""
    pytest.importorskip("tensorflow")
    stored = np.random.default_rng(0).normal(size=(5, len(random_faces), 29, 2)).astype(np.float32)
    batches = views_of(random_faces, augment=AUGMENTS[name], seed=5, stored={"tough": stored}, rounds=5)
    assert batches.steps == 3
    expected = [batches.batch(*divmod(number, 3)) for number in range(5, 10)]
    for make in (tf_dataset, training_data):
        drawn = [
            (np.asarray(images), {key: np.asarray(value) for key, value in points.items()})
            for images, points in itertools.islice(make(batches, 5, 10), 5)
        ]
        assert all(same(first, second) for first, second in zip(drawn, expected, strict=True))
    data = KerasBatches(batches, first_step=5)
    assert all(same(data[number], batch) for number, batch in enumerate(expected))
    images, points = tf_dataset(batches, 5, 10).element_spec
    assert (tuple(images.shape), images.dtype) == ((4, 24, 24, 3), "uint8")
    assert {key: (tuple(spec.shape), spec.dtype.name) for key, spec in points.items()} == dict.fromkeys(
        ("hard", "tough"), ((4, 29, 2), "float32")
    )


def mixed_batches(prepared, **options):
    """Two of three faces, and three of the ten others, in each batch."""
    few = views_of(prepared, np.arange(3), batch_size=2, seed=3, **options)
    many = views_of(prepared, np.arange(3, 13), batch_size=3, seed=3, **options)
    return MixedBatches([few, many], steps=4)


def test_each_source_of_a_mixed_batch_goes_through_its_faces_at_its_own_pace(random_faces):
    mixed, names = mixed_batches(random_faces), random_faces.table["name"].tolist()
    few, many = mixed.sources
    assert (mixed.batch_size, mixed.steps) == (5, 4)
    drawn, views = [], {}
    for number in range(12):
        place = divmod(number, 4)
        images, arrays = mixed.batch(*place)
        faces = mixed.faces_of(*place)
        drawn.append(faces)
        for position, name in enumerate(faces):
            # The few faces come anew in each step, the others after three.
            source, round_ = (few, number) if position < 2 else (many, number // 3)
            image, points = source.view(source.rows.tolist().index(names.index(name)), round_)
            assert same((images[position], {"hard": arrays["hard"][position]}), (image, points))
            views.setdefault(name, set()).add(image.tobytes())
    for number in range(0, 12, 3):
        assert len({name for faces in drawn[number : number + 3] for name in faces[2:]}) == 9
    # Faces that come again are seen in new views.
    assert sum(len(views[name]) for name in names[:3]) == 24
    assert same(mixed_batches(random_faces).batch(2, 1), mixed.batch(2, 1))


def test_mixed_batches_come_alike_from_any_step_on(random_faces):
    stored = np.random.default_rng(0).normal(size=(2, 13, 29, 2)).astype(np.float32)
    mixed = mixed_batches(random_faces, rounds=2, recuts={"seen": (16, BoxPolicy.parse("paper"))})
    for source, rows in zip(mixed.sources, (slice(3), slice(3, 13)), strict=True):
        source.stored = {"tough": stored[:, rows]}
    mixed = MixedBatches(mixed.sources, steps=4)
    expected = [mixed.batch(*divmod(number, 4)) for number in range(3, 9)]
    assert expected[0][1].keys() == {"hard", "tough", "seen", "seen frame"}
    data = KerasBatches(mixed, first_step=3)
    assert all(same(data[number], batch) for number, batch in enumerate(expected))
    for (images, arrays), batch in zip(training_data(mixed, 3, 9), expected, strict=False):
        assert same((np.asarray(images), {key: np.asarray(value) for key, value in arrays.items()}), batch)


def test_one_source_alone_is_its_own_batches(random_faces):
    views = views_of(random_faces)
    mixed = MixedBatches([views])
    assert mixed.steps == views.steps == 3
    assert all(same(mixed.batch(*place), views.batch(*place)) for place in ((0, 0), (2, 1)))
