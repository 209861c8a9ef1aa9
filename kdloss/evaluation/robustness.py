"""How a model holds in a box that is not its own: shifted, scaled, turned, or from a real detector.

It is the *box* that moves, and the face in the crop does the opposite. A box shifted by +0.1 goes right (down) by a
tenth of its side, and the face appears a tenth further left (up). A box scaled by 1.2 has sides 1.2 times as long, and
the face appears 1/1.2 as large. A box turned by +15 degrees turns clockwise on the screen about its own centre, and the
face appears turned counter-clockwise. Predictions come back to the source image, so that an error there is an error
of the model alone.
"""

from typing import NamedTuple

import numpy as np

from kdloss.data.geometry import FaceCrop, from_unit
from kdloss.errors import DataError
from kdloss.evaluation import metrics
from kdloss.evaluation.protocol import DETECTED
from kdloss.inference.box_calibration import calibrate
from kdloss.inference.detectors import MINIMUM_IOU, detected_boxes
from kdloss.inference.prediction import predict_crops

SHIFTS = (-0.15, -0.10, -0.05, 0.0, 0.05, 0.10, 0.15)
SCALES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
ROTATIONS = (-30.0, -15.0, 0.0, 15.0, 30.0)
_AT_ONCE = 6  # settings in one call, so that few batches are short; 78 settings are 13 calls


class Perturbation(NamedTuple):
    """What is done to a box.

    Args:
        dx, dy: shift right and down, in widths and heights of the box.
        scale: its sides are multiplied by this, its centre stays.
        rotation: degrees clockwise on the screen, about its (shifted) centre.
    """

    dx: float = 0.0
    dy: float = 0.0
    scale: float = 1.0
    rotation: float = 0.0

    def crop(self, box, size):
        """The `FaceCrop` of side ``size`` of a box (x, y, width, height) after it moved.

        A box that is no square is turned as the crop shows it, stretched to a square.
        """
        x, y, width, height = box
        still = (1 - self.scale) / 2
        moved = (x + width * (self.dx + still), y + height * (self.dy + still), width * self.scale, height * self.scale)
        # `FaceCrop` turns the face, clockwise: the other way than the box.
        return FaceCrop.from_box(moved, size, rotation=-np.radians(self.rotation))


