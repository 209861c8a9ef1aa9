"""Coordinate regression: a convolutional trunk and a head of one linear layer.

Source: KD-Loss (Fard and Mahoor, CVIU 2022): MobileNetV2 is the student, EfficientNet-B3 with dropout 0.5 the teacher,
both with global average pooling and a linear Dense(2 N) head. Pooling loses the place
of a feature in the map. The ``-spatial`` architectures (ours) keep it: 1x1 convolutions narrow two late maps of the
trunk, and every value of them reaches the linear layer.
"""

import keras
from keras import layers

from kdloss.models.architectures import REGRESSORS

HEAD = "landmarks"

# Of the ImageNet training images, RGB scaled to 0..1; what EfficientNet's published weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def build_regressor(arch, num_points, image_size, dropout):
    """The whole model, and its trunk with the same layers. The model is not nested, which every exporter handles."""
    inputs = keras.Input((image_size, image_size, 3), name="image", dtype="float32")
    regressor = REGRESSORS[arch]
    trunk = regressor.trunk(inputs)
    if regressor.spatial:
        x = _flat_maps(trunk, regressor.spatial)
    else:
        x = layers.GlobalAveragePooling2D(name="pool")(trunk.output)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    # float32 under mixed precision too: 16 bits would round a coordinate of a 256 pixel crop to 0.1 pixel or worse.
    x = layers.Dense(2 * num_points, dtype="float32", name=HEAD)(x)
    points = layers.Reshape((num_points, 2), dtype="float32", name="points")(x)
    return keras.Model(inputs, points, name=arch), trunk


def _flat_maps(trunk, spatial):
    flat = []
    for name, channels in spatial:
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_narrow")(trunk.get_layer(name).output)
        x = layers.BatchNormalization(name=f"{name}_narrow_norm")(x)
        x = layers.ReLU(name=f"{name}_narrow_relu")(x)
        flat.append(layers.Flatten(name=f"{name}_flat")(x))
    return layers.Concatenate(name="flat")(flat)


def mobilenet_trunk(inputs, alpha):
    scaled = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    return keras.applications.MobileNetV2(
        input_tensor=scaled,
        input_shape=inputs.shape[1:],
        alpha=alpha,
        include_top=False,
        weights=None,
    )


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


def standardise(trunk):
    """Makes EfficientNet's own normalisation layer yield (x / 255 - mean) / std, whatever the weights.

    Keras' files hold the standard deviation where the layer expects the variance. For ``weights="imagenet"`` Keras adds
    a rescaling layer. Squaring the number has the same effect and needs no layer.
    """
    for layer in trunk.layers:
        if isinstance(layer, layers.Normalization):
            layer.adapt_mean.assign(IMAGENET_MEAN)
            layer.adapt_variance.assign([std**2 for std in IMAGENET_STD])
            layer.finalize_state()
