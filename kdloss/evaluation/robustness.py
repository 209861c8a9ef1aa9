"""How well a model holds in boxes that are shifted, scaled or turned.

The *box* moves, and the face in the crop moves the opposite way. A box shifted by +0.1 goes right (down) by a tenth of
its side, and the face appears a tenth further left (up). A box scaled by 1.2 has sides 1.2 times as long, and the face
appears 1/1.2 as large. A box turned by +15 degrees turns clockwise on the screen about its own centre, and the face
appears turned counter-clockwise. Predictions are mapped back to the source image, so only the model adds errors.
"""

from typing import NamedTuple

import numpy as np

from kdloss.data.geometry import FaceCrop, from_unit
from kdloss.errors import DataError
from kdloss.evaluation import metrics
from kdloss.inference.prediction import predict_crops

SHIFTS = (-0.15, -0.10, -0.05, 0.0, 0.05, 0.10, 0.15)
SCALES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
ROTATIONS = (-30.0, -15.0, 0.0, 15.0, 30.0)
_AT_ONCE = 6  # settings in one call, so that few batches are short; 78 settings are 13 calls


class Perturbation(NamedTuple):
    """What is done to a box."""

    dx: float = 0.0  # shift right, in widths of the box
    dy: float = 0.0  # shift down, in heights of the box
    scale: float = 1.0  # multiplies its sides; its centre stays
    rotation: float = 0.0  # degrees clockwise on the screen, about its (shifted) centre

    def crop(self, box, size):
        """The `FaceCrop` of side ``size`` of a box (x, y, width, height) after it moved.

        A box that is no square is turned as the crop shows it, stretched to a square.
        """
        x, y, width, height = box
        still = (1 - self.scale) / 2
        moved = (x + width * (self.dx + still), y + height * (self.dy + still), width * self.scale, height * self.scale)
        # `FaceCrop` turns the face clockwise, so the box turns the other way.
        return FaceCrop.from_box(moved, size, rotation=-np.radians(self.rotation))


def measure_robustness(model, prepared, rows, box, *, batch_size=64, flip=False, announce=None, normaliser=None):
    """NME of a model as its box is shifted (7 x 7 settings), and as it is scaled and turned (6 x 5).

    Args:
        model, prepared, rows, batch_size, flip: see `kdloss.inference.prediction.predict_crops`.
        box: the `BoxPolicy` of the model's training.
        announce: is called with lines of progress.
        normaliser: see `kdloss.evaluation.metrics.normaliser`; None: the scheme's default.

    Returns:
        A dict that JSON can hold::

            {"dataset", "synthetic", "n", "box", "normaliser", "flip_test",
             "shift": {"shifts", "nme", "outside"},               rows of the grids: dy, columns: dx
             "scale_rotation": {"scales", "rotations", "nme", "outside"},  rows: scale, columns: rotation, degrees
             "baseline_nme", "robust_nme", "robust_ratio", "outside"}

        NMEs are in percent of the normaliser; ``baseline_nme`` is that of the unperturbed box.
        ``robust_nme`` is the mean of two means, over the 48 shifts and over the 29 scales and rotations;
        ``robust_ratio`` is ``robust_nme / baseline_nme``, or None where that is 0. ``outside`` is the share (0 to 1) of
        crops that reach beyond the *stored* crop, where the model sees zeros; the single one is such a mean too.

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
    kind = metrics.available_normalisers(prepared.scheme, chosen=normaliser)[0]
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
        "shift": {"shifts": list(SHIFTS), "nme": _grid(nme, shifts), "outside": _grid(outside, shifts)},
        "scale_rotation": {
            "scales": list(SCALES),
            "rotations": list(ROTATIONS),
            "nme": _grid(nme, turns),
            "outside": _grid(outside, turns),
        },
        "baseline_nme": baseline,
        "robust_nme": robust,
        "robust_ratio": robust / baseline if baseline else None,
        "outside": _mean_perturbed(outside, shifts, turns),
    }


def robustness_line(record):
    """What `measure_robustness` found, in a sentence."""
    ratio = "" if record["robust_ratio"] is None else f", {record['robust_ratio']:.2f} times that"
    mirrored = ", mirror test" if record["flip_test"] else ""
    worst = max(np.max(record[grid]["nme"]) for grid in ("shift", "scale_rotation"))
    return (
        f"Box robustness, {record['n']} faces, {record['normaliser']} normaliser{mirrored}: NME "
        f"{record['baseline_nme']:.2f} % in the box {record['box']}, {record['robust_nme']:.2f} % on average over the "
        f"perturbed ones{ratio}; {worst:.2f} % in the worst."
    )


def _leaves(crop, stored):
    """True if some part of a crop lies beyond the stored crop of side ``stored``, which covers -0.5 to stored - 0.5."""
    corners = from_unit(np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]), crop.size)
    inside = crop.inverse_points(corners) + 0.5
    return bool(np.any((inside < -1e-6) | (inside > stored + 1e-6)))


def _grid(values, settings):
    return [[values[setting] for setting in line] for line in settings]


def _mean_perturbed(values, *grids):
    """Mean over the perturbed settings of the grids, each grid weighing the same."""
    means = [np.mean([values[one] for line in grid for one in line if one != Perturbation()]) for grid in grids]
    return float(np.mean(means))
