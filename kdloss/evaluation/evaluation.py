"""One measurement: the faces, the points that a model gave them, and the numbers of the protocol."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy, FaceCrop, transform_points
from kdloss.data.prepared import PreparedDataset
from kdloss.evaluation import metrics
from kdloss.evaluation.protocol import evaluate_points, missing_faces
from kdloss.inference.readers import KerasReader, find_model
from kdloss.models.locate import EXPORTED, checkpoint_path

MEAN_SHAPE = "mean training shape"
_RECORDED = ("dataset", "arch", "kind", "method", "image_size")  # of a model's card, in ``metrics.json``


@dataclass(frozen=True)
class Evaluation:
    """What a measurement left.

    Args:
        label: what tables and pictures call the model.
        prepared, rows: the faces, as row numbers of the `PreparedDataset`.
        points: (n, N, 2) float64 predictions in pixels of the source images, in the order of ``rows``; NaN for a face
            without prediction that counts as a failure.
        metrics: the dict of `kdloss.evaluation.protocol.evaluate_points`.
    """

    label: str
    prepared: PreparedDataset
    rows: np.ndarray
    points: np.ndarray
    metrics: dict

    @property
    def names(self):
        """(n,) names of the faces."""
        return self.prepared.table["name"][self.rows]

    @property
    def truth(self):
        """(n, N, 2) landmarks in pixels of the source images."""
        return self.prepared.source_points[self.rows]

    @property
    def point_errors(self):
        """(n, N) errors of the points by the protocol's normaliser, fractions; NaN without prediction."""
        normaliser = self.metrics["protocol"]["normaliser"]
        return metrics.point_errors(self.points, self.truth, self.prepared.scheme, normaliser)

    @property
    def errors(self):
        """(n,) errors of the faces, fractions; infinite without prediction."""
        errors = self.point_errors.mean(axis=1)
        return np.where(np.isnan(errors), np.inf, errors)


def evaluate_predicted(prepared, points, *, split="test", label="model", missing="error", **protocol):
    """An `Evaluation` of (n, N, 2) points for all faces of a split.

    Args:
        prepared: the `PreparedDataset`.
        points: source pixels, in the order of ``prepared.indices(split)``; NaN for faces without prediction.
        split: ``test`` or ``val``.
        label: see `Evaluation`.
        missing, protocol: see `evaluate_points` (``box``, ``checkpoint``, ``flip``, ``detector``).

    Raises:
        DataError: points of another shape, or not finite.
    """
    rows, points = prepared.indices(split), np.asarray(points, np.float64)
    found = evaluate_points(prepared, rows, points, split=split, missing=missing, **protocol)
    if missing == "skip":
        kept = ~missing_faces(points)
        rows, points = rows[kept], points[kept]
    return Evaluation(label, prepared, rows, points, found)


def evaluate_mean_shape(prepared, box, *, split="test", like=None, missing="error"):
    """An `Evaluation` of the mean training shape placed in each box, or None where there are no training faces.

    Args:
        prepared, box, split: see `evaluate_checkpoint`.
        like: an `Evaluation`; faces that it has no prediction of have none here, and count as ``missing`` says.
        missing: see `kdloss.evaluation.protocol.evaluate_points`.
    """
    if not np.any(prepared.table["split"] == "train"):
        return None
    rows = prepared.indices(split)
    points = mean_shape_predictions(prepared, rows, box)
    if like is not None:
        points[~np.isin(rows, like.rows[~missing_faces(like.points)])] = np.nan
    return evaluate_predicted(prepared, points, split=split, label=MEAN_SHAPE, box=box, missing=missing)


