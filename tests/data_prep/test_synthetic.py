"""Synthetic faces: points lie on what is drawn, faces vary, everything is reproducible."""

import dataclasses

import cv2
import numpy as np
import pytest

from data_prep.canvas import Canvas, ellipse_outline
from data_prep.face_parameters import draw_parameters
from data_prep.face_shape import Projection, build_head, spline
from data_prep.synthetic import render, render_face
from kdloss.errors import ConfigError
from kdloss.geometry import mirror_points
from kdloss.schemes import SCHEMES

INDEX = {name: i for i, name in enumerate(SCHEMES["98"].names)}
# A face without anything in its way, eyes open, evenly lit.
PLAIN = {
    "yaw": 0.0, "pitch": 0.0, "roll": 0.0, "hair": "short", "fringe": False, "hat": False, "beard": 0.0, "makeup": 0.0,
    "glasses": "none", "occluder": "none", "blur": 0.0, "noise": 0.0, "exposure": 1.0, "light_strength": 0.1,
    "right_eye_closure": 0.0, "left_eye_closure": 0.0, "iris_tone": 0.2, "skin": 0.1,
}  # fmt: skip


def plain_face(seed, size=240, **changes):
    parameters = dataclasses.replace(draw_parameters(np.random.default_rng(seed)), **{**PLAIN, **changes})
    return render(parameters, np.random.default_rng(seed), size)


@pytest.fixture(scope="module")
def faces():
    return [render_face(np.random.default_rng([7, i]), 96) for i in range(120)]


def test_the_same_generator_gives_the_same_face():
    one, two = (render_face(np.random.default_rng(3), (110, 90)) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.points98, two.points98)
    assert one.attributes == two.attributes
    assert not np.array_equal(one.image, render_face(np.random.default_rng(4), (110, 90)).image)


def test_faces_keep_the_contracts(faces):
    face = render_face(np.random.default_rng(0), (110, 90))
    assert face.image.shape == (110, 90, 3)
    assert face.image.dtype == np.uint8
    assert face.points98.shape == (98, 2)
    assert face.points98.dtype == np.float32
    assert face.occluded.shape == (98,)
    assert face.occluded.dtype == bool
    inside = np.mean([((f.points98 >= 0) & (f.points98 <= 95)).all() for f in faces])
    assert inside > 0.99


def test_attributes_vary_and_are_recorded(faces):
    table = {name: np.array([face.attributes[name] for face in faces]) for name in faces[0].attributes}
    assert 14 < table["yaw"].std() < 26
    assert 5 < table["pitch"].std() < 13
    assert 5 < table["roll"].std() < 14
    for name in ("mouth_open", "smile", "skin", "light_strength", "blur"):
        assert table[name].std() > 0.15, name
    assert set(table["glasses"]) == {"none", "clear", "sun"}
    assert set(table["hair"]) == {"short", "long", "full", "bald"}
    for name in ("pose", "expression", "illumination", "make-up", "occlusion", "blur"):
        assert 0.03 < table[f"flag_{name}"].mean() < 0.6, name


def test_greater_difficulty_turns_faces_further():
    spread = [
        np.std([draw_parameters(np.random.default_rng([1, i]), difficulty).yaw for i in range(100)])
        for difficulty in (1.0, 1.7)
    ]
    assert spread[1] > 1.3 * spread[0]


@pytest.mark.parametrize("seed", range(8))
def test_pupils_lie_on_the_dark_discs(seed):
    face = plain_face(seed, gaze_x=(-1) ** seed * 0.5, eye_height=1.4)
    grey = cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY).astype(float)
    for side in ("right", "left"):
        x, y = face.points98[INDEX[f"{side}_pupil"]]
        rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
        near = np.hypot(columns - x, rows - y) < 7
        weight = np.where(near & (grey < 60), 60 - grey, 0)
        # The lashes above are dark too: look at the middle rows of the disc.
        weight[np.abs(rows - y) > 2.5] = 0
        centroid = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
        assert np.linalg.norm(centroid - (x, y)) < 1.2


@pytest.mark.parametrize("yaw", [-25.0, 0.0, 25.0])
def test_the_outer_lip_points_lie_on_the_edge_of_the_lips(yaw):
    face = plain_face(2, 300, yaw=yaw, makeup=1.0, mouth_open=0.0, smile=0.0, smile_skew=0.0, pucker=0.0)
    outer = face.points98[INDEX["right_mouth_corner"] :][:12]
    red = face.image[..., 0].astype(float) - face.image[..., 1]
    middle = outer.mean(0)
    for name in ("upper_lip", "lower_lip", "right_lower_lip_0", "left_lower_lip_0"):
        point = face.points98[INDEX[name]]
        step = (point - middle) / np.linalg.norm(point - middle)
        within, beyond = (
            cv2.getRectSubPix(red.astype(np.float32), (1, 1), tuple(point + s * 1.8 * step)) for s in (-1, 1)
        )
        assert within[0, 0] - beyond[0, 0] > 30, name


@pytest.mark.parametrize("yaw", [-55.0, -30.0, 0.0, 30.0, 55.0])
def test_the_jaw_is_the_edge_of_the_skin(yaw):
    p = dataclasses.replace(draw_parameters(np.random.default_rng(1)), yaw=yaw, roll=0.0, pitch=0.0)
    head = build_head(p)
    projection = Projection(yaw, 0.0, 0.0, 100.0)
    points = head.project(projection)
    outline = head.face_outline(projection, points).astype(np.float32)
    for point in points[:33]:
        assert abs(cv2.pointPolygonTest(outline, point.tolist(), True)) < 1e-3
    # The side that turns away shows the cheek: no drawn feature of it hangs far out of the face.
    features = [i for part in ("eyes", "brows", "mouth") for i in SCHEMES["98"].parts[part]]
    assert min(cv2.pointPolygonTest(outline, points[i].tolist(), True) for i in features) > -8


