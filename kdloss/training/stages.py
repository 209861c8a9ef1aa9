"""Training by stages: the first epochs at smaller sides, where a step costs less (progressive resizing)."""

import itertools
from dataclasses import dataclass

from kdloss.errors import ConfigError

NONE = "none"


@dataclass(frozen=True)
class Stage:
    """The epochs at one side.

    Args:
        side: of the views, pixels.
        first, end: epochs [first, end), counted from 0.
    """

    side: int
    first: int
    end: int


def parse_stages(text, image_size):
    """What ``--stages`` says: pairs of a side and its share of the epochs.

    Args:
        text: ``none``, or such as ``64:0.5,96:0.25``.
        image_size: side of the epochs that are left, which come last.

    Raises:
        ConfigError: not of this form, or sides that do not grow, or nothing left for ``image_size``.
    """
    if text == NONE:
        return []
    try:
        pairs = [(int(side), float(share)) for side, share in (pair.split(":") for pair in text.split(","))]
    except ValueError:
        pairs = []
    if not pairs or not all(share > 0 for _, share in pairs) or not sum(share for _, share in pairs) < 1:
        raise ConfigError(
            f"--stages {text}: expected none, or SIDE:SHARE of the epochs, separated by commas, such as "
            f"64:0.5,96:0.25, the shares together below 1"
        )
    sides = [side for side, _ in pairs] + [image_size]
    if any(side >= after for side, after in itertools.pairwise(sides)):
        raise ConfigError(f"--stages {text}: expected sides that grow, all below the image size, {image_size}")
    return pairs


def stages_of(config):
    """The `Stage`\\ s of a `TrainConfig`, the last at its image size.

    The share of a stage is rounded to whole epochs; one that has none is left out, and the last stage has one at least.
    """
    stages, share, first = [], 0.0, 0
    for side, part in parse_stages(config.stages, config.image_size):
        share += part
        end = min(round(share * config.epochs), config.epochs - 1)
        if end > first:
            stages.append(Stage(side, first, end))
            first = end
    return [*stages, Stage(config.image_size, first, config.epochs)]


STRIDES = (0, 2, 4, 8, 16)


def freeze(network, stride):
    """Freezes the layers up to the last map at a stride, which then need no gradients; batch normalisation among them
    keeps its statistics.

    Args:
        network: from `kdloss.models.build_model`.
        stride: side of the image over side of the map; 0 leaves all layers as they are.
    """
    size = network.input_shape[1]
    for layer in network.layers:
        shape = layer.output.shape
        # Sides are rounded up; what comes after the first smaller map, a decoder too, is trained.
        if not stride or len(shape) != 4 or shape[1] * stride < size:
            break
        layer.trainable = False
