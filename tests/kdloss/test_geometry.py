"""Crops and their points: exact where the arithmetic is exact, and inverse to each other everywhere."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdloss.errors import ConfigError
from kdloss.geometry import (
    BoxPolicy,
    FaceCrop,
    compose,
    from_unit,
    invert,
    landmark_box,
    mirror_points,
    to_unit,
    transform_each,
    transform_points,
)
from kdloss.schemes import SCHEMES

examples = settings(max_examples=30, deadline=None)
pixels = arrays(np.float64, (7, 2), elements=st.floats(-500, 500))
sizes = st.integers(1, 512)
boxes = st.tuples(st.floats(-200, 200), st.floats(-200, 200), st.floats(5, 400), st.floats(5, 400))
views = st.fixed_dictionaries(
    {
        "rotation": st.floats(-np.pi, np.pi),
        "scale": st.floats(0.5, 2),
        "shift": st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
        "mirror": st.booleans(),
    }
)


@st.composite
def matrices(draw):
    return FaceCrop.from_box(draw(boxes), draw(sizes), **draw(views)).matrix


@examples
@given(pixels, sizes)
def test_unit_and_pixel_coordinates_are_inverse(points, size):
    np.testing.assert_allclose(from_unit(to_unit(points, size), size), points, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 96, 224])
def test_unit_coordinates_span_the_crop_from_edge_to_edge(size):
    assert to_unit(-0.5, size) == -0.5
    assert to_unit(size - 0.5, size) == 0.5
    assert to_unit((size - 1) / 2, size) == 0


@examples
@given(matrices(), matrices(), pixels)
def test_compose_is_one_transform_after_the_other(outer, inner, points):
    apart = transform_points(outer, transform_points(inner, points))
    np.testing.assert_allclose(transform_points(compose(outer, inner), points), apart, rtol=1e-9, atol=1e-6)


@examples
@given(matrices())
def test_invert_undoes_from_both_sides(matrix):
    identity = np.eye(2, 3)
    np.testing.assert_allclose(compose(invert(matrix), matrix), identity, atol=1e-7)
    np.testing.assert_allclose(compose(matrix, invert(matrix)), identity, atol=1e-7)


@examples
@given(boxes, sizes, views, pixels)
def test_points_go_into_the_crop_and_back(box, size, view, points):
    crop = FaceCrop.from_box(box, size, **view)
    np.testing.assert_allclose(crop.inverse_points(crop.points(points)), points, atol=1e-6)
    np.testing.assert_allclose(crop.inverse_unit(crop.unit_points(points)), points, atol=1e-6)
    np.testing.assert_allclose(crop.unit_points(points), to_unit(crop.points(points), size), atol=1e-12)


@examples
@given(boxes, sizes)
def test_edges_of_the_box_land_on_the_edges_of_the_crop(box, size):
    x, y, width, height = box
    corners = FaceCrop.from_box(box, size).points(np.array([[x, y], [x + width, y + height]]))
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [size - 0.5, size - 0.5]], atol=1e-7 * size)


@examples
@given(boxes, sizes, views, pixels)
def test_mirror_is_last_and_takes_x_to_size_minus_one_minus_x(box, size, view, points):
    plain = FaceCrop.from_box(box, size, **{**view, "mirror": False}).points(points)
    mirrored = FaceCrop.from_box(box, size, **{**view, "mirror": True}).points(points)
    scale = np.abs(plain).max() + size
    np.testing.assert_allclose(mirrored[:, 0], size - 1 - plain[:, 0], atol=1e-12 * scale)
    np.testing.assert_array_equal(mirrored[:, 1], plain[:, 1])


def test_rotation_turns_clockwise_on_the_screen():
    box = (10, 20, 60, 60)
    right_of_centre = np.array([40 + 20, 50])
    quarter = FaceCrop.from_box(box, 60, rotation=np.pi / 2).points(right_of_centre)
    np.testing.assert_allclose(quarter, [29.5, 29.5 + 20], atol=1e-9)
    slight = FaceCrop.from_box(box, 60, rotation=0.1).points(right_of_centre)
    np.testing.assert_allclose(slight, [29.5 + 20 * np.cos(0.1), 29.5 + 20 * np.sin(0.1)], atol=1e-9)


def test_scale_enlarges_and_shift_moves_right_and_down():
    box, points = (10, 20, 60, 60), np.array([[40, 50], [52, 44]])
    large = FaceCrop.from_box(box, 60, scale=1.5).points(points)
    np.testing.assert_allclose(large, [[29.5, 29.5], [29.5 + 18, 29.5 - 9]], atol=1e-9)
    moved = FaceCrop.from_box(box, 60, shift=(0.1, 0.05)).points(points)
    np.testing.assert_allclose(moved - FaceCrop.from_box(box, 60).points(points), [[6, 3], [6, 3]], atol=1e-9)


@examples
@given(boxes, sizes, views)
def test_zoom_is_the_root_of_the_ratio_of_areas(box, size, view):
    crop = FaceCrop.from_box(box, size, **view)
    assert crop.zoom == pytest.approx(view["scale"] * size / np.sqrt(box[2] * box[3]), rel=1e-9)


@examples
@given(st.sampled_from(sorted(SCHEMES)), st.integers(1, 300), st.randoms(use_true_random=False))
def test_mirroring_points_twice_changes_nothing(name, width, random):
    scheme = SCHEMES[name]
    points = np.array([[random.randrange(width), random.randrange(width)] for _ in scheme.names], float)
    once = mirror_points(points, width, scheme.mirror)
    np.testing.assert_array_equal(mirror_points(once, width, scheme.mirror), points)
    left, right = scheme.names.index("left_eye_outer"), scheme.names.index("right_eye_outer")
    assert once[left, 0] == width - 1 - points[right, 0]
    assert once[left, 1] == points[right, 1]


def test_the_unvaried_crop_of_the_whole_image_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    crop = FaceCrop.from_box((-0.5, -0.5, 20, 20), 20)
    np.testing.assert_array_equal(crop.image(image), image)
    mirrored = FaceCrop.from_box((-0.5, -0.5, 20, 20), 20, mirror=True)
    np.testing.assert_array_equal(mirrored.image(image), image[:, ::-1])
    turned = FaceCrop.from_box((-0.5, -0.5, 20, 20), 20, rotation=np.pi / 2)
    np.testing.assert_array_equal(turned.image(image), np.rot90(image, -1))


def test_outside_the_image_is_black():
    crop = FaceCrop.from_box((-10.5, -0.5, 20, 20), 20).image(np.full((20, 20, 3), 200, np.uint8))
    assert (crop[:, :10] == 0).all()
    assert (crop[:, 10:] == 200).all()


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


@pytest.mark.parametrize("size", [6, 20, 40])
@pytest.mark.parametrize("place", [-0.5, 3.2, 25.0, 90.0])
def test_no_pixel_is_read_but_those_that_are_sampled(size, place):
    rng = np.random.default_rng(0)
    image, other = rng.integers(0, 256, (2, 60, 60, 3), dtype=np.uint8)
    for rotation in (0, 0.5, 2):
        crop = FaceCrop.from_box((place, place + 2, 30, 20), size, rotation=rotation)
        rows, columns = crop.sampled(60, 60)
        changed = other.copy()
        changed[rows, columns] = image[rows, columns]
        np.testing.assert_array_equal(crop.image(changed), crop.image(image))
        if 0 < place < 30 and size > 6:
            assert image[rows, columns].size < image.size


@pytest.mark.parametrize("size", [24, 31, 60, 100, 199, 260])
@pytest.mark.parametrize("rotation", [0.0, 0.4])
def test_a_dot_stays_at_its_point_at_every_zoom(dots, size, rotation):
    """400 source pixels into few: below a half the image is averaged first, and must not move by that."""
    draw_dot, find_dots = dots
    image, points = np.zeros((401, 397, 3), np.uint8), np.array([[150.3, 220.8], [250.0, 180.5], [199.6, 300.1]])
    for channel, point in enumerate(points):
        draw_dot(image, channel, point, sigma=8)
    crop = FaceCrop.from_box((3.7, -2.2, 400, 390), size, rotation=rotation)
    np.testing.assert_allclose(find_dots(crop.image(image)), crop.points(points), atol=0.05)


def test_shrinking_keeps_the_light_of_single_pixels():
    """Bilinear sampling alone would skip most pixels of a fine pattern, and show some far too bright."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[::4, ::4] = 255
    small = FaceCrop.from_box((-0.5, -0.5, 400, 400), 50).image(image)
    assert small[1:-1, 1:-1].mean() == pytest.approx(255 / 16, abs=1)
    assert small[1:-1, 1:-1].std() < 5


