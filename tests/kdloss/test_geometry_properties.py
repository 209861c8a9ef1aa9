"""What holds of every box, view, scheme and size: round trips, composition, mirror images, and images beside points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdloss.geometry import (
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
from kdloss.schemes import SCHEMES

SIDE = 200  # of the images with dots, pixels
WHOLE = (-0.5, -0.5, SIDE, SIDE)
# Pixels. OpenCV samples at 32nds of a pixel and rounds to 256 levels; the largest error in 5000 views was 0.036.
DOT_TOLERANCE = 0.05

turns = st.floats(-np.pi, np.pi)
shares = st.floats(-0.1, 0.1)
views = st.fixed_dictionaries(
    {"rotation": turns, "scale": st.floats(0.8, 1.25), "shift": st.tuples(shares, shares), "mirror": st.booleans()}
)
sizes = st.integers(48, 160)
shapes = arrays(np.float64, (6, 2), elements=st.floats(-300, 300))
policies = st.builds(BoxPolicy, st.sampled_from(["gt", "dataset"]), st.floats(0.5, 3), st.floats(0, 20), st.booleans())
schemes = st.sampled_from([SCHEMES[name] for name in sorted(SCHEMES)])


@st.composite
def boxes(draw, stretched=True):
    """Boxes x, y, width, height around the middle of an image with dots, a third to two thirds of it."""
    centre, width = SIDE / 2 + draw(arrays(np.float64, 2, elements=st.floats(-15, 15))), draw(st.floats(70, 120))
    height = width * draw(st.floats(0.8, 1.25)) if stretched else width
    return (centre[0] - width / 2, centre[1] - height / 2, width, height)


@st.composite
def crops(draw, stretched=True):
    return FaceCrop.from_box(draw(boxes(stretched)), draw(sizes), **draw(views))


@st.composite
def triples(draw):
    """Three points in the middle of a crop, in unit coordinates, (3, 2)."""
    return draw(arrays(np.float64, (3, 2), elements=st.floats(-0.15, 0.15)))


@pytest.fixture(scope="module")
def dotted(dots):
    """``dotted(points)`` -> an image with a dot at each of three points (3, 2), a channel each."""
    draw_dot, _ = dots

    def make(points):
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        for channel, point in enumerate(points):
            draw_dot(image, channel, point, sigma=3)
        return image

    return make


# Images beside points.


@settings(max_examples=60)
@given(crop=crops(), unit=triples())
def test_a_dot_lands_where_its_point_says(dots, dotted, crop, unit):
    points = crop.inverse_unit(unit)
    found = dots[1](crop.image(dotted(points)))
    np.testing.assert_allclose(found, crop.points(points), atol=DOT_TOLERANCE)
    np.testing.assert_allclose(to_unit(found, crop.size), unit, atol=DOT_TOLERANCE / crop.size)


@settings(max_examples=30)
@given(outer=crops(), unit=triples())
def test_a_crop_of_a_crop_is_one_crop_by_the_composed_matrix(dots, dotted, outer, unit):
    """As views are cut from stored crops, which were cut from photographs."""
    stored = FaceCrop.from_box(WHOLE, SIDE, rotation=0.2, scale=0.9)
    at_once = FaceCrop(compose(outer.matrix, stored.matrix), outer.size)
    points = at_once.inverse_unit(unit)
    np.testing.assert_allclose(outer.points(stored.points(points)), at_once.points(points), atol=1e-9 * SIDE)
    found = dots[1](outer.image(stored.image(dotted(points))))
    np.testing.assert_allclose(found, at_once.points(points), atol=DOT_TOLERANCE)


@settings(max_examples=30)
@given(crop=crops(), unit=triples())
def test_cut_and_put_back_a_dot_is_where_it_was(dots, dotted, crop, unit):
    points = crop.inverse_unit(unit)
    back = FaceCrop(invert(crop.matrix), SIDE)
    found = dots[1](back.image(crop.image(dotted(points))))
    np.testing.assert_allclose(found, points, atol=DOT_TOLERANCE / min(crop.zoom, 1))


@settings(max_examples=30)
@given(image=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_an_image_mirrored_twice_is_itself_to_the_bit(image):
    height, width = image.shape[:2]
    # A square crop with the image in a corner; what is mirrored are the pixels of the square.
    size = max(height, width)
    square = (-0.5, -0.5, size, size)
    once = FaceCrop.from_box(square, size, mirror=True).image(image)
    twice = FaceCrop.from_box(square, size, mirror=True).image(once)
    np.testing.assert_array_equal(twice[:height, :width], image)
    np.testing.assert_array_equal(once[:height, size - width :], image[:, ::-1])


# Points alone: exact but for rounding.


@given(crop=crops(), points=shapes)
def test_points_come_back_from_every_crop(crop, points):
    np.testing.assert_allclose(crop.inverse_unit(crop.unit_points(points)), points, atol=1e-9 * SIDE)


@given(crop=crops(), points=shapes, size=st.integers(1, 1000))
def test_unit_coordinates_do_not_know_the_size_of_the_crop(crop, points, size):
    resized = FaceCrop(compose(_resize(crop.size, size), crop.matrix), size)
    np.testing.assert_allclose(resized.unit_points(points), crop.unit_points(points), atol=1e-9 * SIDE)


@given(unit=shapes, size=st.integers(1, 4096))
def test_unit_and_pixel_coordinates_are_inverse_both_ways(unit, size):
    np.testing.assert_allclose(to_unit(from_unit(unit, size), size), unit, atol=1e-12 * 300)
    np.testing.assert_allclose(from_unit(to_unit(unit, size), size), unit, atol=1e-12 * 5000)


@given(first=crops(), second=crops(), third=crops(), points=shapes)
def test_composition_is_associative_and_its_inverse_runs_backwards(first, second, third, points):
    a, b, c = (crop.matrix for crop in (first, second, third))
    scale = 1e-12 * np.abs(transform_points(compose(a, compose(b, c)), points)).max() + 1e-9
    np.testing.assert_allclose(compose(compose(a, b), c), compose(a, compose(b, c)), atol=scale)
    np.testing.assert_allclose(invert(compose(a, b)), compose(invert(b), invert(a)), atol=1e-9 * SIDE)


@given(box=boxes(stretched=False), size=sizes, turn=turns, other=turns, points=shapes)
def test_two_turns_are_one_of_their_sum(box, size, turn, other, points):
    once = FaceCrop.from_box(box, size, rotation=turn).points(points)
    twice = FaceCrop.from_box((-0.5, -0.5, size, size), size, rotation=other).points(once)
    expected = FaceCrop.from_box(box, size, rotation=turn + other).points(points)
    np.testing.assert_allclose(twice, expected, atol=1e-9 * SIDE)


@given(scheme=schemes, size=st.integers(1, 500), seed=st.integers(0, 1000))
def test_mirroring_twice_is_the_identity_of_points_names_and_parts(scheme, size, seed):
    points = np.random.default_rng(seed).uniform(-size, 2 * size, (scheme.num_points, 2))
    twice = mirror_points(mirror_points(points, size, scheme.mirror), size, scheme.mirror)
    np.testing.assert_allclose(twice, points, atol=1e-12 * size)
    for part in scheme.parts.values():
        assert {int(i) for i in scheme.mirror[list(part)]} == set(part)
    lines = {frozenset(line) for line in scheme.skeleton}
    assert {frozenset(scheme.mirror[list(line)].tolist()) for line in scheme.skeleton} == lines


@given(box=boxes(), size=sizes, view=views, scheme=schemes, seed=st.integers(0, 1000))
def test_a_mirrored_view_shows_the_mirrored_points(box, size, view, scheme, seed):
    points = np.random.default_rng(seed).uniform(0, SIDE, (scheme.num_points, 2))
    plain, mirrored = (FaceCrop.from_box(box, size, **view | {"mirror": mirror}) for mirror in (False, True))
    expected = mirror_points(plain.points(points), size, scheme.mirror)
    np.testing.assert_allclose(mirrored.points(points)[scheme.mirror], expected, atol=1e-9 * SIDE)


# Boxes.


@given(points=shapes, order=st.permutations(range(6)))
def test_the_landmark_box_holds_every_point_in_whatever_order(points, order):
    x, y, width, height = landmark_box(points)
    np.testing.assert_array_equal(landmark_box(points[order]), [x, y, width, height])
    assert (points >= [x, y]).all()
    assert (points <= np.array([x + width, y + height]) + 1e-9).all()
    assert (points.min(axis=0) == [x, y]).all()


@given(points=shapes, factor=st.floats(0.1, 10), shift=st.tuples(st.floats(-100, 100), st.floats(-100, 100)))
def test_the_landmark_box_moves_and_grows_with_the_points(points, factor, shift):
    box = landmark_box(points)
    expected = [*(box[:2] * factor + shift), *(box[2:] * factor)]
    np.testing.assert_allclose(landmark_box(points * factor + shift), expected, atol=1e-9 * 3000)


@given(points=shapes, width=st.integers(1, 500))
def test_the_landmark_box_of_mirrored_points_is_the_mirrored_box(points, width):
    x, y, across, down = landmark_box(points)
    mirrored = landmark_box(mirror_points(points, width, np.arange(6)))
    np.testing.assert_allclose(mirrored, [width - 1 - x - across, y, across, down], atol=1e-9)


@given(policy=policies, box=boxes())
def test_a_grown_box_has_the_same_centre_and_the_sides_that_were_asked(policy, box):
    grown, box = policy.grow(box), np.array(box)
    np.testing.assert_allclose(grown[:2] + grown[2:] / 2, box[:2] + box[2:] / 2, atol=1e-9)
    sides = np.full(2, box[2:].max()) if policy.square else box[2:]
    np.testing.assert_allclose(grown[2:], sides * policy.scale + 2 * policy.margin, rtol=1e-12)


@given(policy=policies, box=boxes(), shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
def test_a_grown_box_moves_with_its_box(policy, box, shift):
    x, y, width, height = box
    moved = policy.grow((x + shift[0], y + shift[1], width, height))
    np.testing.assert_allclose(moved, np.add(policy.grow(box), (*shift, 0, 0)), atol=1e-9)


@given(scale=st.integers(11, 999), source=st.sampled_from(["gt", "dataset"]))
def test_a_policy_is_read_as_it_is_written(scale, source):
    policy = BoxPolicy(source, scale / 100)
    assert BoxPolicy.parse(str(policy)) == policy


def _resize(size, new):
    """The (2, 3) matrix from the pixels of a crop to those of the same crop at another size."""
    return FaceCrop.from_box((-0.5, -0.5, size, size), new).matrix
