"""The record of a run: what it refuses, and that it survives storage."""

import pytest

from kdloss.errors import ConfigError
from kdloss.training.config import TrainConfig

STUDENT = {"kind": "student", "dataset": "300w", "arch": "mobilenetv2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "teacher"}, "--kind teacher: expected one of tough, tolerant, student"),
        ({"method": "kd"}, "--method kd: expected one of none, kd-loss"),
        ({"loss": "l3"}, "--loss l3: expected one of l2, l1, wing"),
        ({"unit": "inch"}, "--unit inch"),
        ({"precision": "float8"}, "--precision float8: expected one of float32"),
        ({"augment": "wild"}, "--augment wild: expected one of none, light, paper, strong"),
        ({"box": "eyes:2"}, "--box eyes:2"),
        ({"epochs": 0}, "--epochs 0: expected 1 at least"),
        ({"batch_size": 0}, "--batch-size 0: expected 1 at least"),
        ({"teacher_views": -1}, "--teacher-views -1: expected 0 at least"),
        ({"warmup_epochs": -0.5}, "--warmup-epochs -0.5"),
        ({"weight_decay": -1e-4}, "--weight-decay -0.0001"),
        ({"weight_decay": float("nan")}, "--weight-decay nan"),
        ({"learning_rate": 0}, "--learning-rate 0: expected a number above 0"),
        ({"learning_rate": float("nan")}, "--learning-rate nan"),
        ({"ema": 1.0}, "--ema 1.0: expected 0"),
        ({"ema": -0.1}, "--ema -0.1"),
        ({"method": "kd-loss"}, "--method kd-loss: needs a teacher"),
        ({"tough": "runs/tough"}, "--method none: takes no teacher"),
    ],
)
def test_a_value_out_of_range_is_named(changes, message):
    with pytest.raises(ConfigError) as raised:
        TrainConfig(**STUDENT | changes)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_teachers_are_those_that_are_given():
    assert TrainConfig(**STUDENT).teachers == {}
    assert TrainConfig(**STUDENT, method="kd-loss", tolerant="b").teachers == {"tolerant": "b"}
    both = TrainConfig(**STUDENT, method="kd-loss", tolerant="b", tough="a")
    assert list(both.teachers.items()) == [("tough", "a"), ("tolerant", "b")]


def test_json_keeps_every_field():
    config = TrainConfig(**STUDENT, method="kd-loss", tough="a", ema=0.998, learning_rate=3e-4, seed=5)
    again = TrainConfig.from_json(config.to_json())
    assert again == config
    assert config.differences(again) == []


def test_differences_name_the_fields():
    config = TrainConfig(**STUDENT)
    assert config.differences(TrainConfig(**STUDENT, epochs=7, seed=1)) == ["epochs", "seed"]
