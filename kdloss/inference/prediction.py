"""Predicts the landmarks of prepared faces, in pixels of their source images."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kdloss.data.geometry import FaceCrop, mirror_points, transform_points
from kdloss.errors import ConfigError


def predict_dataset(model, prepared, rows, policy, batch_size=64, *, flip=False):
    """`predict_crops` of faces in the boxes of a `BoxPolicy`."""
    return predict_crops(model, prepared, rows, crops_of(model, prepared, rows, policy), batch_size, flip=flip)


def crops_of(model, prepared, rows, policy):
    """The `FaceCrop`\\ s of faces for a model in the boxes of a `BoxPolicy`."""
    size, boxes = model.input_shape[1], prepared.boxes(policy)
    return [FaceCrop.from_box(boxes[row], size) for row in rows]


def predict_crops(model, prepared, rows, crops, batch_size=64, *, flip=False):
    """Predicts the landmarks of prepared faces in given crops. The next batch is cut meanwhile.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        prepared, rows: a `PreparedDataset`, and m row numbers.
        crops: m `FaceCrop`\\ s of side S, from stored crops; not mirrored.
        batch_size: faces a batch.
        flip: mirror test: whether to average the predictions of the crop and of the mirrored crop.

    Returns:
        (m, N, 2) float64 points in pixels of each face's source image.

    Raises:
        ConfigError: a mirror test where the scheme names no mirror partners.
    """
    return predict_ways(model, prepared, rows, crops, prepared.scheme, batch_size, flip=flip).mean(axis=0)


def predict_ways(model, prepared, rows, crops, scheme, batch_size=64, *, flip=False):
    """What `predict_crops` averages: (1, m, N, 2), or with ``flip`` (2, m, N, 2).

    ``scheme`` is that of the model's points; those of the faces are not read.
    """
    if flip and not scheme.mirrorable:
        raise ConfigError(f"mirror test: scheme {scheme.name} names no mirror partners")
    batches = [(rows[i : i + batch_size], crops[i : i + batch_size]) for i in range(0, len(rows), batch_size)]
    points = []
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(cut_faces, prepared.faces, *batches[0]) if batches else None
        for number, (batch_rows, batch_crops) in enumerate(batches):
            images = ahead.result()
            if number + 1 < len(batches):
                ahead = pool.submit(cut_faces, prepared.faces, *batches[number + 1])
            ways = [predict_batch(model, images, batch_size).astype(np.float64)]
            if flip:
                mirrored = predict_batch(model, images[:, :, ::-1], batch_size).astype(np.float64)
                # In unit coordinates, a width of 1 mirrors x to -x.
                ways.append(mirror_points(mirrored, 1, scheme.mirror))
            for crop, row, *units in zip(batch_crops, batch_rows, *ways, strict=True):
                points.append(transform_points(prepared.to_image[row], crop.inverse_unit(np.array(units))))
    return np.reshape(points, (len(rows), 1 + bool(flip), scheme.num_points, 2)).swapaxes(0, 1)


def cut_faces(faces, rows, crops):
    """The crops (m, S, S, 3) uint8 of m > 0 prepared faces, by row numbers and `FaceCrop`\\ s of side S."""
    images = np.empty((len(rows), crops[0].size, crops[0].size, 3), np.uint8)
    for row, crop, image in zip(rows, crops, images, strict=True):
        crop.image(faces[row], image)
    return images


def predict_batch(model, images, batch_size):
    """Unit points (m, N, 2) float32 of images (m, S, S, 3). Short batches are padded, so the model compiles once."""
    missing = batch_size - len(images)
    padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)]) if missing > 0 else images
    return np.asarray(model.predict_on_batch(padded.astype(np.float32)))[: len(images)]
