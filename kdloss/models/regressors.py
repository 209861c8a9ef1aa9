"""Coordinate regression: a convolutional trunk, global average pooling and one linear layer.

Source: KD-Loss (Fard and Mahoor, CVIU 2022): MobileNetV2 is the student, EfficientNet-B3 with dropout 0.5 the teacher,
both with a linear Dense(2 N) head.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

HEAD = "landmarks"

# Of the ImageNet training images, RGB scaled to 0..1; what EfficientNet's published weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_STORAGE = "https://storage.googleapis.com"
_MOBILENET_SIZES = (96, 128, 160, 192, 224)


@dataclass(frozen=True)
class Regressor:
    """What makes one architecture.

    Args:
        trunk: (input tensor) -> keras model from that input's source to the last feature map.
        imagenet: (image size) -> (file name, url) of the ImageNet weights without top.
        dropout: default rate before the head.
    """

    trunk: Callable
    imagenet: Callable
    dropout: float


def build_regressor(arch, num_points, image_size, dropout):
    """The whole model and its trunk, sharing layers. The model is flat, which every exporter handles."""
    inputs = keras.Input((image_size, image_size, 3), name="image", dtype="float32")
    trunk = REGRESSORS[arch].trunk(inputs)
    x = layers.GlobalAveragePooling2D(name="pool")(trunk.output)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    # float32 under mixed precision too: 16 bits would round a coordinate of a 256 pixel crop to 0.1 pixel or worse.
    x = layers.Dense(2 * num_points, dtype="float32", name=HEAD)(x)
    points = layers.Reshape((num_points, 2), dtype="float32", name="points")(x)
    return keras.Model(inputs, points, name=arch), trunk


def _mobilenet_trunk(inputs, alpha):
    scaled = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    return keras.applications.MobileNetV2(
        input_tensor=scaled,
        input_shape=inputs.shape[1:],
        alpha=alpha,
        include_top=False,
        weights=None,
    )


def _mobilenet_imagenet(image_size, alpha):
    size = image_size if image_size in _MOBILENET_SIZES else 224
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5"
    return file, f"{_STORAGE}/tensorflow/keras-applications/mobilenet_v2/{file}"


def efficientnet_trunk(inputs, number):
    build = getattr(keras.applications, f"EfficientNetB{number}")
    trunk = build(
        input_tensor=inputs,
        input_shape=inputs.shape[1:],
        include_top=False,
        weights=None,
    )
    standardise(trunk)
    return trunk


def efficientnet_imagenet(image_size, number):
    file = f"efficientnetb{number}_notop.h5"
    return file, f"{_STORAGE}/keras-applications/{file}"


def standardise(trunk):
    """Makes EfficientNet's own normalisation layer yield (x / 255 - mean) / std, whatever the weights.

    keras' files hold the standard deviation where the layer wants the variance, and keras mends that by one more
    rescaling layer for ``weights="imagenet"`` alone. Squaring the number here is the same and needs no layer.
    """
    for layer in trunk.layers:
        if isinstance(layer, layers.Normalization):
            layer.adapt_mean.assign(IMAGENET_MEAN)
            layer.adapt_variance.assign([std**2 for std in IMAGENET_STD])
            layer.finalize_state()


def _regressors():
    mobilenets = {"mobilenetv2": 1.0} | {f"mobilenetv2-{a}": a for a in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)}
    table = {
        name: Regressor(
            functools.partial(_mobilenet_trunk, alpha=alpha),
            functools.partial(_mobilenet_imagenet, alpha=alpha),
            dropout=0.0,
        )
        for name, alpha in mobilenets.items()
    }
    for number in range(8):
        table[f"efficientnetb{number}"] = Regressor(
            functools.partial(efficientnet_trunk, number=number),
            functools.partial(efficientnet_imagenet, number=number),
            dropout=0.5,
        )
    return table


REGRESSORS = _regressors()
