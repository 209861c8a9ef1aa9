"""One measurement: a model is loaded, predicts the faces of a split, and its points are measured.

`load_checkpoint` -> `evaluate_loaded` -> `kdloss.inference.prediction.predict_crops` -> `evaluate_predicted` ->
`kdloss.evaluation.protocol.evaluate_points`.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy, FaceCrop, transform_points
from kdloss.data.prepared import PreparedDataset
from kdloss.errors import CheckpointError, ConfigError
from kdloss.evaluation import metrics
from kdloss.evaluation.protocol import evaluate_points, missing_faces
from kdloss.inference.prediction import predict_crops
from kdloss.inference.readers import load_reader
from kdloss.models.checkpoint import load_model, loadable_card, require_scheme
from kdloss.models.locate import EXPORTED, checkpoint_path, is_published_student

MEAN_SHAPE = "mean training shape"


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        box: the `BoxPolicy` of its training.
        label: the name of its run, its file or the shipped model.
        record: for ``metrics.json``: file (or name of a shipped model), hash, architecture.
        run: its run folder, or None.
    """

    model: object
    box: BoxPolicy
    label: str
    record: dict
    run: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """The faces, the points that a model gave them, and its numbers.

    Args:
        label: what tables and pictures call the model.
        prepared, rows: the faces, as row numbers of the `PreparedDataset`.
        points: (n, N, 2) float64 predictions in pixels of the source images, in the order of ``rows``; NaN for a face
            without prediction that counts as a failure.
        metrics: the dict of `kdloss.evaluation.protocol.evaluate_points`.
        loaded: the `LoadedModel`; None for points that came from a file.
    """

    label: str
    prepared: PreparedDataset
    rows: np.ndarray
    points: np.ndarray
    metrics: dict
    loaded: LoadedModel | None = None

    @property
    def names(self):
        """(n,) names of the faces."""
        return self.prepared.table["name"][self.rows]

    @property
    def truth(self):
        """(n, N, 2) landmarks in pixels of the source images."""
        return self.prepared.source_points[self.rows]

    @property
    def normaliser(self):
        """The kind of normaliser of the protocol."""
        return self.metrics["protocol"]["normaliser"]

    @property
    def point_errors(self):
        """(n, N) errors of the points, fractions of the normaliser; NaN without prediction."""
        return metrics.point_errors(self.points, self.truth, self.prepared.scheme, self.normaliser)

    @property
    def errors(self):
        """(n,) errors of the faces, fractions of the normaliser; infinite without prediction."""
        errors = self.point_errors.mean(axis=1)
        return np.where(np.isnan(errors), np.inf, errors)


def name_of(path):
    """What a checkpoint is called: the name of a shipped model, of a run or of a file; and its run folder, or None."""
    given, path = str(path), checkpoint_path(path)
    if path == pretrained.ROOT / given / pretrained.MODEL:
        return given, None
    run = path.parent if (path.parent / "config.json").is_file() else None
    return run.name if run else path.stem, run


def check_checkpoint(path, scheme=None, readout=None):
    """The `BoxPolicy` that `load_checkpoint` is going to find; raises what that does, as far as it shows without Keras.

    Args:
        path, readout: see `load_checkpoint`.
        scheme: that too, or None: it is not known yet.
    """
    given, path = str(path), checkpoint_path(path)
    if is_published_student(path):
        if readout:
            raise ConfigError(f"--readout {readout}: {path} is a published student, a regressor: leave it out")
        return BoxPolicy.parse("paper")
    if path.suffix not in EXPORTED:
        card = loadable_card(path, readout)
    elif readout:
        raise ConfigError(f"--readout {readout}: {given} holds the read-out that it was exported with: leave it out")
    else:
        card = load_reader(path).card  # neither LiteRT nor ONNX Runtime takes long
    if scheme is not None:
        require_scheme(card, scheme, path)
    return BoxPolicy.parse(card["box"])


def load_checkpoint(path, scheme, readout=None):
    """Loads a checkpoint, an exported file or a published student as a `LoadedModel` for a landmark scheme.

    Args:
        path: of the checkpoint or of a LiteRT or ONNX file, or the name of a shipped model or of one of its files.
        scheme: the `LandmarkScheme` of the faces.
        readout: see `kdloss.models.checkpoint.load_model`.

    Raises:
        CheckpointError: no such file, damaged, or for another landmark scheme.
        ConfigError: a read-out of a network that has none.
    """
    check_checkpoint(path, scheme, readout)
    given, path = str(path), checkpoint_path(path)
    if is_published_student(path):
        return _published_student(path, scheme)
    if path.suffix in EXPORTED:
        return _exported(path, given)
    model, card = load_model(path, readout)
    record = _file_record(path) | {
        key: card[key] for key in ("dataset", "arch", "kind", "method", "image_size") if key in card
    }
    label, run = name_of(given)
    if path == pretrained.ROOT / given / pretrained.MODEL:
        # Where the package lies is the machine's own; the name says more.
        record["path"] = given
    if readout:
        record |= {"readout": readout}
        label += f", {readout} read-out"
    return LoadedModel(model, BoxPolicy.parse(card["box"]), label, record, run)


