"""The architectures by name: to add a backbone, add a line to one of the two tables here. Imports no network library.

`REGRESSORS` holds the networks that regress points, `HEATMAP_NETWORKS` those that read them from heatmaps. An entry
names the function of `kdloss.models` that builds the trunk, and the file of its ImageNet weights.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass

from kdloss.errors import ConfigError
from kdloss.models.locate import LITE_FILES

STRIDES = (32, 16, 8, 4)  # of the feature maps that distillation compares

_STORAGE = "https://storage.googleapis.com"
_LARGEST = 2048  # side of an image in pixels
_MOBILENET_SIZES = (96, 128, 160, 192, 224)


@dataclass(frozen=True)
class Regressor:
    """A network that regresses points.

    Args:
        trunk: (input tensor) -> keras model from that input's source to the last feature map.
        imagenet: (image size) -> (file name, url) of the ImageNet weights without top; no url where a package holds
            the file.
        dropout: default rate before the head.
        spatial: instead of pooling, the layers of the trunk whose whole maps the head sees, each with the number of
            channels that a 1x1 convolution narrows it to. The layers after them are left out.
    """

    trunk: Callable
    imagenet: Callable
    dropout: float
    spatial: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class HeatmapNetwork:
    """A network that reads points from heatmaps.

    Args:
        trunk, imagenet: see `Regressor`.
        encoder_end: name of the trunk's last convolution, which is left out: the decoder takes its input, a quarter as
            wide.
        width: channels of the decoder.
        skips: channels that a decoder with skips takes from the encoder at each of `STRIDES`; empty: the papers'
            decoder, which sees the end of the encoder alone.
        summed: whether the decoder sums these maps, of equally many channels, or puts them side by side.
        dropout: default rate before the heatmaps.
    """

    trunk: Callable
    encoder_end: str
    imagenet: Callable
    width: int
    skips: tuple[int, ...] = ()
    summed: bool = False
    dropout: float = 0.0


def _build(function, inputs, **settings):
    module, _, name = function.rpartition(".")
    return getattr(importlib.import_module(f"kdloss.models.{module}"), name)(inputs, **settings)


def _family(function, imagenet):
    """(settings) -> the fields ``trunk`` and ``imagenet``; ``function`` of `kdloss.models` builds the trunk."""
    return lambda **settings: {
        "trunk": functools.partial(_build, function, **settings),
        "imagenet": functools.partial(imagenet, **settings),
    }


def _mobilenet_imagenet(image_size, alpha):
    size = image_size if image_size in _MOBILENET_SIZES else 224
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5"
    return file, f"{_STORAGE}/tensorflow/keras-applications/mobilenet_v2/{file}"


def _efficientnet_imagenet(image_size, number):
    file = f"efficientnetb{number}_notop.h5"
    return file, f"{_STORAGE}/keras-applications/{file}"


_mobilenet = _family("regressors.mobilenet_trunk", _mobilenet_imagenet)
_efficientnet = _family("regressors.efficientnet_trunk", _efficientnet_imagenet)
_lite = _family("efficientnet_lite.efficientnet_lite_trunk", lambda image_size, number: (LITE_FILES[number][0], None))

_MOBILENETS = {"mobilenetv2": 1.0} | {f"mobilenetv2-{alpha}": alpha for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}


def _regressors():
    table = {name: Regressor(**_mobilenet(alpha=alpha), dropout=0.0) for name, alpha in _MOBILENETS.items()}
    table["mobilenetv2-spatial"] = dataclasses.replace(
        table["mobilenetv2"], spatial=(("block_12_add", 16), ("block_16_project_BN", 64))
    )
    for number in LITE_FILES:
        table[f"efficientnet-lite{number}"] = Regressor(**_lite(number=number), dropout=0.0)
    for number in range(8):
        table[f"efficientnetb{number}"] = Regressor(**_efficientnet(number=number), dropout=0.5)
    return table


def _heatmap_networks():
    # MobileFAN (Gao et al., 2020) is the ancestor of EfficientFAN.
    table = {"mobilefan": HeatmapNetwork(**_mobilenet(alpha=1.0), encoder_end="Conv_1", width=128)}
    fan = functools.partial(HeatmapNetwork, encoder_end="top_conv")
    for number in LITE_FILES:
        table[f"efficientfan-lite{number}"] = fan(**_lite(number=number), width=128)
    for number in range(8):
        table[f"efficientfan-b{number}"] = fan(**_efficientnet(number=number), width=256 if number else 128)
    encoders = {name: (_mobilenet(alpha=alpha), "Conv_1") for name, alpha in _MOBILENETS.items()}
    encoders |= {f"efficientnet-lite{number}": (_lite(number=number), "top_conv") for number in LITE_FILES}
    encoders |= {f"efficientnetb{number}": (_efficientnet(number=number), "top_conv") for number in range(8)}
    for name, (encoder, end) in encoders.items():
        joined = functools.partial(HeatmapNetwork, **encoder, encoder_end=end, width=128)
        table[f"{name}-skips"] = joined(skips=(64, 64, 32, 32))
        table[f"{name}-fpn"] = joined(skips=(64, 64, 64, 64), summed=True)
    return table


REGRESSORS, HEATMAP_NETWORKS = _regressors(), _heatmap_networks()


def architecture_names():
    """All names of `kdloss.models.build_model`."""
    return (*REGRESSORS, *HEATMAP_NETWORKS)


def network_of(arch):
    """The `Regressor` or `HeatmapNetwork` of a name.

    Raises:
        ConfigError: an unknown name; so do all functions of a name here.
    """
    for table in (REGRESSORS, HEATMAP_NETWORKS):
        if arch in table:
            return table[arch]
    raise ConfigError(f"unknown architecture {arch!r}: expected one of {', '.join(architecture_names())}")


def predicts_heatmaps(arch):
    """Whether the architecture reads its points from heatmaps; others regress them."""
    return isinstance(network_of(arch), HeatmapNetwork)


def require_side(arch, image_size):
    """Checks that an architecture takes images of a side; raises `ConfigError`."""
    heatmaps = predicts_heatmaps(arch)
    if type(image_size) is not int or not 32 <= image_size <= _LARGEST or image_size % 2:
        raise ConfigError(f"image size is {image_size}: expected an even number of pixels from 32 to {_LARGEST}")
    if heatmaps and image_size % max(STRIDES):
        raise ConfigError(f"image size is {image_size}: expected a multiple of {max(STRIDES)} for {arch}")


def require_feature_maps(image_size):
    """Checks that images of a side have maps at all of `STRIDES`; raises `ConfigError`."""
    if image_size % (least := max(STRIDES)):
        raise ConfigError(f"--image-size {image_size}: expected a multiple of {least} where feature maps are compared")
