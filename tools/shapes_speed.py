"""Shapes a second that shape models fit and soften, compared with the matrix products that this work needs.

    python tools/shapes_speed.py
    python tools/shapes_speed.py --data data/300w --align
    python tools/shapes_speed.py --against ../other-checkout

The product of a fit is X'X, twice where shapes are aligned; of softening it is (X E') E of the modes E.
"""

import argparse

import numpy as np
import rounds

VARIANCE = 0.90  # the share that the paper's public script keeps


def _shapes(args):
    """(n, N, 2) float64: the shapes of a prepared set, repeated, or shapes drawn from random modes.

    As for faces, variances fall with the square of a mode's number, and a few modes hold 90 % of the variance.
    """
    if args.data:
        from kdloss.data.prepared import PreparedDataset

        points = PreparedDataset(args.data).points
        return np.resize(points, (args.shapes, *points.shape[1:])).astype(np.float64)
    generator, numbers = np.random.default_rng(0), 2 * args.points
    modes = np.linalg.qr(generator.standard_normal((numbers, numbers)))[0]
    modes *= 0.7 / np.arange(1, numbers + 1)[:, None]
    shapes = generator.uniform(-0.4, 0.4, numbers) + generator.standard_normal((args.shapes, numbers)) @ modes
    return shapes.reshape(args.shapes, args.points, 2)


def _model(points, args):
    from asm import ShapeModel

    return ShapeModel.fit(points, variance=VARIANCE, align=args.align)


def _timed(args, function):
    def work():
        started = args.now()
        function()
        return args.shapes / (args.now() - started)

    return work


def _fit(args):
    points = _shapes(args)
    return _timed(args, lambda: _model(points, args))


def _fit_product(args):
    rows = _shapes(args).reshape(args.shapes, -1)
    return _timed(args, lambda: [rows.T @ rows for _ in range(1 + args.align)])


def _soften(args):
    points = _shapes(args)
    model = _model(points, args)
    return _timed(args, lambda: model.soften(points))


def _soften_product(args):
    points = _shapes(args)
    modes = _model(points, args).modes
    rows, axes = points.reshape(args.shapes, -1), modes.reshape(len(modes), -1)
    return _timed(args, lambda: (rows @ axes.T) @ axes)


WAYS = {
    "product of a fit": rounds.Way(_fit_product, "product of a fit"),
    "fit": rounds.Way(_fit, "product of a fit"),
    "product of softening": rounds.Way(_soften_product, "product of softening"),
    "soften": rounds.Way(_soften, "product of softening"),
}


def _describe(args):
    what = args.data or f"{args.points} drawn points"
    return f"{args.shapes} float64 shapes of {what}, {'aligned' if args.align else 'not aligned'}; 90 % of the variance"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", metavar="FOLDER", help="prepared folder (default: shapes are drawn)")
    parser.add_argument("--shapes", type=int, default=50_000, help="default: %(default)s")
    parser.add_argument("--points", type=int, default=98, help="of a drawn shape (default: %(default)s)")
    parser.add_argument("--align", action="store_true", help="align the shapes to their mean first")
    rounds.main(parser, WAYS, "shapes", _describe)
