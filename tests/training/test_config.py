"""The configuration of a run: what it refuses, and that JSON keeps it."""

import json

import pytest

from kdloss.errors import ConfigError
from kdloss.training.config import TrainConfig

STUDENT = {"kind": "student", "dataset": "300w", "arch": "mobilenetv2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "teacher"}, "--kind teacher: expected one of tough, tolerant, student"),
        ({"teacher_views": -1}, "--teacher-views -1: expected 0 at least"),
        ({"learning_rate": 0}, "--learning-rate 0: expected a number above 0"),
        ({"ema": 1.0}, "--ema 1.0: expected 0"),
        ({"frozen": 3, "weights": "a.keras"}, "--frozen 3: expected a stride, one of 0, 2, 4, 8, 16"),
        ({"method": "kd-loss"}, "--method kd-loss: needs a teacher: give --tough"),
        ({"method": "fa-ps"}, "--method fa-ps: needs a teacher's feature maps: give --feature-teacher"),
        ({"method": "fa", "feature_teacher": "a", "tough": "b"}, "--method fa: learns no teacher's points"),
        ({"method": "kd-loss", "tough": "a", "feature_teacher": "b"}, "--method kd-loss: follows no feature maps"),
        ({"label_share": 0.0}, "--label-share 0.0: expected a share, above 0, 1 at most"),
        ({"folds": 1}, "--folds 1: expected 0 (one teacher of all faces), or 2 at least"),
        ({"unlabelled": "rest", "pseudo_teacher": "a"}, "--unlabelled rest: all training faces have labels: give"),
        ({"unlabelled": "faces"}, "--unlabelled faces: needs a teacher that labels them: give --pseudo-teacher"),
        ({"pseudo_teacher": "a"}, "--pseudo-teacher: labels faces without labels: leave it out"),
        ({"placebo": "average"}, "--placebo average: a control of kd-loss: give --method kd-loss"),
        ({"placebo": "average", "method": "kd-loss", "tough": "a"}, "--placebo average: the student teaches itself"),
        ({"placebo": "shuffled", "method": "kd-loss", "tough": "a"}, "--placebo shuffled: takes stored points"),
    ],
)
def test_a_value_out_of_range_is_named(changes, message):
    with pytest.raises(ConfigError) as raised:
        TrainConfig(**STUDENT | changes)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "labellers"),
    [
        ({"method": "kd-loss", "tough": "a", "tolerant": "b"}, ["a"]),
        ({"method": "kd-loss", "tolerant": "b"}, ["b"]),
        ({"method": "fa", "feature_teacher": "c"}, ["c"]),
        ({"method": "fa", "feature_teacher": "c", "pseudo_teacher": "d,e"}, ["d", "e"]),
    ],
)
def test_who_labels_faces_without_labels(fields, labellers):
    config = TrainConfig(**STUDENT, unlabelled="faces", **fields)
    assert config.labellers == labellers


@pytest.mark.parametrize(("share", "faces"), [(0.5, 4), (0.01, 1), (0.99, 8), (1.0, 8)])
def test_how_many_faces_of_a_batch_have_no_labels(share, faces):
    config = TrainConfig(**STUDENT, unlabelled="faces", pseudo_teacher="a", batch_size=8, unlabelled_share=share)
    assert config.unlabelled_batch == faces
    assert TrainConfig(**STUDENT, batch_size=8, unlabelled_share=share).unlabelled_batch == 0


def test_json_keeps_every_field():
    config = TrainConfig(**STUDENT, method="kd-loss", tough="a", ema=0.998, learning_rate=3e-4, seed=5)
    again = TrainConfig.from_json(config.to_json())
    assert again == config
    assert config.differences(again) == []


def test_a_record_from_before_a_field_was_there_reads_as_its_default():
    fields = json.loads(TrainConfig(**STUDENT, epochs=7).to_json())
    for name in ("heatmap_loss", "heatmap_weight", "feature_teacher", "fa_weight", "ps_weight"):
        del fields[name]
    assert TrainConfig.from_json(json.dumps(fields)) == TrainConfig(**STUDENT, epochs=7)
