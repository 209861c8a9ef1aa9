"""Renders synthetic faces with 98 exactly known points, for demonstrations and tests without real photographs."""

from dataclasses import asdict, dataclass

import numpy as np

from data_prep.canvas import Canvas
from data_prep.face_painting import FacePainter
from data_prep.face_parameters import FaceParameters, draw_parameters
from data_prep.face_shape import Projection, build_head
from data_prep.surroundings import paint_background, paint_before, paint_body, photograph
from kdloss.errors import ConfigError
from kdloss.geometry import landmark_box

SMALLEST = 48


@dataclass(frozen=True)
class SyntheticFace:
    """One rendered face.

    Args:
        image: (H, W, 3) uint8 RGB.
        points98: (98, 2) float32, 0-based pixels, in the order of scheme 98.
        parameters: everything it was made from.
        occluded: (98,) bool, points behind hair, hat, dark glasses or another thing.
        flags: the six WFLW subsets -> bool.
    """

    image: np.ndarray
    points98: np.ndarray
    parameters: FaceParameters
    occluded: np.ndarray
    flags: dict[str, bool]

    @property
    def attributes(self):
        """What was drawn for it, as a flat dict: parameters, flags, share of occluded points."""
        flags = {f"flag_{name}": value for name, value in self.flags.items()}
        return asdict(self.parameters) | flags | {"occluded_share": float(self.occluded.mean())}


def render_face(rng, size=200, difficulty=1.0):
    """Draws a face at random.

    Args:
        rng: `numpy.random.Generator`; the same state gives the same face, to the last bit.
        size: pixels: a side, or (height, width).
        difficulty: factor of the spread of pose and expression.

    Raises:
        ConfigError: a picture too small to hold a face.
    """
    return render(draw_parameters(rng, difficulty), rng, size)


def render(parameters, rng, size=200):
    """Renders the face that `FaceParameters` describe; ``rng`` draws background, clothes and noise.

    Raises:
        ConfigError: a picture too small to hold a face.
    """
    height, width = (size, size) if np.isscalar(size) else size
    if min(height, width) < SMALLEST:
        raise ConfigError(f"size {height}x{width}: expected at least {SMALLEST} pixels a side")
    head = build_head(parameters)
    projection, points = _framed(parameters, head, height, width)
    canvas = Canvas(height, width)
    painter = FacePainter(canvas, parameters, head, projection, points)
    paint_background(canvas, rng)
    painter.behind()
    paint_body(painter, rng)
    painter.face()
    paint_before(painter, rng)
    occluded = canvas.hidden(points)
    image = photograph(canvas, parameters, rng)
    return SyntheticFace(image, points.astype(np.float32), parameters, occluded, parameters.flags(occluded))


def _framed(p, head, height, width):
    """The projection that puts the landmarks' box where and as large as the parameters say, and those landmarks."""
    points = head.project(Projection(p.yaw, p.pitch, p.roll))
    x, y, box_width, box_height = landmark_box(points)
    shorter = min(height, width)
    scale = p.share * shorter / max(box_width, box_height)
    centre = np.array([width - 1, height - 1]) / 2 + np.array([p.shift_x, p.shift_y]) * shorter
    origin = centre - scale * np.array([x + box_width / 2, y + box_height / 2])
    return Projection(p.yaw, p.pitch, p.roll, scale, tuple(origin)), points * scale + origin
