"""Crops and their points: exact where the arithmetic is exact, inverse to each other, and images beside points."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdloss.data.geometry import (
    BoxPolicy,
    FaceCrop,
    compose,
    from_unit,
    invert,
    landmark_box,
    mirror_points,
    to_unit,
    transform_points,
)
from kdloss.data.schemes import SCHEMES
from kdloss.errors import ConfigError
from tests.data.dots import draw_dots, find_dots

SIDE = 200  # of the images with dots, pixels
# Pixels. OpenCV samples at 32nds of a pixel and rounds to 256 levels; the largest error in 5000 views was 0.036.
DOT_TOLERANCE = 0.05

some = settings(max_examples=30)
shares = st.floats(-0.1, 0.1)
views = st.fixed_dictionaries(
    {
        "rotation": st.floats(-np.pi, np.pi),
        "scale": st.floats(0.8, 1.25),
        "shift": st.tuples(shares, shares),
        "mirror": st.booleans(),
    }
)
sizes = st.integers(1, 512)
shapes = arrays(np.float64, (6, 2), elements=st.floats(-300, 300))
policies = st.builds(BoxPolicy, st.sampled_from(["gt", "dataset"]), st.floats(0.5, 3), st.floats(0, 20), st.booleans())
schemes = st.sampled_from([SCHEMES[name] for name in sorted(SCHEMES)])
triples = arrays(np.float64, (3, 2), elements=st.floats(-0.15, 0.15))  # in the middle of a crop, unit coordinates


@st.composite
def boxes(draw):
    """Boxes x, y, width, height around the middle of an image with dots, a third to two thirds of it."""
    centre, width = SIDE / 2 + draw(arrays(np.float64, 2, elements=st.floats(-15, 15))), draw(st.floats(70, 120))
    height = width * draw(st.floats(0.8, 1.25))
    return (centre[0] - width / 2, centre[1] - height / 2, width, height)


@st.composite
def crops(draw, sizes=sizes):
    return FaceCrop.from_box(draw(boxes()), draw(sizes), **draw(views))


# Points alone: exact but for rounding.


@pytest.mark.parametrize("size", [1, 2, 96, 224])
def test_unit_coordinates_span_the_crop_from_edge_to_edge(size):
    assert to_unit(-0.5, size) == -0.5
    assert to_unit(size - 0.5, size) == 0.5
    assert to_unit((size - 1) / 2, size) == 0


@some
@given(crop=crops(), points=shapes, size=sizes)
def test_points_go_into_the_crop_and_back_and_unit_coordinates_are_the_same_at_any_size(crop, points, size):
    unit = crop.unit_points(points)
    np.testing.assert_allclose(unit, to_unit(crop.points(points), crop.size), atol=1e-9)
    np.testing.assert_allclose(from_unit(unit, crop.size), crop.points(points), atol=1e-9 * SIDE)
    np.testing.assert_allclose(crop.inverse_points(crop.points(points)), points, atol=1e-9 * SIDE)
    np.testing.assert_allclose(crop.inverse_unit(unit), points, atol=1e-9 * SIDE)
    whole = FaceCrop.from_box((-0.5, -0.5, crop.size, crop.size), size)
    resized = FaceCrop(compose(whole.matrix, crop.matrix), size)
    np.testing.assert_allclose(resized.unit_points(points), unit, atol=1e-9 * SIDE)


@some
@given(first=crops(), second=crops(), points=shapes)
def test_composition_is_one_after_the_other_and_has_inverses(first, second, points):
    a, b = first.matrix, second.matrix
    apart = transform_points(a, transform_points(b, points))
    np.testing.assert_allclose(transform_points(compose(a, b), points), apart, rtol=1e-9, atol=1e-6)
    for pair in ((invert(a), a), (a, invert(a))):
        np.testing.assert_allclose(compose(*pair), np.eye(2, 3), atol=1e-7)


@some
@given(box=boxes(), size=sizes, view=views)
def test_edges_of_the_box_land_on_the_edges_of_the_crop(box, size, view):
    x, y, width, height = box
    corners = FaceCrop.from_box(box, size).points(np.array([[x, y], [x + width, y + height]]))
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [size - 0.5, size - 0.5]], atol=1e-7 * size)
    # The zoom is the root of the ratio of areas.
    assert FaceCrop.from_box(box, size, **view).zoom == pytest.approx(view["scale"] * size / np.sqrt(width * height))


def test_rotation_turns_clockwise_scale_enlarges_and_shift_moves_right_and_down():
    box, points = (10, 20, 60, 60), np.array([[40, 50], [52, 44]])
    quarter = FaceCrop.from_box(box, 60, rotation=np.pi / 2).points(points)
    np.testing.assert_allclose(quarter, [[29.5, 29.5], [29.5 + 6, 29.5 + 12]], atol=1e-9)
    large = FaceCrop.from_box(box, 60, scale=1.5).points(points)
    np.testing.assert_allclose(large, [[29.5, 29.5], [29.5 + 18, 29.5 - 9]], atol=1e-9)
    moved = FaceCrop.from_box(box, 60, shift=(0.1, 0.05)).points(points)
    np.testing.assert_allclose(moved - FaceCrop.from_box(box, 60).points(points), [[6, 3], [6, 3]], atol=1e-9)


@some
@given(box=boxes(), size=sizes, view=views, scheme=schemes, seed=st.integers(0, 1000))
def test_a_mirrored_view_shows_the_mirrored_points(box, size, view, scheme, seed):
    points = np.random.default_rng(seed).uniform(0, SIDE, (scheme.num_points, 2))
    plain, mirrored = (FaceCrop.from_box(box, size, **view | {"mirror": mirror}) for mirror in (False, True))
    expected = mirror_points(plain.points(points), size, scheme.mirror)
    np.testing.assert_allclose(mirrored.points(points)[scheme.mirror], expected, atol=1e-9 * SIDE)
    left, right = scheme.names.index("left_eye_outer"), scheme.names.index("right_eye_outer")
    np.testing.assert_allclose(expected[left], [size - 1, 0] + plain.points(points)[right] * [-1, 1], atol=1e-9 * SIDE)
    np.testing.assert_allclose(mirror_points(expected, size, scheme.mirror), plain.points(points), atol=1e-9 * SIDE)


# Images beside points.


@some
@given(crop=crops(st.integers(48, 160)), unit=triples)
def test_a_dot_lands_where_its_point_says_and_is_put_back_where_it_was(crop, unit):
    points = crop.inverse_unit(unit)
    cut = crop.image(draw_dots(SIDE, points, sigma=3))
    np.testing.assert_allclose(find_dots(cut), crop.points(points), atol=DOT_TOLERANCE)
    found = find_dots(FaceCrop(invert(crop.matrix), SIDE).image(cut))
    np.testing.assert_allclose(found, points, atol=DOT_TOLERANCE / min(crop.zoom, 1))


@pytest.mark.parametrize("rotation", [0.0, 0.4, -2.5])
@pytest.mark.parametrize(("x", "y"), [(-0.5, -0.5), (3.2, -7.9), (-30, 20), (41.6, 8), (500, 0)])
def test_what_is_cut_is_what_opencv_cuts_of_three_channels(x, y, rotation):
    image = np.random.default_rng(0).integers(0, 256, (50, 44, 3), dtype=np.uint8)
    for size in (1, 20, 37, 64):
        crop = FaceCrop.from_box((x, y, 40, 36), size, rotation=rotation, mirror=size == 37)
        if crop.zoom >= 0.5:
            expected = cv2.warpAffine(image, crop.matrix, (size, size), flags=cv2.INTER_LINEAR)
            np.testing.assert_array_equal(crop.image(image), expected)
            out = np.full((3, size, size, 3), 7, np.uint8)
            np.testing.assert_array_equal(crop.image(image[::-1][::-1], out[1]), expected)
            np.testing.assert_array_equal(out[1], expected)
            assert (out[::2] == 7).all()


@pytest.mark.parametrize("place", [-0.5, 3.2, 25.0, 90.0])
def test_only_sampled_pixels_are_read(place):
    image, other = np.random.default_rng(0).integers(0, 256, (2, 60, 60, 3), dtype=np.uint8)
    for size, rotation in ((6, 0), (20, 0.5), (40, 2)):
        crop = FaceCrop.from_box((place, place + 2, 30, 20), size, rotation=rotation)
        rows, columns = crop.sampled(60, 60)
        changed = other.copy()
        changed[rows, columns] = image[rows, columns]
        np.testing.assert_array_equal(crop.image(changed), crop.image(image))


@pytest.mark.parametrize("size", [24, 31, 100, 260])
@pytest.mark.parametrize("rotation", [0.0, 0.4])
def test_a_dot_stays_at_its_point_at_every_zoom(size, rotation):
    """Below a zoom of a half the image is averaged first, which must not move it."""
    points = np.array([[150.3, 220.8], [250.0, 180.5], [199.6, 300.1]])
    image = draw_dots(401, points, sigma=8)[:, :397]
    crop = FaceCrop.from_box((3.7, -2.2, 400, 390), size, rotation=rotation)
    np.testing.assert_allclose(find_dots(crop.image(image)), crop.points(points), atol=0.05)


def test_shrinking_keeps_the_light_of_single_pixels():
    """Bilinear sampling alone would skip most pixels of a fine pattern, and show some far too bright."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[::4, ::4] = 255
    small = FaceCrop.from_box((-0.5, -0.5, 400, 400), 50).image(image)
    assert small[1:-1, 1:-1].mean() == pytest.approx(255 / 16, abs=1)
    assert small[1:-1, 1:-1].std() < 5