def test_a_mirrored_pose_mirrors_the_points():
    p = draw_parameters(np.random.default_rng(5))
    even = {"smile_skew": 0.0, "gaze_x": 0.0, "right_brow_raise": 0.3, "left_brow_raise": 0.3}
    even |= {"right_eye_closure": 0.2, "left_eye_closure": 0.2}
    head = build_head(dataclasses.replace(p, **even))
    one = head.project(Projection(25.0, 8.0, 12.0, 90.0, (99.5, 80.0)))
    two = head.project(Projection(-25.0, 8.0, -12.0, 90.0, (99.5, 80.0)))
    np.testing.assert_allclose(mirror_points(one, 200, SCHEMES["98"].mirror), two, atol=1e-9)


def test_angles_turn_the_way_they_say():
    p = dataclasses.replace(draw_parameters(np.random.default_rng(5)), smile_skew=0.0)
    head = build_head(p)
    tip, eyes = INDEX["nose_bridge_3"], [INDEX["right_pupil"], INDEX["left_pupil"]]

    def tip_from_eyes(**angles):
        points = head.project(Projection(**({"yaw": 0.0, "pitch": 0.0, "roll": 0.0} | angles)))
        return points[tip] - points[eyes].mean(0), points[eyes[1]] - points[eyes[0]]

    straight = tip_from_eyes()[0]
    assert tip_from_eyes(yaw=30.0)[0][0] > straight[0] + 0.05
    assert tip_from_eyes(pitch=20.0)[0][1] < straight[1] - 0.05
    assert tip_from_eyes(roll=20.0)[1][1] > 0.1


def test_expressions_move_their_points():
    def points(**changes):
        neutral = {"mouth_open": 0.0, "smile": 0.0, "right_eye_closure": 0.0, "left_eye_closure": 0.0, "frown": 0.0}
        p = dataclasses.replace(draw_parameters(np.random.default_rng(5)), **{**neutral, **changes})
        return build_head(p).project(Projection(0.0, 0.0, 0.0))

    def gap(found, upper, lower):
        return found[INDEX[lower], 1] - found[INDEX[upper], 1]

    neutral = points()
    lips, lids = ("inner_upper_lip", "inner_lower_lip"), ("right_eye_upper_1", "right_eye_lower_1")
    assert gap(points(mouth_open=1.0), *lips) > gap(neutral, *lips) + 0.15
    assert points(mouth_open=1.0)[INDEX["chin"], 1] > neutral[INDEX["chin"], 1] + 0.1
    assert 0 <= gap(points(right_eye_closure=1.0), *lids) < 0.1 * gap(neutral, *lids)
    corner = INDEX["left_mouth_corner"]
    assert points(smile=1.0)[corner, 1] < neutral[corner, 1] - 0.05


def test_occluders_are_drawn_and_recorded():
    bare, dark = plain_face(6), plain_face(6, glasses="sun")
    assert not bare.occluded.any()
    assert not bare.flags["occlusion"]
    eyes = list(SCHEMES["98"].parts["eyes"])
    assert dark.occluded[eyes].mean() > 0.8
    assert not dark.occluded[list(SCHEMES["98"].parts["mouth"])].any()
    assert dark.flags["occlusion"]
    changed = np.abs(dark.image.astype(int) - bare.image).sum(-1) > 30
    x, y = np.round(bare.points98[INDEX["right_pupil"]]).astype(int)
    assert changed[y - 3 : y + 4, x - 3 : x + 4].mean() > 0.5


def test_blur_and_light_show_in_the_picture():
    def sharpness(face):
        return cv2.Laplacian(cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).std()

    assert sharpness(plain_face(6, blur=2.5, motion=False)) < 0.5 * sharpness(plain_face(6))

    def lean(light_x):
        face = plain_face(6, light_x=light_x, light_y=0.0, light_strength=0.9)
        cheeks = [face.points98[INDEX[f"{side}_mouth_corner"]] * 0.5 + face.points98[i] * 0.5 for side, i in
                  (("right", 6), ("left", 26))]  # fmt: skip
        right, left = (face.image[round(float(y)), round(float(x))].mean() for x, y in cheeks)
        return left - right

    assert lean(1.0) > lean(-1.0) + 40


@pytest.mark.parametrize("centre", [(10.0, 12.0), (10.25, 12.5), (15.4, 9.1)])
def test_the_canvas_draws_to_a_fraction_of_a_pixel(centre):
    canvas = Canvas(24, 30)
    canvas.fill(ellipse_outline(centre, (4.3, 4.3)), (255, 255, 255))
    weight = canvas.picture()[..., 0].astype(float)
    y, x = np.mgrid[:24, :30]
    found = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    # OpenCV rounds rows to the fine grid.
    np.testing.assert_allclose(found, centre, atol=0.15)


def test_a_spline_passes_through_its_points():
    points = np.random.default_rng(0).normal(size=(6, 2))
    np.testing.assert_allclose(spline(points, 4, closed=True)[::4], points, atol=1e-12)
    np.testing.assert_allclose(spline(points, 4)[::4], points, atol=1e-12)


def test_a_picture_too_small_for_a_face_is_refused():
    with pytest.raises(ConfigError, match="at least 48"):
        render_face(np.random.default_rng(0), (47, 200))
