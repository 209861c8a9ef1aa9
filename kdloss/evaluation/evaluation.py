"""One measurement: a model is loaded, predicts the faces of a split, and its points are measured.

`load_checkpoint` -> `evaluate_loaded` -> `kdloss.inference.prediction.predict_crops` -> `evaluate_predicted` ->
`kdloss.evaluation.protocol.evaluate_points`.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy, FaceCrop, transform_points
from kdloss.data.prepared import PreparedDataset, file_hash
from kdloss.errors import DataError
from kdloss.evaluation import metrics
from kdloss.evaluation.protocol import evaluate_points, missing_faces
from kdloss.files import read_text
from kdloss.inference.prediction import predict_crops
from kdloss.inference.readers import KerasReader, find_model
from kdloss.models.locate import EXPORTED, checkpoint_path
from kdloss.names import printable

MEAN_SHAPE = "mean training shape"
_RECORDED = ("dataset", "arch", "kind", "method", "image_size")  # of a model's card, in ``metrics.json``


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory."""

    model: object  # images (B, S, S, 3) -> (B, N, 2) unit points
    box: BoxPolicy  # of its training
    label: str  # the name of its run, its file or the shipped model
    record: dict  # for ``metrics.json``: file (or name of a shipped model), hash, architecture
    run: Path | None = None  # its run folder


@dataclass(frozen=True)
class Evaluation:
    """The faces, the points that a model gave them, and its numbers.

    ``points`` (n, N, 2) float64 are in pixels of the source images, in the order of ``rows``; NaN for a face without
    prediction that counts as a failure.
    """

    label: str  # what tables and pictures call the model
    prepared: PreparedDataset
    rows: np.ndarray  # (n,) row numbers of the faces
    points: np.ndarray
    metrics: dict  # of `kdloss.evaluation.protocol.evaluate_points`
    loaded: LoadedModel | None = None  # None for points that came from a file

    @property
    def names(self):
        """(n,) names of the faces."""
        return self.prepared.table["name"][self.rows]

    @property
    def truth(self):
        """(n, N, 2) landmarks in pixels of the source images; NaN where unknown."""
        return self.prepared.source_points[self.rows]

    @property
    def normaliser(self):
        """The kind of normaliser of the protocol."""
        return self.metrics["protocol"]["normaliser"]

    @property
    def point_errors(self):
        """(n, N) errors of the points, fractions of the normaliser; NaN without prediction or truth."""
        return metrics.point_errors(self.points, self.truth, self.prepared.scheme, self.normaliser)

    @property
    def errors(self):
        """(n,) errors of the faces, fractions of the normaliser; infinite without prediction."""
        errors = metrics.mean_of_known(self.point_errors, axis=1)
        return np.where(np.isnan(errors), np.inf, errors)


def name_of(path):
    """The name of a shipped model, of a checkpoint's run or of its file; and the run folder, or None."""
    name, file = str(path), checkpoint_path(path)
    if file == pretrained.ROOT / name / pretrained.MODEL:
        return name, None
    if file.suffix in EXPORTED:
        return (name if file.parent.parent == pretrained.ROOT else file.name), None
    run = file.parent if file.suffix == ".keras" and (file.parent / "config.json").is_file() else None
    return run.name if run else file.stem, run


def learned_validation(run):
    """Whether the run of a folder (None: no run) learned the validation faces too."""
    if run is None:
        return False
    try:
        return json.loads(read_text(run / "config.json"))["keep"] == "last"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # a file of that name that no training wrote
        return False


def check_checkpoint(path, scheme=None, readout=None):
    """The `BoxPolicy` of a checkpoint. Raises the errors of `load_checkpoint` that show without importing Keras."""
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
    file, reader, (label, run) = found.path, found.load(), name_of(path)
    record = {"path": str(file), "sha256": file_hash(file)[:16]}
    if pretrained.ROOT in file.parents and label == str(path):
        record["path"] = label  # the package lies elsewhere on every machine
    record |= {key: reader.card[key] for key in _RECORDED if key in reader.card}
    if readout:
        record["readout"] = readout
        label += f", {readout} read-out"
    model = reader.network if isinstance(reader, KerasReader) else reader
    return LoadedModel(model, BoxPolicy.parse(reader.card["box"]), label, record, run)


