"""Gradients by the back end that the tests run on, TensorFlow or JAX."""

import keras
import numpy as np


def value_and_gradients(function, *arrays):
    """A scalar function of arrays and its gradient by each of them.

    Args:
        function: takes tensors of the back end, as many as there are arrays, and returns a scalar.
        arrays: float32.

    Returns:
        ``(value, gradients)``: a float, and a list of arrays as the given ones; all 0 where no gradient arrives.
    """
    gradients_of = {"tensorflow": _by_tensorflow, "jax": _by_jax}[keras.backend.backend()]
    value, gradients = gradients_of(function, [np.asarray(array, np.float32) for array in arrays])
    return float(value), [np.asarray(gradient) for gradient in gradients]


def gradient(function, array):
    """The gradient of a scalar function of one array."""
    return value_and_gradients(function, array)[1][0]


def _by_tensorflow(function, arrays):
    import tensorflow as tf

    variables = [tf.Variable(array) for array in arrays]
    with tf.GradientTape() as tape:
        value = function(*variables)
    return value, tape.gradient(value, variables, unconnected_gradients="zero")


def _by_jax(function, arrays):
    import jax

    return jax.jit(jax.value_and_grad(function, argnums=tuple(range(len(arrays)))))(*arrays)