def _exported(path, given):
    reader = load_reader(path)
    record = _file_record(path) | {
        key: reader.card[key] for key in ("dataset", "arch", "kind", "method", "image_size") if key in reader.card
    }
    label = path.name
    if path.parent.parent == pretrained.ROOT:
        label = record["path"] = given
    return LoadedModel(reader, BoxPolicy.parse(reader.card["box"]), label, record)


def _published_student(path, scheme):
    from kdloss.models.published_student import load_published_student

    model = load_published_student(path)
    if model.output_shape[1] != scheme.num_points:
        raise CheckpointError(
            f"{path}: reads {model.output_shape[1]} points, expected the {scheme.num_points} of scheme {scheme.name}: "
            "give a checkpoint of this data set"
        )
    record = _file_record(path) | {
        "arch": "mobilenetv2",
        "kind": "published student",
        "image_size": model.input_shape[1],
    }
    return LoadedModel(model, BoxPolicy.parse("paper"), path.stem, record)


def _file_record(path):
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}


def evaluate_checkpoint(prepared, path, **options):
    """An `Evaluation` of the checkpoint at a path; the options are those of `evaluate_loaded`."""
    return evaluate_loaded(prepared, load_checkpoint(path, prepared.scheme), **options)


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
    """An `Evaluation` of a `LoadedModel` on the faces of a split.

    Args:
        prepared: the `PreparedDataset`.
        loaded: the `LoadedModel`.
        box: the `BoxPolicy` of the crops; None: the model's own.
        split, batch_size: which faces, and how many at a time.
        flip: mirror test, see `kdloss.inference.prediction.predict_crops`.
        label: see `Evaluation`; None: the model's own.
        boxes: (n, 4) boxes to cut in place of those of ``box``, in pixels of the stored crops; NaN for a face without
            box, which then has no prediction.
        detector, missing: see `kdloss.evaluation.protocol.evaluate_points`.
    """
    box, rows = box or loaded.box, prepared.indices(split)
    boxes = prepared.boxes(box)[rows] if boxes is None else boxes
    found = np.isfinite(boxes).all(axis=1)
    crops = [FaceCrop.from_box(one, loaded.model.input_shape[1]) for one in boxes[found]]
    points = np.full((len(rows), prepared.scheme.num_points, 2), np.nan)
    points[found] = predict_crops(loaded.model, prepared, rows[found], crops, batch_size, flip=flip)
    protocol = {"box": box, "checkpoint": loaded.record, "flip": flip, "detector": detector}
    found = evaluate_predicted(prepared, points, split=split, label=label or loaded.label, missing=missing, **protocol)
    return replace(found, loaded=loaded)


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
    measured = evaluate_points(prepared, rows, points, split=split, missing=missing, **protocol)
    if missing == "skip":
        kept = ~missing_faces(points)
        rows, points = rows[kept], points[kept]
    return Evaluation(label, prepared, rows, points, measured)


def evaluate_mean_shape(prepared, box, *, split="test", like=None, missing="error"):
    """An `Evaluation` of the mean training shape placed in each box, or None where there are no training faces.

    Args:
        prepared, box, split: see `evaluate_loaded`.
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


def mean_shape_predictions(prepared, rows, policy):
    """Places the mean of the training shapes in the box of each face.

    Args:
        prepared: the `PreparedDataset`; the mean is over unit coordinates of its training faces' boxes.
        rows: (n,) row numbers of the faces to predict.
        policy: the `BoxPolicy` of the boxes, the same for training and prediction.

    Returns:
        (n, N, 2) float64 points in pixels of the source images.

    Raises:
        DataError: no training faces, or a face without the box that the policy asks for.
    """
    train, boxes = prepared.indices("train"), prepared.boxes(policy)
    crops = {row: FaceCrop.from_box(boxes[row], prepared.size) for row in (*train, *rows)}
    mean = np.mean([crops[row].unit_points(prepared.points[row].astype(np.float64)) for row in train], axis=0)
    return np.stack([transform_points(prepared.to_image[row], crops[row].inverse_unit(mean)) for row in rows])
