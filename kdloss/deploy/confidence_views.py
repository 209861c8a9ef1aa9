"""What `kdloss.deploy.calibration.reliability` found, as a table and as a picture."""

from kdloss.datasets import dataset_spec
from kdloss.evaluation.plots import PALETTE, new_figure
from kdloss.evaluation.table import Column, Row, Table


def reliability_table(found):
    """A `Table` of the groups, the least confident on top."""
    shares = [Column(key, key, 3) for key in ("confidence", "within")]
    columns = (*shares, Column("error", "mean error, % of box"))
    rows = tuple(Row(f"{i} of {len(found['groups'])}", group) for i, group in enumerate(found["groups"], 1))
    notes = [
        f"groups of {found['points'] // len(found['groups'])} points, from the least to the most confident",
        f"within: share of points within {100 * found['within']:g} % of the face box's side, which is what confidence "
        f"estimates; of all points {found['share_within']:.3f}",
        f"rank correlation of confidence and error {found['spearman']:.2f}; mean gap between confidence and share "
        f"{found['calibration_error']:.3f}" + (f"; AUC {found['auc']:.3f}" if found["auc"] is not None else ""),
    ]
    return Table(_title(found), columns, rows, tuple(notes), "points")


def reliability_figure(found):
    """A figure of two panels: share within over confidence beside the diagonal, and mean error over confidence."""
    figure, (left, right) = new_figure(8.4, 3.8, 2, 2)
    sure = [group["confidence"] for group in found["groups"]]
    left.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    left.plot(sure, [group["within"] for group in found["groups"]], "o-", color=PALETTE[0])
    left.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
    left.set_ylabel(f"share within {100 * found['within']:g} % of the box")
    right.plot(sure, [group["error"] for group in found["groups"]], "o-", color=PALETTE[1])
    right.set(xlabel="confidence", ylabel="mean error, % of the box's side", xlim=(0, 1), ylim=(0, None))
    figure.suptitle(_title(found), fontsize=10)
    return figure


def _title(found):
    faces = f"{found['faces']} {found['split']} faces of {dataset_spec(found['dataset']).title}"
    return f"{found['checkpoint']}: confidence on {faces}" + (", SYNTHETIC" if found["synthetic"] else "")
