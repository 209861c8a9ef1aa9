"""Layers that keep their first weights."""

from kdloss.models import build_model
from kdloss.models.checkpoint import load_model, save_model
from kdloss.training.fit import train
from kdloss.training.freezing import freeze
from tests.training.tiny_chain import FAN, MAPS_SIZE, arrays, heatmap_config, same


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
