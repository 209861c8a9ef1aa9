"""From a model and prepared faces to points in the pixels of the source images."""

import keras
import numpy as np

from kdloss.geometry import FaceCrop, transform_points


def predict_dataset(model, prepared, rows, policy, batch_size=64):
    """Predicts the landmarks of prepared faces.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        prepared: a `PreparedDataset`.
        rows: (m,) row numbers.
        policy: the `BoxPolicy` of the crops.
        batch_size: faces a batch.

    Returns:
        (m, N, 2) float64 points in pixels of each face's source image.
    """
    size = model.input_shape[1]
    boxes = prepared.boxes(policy)
    points = []
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        crops = [FaceCrop.from_box(boxes[row], size) for row in chosen]
        images = np.stack([crop.image(prepared.faces[row]) for crop, row in zip(crops, chosen, strict=True)])
        for crop, row, unit in zip(crops, chosen, predict_batch(model, images, batch_size), strict=True):
            points.append(transform_points(prepared.to_image[row], crop.inverse_unit(unit.astype(np.float64))))
    return np.stack(points)


def predict_batch(model, images, batch_size):
    """Unit points (m, N, 2) float32 of images (m, S, S, 3); short batches are padded, so one program serves all."""
    missing = batch_size - len(images)
    padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)]) if missing > 0 else images
    predicted = model.predict_on_batch(padded.astype(np.float32))
    return keras.ops.convert_to_numpy(predicted)[: len(images)]
