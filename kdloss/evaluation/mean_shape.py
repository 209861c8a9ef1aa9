"""The baseline that any model must beat: the same mean face in every box, without a look at the picture."""

import numpy as np

from kdloss.geometry import FaceCrop, transform_points


def mean_shape_predictions(prepared, rows, policy):
    """Places the mean of the training shapes in the box of each face.

    Args:
        prepared: the `PreparedDataset`; its ``train`` split gives the mean, over unit coordinates of the boxes.
        rows: (n,) row numbers of the faces to predict.
        policy: the `BoxPolicy` of the boxes, the same for training and prediction.

    Returns:
        (n, N, 2) float64 points in pixels of the source images.

    Raises:
        DataError: no training faces, or a face without the box that the policy asks for.
    """
    boxes = prepared.boxes(policy)
    crops = {row: FaceCrop.from_box(boxes[row], prepared.size) for row in (*prepared.indices("train"), *rows)}
    mean = np.mean(
        [crops[row].unit_points(prepared.points[row].astype(np.float64)) for row in prepared.indices("train")], axis=0
    )
    return np.stack([transform_points(prepared.to_image[row], crops[row].inverse_unit(mean)) for row in rows])