# Boxes.


@some
@given(points=shapes)
def test_the_landmark_box_just_holds_the_points(points):
    x, y, width, height = box = landmark_box(points)
    assert (points.min(axis=0) == [x, y]).all()
    np.testing.assert_allclose(points.max(axis=0), [x + width, y + height], atol=1e-9)
    np.testing.assert_array_equal(landmark_box(np.stack([points, points[::-1]])), [box, box])


@some
@given(policy=policies, box=boxes(), shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
def test_a_grown_box_keeps_its_centre_and_gets_the_sides_asked_for(policy, box, shift):
    grown, box = policy.grow(box), np.array(box)
    np.testing.assert_allclose(grown[:2] + grown[2:] / 2, box[:2] + box[2:] / 2, atol=1e-9)
    sides = np.full(2, box[2:].max()) if policy.square else box[2:]
    np.testing.assert_allclose(grown[2:], sides * policy.scale + 2 * policy.margin, rtol=1e-12)
    moved = policy.grow(np.stack([np.add(box, (*shift, 0, 0)), box]))
    np.testing.assert_allclose(moved, [np.add(grown, (*shift, 0, 0)), grown], atol=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gt:1.25", BoxPolicy("gt", 1.25, 0, True)),
        ("gt", BoxPolicy("gt", 1.25, 0, True)),
        ("dataset:1.1", BoxPolicy("dataset", 1.1, 0, True)),
        ("paper", BoxPolicy("gt", 1.0, 10, False)),
    ],
)
def test_box_policies_are_read_and_written(text, expected):
    policy = BoxPolicy.parse(text)
    assert policy == expected
    assert BoxPolicy.parse(str(policy)) == policy


@pytest.mark.parametrize("text", ["", "face:1.2", "gt:wide", "gt:0", "gt:-1", "gt:99", "gt:nan", "Paper", "gt:1:2"])
def test_a_wrong_box_policy_is_named(text):
    with pytest.raises(ConfigError, match="expected gt:SCALE, dataset:SCALE") as caught:
        BoxPolicy.parse(text)
    assert f"--box {text}:" in str(caught.value)
