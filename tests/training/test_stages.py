"""Stages at growing image sides, which continue from one another, and layers that keep their first weights."""

import numpy as np
import pytest

from kdloss.errors import ConfigError, Terminated
from kdloss.models import build_model
from kdloss.models.checkpoint import load_model, read_card, save_model
from kdloss.training import fit
from kdloss.training.fit import train
from kdloss.training.stages import Stage, freeze, stages_of
from tests.training.run_folders import equal_runs, progress_of, refused, rows_of, signal_after
from tests.training.tiny_chain import BATCH, FAN, MAPS_SIZE, arrays, heatmap_config, same, tiny_config

STEPS = 17 // BATCH  # an epoch


def staged_config(**changes):
    """Two epochs at 32 px and two at 64, with averages, a warm-up and dropout."""
    fields = {"image_size": 64, "stages": "32:0.5", "epochs": 4, "ema": 0.9, "warmup_epochs": 0.5}
    return tiny_config(**fields | changes)


@pytest.fixture(scope="module")
def whole(faces, tmp_path_factory):
    """The uninterrupted run in two stages."""
    folder = tmp_path_factory.mktemp("staged") / "run"
    train(staged_config(), faces, folder, verbose=0)
    return folder


@pytest.mark.parametrize(
    ("stages", "epochs", "expected"),
    [
        ("none", 3, [(96, 0, 3)]),
        ("64:0.5", 4, [(64, 0, 2), (96, 2, 4)]),
        ("64:0.5", 1, [(96, 0, 1)]),  # the last stage has at least one epoch
        ("64:0.9", 2, [(64, 0, 1), (96, 1, 2)]),
        ("32:0.2,64:0.4", 10, [(32, 0, 2), (64, 2, 6), (96, 6, 10)]),
        ("32:0.1,64:0.4", 4, [(64, 0, 2), (96, 2, 4)]),  # a tenth of four epochs rounds to none
    ],
)
def test_shares_of_the_epochs(stages, epochs, expected):
    config = tiny_config(stages=stages, image_size=96, epochs=epochs)
    assert stages_of(config) == [Stage(*stage) for stage in expected]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": "32:0.5,64:0.5"}, "32:0.5,64:0.5: expected none, or SIDE:SHARE"),
        ({"stages": "96:0.2"}, "96:0.2: expected sides that grow, all below the image size, 96"),
        ({"method": "kd-loss", "tough": "a"}, "32:0.5: teachers that run online see one side: give --teacher-views"),
        ({"method": "fa", "feature_teacher": "a"}, "32:0.5: --method fa follows feature maps, and its teacher's are"),
    ],
)
def test_malformed_stages_and_teachers_of_one_side_are_refused(changes, message):
    with pytest.raises(ConfigError, match=f"^--stages {message}"):
        tiny_config("student", **{"image_size": 96, "stages": "32:0.5"} | changes)


def test_sides_that_a_network_does_not_take_are_refused_before_anything_is_written(faces, tmp_path):
    sides = heatmap_config(image_size=96, stages="40:0.5", epochs=2)
    refused(ConfigError, faces, tmp_path / "run", sides, "image size is 40: expected a multiple of 32 for tiny-fan")


def test_one_schedule_goes_through_all_stages(whole):
    rows = rows_of(whole)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    # At the end of the epochs of a cosine over four, after half an epoch of warm-up.
    parts = (np.arange(1, 5) - 0.5) / 3.5
    cosine = 1e-3 * (0.99 * (1 + np.cos(np.pi * parts)) / 2 + 0.01)
    assert [row["learning_rate"] for row in rows] == pytest.approx(cosine.tolist(), rel=1e-4)


@pytest.mark.slow
def test_the_best_of_the_last_stage_is_kept(whole, faces, tmp_path, monkeypatch):
    card = read_card(whole)
    assert (card["image_size"], card["epoch"] > 2) == (64, True)
    # An earlier epoch at the smaller side scores better, and does not count.
    scores = iter([1.0, 2.0, 9.0, 8.0])
    seen = []

    def validate(network):
        seen.append(network.input_shape[1])
        return next(scores)

    monkeypatch.setattr(fit, "_validation", lambda *_: validate)
    results = train(staged_config(), faces, tmp_path / "run", verbose=0)
    assert seen == [32, 32, 64, 64]
    assert results["val_nme"] == 8.0
    card = read_card(tmp_path / "run")
    assert (card["image_size"], card["epoch"], card["val_nme"]) == (64, 4, 8.0)


@pytest.mark.parametrize("steps", [pytest.param(4, marks=pytest.mark.slow), 5])
def test_a_run_cut_off_near_the_second_stage_ends_like_an_uninterrupted_one(steps, whole, faces, tmp_path, monkeypatch):
    """At the end of the first stage, and in the first epoch of the second."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        signal_after(patch, steps)
        with pytest.raises(Terminated):
            train(staged_config(), faces, run, verbose=0)
    assert progress_of(run) == divmod(steps, STEPS)
    train(staged_config(), faces, run, verbose=0)
    equal_runs(run, whole)
    assert read_card(run)["image_size"] == 64


@pytest.mark.slow
def test_stored_points_of_teachers_serve_every_side(faces, tmp_path):
    train(tiny_config(image_size=64), faces, tmp_path / "tough", verbose=0)
    taught = {"kind": "student", "method": "kd-loss", "tough": str(tmp_path / "tough"), "teacher_views": 2}
    for name, stages in (("whole", "none"), ("staged", "32:0.5")):
        train(tiny_config(image_size=64, epochs=2, stages=stages, **taught), faces, tmp_path / name, verbose=0)
        assert all(row["tough"] > 0 for row in rows_of(tmp_path / name))
        assert len(list((tmp_path / "teacher-views").iterdir())) == 1  # the same points for both


def frozen_layers(arch, size, stride):
    network = build_model(arch, 68, size)
    freeze(network, stride)
    return [layer.name for layer in network.layers if not layer.trainable]


def test_the_layers_up_to_the_last_map_at_a_stride():
    assert frozen_layers(FAN, MAPS_SIZE, 0) == []
    assert frozen_layers(FAN, MAPS_SIZE, 2) == ["image", "rescale"]
    assert frozen_layers(FAN, MAPS_SIZE, 4) == ["image", "rescale", "conv", "norm", "relu"]
    # The decoder has maps at an 8th again, and is trained.
    assert frozen_layers(FAN, MAPS_SIZE, 8)[5:] == ["pool0"]
    names = frozen_layers("efficientfan-lite0", 96, 8)
    assert names[-1] == "block5_expand_relu"
    # A decoder with skips takes maps from within the encoder, and is trained.
    assert frozen_layers("efficientnet-lite0-skips", 96, 8) == names
    assert frozen_layers("mobilenetv2", 66, 16)[-1] == "block_13_pad"  # sides of 33, 17, 9 and 5


def test_a_run_trains_all_layers_that_are_not_frozen(faces, tmp_path):
    start = build_model(FAN, 68, MAPS_SIZE)
    card = {"dataset": "300w", "arch": FAN, "scheme": faces.scheme.to_json(), "image_size": MAPS_SIZE, "box": "gt:1.25"}
    save_model(tmp_path / "start.keras", start, card)
    train(heatmap_config(weights=str(tmp_path / "start.keras"), frozen=4), faces, tmp_path / "run", verbose=0)
    trained, _ = load_model(tmp_path / "run")
    for layer, before in zip(trained.layers, start.layers, strict=True):
        if layer.weights:
            assert same(arrays(layer.weights), arrays(before.weights)) == (layer.name in ("conv", "norm")), layer.name