def measure_robustness(model, prepared, rows, box, *, batch_size=64, flip=False, announce=None):
    """NME of a model as its box is shifted (7 x 7 settings), and as it is scaled and turned (6 x 5).

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        prepared: a `PreparedDataset`.
        rows: (n,) row numbers of the faces.
        box: the `BoxPolicy` that is perturbed: that of the model's training.
        batch_size: faces a batch, of one and the same size throughout.
        flip: mirror test, see `predict_crops`.
        announce: takes a line of progress now and then; 78 settings are measured.

    Returns:
        A dict that JSON can hold::

            {"dataset", "synthetic", "n", "box", "normaliser", "flip_test",
             "shift": {"shifts", "nme", "outside"},               rows of the grids: dy, columns: dx
             "scale_rotation": {"scales", "rotations", "nme", "outside"},  rows: scale, columns: rotation, degrees
             "baseline_nme", "robust_nme", "robust_ratio", "outside"}

        NMEs are percents of the normaliser, which is the first of `metrics.available_normalisers`. ``baseline_nme`` is
        that of the unperturbed box. ``robust_nme`` is the mean NME over the perturbed settings, the unperturbed one
        left out: the mean of the 48 shifts and the mean of the 29 scales and rotations, each counting a half.
        ``robust_ratio`` is robust over baseline (None if the baseline is 0): 1 is a model that no box disturbs.
        ``outside`` is the share (0 to 1) of crops of which some part lies beyond the *stored* crop. There the model
        sees zeros, where the photograph may have gone on; ``outside`` of the whole is weighted as ``robust_nme``.

    Raises:
        DataError: no faces.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise DataError(f"{prepared.path}: box robustness of no faces: give at least one")
    shifts = [[Perturbation(dx=dx, dy=dy) for dx in SHIFTS] for dy in SHIFTS]
    turns = [[Perturbation(scale=scale, rotation=rotation) for rotation in ROTATIONS] for scale in SCALES]
    # The unperturbed box stands in both grids and is measured once.
    settings = list(dict.fromkeys(setting for grid in (shifts, turns) for line in grid for setting in line))
    boxes, truth, size = prepared.boxes(box)[rows], prepared.source_points[rows], model.input_shape[1]
    kind = metrics.available_normalisers(prepared.scheme)[0]
    nme, outside = {}, {}
    for start in range(0, len(settings), _AT_ONCE):
        chosen = settings[start : start + _AT_ONCE]
        crops = [setting.crop(one, size) for setting in chosen for one in boxes]
        points = predict_crops(model, prepared, np.tile(rows, len(chosen)), crops, batch_size, flip=flip)
        beyond = np.reshape([_leaves(crop, prepared.size) for crop in crops], (len(chosen), len(rows)))
        for i, setting in enumerate(chosen):
            predicted = points[i * len(rows) : (i + 1) * len(rows)]
            nme[setting] = metrics.nme(metrics.image_errors(predicted, truth, prepared.scheme, kind))
            outside[setting] = float(beyond[i].mean())
        if announce:
            announce(f"box robustness: {start + len(chosen)} of {len(settings)} settings of {len(rows)} faces")
    baseline, robust = nme[Perturbation()], _mean_perturbed(nme, shifts, turns)
    return {
        "dataset": prepared.dataset,
        "synthetic": bool(prepared.synthetic),
        "n": len(rows),
        "box": str(box),
        "normaliser": kind,
        "flip_test": flip,
        "shift": {"shifts": list(SHIFTS), "nme": _table(nme, shifts), "outside": _table(outside, shifts)},
        "scale_rotation": {
            "scales": list(SCALES),
            "rotations": list(ROTATIONS),
            "nme": _table(nme, turns),
            "outside": _table(outside, turns),
        },
        "baseline_nme": baseline,
        "robust_nme": robust,
        "robust_ratio": robust / baseline if baseline else None,
        "outside": _mean_perturbed(outside, shifts, turns),
    }


def measure_detector(model, prepared, rows, policy, detector, *, batch_size=64, flip=False, announce=None):
    """NME of a model in the boxes of a detector, calibrated on training faces, beside that in its own boxes.

    Args:
        model, prepared, rows, batch_size, flip, announce: see `measure_robustness`.
        policy: the `BoxPolicy` of the model's training.
        detector: a `kdloss.inference.detectors.Detector`; it sees the stored crops (see `detected_boxes`).

    Returns:
        A dict that JSON can hold::

            {"dataset", "synthetic", "n", "box", "normaliser", "flip_test", "detector", "minimum_iou", "n_found",
             "found", "nme_detector", "nme_policy", "box_shift", "box_scale",
             "calibration": {"dx", "dy", "scale", "faces", "scatter"}}

        ``found`` is a share, 0 to 1. Both NMEs (percent) are of the found faces: in the detector's calibrated boxes,
        and in the policy's. ``box_shift`` is the median distance of the two boxes' centres in sides of the policy's
        box, ``box_scale`` the median factor between their sides, at least 1. These four are None if no face was found.

    Raises:
        DataError: no faces, no training faces to calibrate on, or the detector finds none of them.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise DataError(f"{prepared.path}: detector {detector.name} on no faces: give at least one")
    calibration = calibrate(prepared, prepared.indices("train"), detector, policy, announce=announce)
    detected, found = detected_boxes(prepared, rows, detector, announce)
    kind = metrics.available_normalisers(prepared.scheme)[0]
    wanted = prepared.boxes(policy)[rows[found]]
    boxes = calibration.apply(detected[found])

    def nme(cut):
        crops = [FaceCrop.from_box(box, model.input_shape[1]) for box in cut]
        points = predict_crops(model, prepared, rows[found], crops, batch_size, flip=flip)
        truth = prepared.source_points[rows[found]]
        return metrics.nme(metrics.image_errors(points, truth, prepared.scheme, kind))

    values = dict.fromkeys(("nme_detector", "nme_policy", "box_shift", "box_scale"))
    if found.any():
        apart = boxes[:, :2] + boxes[:, 2:] / 2 - wanted[:, :2] - wanted[:, 2:] / 2
        side, wanted_side = (np.sqrt(np.prod(one[:, 2:], axis=1)) for one in (boxes, wanted))
        values = {
            "nme_detector": nme(boxes),
            "nme_policy": nme(wanted),
            "box_shift": float(np.median(np.linalg.norm(apart, axis=1) / wanted_side)),
            "box_scale": float(np.median(np.exp(np.abs(np.log(side / wanted_side))))),
        }
    return {
        "dataset": prepared.dataset,
        "synthetic": bool(prepared.synthetic),
        "n": len(rows),
        "box": str(policy),
        "normaliser": kind,
        "flip_test": flip,
        "detector": detector.name,
        "minimum_iou": MINIMUM_IOU,
        "n_found": int(found.sum()),
        "found": float(found.mean()),
        **values,
        "calibration": calibration.to_json(),
    }


def robustness_lines(result):
    """What `measure_robustness` found in sentences; with that of `measure_detector` as ``result["detector"]``, both."""
    ratio = "" if result["robust_ratio"] is None else f", {result['robust_ratio']:.2f} times that"
    mirrored = ", mirror test" if result["flip_test"] else ""
    shifts, turns = result["shift"], result["scale_rotation"]
    worst = max(value for grid in (shifts["nme"], turns["nme"]) for line in grid for value in line)
    lines = [
        f"Box robustness, {result['n']} faces, {result['normaliser']} normaliser{mirrored}: NME "
        f"{result['baseline_nme']:.2f} % in the box {result['box']}, {result['robust_nme']:.2f} % on average over the "
        f"perturbed ones{ratio}; {worst:.2f} % in the worst."
    ]
    if found := result.get("detector"):
        line = f"Boxes of detector {found['detector']}: {found['n_found']} of {found['n']} faces found"
        if found["n_found"]:
            line += (
                f"; NME {found['nme_detector']:.2f} % in its calibrated boxes, {found['nme_policy']:.2f} % on the same "
                f"faces in {found['box']}; the boxes still differ by {100 * found['box_shift']:.1f} % of a side and a "
                f"factor of {found['box_scale']:.2f} (medians)"
            )
        lines.append(f"{line}; {DETECTED}.")
    return lines


def _leaves(crop, stored):
    """True if some part of a crop lies beyond the stored crop of side ``stored``, which covers -0.5 to stored - 0.5."""
    corners = from_unit(np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]), crop.size)
    inside = crop.inverse_points(corners) + 0.5
    return bool(np.any((inside < -1e-6) | (inside > stored + 1e-6)))


def _table(values, grid):
    return [[values[setting] for setting in line] for line in grid]


def _mean_perturbed(values, *grids):
    """Mean over the perturbed settings of the grids, each grid weighing the same."""
    means = [np.mean([values[one] for line in grid for one in line if one != Perturbation()]) for grid in grids]
    return float(np.mean(means))