def test_landmark_box_just_holds_the_points():
    points = np.array([[[1, 2], [4, 8], [3, 3]], [[0, 0], [-2, 1], [5, 0.5]]])
    np.testing.assert_array_equal(landmark_box(points), [[1, 2, 3, 6], [-2, 0, 7, 1]])


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


def test_boxes_grow_about_their_centre():
    box = [10, 20, 40, 20]
    np.testing.assert_allclose(BoxPolicy("gt", 1.5).grow(box), [0, 0, 60, 60])
    np.testing.assert_allclose(BoxPolicy.parse("paper").grow(box), [0, 10, 60, 40])
    both = BoxPolicy("gt", 1.5).grow([box, [0, 0, 10, 30]])
    np.testing.assert_allclose(both, [[0, 0, 60, 60], [-17.5, -7.5, 45, 45]])


def test_a_box_without_extent_can_still_be_cut():
    crop = FaceCrop.from_box(BoxPolicy().grow([5, 5, 0, 0]), 16)
    assert np.isfinite(crop.matrix).all()


def test_a_stretched_crop_keeps_image_and_points_together(dots):
    draw_dot, find_dots = dots
    image, points = np.zeros((100, 120, 3), np.uint8), np.array([[40.2, 45.7], [70.5, 50.1], [60.9, 60.0]])
    for channel, point in enumerate(points):
        draw_dot(image, channel, point)
    crop = FaceCrop.from_box(BoxPolicy.parse("paper").grow(landmark_box(points)), 80, rotation=0.3)
    np.testing.assert_allclose(find_dots(crop.image(image)), crop.points(points), atol=0.05)


def test_many_matrices_at_once_are_each_on_its_own_to_the_bit():
    rng = np.random.default_rng(0)
    matrices, points = rng.normal(0, 50, (500, 2, 3)), rng.normal(0, 100, (500, 29, 2))
    for kind in (np.float64, np.float32):
        expected = [transform_points(*pair) for pair in zip(matrices, points.astype(kind), strict=True)]
        np.testing.assert_array_equal(transform_each(matrices, points.astype(kind)), expected)
    np.testing.assert_array_equal(invert(matrices), [invert(matrix) for matrix in matrices])
