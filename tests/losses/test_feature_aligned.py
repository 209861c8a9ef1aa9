"""Feature-aligned distillation by hand: the sum over levels, the gradient, 16-bit maps, shapes that differ."""

import numpy as np
import pytest
from keras import ops

from kdloss.errors import ConfigError
from kdloss.losses.feature_aligned import feature_aligned_loss
from tests.gradients import value_and_gradients


def _maps(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def test_sum_over_levels_of_means():
    lifted = [np.full((2, 2, 2, 3), 5.0, "float32"), np.zeros((2, 4, 4, 1), "float32")]
    lifted[1][:, :2] = 1.0
    teacher = [np.full((2, 2, 2, 3), 3.0, "float32"), np.zeros((2, 4, 4, 1), "float32")]
    # Level 0 is off by 2 everywhere: 4. Level 1 by 1 in half of its positions: 1/2.
    assert float(feature_aligned_loss(lifted, teacher)) == 4.5


def test_gradient_reaches_the_student_alone():
    shapes = (2, 2, 2, 3), (2, 4, 4, 5)
    lifted, teacher = (_maps(*shapes, seed=seed) for seed in (1, 2))
    _, slopes = value_and_gradients(lambda *maps: feature_aligned_loss(maps[:2], maps[2:]), *lifted, *teacher)
    for student, target, slope, none in zip(lifted, teacher, slopes[:2], slopes[2:], strict=True):
        np.testing.assert_allclose(slope, 2 * (student - target) / student.size, rtol=1e-5)
        assert not none.any()


def test_16_bit_maps_are_widened_before_they_are_subtracted():
    # 300^2 is beyond float16.
    student, teacher = ops.full((1, 2, 2, 1), 300, "float16"), ops.zeros((1, 2, 2, 1), "bfloat16")
    value = feature_aligned_loss([student], [teacher])
    assert ops.dtype(value) == "float32"
    assert float(value) == 90000.0


@pytest.mark.tensorflow("an unknown batch is one of TensorFlow's graphs")
def test_the_batch_may_be_unknown_until_the_call():
    import tensorflow as tf

    graph = tf.function(
        lambda student, teacher: feature_aligned_loss([student], [teacher]),
        input_signature=[tf.TensorSpec((None, 2, 2, 3)), tf.TensorSpec((4, 2, 2, 3))],
    )
    student, teacher = _maps((4, 2, 2, 3), (4, 2, 2, 3))
    assert float(graph(student, teacher)) == pytest.approx(np.mean((student - teacher) ** 2), rel=1e-6)


@pytest.mark.parametrize(
    "shape",
    [(2, 4, 4, 7), (2, 2, 2, 5), (1, 4, 4, 5), (2, 4, 4, 1), (2, 16, 5)],
    ids=["width", "side", "batch", "one", "rank"],
)
def test_shapes_that_differ_are_refused(shape):
    good = (2, 8, 8, 3)
    with pytest.raises(ConfigError) as refused:
        feature_aligned_loss(_maps(good, shape), _maps(good, (2, 4, 4, 5)))
    message = str(refused.value)
    assert "level 1" in message
    assert str(shape) in message
    assert "(2, 4, 4, 5)" in message
    assert "\n" not in message
