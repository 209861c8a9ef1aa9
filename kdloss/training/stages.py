"""Which layers are trained at which image side: progressive resizing, and frozen layers."""

import itertools
from dataclasses import dataclass

from kdloss.errors import ConfigError

NONE = "none"
STRIDES = (0, 2, 4, 8, 16)  # of the maps up to which `freeze` can freeze; 0 freezes nothing


@dataclass(frozen=True)
class Stage:
    """Epochs at one image side.

    Args:
        side: of the views, pixels.
        first, end: the epochs [first, end), counted from 0.
    """

    side: int
    first: int
    end: int


def stages_of(config):
    """The stages of a `TrainConfig`, a list of `Stage`; the last one is at its image size.

    Shares are rounded to whole epochs. A stage without an epoch is left out, except the last, which has at least one.
    """
    stages, total_share, first = [], 0.0, 0
    for side, share in parse_stages(config.stages, config.image_size):
        total_share += share
        end = min(round(total_share * config.epochs), config.epochs - 1)
        if end > first:
            stages.append(Stage(side, first, end))
            first = end
    return [*stages, Stage(config.image_size, first, config.epochs)]


def parse_stages(text, image_size):
    """The pairs of ``--stages``: an image side and its share of the epochs.

    Args:
        text: ``none``, or such as ``64:0.5,96:0.25``.
        image_size: side of the remaining epochs, which come last.

    Raises:
        ConfigError: another form, sides that do not grow, or no epochs left for ``image_size``.
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


def freeze(network, stride):
    """Freezes the layers up to the last map at a stride. They need no gradients, and their batch normalisation keeps
    its statistics.

    Args:
        network: from `kdloss.models.build_model`.
        stride: image side divided by map side; 0 freezes nothing.
    """
    size = network.input_shape[1]
    for layer in network.layers:
        shape = layer.output.shape
        # Map sides are rounded up. Everything after the first smaller map is trained, also a decoder's larger maps.
        if not stride or len(shape) != 4 or shape[1] * stride < size:
            break
        layer.trainable = False
