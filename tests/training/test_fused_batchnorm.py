"""Batch normalisation by one kernel: the same numbers as Keras', forwards, backwards and in the moving statistics."""

import keras
import numpy as np
import pytest
from keras import ops

from kdloss.models import build_model, observed
from kdloss.training.fused_batchnorm import FusedBatchNormalization, fused
from tests.gradients import value_and_gradients
from tests.training.tiny_chain import ARCH, BATCH, SIZE, arrays, same

IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3)).astype(np.float32)

needs_kernel = pytest.mark.tensorflow("JAX compiles Keras' own operations into few")


def network():
    keras.utils.set_random_seed(0)
    model = build_model(ARCH, 68, SIZE, dropout=0.0)
    for norm in norms(model):
        norm.gamma.assign(np.random.default_rng(1).uniform(0.5, 2, norm.gamma.shape))
        norm.beta.assign(np.random.default_rng(2).normal(size=norm.beta.shape))
    return model


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def step(model):
    """Sum of the squared points of a training step, and its gradient by the images and by all weights."""
    others = [variable.value for variable in model.non_trainable_variables]

    def loss(images, *weights):
        outputs, _ = model.stateless_call(weights, others, images, training=True)
        return ops.sum(outputs["points"] ** 2)

    return value_and_gradients(loss, IMAGES, *arrays(model.trainable_variables))


def statistics(model):
    return arrays([variable for norm in norms(model) for variable in (norm.moving_mean, norm.moving_variance)])


@needs_kernel
def test_a_step_is_the_same_up_to_rounding():
    model = network()
    plain, other = observed(model), fused(observed(model))
    assert sum(isinstance(layer, FusedBatchNormalization) for layer in other.layers) == len(norms(model)) == 2
    assert other.count_params() == model.count_params()
    (value, gradients), (expected, expected_gradients) = step(other), step(plain)
    assert value == pytest.approx(expected, rel=1e-5)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@needs_kernel
def test_moving_statistics_are_the_same_up_to_rounding_and_those_of_frozen_layers_stay():
    model, other = network(), network()
    start = statistics(model)
    model(IMAGES, training=True)
    fused(observed(other))(IMAGES, training=True)
    for found, wanted, before in zip(statistics(other), statistics(model), start, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        assert not np.array_equal(found, before)
    norms(other)[0].trainable = False
    before = statistics(other)
    changed = fused(observed(other))(IMAGES, training=True)
    assert same(statistics(other)[:2], before[:2])
    assert not same(statistics(other)[2:], before[2:])
    assert np.isfinite(ops.convert_to_numpy(changed["points"])).all()


def test_what_is_not_trained_is_the_same_to_the_bit():
    model = network()
    expected = model(IMAGES, training=False)
    found = fused(observed(model))(IMAGES, training=False)["points"]
    assert same(arrays([found]), arrays([expected]))


@needs_kernel
@pytest.mark.parametrize("changes", [{"synchronized": True}, {"scale": False}, {"center": False}, {"renorm": True}])
def test_other_layers_stay_as_they_are(changes):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.BatchNormalization(**changes)(inputs))
    assert not any(isinstance(layer, FusedBatchNormalization) for layer in fused(model).layers)
