"""How long shape models take to fit and to soften, beside the matrix products that no way of doing it can spare."""

import itertools
import time
from dataclasses import dataclass

import numpy as np
from asm.blocks import blocks

from asm import ShapeModel
from kdloss.benchmarking.inference import spread
from kdloss.benchmarking.memory import peak_megabytes
from kdloss.benchmarking.worker import Server

VARIANCE = 0.90  # that the paper's public script keeps
FIT, SOFTEN = "fit", "soften"
_MODEL_SHAPES = 2000  # on which models are fitted that only soften


@dataclass(frozen=True)
class Step:
    """Something to measure: `FIT` or `SOFTEN`, with alignment or without, of so many shapes."""

    verb: str
    align: bool
    shapes: int

    def run(self, points, model):
        """Does it to points (n, N, 2); ``model``: that softens them."""
        if self.verb == FIT:
            return ShapeModel.fit(points, variance=VARIANCE, align=self.align)
        return model.soften(points)

    def product(self, points, model):
        """The matrix products alone: of a fit X'X, and a second to find the Procrustes mean; of softening (X E') E."""
        rows = points.reshape(len(points), -1)
        if self.verb == FIT:
            return [rows.T @ rows for _ in range(1 + self.align)]
        axes = model.modes.reshape(len(model.modes), -1)
        return (rows @ axes.T) @ axes


def draw_shapes(count, num_points, seed=0):
    """Shapes (count, N, 2) float64 of a model with random modes, in unit coordinates of a crop.

    As in faces, the variances of the modes fall by the square of their number: a few hold nine tenths of them all.
    """
    generator = np.random.default_rng(seed)
    mean = generator.uniform(-0.4, 0.4, 2 * num_points)
    modes = np.linalg.qr(generator.standard_normal((2 * num_points, 2 * num_points)))[0]
    modes *= 0.7 / np.arange(1, 2 * num_points + 1)[:, None]
    shapes = np.empty((count, 2 * num_points))
    for part in blocks(shapes):
        shapes[part] = mean + generator.standard_normal(shapes[part].shape) @ modes
    return shapes.reshape(count, num_points, 2)


def measure_shapes(counts, num_points, rounds, announce=lambda line: None):
    """Measures time and memory of fitting and softening.

    In a round every step runs once, right after the matrix products that it stands beside; a first round warms up and
    does not count. Memory is measured first, each step in a process of its own.

    Args:
        counts: numbers of shapes, ascending.
        num_points: N.
        rounds: how many count.
        announce: takes a line of progress now and then.

    Returns:
        For JSON, a list of dicts, one a step: ``step``, ``align``, ``shapes``, ``modes`` kept; ``seconds``,
        ``product_seconds``, ``ratio`` (of the two in the same round) and ``growth`` (seconds a shape, to those of the
        fewest shapes in the same round), each a `spread`; ``seconds_of_rounds`` and ``product_seconds_of_rounds``;
        ``megabytes``, the most memory (10^6 bytes) that it takes beside the shapes.

    Raises:
        ConfigError: too little memory.
    """
    steps = [Step(*what) for what in itertools.product((FIT, SOFTEN), (False, True), counts)]
    announce(f"memory: {len(steps)} processes, one after the other")
    megabytes = [_memory(step, num_points) for step in steps]
    points = draw_shapes(max(counts), num_points)
    models = {align: _model(points, align) for align in (False, True)}
    found = {step: ([], []) for step in steps}
    for number in range(rounds + 1):
        announce(f"round {number} of {rounds}" if number else "warming up")
        for step, (own, product) in found.items():
            what = points[: step.shapes], models[step.align]
            # The first is for those that are measured: both find memory that has just been let go of.
            _, *seconds = (_seconds(function, *what) for function in (step.product, step.product, step.run))
            if number:
                product.append(seconds[0])
                own.append(seconds[1])
    return [
        _row(step, models[step.align], *found[step], _first(found, step), taken)
        for step, taken in zip(steps, megabytes, strict=True)
    ]


def _first(found, step):
    """Seconds a shape, by round, of the same step on the fewest shapes."""
    fewest = min((other for other in found if (other.verb, other.align) == (step.verb, step.align)), key=_shapes)
    return [seconds / fewest.shapes for seconds in found[fewest][0]]


def _shapes(step):
    return step.shapes


def _row(step, model, own, product, first, megabytes):
    return {
        "step": step.verb,
        "align": step.align,
        "shapes": step.shapes,
        "modes": len(model.modes),
        "seconds": spread(own),
        "product_seconds": spread(product),
        "ratio": spread([one / other for one, other in zip(own, product, strict=True)]),
        "growth": spread([one / step.shapes / other for one, other in zip(own, first, strict=True)]),
        "megabytes": megabytes,
        "seconds_of_rounds": own,
        "product_seconds_of_rounds": product,
    }


def _seconds(function, *what):
    started = time.perf_counter()
    function(*what)
    return time.perf_counter() - started


def _model(points, align):
    return ShapeModel.fit(points[:_MODEL_SHAPES], variance=VARIANCE, align=align)


def _memory(step, num_points):
    with Server(f"the process that measures {step}", _serve, step, num_points, advice="give fewer --shapes") as server:
        return server.ask()


def _serve(connection, step, num_points):
    connection.recv()
    points = draw_shapes(step.shapes, num_points)
    model = None if step.verb == FIT else _model(points, step.align)
    before = peak_megabytes()
    step.run(points, model)
    connection.send(peak_megabytes() - before)
    connection.recv()  # until the other side closes
