"""Predictions in source pixels, exact on a network whose answer depends on nothing but what it is shown."""

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy, FaceCrop, transform_points
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import ConfigError
from kdloss.inference.prediction import crops_of, predict_crops, predict_dataset, predict_ways

SIZE = 32


class Brightness:
    """Answers with points whose x is the mean brightness of the left half of the picture, whose y that of all."""

    input_shape = (None, SIZE, SIZE, 3)

    def __init__(self, num_points):
        self.num_points, self.batches = num_points, []

    def predict_on_batch(self, images):
        self.batches.append(len(images))
        unit = np.stack([images[:, :, : SIZE // 2].mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3))], axis=-1) / 255
        spread = np.linspace(0.5, 1, self.num_points)[:, None]
        return (unit[:, None] * spread).astype(np.float32)


def images_of(random_faces, rows, crops):
    images = [crop.image(random_faces.faces[row]) for row, crop in zip(rows, crops, strict=True)]
    return np.array(images, np.float32)


def in_source(random_faces, rows, crops, units):
    return np.stack([
        transform_points(random_faces.to_image[row], crop.inverse_unit(unit.astype(np.float64)))
        for row, crop, unit in zip(rows, crops, units, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_face_is_predicted_in_its_own_crop(random_faces, batch_size):
    rows, policy, model = random_faces.indices("train")[::-1], BoxPolicy.parse("gt:1.3"), Brightness(29)
    found = predict_dataset(model, random_faces, rows, policy, batch_size)
    boxes = random_faces.boxes(policy)
    crops = [FaceCrop.from_box(boxes[row], SIZE) for row in rows]
    images = images_of(random_faces, rows, crops)
    expected = in_source(random_faces, rows, crops, Brightness(29).predict_on_batch(images))
    assert found == pytest.approx(expected, abs=1e-4)
    assert set(model.batches) == {batch_size}


def test_mirror_test_is_the_mean_over_both_sides(random_faces):
    rows = random_faces.indices("test")
    boxes = random_faces.boxes(BoxPolicy())
    crops = [FaceCrop.from_box(boxes[row], SIZE, rotation=0.2) for row in rows]
    found = predict_crops(Brightness(29), random_faces, rows, crops, flip=True)
    images = images_of(random_faces, rows, crops)
    straight = Brightness(29).predict_on_batch(images)
    mirrored = Brightness(29).predict_on_batch(images[:, :, ::-1])[:, random_faces.scheme.mirror] * [-1, 1]
    assert found == pytest.approx(in_source(random_faces, rows, crops, (straight + mirrored) / 2), abs=1e-4)
    assert found != pytest.approx(in_source(random_faces, rows, crops, straight), abs=1e-1)


def test_both_ways_of_a_mirror_test_are_told_apart(random_faces):
    rows, model = random_faces.indices("train")[:3], Brightness(29)
    crops = crops_of(model, random_faces, rows, BoxPolicy())
    images = images_of(random_faces, rows, crops)
    mirrored = Brightness(29).predict_on_batch(images[:, :, ::-1])[:, random_faces.scheme.mirror] * [-1, 1]
    units = [Brightness(29).predict_on_batch(images), mirrored]
    found = predict_ways(model, random_faces, rows, crops, random_faces.scheme, 2, flip=True)
    assert found.shape == (2, 3, 29, 2)
    assert found == pytest.approx(np.stack([in_source(random_faces, rows, crops, unit) for unit in units]), abs=1e-4)
    # The points are those of the model, whatever the faces have.
    other = predict_ways(Brightness(5), random_faces, rows, crops, LandmarkScheme.plain(5))
    assert other.shape == (1, 3, 5, 2)


def test_points_without_partners_have_no_mirror_test(make_prepared):
    own = make_prepared("folder", custom=5)
    assert predict_crops(Brightness(5), own, [], []).shape == (0, 5, 2)
    with pytest.raises(ConfigError, match="names no mirror partners"):
        predict_dataset(Brightness(5), own, own.indices("test"), BoxPolicy(), flip=True)
