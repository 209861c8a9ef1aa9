"""Where on the face the errors lie: the error of each point, drawn on the mean face."""

import numpy as np

from kdloss.data.geometry import BoxPolicy, FaceCrop, landmark_box
from kdloss.evaluation import metrics
from kdloss.evaluation.plots import PlainFigure

BONES = "0.72"  # grey
NAMED = 5  # of the worst points


def mean_face(evaluation):
    """(N, 2) mean of the true shapes of an `Evaluation` in unit coordinates of their square boxes."""
    truth = evaluation.truth
    boxes = BoxPolicy("gt", 1.0).grow(landmark_box(truth))
    shapes = [FaceCrop.from_box(box, 1).unit_points(points) for box, points in zip(boxes, truth, strict=True)]
    return metrics.mean_of_known(np.array(shapes), axis=0)


def mean_face_error_figure(evaluation, *, limit=None):
    """NME of each point of an `Evaluation`, as size and colour of a circle on the mean face; the worst are named.

    The colour scale ends at an NME of ``limit`` percent, the largest by default.
    """
    values, shape = np.array([*evaluation.metrics["points"].values()], float), mean_face(evaluation)
    limit = float(np.nanmax(values)) if limit is None else limit
    figure = PlainFigure(figsize=(4.8, 5.9), layout="constrained")
    axes = figure.add_subplot()
    for line in evaluation.prepared.scheme.skeleton:
        axes.plot(*shape[list(line)].T, color=BONES, linewidth=1, zorder=1)
    axes.margins(0.06)
    axes.set(aspect="equal", yinverted=True)
    axes.set_axis_off()
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
