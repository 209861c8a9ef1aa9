"""Where on the face the errors lie: the error of each point, its bias and its spread, drawn on the mean face.

Each function takes an `Evaluation`, and raises a `DataError` where none of its faces has a prediction.
"""

import numpy as np
from matplotlib.patches import Ellipse

from kdloss.data.geometry import BoxPolicy, FaceCrop, landmark_box
from kdloss.errors import DataError
from kdloss.evaluation import metrics
from kdloss.evaluation.plots import PlainFigure
from kdloss.evaluation.tables import Column, Row, Table

BIAS, SPREAD, BONES = "#D55E00", "#0072B2", "0.72"
NAMED = 5  # of the worst points


def point_nme(evaluation):
    """(N,) NME of each point in percent, over the faces that have a prediction; NaN for a point that is never known."""
    return 100 * metrics.mean_of_known(evaluation.point_errors[_found(evaluation)], axis=0)


def point_deviations(evaluation):
    """Bias and spread of each point, over the faces that have a prediction, as fractions of the normaliser.

    The bias (N, 2) is the mean of prediction minus truth, right and down; the spread (N, 2, 2) is its covariance.
    """
    found = _found(evaluation)
    truth = evaluation.truth[found]
    length = metrics.normaliser(truth, evaluation.prepared.scheme, evaluation.normaliser)
    vectors = (evaluation.points[found] - truth) / length[:, None, None]
    bias = metrics.mean_of_known(vectors, axis=0)
    around = vectors - bias
    return bias, metrics.mean_of_known(around[..., :, None] * around[..., None, :], axis=0)


def mean_face(evaluation):
    """(N, 2) mean of the true shapes in unit coordinates of their square boxes; and the mean normaliser in these."""
    truth = evaluation.truth
    boxes = BoxPolicy("gt", 1.0).grow(landmark_box(truth))
    shapes = [FaceCrop.from_box(box, 1).unit_points(points) for box, points in zip(boxes, truth, strict=True)]
    length = metrics.normaliser(truth, evaluation.prepared.scheme, evaluation.normaliser) / boxes[:, 2]
    return metrics.mean_of_known(np.array(shapes), axis=0), float(length.mean())


def mean_face_error_figure(evaluation, *, limit=None):
    """NME of each point as the size and the colour of a circle on the mean face; the worst are numbered and named.

    The colour scale ends at an NME of ``limit`` percent, the largest by default.
    """
    values, (shape, _) = point_nme(evaluation), mean_face(evaluation)
    limit = float(np.nanmax(values)) if limit is None else limit
    figure, axes = _face_axes(evaluation, shape, 5.9)
    # The area is in proportion to the error; the largest is drawn first, so that it hides no smaller one.
    order = np.argsort(-values, kind="stable")
    colours = {"c": values[order], "vmin": 0, "vmax": limit, "cmap": "YlOrRd", "edgecolors": "0.25"}
    areas = 20 + 180 * values[order] / max(limit, 1e-9)
    circles = axes.scatter(*shape[order].T, s=areas, linewidths=0.7, zorder=3, **colours)
    bar = figure.colorbar(circles, ax=axes, location="bottom", shrink=0.8, aspect=35, pad=0.01)
    bar.set_label(f"NME of the point, % ({evaluation.normaliser})", fontsize=9)
    bar.ax.tick_params(labelsize=9)
    names, centre = [], shape.mean(axis=0)
    for place, i in enumerate(order[:NAMED], start=1):
        outward = (shape[i] - centre) / max(np.linalg.norm(shape[i] - centre), 1e-9)
        beside = {"xytext": (15 * outward[0], -15 * outward[1]), "textcoords": "offset points"}
        axes.annotate(str(place), shape[i], ha="center", va="center", fontsize=9, fontweight="bold", **beside)
        names.append(f"{place}  {evaluation.prepared.scheme.names[i]}  {values[i]:.1f} %")
    axes.set_title(f"{evaluation.label}: error of each point", fontsize=10)
    figure.supxlabel("\n".join(names), fontsize=9, ma="left")
    return figure


def error_ellipse_figure(evaluation):
    """Bias and spread of each point on the mean face, to scale.

    A line goes from the truth to the mean prediction; an ellipse around that is one standard deviation.
    """
    (bias, covariance), (shape, length) = point_deviations(evaluation), mean_face(evaluation)
    figure, axes = _face_axes(evaluation, shape, 4.8)
    for point, shift, matrix in zip(shape, bias * length, covariance * length**2, strict=True):
        spreads, directions = np.linalg.eigh(matrix)
        width, height = 2 * np.sqrt(np.maximum(spreads, 0))
        angle = np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))
        inside = {"facecolor": SPREAD, "alpha": 0.22, "linewidth": 0, "zorder": 2}
        edge = {"fill": False, "edgecolor": SPREAD, "linewidth": 0.8, "zorder": 3}
        for style in (inside, edge):
            axes.add_patch(Ellipse(point + shift, width, height, angle=angle, **style))
        axes.plot(*np.stack([point, point + shift]).T, color=BIAS, linewidth=1.8, zorder=5)
    axes.plot(*shape.T, ".", color="0.15", markersize=2.5, zorder=4)
    axes.set_title(f"{evaluation.label}: bias and spread of each point", fontsize=10)
    return figure


def deviations_table(evaluation):
    """A `Table` of the points, the worst first: NME, bias and spread in percent of the normaliser."""
    scheme, errors, (bias, covariance) = evaluation.prepared.scheme, point_nme(evaluation), point_deviations(evaluation)
    part_of = {i: part for part, points in scheme.parts.items() for i in points}
    spread = np.sqrt(np.trace(covariance, axis1=1, axis2=2))
    labels = ("index", "part", "NME", "bias right", "bias down", "spread")
    rows = []
    for i in np.argsort(-errors, kind="stable"):
        numbers = map(float, (errors[i], *(100 * bias[i]), 100 * spread[i]))
        rows.append(Row(scheme.names[i], dict(zip(labels, (str(i), part_of.get(i), *numbers), strict=True))))
    notes = (
        f"percent of the normaliser ({evaluation.normaliser}); indices from 0",
        "bias: mean of prediction minus truth, in the picture; spread: root mean square distance from that mean",
    )
    columns = tuple(Column(label, label, words=label == "part") for label in labels)
    return Table(f"{evaluation.label}: NME, bias and spread by point", columns, tuple(rows), notes, heading="point")


def _found(evaluation):
    """(n,) bool: which faces have a prediction."""
    found = np.isfinite(evaluation.errors)
    if not found.any():
        raise DataError(f"{evaluation.label}: none of the {len(found)} faces has a prediction, so points have no error")
    return found


def _face_axes(evaluation, shape, height):
    """A figure with the skeleton of the mean face, y down, equal axes without ticks."""
    figure = PlainFigure(figsize=(4.8, height), layout="constrained")
    axes = figure.add_subplot()
    for line in evaluation.prepared.scheme.skeleton:
        axes.plot(*shape[list(line)].T, color=BONES, linewidth=1, zorder=1)
    axes.margins(0.06)
    axes.set(aspect="equal", yinverted=True)
    axes.set_axis_off()
    return figure, axes
