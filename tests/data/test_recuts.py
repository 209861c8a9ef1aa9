"""The same views at another side or in another box, as teachers see them, and the maps between their unit points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdloss.data.augmentation import AugmentConfig, augmentation
from kdloss.data.batches import ViewBatches, frame_of
from kdloss.data.geometry import BoxPolicy, from_unit, to_unit, transform_each
from tests.data.dots import dotted_faces, find_dots

MOVES = AugmentConfig(rotation=10, scale=0.05, shift=0.02, mirror=0.5)
SCALES = st.floats(0.8, 2.0)
POLICIES = st.one_of(
    SCALES.map(lambda scale: BoxPolicy("gt", scale)),
    SCALES.map(lambda scale: BoxPolicy("dataset", scale)),
    st.just(BoxPolicy.parse("paper")),  # stretched
)


def views_of(prepared, **options):
    return ViewBatches(prepared, np.arange(len(prepared)), **{"size": 24, "batch_size": 5} | options)


@given(POLICIES, POLICIES, st.floats(0, 60), st.floats(0, 0.3), st.integers(0, 9))
def test_frames_map_the_unit_points_of_another_box_exactly(random_faces, own, other, rotation, scale, seed):
    how = {"augment": AugmentConfig(rotation=rotation, scale=scale, shift=0.1, mirror=0.5), "seed": seed}
    views, others = (views_of(random_faces, policy=policy, **how) for policy in (own, other))
    for round_ in range(2):
        frames = views.frames_from(others, round_)
        expected, points = (next(one.in_order(round_))[1]["hard"] for one in (views, others))
        np.testing.assert_allclose(transform_each(frames[:5], points.astype(np.float64)), expected, atol=1e-5)
    some = views.frames_from(others, 1, np.array([4, 2]))
    np.testing.assert_array_equal(some, frames[[4, 2]])


@pytest.mark.parametrize("side", [24, 40])
@pytest.mark.parametrize("box", ["gt:1.25", "dataset:1.1", "paper"])
def test_a_recut_is_what_batches_of_its_side_and_box_draw(random_faces, side, box):
    how = {"augment": augmentation("strong"), "seed": 3}
    recuts = {"seen": (side, BoxPolicy.parse(box))}
    views, alone = (
        views_of(random_faces, recuts=recuts, **how),
        views_of(random_faces, size=side, policy=recuts["seen"][1], **how),
    )
    for epoch, step in ((0, 0), (1, 1)):
        images, arrays = views.batch(epoch, step)
        plain, _ = views_of(random_faces, **how).batch(epoch, step)
        np.testing.assert_array_equal(images, plain)
        seen, points = alone.batch(epoch, step)
        np.testing.assert_array_equal(arrays["seen"], seen)
        framed = frame_of("seen") in arrays
        assert framed is (box != "gt:1.25")
        if framed:
            found = transform_each(arrays[frame_of("seen")], points["hard"])
            np.testing.assert_allclose(found, arrays["hard"], atol=1e-5)
        kinds = {name: (array.dtype.type, array.shape[1:]) for name, array in arrays.items()}
        assert kinds == {name: (dtype, tuple(shape)) for name, (dtype, shape) in views.arrays.items()}


@pytest.mark.parametrize("box", ["gt:2", "paper"])
def test_a_dot_that_is_found_in_a_recut_is_where_the_view_shows_it(tmp_path, box):
    """Frames and pictures belong together."""
    prepared, _ = dotted_faces(tmp_path, "cofw")
    recuts = {"seen": (96, BoxPolicy.parse(box))}
    views = views_of(prepared, size=80, augment=MOVES, policy=BoxPolicy.parse("gt:1.8"), recuts=recuts)
    for images, arrays in views.in_order(1):
        for image, seen, frame in zip(images, arrays["seen"], arrays[frame_of("seen")], strict=True):
            found = transform_each(frame[None], to_unit(find_dots(seen), 96)[None])[0]
            np.testing.assert_allclose(from_unit(found, 80), find_dots(image), atol=0.2)
