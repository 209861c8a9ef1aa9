"""Soft landmarks: a shape model of the training faces only, applied to the crop before augmentation."""

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy, FaceCrop
from kdloss.data.prepared import PreparedDataset
from kdloss.training.soft_landmarks import fit_shape_model, mean_shape, soft_points, unit_shapes, unusual_faces

POLICIES = [BoxPolicy.parse(text) for text in ("gt:1.25", "dataset:1.1", "paper")]
policies = pytest.mark.parametrize("policy", POLICIES, ids=str)


@policies
def test_all_faces_at_once_are_the_faces_one_by_one_to_the_bit(random_faces, policy):
    points, boxes = random_faces.points.astype(np.float64), random_faces.boxes(policy)
    crops = [FaceCrop.from_box(box, 1) for box in boxes]
    one_by_one = [crop.unit_points(face) for crop, face in zip(crops, points, strict=True)]
    shapes = unit_shapes(random_faces, policy)
    np.testing.assert_array_equal(shapes, one_by_one)
    np.testing.assert_allclose(shapes, (points - boxes[:, None, :2]) / boxes[:, None, 2:] - 0.5, atol=1e-6)
    model = fit_shape_model(random_faces, policy, 0.9, random_faces.indices("train"))
    soft = model.soften(np.stack(one_by_one))
    expected = [crop.inverse_unit(points) for crop, points in zip(crops, soft, strict=True)]
    np.testing.assert_array_equal(soft_points(random_faces, model, policy), np.float32(expected))


def test_the_mean_shape_is_that_of_all_at_once_to_the_bit(random_faces, monkeypatch):
    monkeypatch.setattr("kdloss.training.soft_landmarks._FACES", 2)
    rows = random_faces.indices("train")
    expected = unit_shapes(random_faces, POLICIES[0])[rows].mean(axis=0)
    np.testing.assert_array_equal(mean_shape(random_faces, POLICIES[0], rows), expected)


@policies
def test_only_training_faces_make_the_model(random_faces, policy):
    changed, train = PreparedDataset(random_faces.path), random_faces.indices("train")
    before = fit_shape_model(random_faces, policy, 0.9, train)
    others = np.concatenate([random_faces.indices("val"), random_faces.indices("test")])
    changed.points[others] = changed.points[others][:, ::-1] * 0.7 + 3
    assert np.abs(unit_shapes(changed, policy)[others] - unit_shapes(random_faces, policy)[others]).max() > 0.05
    after = fit_shape_model(changed, policy, 0.9, train)
    for name in ("mean", "modes", "spectrum"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    # And all of them do.
    changed.points[train[0], 0] += 1
    assert (fit_shape_model(changed, policy, 0.9, train).mean != before.mean).any()
    few = fit_shape_model(changed, policy, 0.9, train[1:5])
    np.testing.assert_array_equal(few.mean, fit_shape_model(random_faces, policy, 0.9, train[1:5]).mean)


def test_the_model_says_what_it_is_of(random_faces):
    model = fit_shape_model(random_faces, BoxPolicy.parse("gt:1.4"), 0.9, random_faces.indices("train"))
    assert {"scheme": "29", "dataset": "cofw", "box": "gt:1.4"}.items() <= model.metadata.items()
    assert model.skeleton == random_faces.scheme.skeleton
    assert model.explained >= 0.9


@policies
def test_all_the_variance_gives_the_training_points_back(random_faces, policy):
    train, test = random_faces.indices("train"), random_faces.indices("test")
    soft = soft_points(random_faces, fit_shape_model(random_faces, policy, 1.0, train), policy)
    np.testing.assert_allclose(soft[train], random_faces.points[train], atol=1e-3)
    assert np.abs(soft[test] - random_faces.points[test]).max() > 0.1


def test_unusual_faces_are_those_far_from_the_mean(random_faces):
    faces, train = PreparedDataset(random_faces.path), random_faces.indices("train")
    # Small copies of one face, but for two; of these the points of one are not all known.
    mean = faces.points[train].mean(axis=0)
    faces.points[train] = mean + 0.05 * (faces.points[train] - mean)
    far, unknown = train[[1, 3]]
    faces.points[[far, unknown]] += 20 * np.sin(np.arange(mean.size)).reshape(mean.shape).astype(np.float32)
    faces.points[unknown, 0] = np.nan
    found = unusual_faces(faces, POLICIES[2], train)
    assert len(found) == len(train) // 5
    assert far in found
    assert unknown not in found
