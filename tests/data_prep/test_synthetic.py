"""Synthetic faces: points lie on what is drawn, faces vary, everything is reproducible."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from data_prep.face_shape import Head
from data_prep.synthetic import draw_parameters, render, render_face
from kdloss.data.geometry import mirror_points
from kdloss.data.schemes import SCHEMES
from kdloss.errors import ConfigError

# A face without anything in its way, eyes open, evenly lit.
PLAIN = {
    "yaw": 0.0, "pitch": 0.0, "roll": 0.0, "shift_x": 0.0, "shift_y": 0.0, "smile": 0.0, "smile_skew": 0.0,
    "mouth_open": 0.0, "pucker": 0.0, "right_eye_closure": 0.0, "left_eye_closure": 0.0, "right_brow_raise": 0.3,
    "left_brow_raise": 0.3, "gaze_x": 0.0, "hair": "short", "fringe": False, "hat": False, "beard": 0.0, "makeup": 0.0,
    "glasses": "none", "occluder": "none", "skin": 0.1, "iris_tone": 0.2, "light_strength": 0.1, "exposure": 1.0,
    "blur": 0.0, "noise": 0.0, "frown": 0.0,
}  # fmt: skip


def plain(seed, **changes):
    return SimpleNamespace(**(vars(draw_parameters(np.random.default_rng(seed))) | PLAIN | changes))


def plain_face(seed, size=240, **changes):
    return render(plain(seed, **changes), np.random.default_rng(seed), size)


def shape(**changes):
    """Name -> (2,) in units of the head, from between the eyes."""
    head = Head(plain(5, **changes), 200, 200)
    return dict(zip(SCHEMES["98"].names, (head.points - head.project([0, 0, 0])) / head.scale, strict=True))


def test_the_same_generator_gives_the_same_face():
    one, two, other = (render_face(np.random.default_rng(seed), (110, 90)) for seed in (3, 3, 4))
    assert (one.image.shape, one.image.dtype, one.points98.dtype) == ((110, 90, 3), np.uint8, np.float32)
    assert np.array_equal(one.image, two.image)
    assert one.parameters == two.parameters
    assert not np.array_equal(one.image, other.image)
    with pytest.raises(ConfigError, match="at least 48"):
        render_face(np.random.default_rng(0), (47, 200))


def test_faces_vary_and_say_how():
    faces = [render_face(np.random.default_rng([7, i]), 96) for i in range(120)]
    assert np.mean([((f.points98 >= 0) & (f.points98 <= 95)).all() for f in faces]) > 0.99
    drawn = [vars(face.parameters) for face in faces]
    table = {name: np.array([parameters[name] for parameters in drawn]) for name in drawn[0]}
    assert 14 < table["yaw"].std() < 26
    for name in ("mouth_open", "smile", "skin", "light_strength", "blur"):
        assert table[name].std() > 0.15, name
    assert [len(set(table[name])) for name in ("glasses", "occluder", "hair")] == [3, 3, 4]
    for name in ("pose", "expression", "illumination", "make-up", "occlusion", "blur"):
        assert 0.03 < np.mean([face.flags[name] for face in faces]) < 0.6, name
    harder = [draw_parameters(np.random.default_rng([7, i]), 1.7).yaw for i in range(120)]
    assert np.std(harder) > 1.3 * table["yaw"].std()


@pytest.mark.parametrize("seed", range(8))
def test_pupils_lie_on_the_dark_discs(seed):
    face = plain_face(seed, gaze_x=(-1) ** seed * 0.5, eye_height=1.4)
    grey = cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY).astype(float)
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
    for x, y in face.points98[96:]:
        # The lashes above are dark too: look at the middle rows of the disc.
        near = (np.abs(columns - x) < 7) & (np.abs(rows - y) <= 2.5)
        weight = np.where(near & (grey < 60), 60 - grey, 0)
        assert np.hypot(*(np.average(one, weights=weight) - at for one, at in ((columns, x), (rows, y)))) < 1.2


@pytest.mark.parametrize("yaw", [-25.0, 0.0, 25.0])
def test_the_outer_lip_points_lie_on_the_edge_of_the_lips(yaw):
    face = plain_face(2, 300, yaw=yaw, makeup=1.0)
    red = face.image[..., 0].astype(np.float32) - face.image[..., 1]
    middle = face.points98[76:88].mean(0)
    for point in face.points98[[79, 83, 85, 87]]:  # the middle of the upper lip, and three of the lower one
        step = (point - middle) / np.linalg.norm(point - middle)
        within, beyond = (cv2.getRectSubPix(red, (1, 1), tuple(point + s * 1.8 * step)) for s in (-1, 1))
        assert within[0, 0] - beyond[0, 0] > 30


@pytest.mark.parametrize("yaw", [-55.0, -30.0, 0.0, 30.0, 55.0])
def test_the_jaw_is_the_edge_of_the_skin(yaw):
    head = Head(plain(1, yaw=yaw), 200, 200)
    distances = [cv2.pointPolygonTest(head.outline.astype(np.float32), point, True) for point in head.points.tolist()]
    np.testing.assert_allclose(distances[:33], 0, atol=1e-3)
    # The side that turns away shows the cheek: no drawn feature of it hangs far out of the face.
    features = [i for part in ("eyes", "brows", "mouth") for i in SCHEMES["98"].parts[part]]
    assert min(distances[i] for i in features) > -0.08 * head.scale


def test_a_mirrored_pose_mirrors_the_points():
    one, two = (Head(plain(5, yaw=s * 25.0, pitch=8.0, roll=s * 12.0, shift_x=s * 0.1), 200, 200) for s in (1, -1))
    np.testing.assert_allclose(mirror_points(one.points, 200, SCHEMES["98"].mirror), two.points, atol=1e-9)


def test_angles_and_expressions_move_their_points():
    def gap(points, upper, lower):
        return points[lower][1] - points[upper][1]

    neutral, lips = shape(), ("inner_upper_lip", "inner_lower_lip")
    assert shape(yaw=30.0)["nose_bridge_3"][0] > neutral["nose_bridge_3"][0] + 0.05
    assert shape(pitch=20.0)["nose_bridge_3"][1] < neutral["nose_bridge_3"][1] - 0.05
    assert gap(shape(roll=20.0), "right_pupil", "left_pupil") > 0.1
    opened = shape(mouth_open=1.0)
    assert gap(opened, *lips) > gap(neutral, *lips) + 0.15
    assert opened["chin"][1] > neutral["chin"][1] + 0.1
    assert 0 <= gap(shape(right_eye_closure=1.0), "right_eye_upper_1", "right_eye_lower_1") < 0.01
    assert shape(smile=1.0)["left_mouth_corner"][1] < neutral["left_mouth_corner"][1] - 0.05


def test_what_hides_points_is_drawn_and_recorded():
    bare, dark = plain_face(6), plain_face(6, glasses="sun")
    assert not bare.occluded.any()
    x, y = np.round(bare.points98[96]).astype(int)
    assert np.abs(dark.image.astype(int) - bare.image)[y - 3 : y + 4, x - 3 : x + 4].mean() > 10
    assert (bare.flags["occlusion"], dark.flags["occlusion"]) == (False, True)
    assert dark.occluded[list(SCHEMES["98"].parts["eyes"])].mean() > 0.8
    assert not dark.occluded[list(SCHEMES["98"].parts["mouth"])].any()
    for changes in ({"fringe": True}, {"occluder": "hand"}, {"occluder": "patch"}):
        assert any(plain_face(seed, 96, **changes).occluded.any() for seed in range(3)), changes