def evaluate_checkpoint(prepared, path, *, box=None, split="test", batch_size=64, flip=False, label=None):
    """An `Evaluation` of a checkpoint: a ``.keras`` file, a run folder, or a published student's ``.h5``.

    Args:
        prepared: the `PreparedDataset`.
        path: of the checkpoint.
        box: the `BoxPolicy` of the crops; None takes the checkpoint's own.
        split, batch_size: which faces, and how many at a time.
        flip: mirror test, see `kdloss.inference.prediction.predict_crops`.
        label: see `Evaluation`; None: the name of the run folder or file.

    Raises:
        CheckpointError: no such file, damaged, or for another landmark scheme.
    """
    return evaluate_loaded(
        prepared,
        load_checkpoint(path, prepared.scheme),
        box=box,
        split=split,
        batch_size=batch_size,
        flip=flip,
        label=label,
    )


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, and what there is to say of it.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        box: the `BoxPolicy` that it was trained on.
        label: its run's name, its file's, or that of a shipped model.
        record: for ``metrics.json``: file (or name of a shipped model), hash, architecture.
        run: its run folder, or None.
    """

    model: object
    box: BoxPolicy
    label: str
    record: dict
    run: Path | None = None


def name_of(path):
    """What a checkpoint is called: the name of a shipped model, of a run or of a file; and its run folder, or None."""
    given, path = str(path), checkpoint_path(path)
    if path == pretrained.ROOT / given / pretrained.MODEL:
        return given, None
    run = path.parent if (path.parent / "config.json").is_file() else None
    return run.name if run else path.stem, run


def check_checkpoint(path, scheme=None, readout=None):
    """The `BoxPolicy` of a checkpoint; raises what `load_checkpoint` does, as far as it shows without Keras.

    Args:
        path, readout: see `load_checkpoint`.
        scheme: that too, or None if it is not known yet.
    """
    return BoxPolicy.parse(find_model(path, readout=readout, scheme=scheme).card["box"])


def load_checkpoint(path, scheme, readout=None):
    """Loads a checkpoint, an exported file or a published student as a `LoadedModel` for a landmark scheme.

    Args:
        path, readout: see `kdloss.inference.readers.find_model`.
        scheme: the `LandmarkScheme` of the faces.

    Raises:
        CheckpointError: no such file, damaged, or for another landmark scheme.
        ConfigError: a read-out of a network that has none.
    """
    found = find_model(path, readout=readout, scheme=scheme)
    given, path, reader = str(path), found.path, found.load()
    record = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}
    record |= {key: reader.card[key] for key in _RECORDED if key in reader.card}
    label, run = name_of(given) if path.suffix == ".keras" else (path.stem, None)
    if path.suffix in EXPORTED:
        label = path.name
    if path == pretrained.ROOT / given / pretrained.MODEL or (
        path.suffix in EXPORTED and path.parent.parent == pretrained.ROOT
    ):
        # The path of the package is the machine's own; the name says more.
        label = record["path"] = given
    if readout:
        record["readout"] = readout
        label += f", {readout} read-out"
    model = reader.network if isinstance(reader, KerasReader) else reader
    return LoadedModel(model, BoxPolicy.parse(reader.card["box"]), label, record, run)


def evaluate_loaded(
    prepared,
    loaded,
    *,
    box=None,
    split="test",
    batch_size=64,
    flip=False,
    label=None,
    boxes=None,
    detector=None,
    missing="error",
):
    """`evaluate_checkpoint` of a `LoadedModel`.

    Args:
        prepared, loaded, box, split, batch_size, flip, label: see `evaluate_checkpoint`.
        boxes: (n, 4) boxes of the faces of the split, in pixels of the stored crops, to cut instead of those of
            ``box``; NaN for a face without box, which then has no prediction.
        detector, missing: see `kdloss.evaluation.protocol.evaluate_points`.
    """
    from kdloss.inference.prediction import predict_crops

    box, rows = box or loaded.box, prepared.indices(split)
    boxes = prepared.boxes(box)[rows] if boxes is None else boxes
    found = np.isfinite(boxes).all(axis=1)
    crops = [FaceCrop.from_box(one, loaded.model.input_shape[1]) for one in boxes[found]]
    points = np.full((len(rows), prepared.scheme.num_points, 2), np.nan)
    points[found] = predict_crops(loaded.model, prepared, rows[found], crops, batch_size, flip=flip)
    protocol = {"box": box, "checkpoint": loaded.record, "flip": flip, "detector": detector}
    return evaluate_predicted(prepared, points, split=split, label=label or loaded.label, missing=missing, **protocol)


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
