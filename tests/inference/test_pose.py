"""Head pose against heads that are turned by known angles."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_prep.face_shape import Head
from data_prep.synthetic import draw_parameters
from kdloss.data.schemes import SCHEMES, LandmarkScheme
from kdloss.inference.pose import HEAD, PoseEstimator

SCHEME = SCHEMES["68"]


def projected(yaw, pitch, roll, scheme=SCHEME, head=HEAD, scale=90.0):
    """(N, 2) landmarks of the head in weak perspective; points of other names lie far off."""
    turned = Rotation.from_euler("ZXY", [roll, pitch, yaw], degrees=True).as_matrix()[:2]
    points = np.full((scheme.num_points, 2), 1e4)
    for i, name in enumerate(scheme.names):
        if name in head:
            points[i] = turned @ head[name] * scale + (200, 140)
    return points


@pytest.mark.parametrize("name", ["29", "68", "98"])
@pytest.mark.parametrize("angles", [(0, 0, 0), (40, 0, 0), (-75, 20, 10), (10, -35, -170), (0, 30, 90)])
def test_the_angles_of_the_head_itself_come_back(name, angles):
    pose = PoseEstimator(SCHEMES[name])(projected(*angles, scheme=SCHEMES[name]))
    np.testing.assert_allclose(pose, angles, atol=1e-6)


def test_the_signs_are_as_they_are_said():
    straight, estimate = projected(0, 0, 0), PoseEstimator(SCHEME)
    nose, right_eye = SCHEME.names.index("nose_bridge_3"), SCHEME.names.index("right_eye_outer")
    assert projected(20, 0, 0)[nose, 0] > straight[nose, 0]  # to the right of the picture
    assert projected(0, 20, 0)[nose, 1] < straight[nose, 1]  # up
    assert projected(0, 0, 20)[right_eye, 1] < straight[right_eye, 1]  # clockwise: the eye at the left rises
    mirrored = projected(25, 10, 5)[SCHEME.mirror] * (-1, 1)
    np.testing.assert_allclose(estimate(mirrored), (-25, 10, -5), atol=1e-6)


def test_other_persons_and_expressions_cost_a_few_degrees():
    rng, estimate, errors = np.random.default_rng(0), PoseEstimator(SCHEMES["98"]), []
    for _ in range(1000):
        parameters = draw_parameters(rng)
        pose = estimate(Head(parameters, 200, 200).points)
        errors.append(np.abs(np.subtract(pose, (parameters.yaw, parameters.pitch, parameters.roll))))
    mean, most = np.mean(errors, axis=0), np.quantile(errors, 0.95, axis=0)
    print(
        f"yaw, pitch, roll of 1000 rendered heads: mean error {mean.round(1)}, of 95 % at most {most.round(1)} degrees"
    )
    assert (mean < (1.5, 4.5, 1.0)).all()


def test_without_enough_points_there_is_no_pose():
    for scheme in (LandmarkScheme.plain(5), LandmarkScheme.plain(3, ["left_eye_outer", "right_eye_outer", "nose_tip"])):
        assert PoseEstimator(scheme)(np.zeros((scheme.num_points, 2))) is None
    assert PoseEstimator(SCHEME)(np.ones((68, 2))) is None


def test_a_head_of_another_scheme():
    scheme = LandmarkScheme.plain(5, ["hat", "left_eye", "right_eye", "nose", "chin"])
    head = {
        "left_eye": (0.3, 0.0, 0.0),
        "right_eye": (-0.3, 0.0, 0.0),
        "nose": (0.0, 0.4, 0.3),
        "chin": (0.0, 1.2, 0.0),
    }
    pose = PoseEstimator(scheme, head)(projected(30, -10, 5, scheme, head))
    np.testing.assert_allclose(pose, (30, -10, 5), atol=1e-6)
