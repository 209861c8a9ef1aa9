"""Fits and draws shape models.

python -m asm fit --data PREPARED --variance 0.90 --out shape.npz
python -m asm plot shape.npz --out modes.png
"""

import argparse
import json
from pathlib import Path

import numpy as np

from asm.shape_model import ShapeModel
from kdloss.errors import UserError, exits_on_user_error
from kdloss.experiments.flags import add_out_flag
from kdloss.files import read_npy, replacing

# Shapes of a prepared folder are in units of a crop whose side is this many times the longer side of the landmark box.
_UNIT_CROP_SCALE = 1.25


@exits_on_user_error
def main(argv=None) -> int:
    args = _parser().parse_args(argv)
    args.run(args)
    return 0


def _fit(args):
    _require_suffix("--out", args.out, [".npz"])
    shapes, metadata = load_training_shapes(args.data)
    variance = 0.90 if args.modes is None and args.variance is None else args.variance
    model = ShapeModel.fit(shapes, variance=variance, modes=args.modes, align=args.align, metadata=metadata)
    with replacing(args.out) as work:
        model.save(work)
    print(
        f"{args.out}: {len(shapes)} shapes of {model.num_points} points; {len(model.modes)} of {len(model.spectrum)} "
        f"modes hold {100 * model.explained:.1f} % of the variance"
    )


def _plot(args):
    _require_suffix("--out", args.out, [".png", ".svg", ".pdf"])
    model = ShapeModel.load(args.model)
    # Imported here: matplotlib takes longer to import than the other command takes to run.
    from asm.plots import modes_figure

    with replacing(args.out) as work:
        modes_figure(model).savefig(work, dpi=150)
    print(f"{args.out}: the first modes of {len(model.modes)}")


def _require_suffix(flag, path, suffixes):
    if Path(path).suffix not in suffixes:
        raise UserError(f"{flag} {path}: expected a name that ends in {' or '.join(suffixes)}")


def load_training_shapes(path):
    """The shapes (n, N, 2) to fit a model on, and metadata for `ShapeModel.fit`; a `UserError` if there are none.

    A .npy gives its points unchanged. A prepared folder gives those of its training faces all of whose points are
    known, in unit coordinates of the gt x1.25 crop, which spans [-0.5, 0.5].
    """
    path = Path(path)
    if not path.is_dir():
        return load_points(path), {"unit": "as given", "source": path.name}
    # Imported here: shape models of plain points do not need OpenCV.
    from kdloss.data.prepared import PreparedDataset

    prepared = PreparedDataset(path)
    points = prepared.points[prepared.indices("train")].astype(np.float64)
    points = points[np.isfinite(points).all(axis=(1, 2))]
    if len(points) < 2:
        raise UserError(f"{path}: {len(points)} training faces have all of their points, expected 2 at least")
    metadata = {
        "scheme": prepared.scheme.name,
        "skeleton": json.dumps(prepared.scheme.skeleton),
        "unit": f"gt x{_UNIT_CROP_SCALE} crop, [-0.5, 0.5]",
        "source": prepared.dataset,
    }
    # Both crops are squares around the landmark box, so a factor leads from one to the other.
    factor = prepared.manifest["crop_scale"] / _UNIT_CROP_SCALE
    return ((points + 0.5) / prepared.size - 0.5) * factor, metadata


def load_points(path):
    """The array in a .npy file. Its shape is not checked here."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder, expected points (n, N, 2) in a .npy, or a prepared folder")
    try:
        return read_npy(path)
    except ValueError as error:
        raise UserError(f"{path}: not a readable .npy of numbers ({error}): write it with numpy.save") from error


def _parser():
    parser = argparse.ArgumentParser(prog="python -m asm", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(required=True, metavar="{fit,plot}")

    fit = verbs.add_parser("fit", help="fit a model to training shapes")
    fit.set_defaults(run=_fit)
    shapes = fit.add_mutually_exclusive_group(required=True)
    shapes.add_argument("--data", metavar="FOLDER", help="prepared folder: the shapes of its training faces")
    shapes.add_argument("--points", dest="data", metavar="FILE", help=".npy of points (n, N, 2)")
    kept = fit.add_mutually_exclusive_group()
    kept.add_argument("--variance", type=float, help="share of the variance to keep, in (0, 1] (default 0.90)")
    kept.add_argument("--modes", type=int, help="number of modes to keep, instead of a share")
    fit.add_argument("--align", action="store_true", help="align the shapes first (the paper does not)")
    add_out_flag(fit, "the .npz to write", required=True)

    plot = verbs.add_parser("plot", help="draw the modes of a model")
    plot.set_defaults(run=_plot)
    plot.add_argument("model", help="a .npz that fit wrote")
    add_out_flag(plot, "picture of the modes: .png, .svg or .pdf", required=True)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