def evaluate_checkpoint(prepared, path, **options):
    """An `Evaluation` of the checkpoint at a path; the options are those of `evaluate_loaded`."""
    return evaluate_loaded(prepared, load_checkpoint(path, prepared.scheme), **options)


def evaluate_loaded(
    prepared, loaded, *, box=None, split="test", batch_size=64, flip=False, label=None, boxes=None, **protocol
):
    """An `Evaluation` of a `LoadedModel` on a split of a `PreparedDataset`.

    Args:
        box: the `BoxPolicy` of the crops; None: the model's own.
        split, batch_size: which faces, and how many at a time.
        flip: mirror test, see `kdloss.inference.prediction.predict_crops`.
        label: see `Evaluation`; None: the model's own.
        boxes: (n, 4) boxes to cut in place of those of ``box``, in pixels of the stored crops; NaN for a face without
            box, which then has no prediction.
        protocol: ``detector``, ``missing`` and ``normaliser`` of `kdloss.evaluation.protocol.evaluate_points`.
    """
    box, rows = box or loaded.box, prepared.indices(split)
    boxes = prepared.boxes(box)[rows] if boxes is None else boxes
    found = np.isfinite(boxes).all(axis=1)
    crops = [FaceCrop.from_box(one, loaded.model.input_shape[1]) for one in boxes[found]]
    points = np.full((len(rows), prepared.scheme.num_points, 2), np.nan)
    points[found] = predict_crops(loaded.model, prepared, rows[found], crops, batch_size, flip=flip)
    if lost := int((~np.isfinite(points[found])).any(axis=(1, 2)).sum()):
        raise DataError(f"{loaded.label}: yields points that are no numbers for {lost} faces: give another checkpoint")
    protocol |= {"box": box, "checkpoint": loaded.record, "flip": flip}
    found = evaluate_predicted(prepared, points, split=split, label=label or loaded.label, **protocol)
    if split == "val" and learned_validation(loaded.run):
        found.metrics["notes"].append("the network LEARNED these faces (--keep last): these are no errors on new ones")
    return replace(found, loaded=loaded)


def evaluate_predicted(prepared, points, *, split="test", label="model", missing="error", **protocol):
    """An `Evaluation` of (n, N, 2) points for all faces of a split, in the order of ``prepared.indices(split)``.

    The other arguments are those of `Evaluation` and `evaluate_points`; so are the errors.
    """
    rows, points = prepared.indices(split), np.asarray(points, np.float64)
    measured = evaluate_points(prepared, rows, points, split=split, missing=missing, **protocol)
    if missing == "skip":
        kept = ~missing_faces(points)
        rows, points = rows[kept], points[kept]
    return Evaluation(printable(label), prepared, rows, points, measured)


def evaluate_mean_shape(prepared, box, *, split="test", like=None, missing="error", normaliser=None):
    """An `Evaluation` of the mean training shape placed in each box, or None where there are no training faces.

    Faces without prediction in the `Evaluation` ``like`` have none here either, and count as ``missing`` says.
    """
    if not np.any(prepared.table["split"] == "train"):
        return None
    rows = prepared.indices(split)
    points = mean_shape_predictions(prepared, rows, box)
    if like is not None:
        points[~np.isin(rows, like.rows[~missing_faces(like.points)])] = np.nan
    protocol = {"box": box, "missing": missing, "normaliser": normaliser}
    return evaluate_predicted(prepared, points, split=split, label=MEAN_SHAPE, **protocol)


def mean_shape_predictions(prepared, rows, policy):
    """(n, N, 2) points in pixels of the source images: the mean training shape placed in the box of each face.

    The mean is taken in unit coordinates of the boxes of ``policy``, a `BoxPolicy`.

    Raises:
        DataError: no training faces, or a face without the box that the policy asks for.
    """
    train, boxes = prepared.indices("train"), prepared.boxes(policy)
    crops = {row: FaceCrop.from_box(boxes[row], prepared.size) for row in (*train, *rows)}
    shapes = np.array([crops[row].unit_points(prepared.points[row].astype(np.float64)) for row in train])
    mean = metrics.mean_of_known(shapes, axis=0)
    return np.stack([transform_points(prepared.to_image[row], crops[row].inverse_unit(mean)) for row in rows])
