"""Views that the device draws: the host's views, but for rounding."""

import keras
import numpy as np
import pytest

from kdloss.data import device_views
from kdloss.data.augmentation import AugmentConfig, augmentation
from kdloss.data.batches import MixedBatches, ViewBatches, training_data
from kdloss.data.device_views import DeviceViews, placed
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError
from tests.data.dots import dotted_faces, find_dots

MOVES = {"rotation": 30, "scale": 0.15, "shift": 0.06, "mirror": 0.5}
ALL = {"grey": 0.4, "blur": 0.6, "noise": 0.6, "occlusion": 0.8}
AUGMENTS = {"none": AugmentConfig(), "moves": AugmentConfig(**MOVES), "all": AugmentConfig(colour=1.0, **ALL, **MOVES)}
AUGMENTS |= {name: AugmentConfig(**{name: 1.0}) for name in ("colour", "grey", "blur", "noise", "occlusion")}
STRONG = augmentation("strong")


def views_of(prepared, rows=None, **options):
    rows = np.arange(len(prepared)) if rows is None else rows
    return ViewBatches(prepared, rows, **{"size": 24, "batch_size": 4} | options)


def compared(batches, place=(0, 0)):
    """The images and points of a `MixedBatches` as the host draws them, and as the device does: two dicts."""
    images, arrays = batches.batch(*place)
    numbered = batches.as_numbers()
    numbers, found = numbered.batch(*place)
    views = DeviceViews(numbered)
    shown = {name: keras.ops.convert_to_numpy(views(found.get(name, numbers), name=name)) for name in views.sides}
    return {"": images} | arrays, found | shown


def assert_alike(host, device, most=2, mean=0.05):
    """``most``, ``mean``: differences allowed, in grey levels; all but images is the same to the bit."""
    assert host.keys() == device.keys()
    for name, array in host.items():
        if array.dtype == np.uint8:
            difference = np.abs(array.astype(float) - device[name])
            assert difference.max() <= most, name
            assert difference.mean() <= mean, name
            np.testing.assert_array_equal(device[name], device[name].clip(0, 255).round())
        else:
            np.testing.assert_array_equal(array, device[name])


@pytest.mark.parametrize("name", AUGMENTS)
def test_the_device_draws_what_the_host_draws(random_faces, name):
    """These faces are noise, in which each error of place or order shows most."""
    batches = MixedBatches([views_of(random_faces, size=40, batch_size=12, augment=AUGMENTS[name], seed=1)])
    for epoch in range(2):
        assert_alike(*compared(batches, (epoch, 0)))


@pytest.mark.parametrize("box", ["gt:1.25", "dataset:1.4", "paper"])
@pytest.mark.parametrize("side", [40, 14, 7])
def test_views_of_less_than_half_the_pixels_are_averages_too(random_faces, box, side):
    policy = BoxPolicy.parse(box)
    batches = MixedBatches([views_of(random_faces, size=side, batch_size=13, augment=STRONG, policy=policy)])
    assert_alike(*compared(batches))


def test_dots_stand_where_the_host_shows_them_and_points_are_the_same(tmp_path):
    prepared, _ = dotted_faces(tmp_path, "cofw")
    how = {"size": 80, "batch_size": 29, "augment": AUGMENTS["moves"], "policy": BoxPolicy.parse("gt:1.8")}
    host, device = compared(MixedBatches([views_of(prepared, **how)]))
    np.testing.assert_array_equal(host["hard"], device["hard"])
    for image, drawn in zip(host[""], device[""], strict=True):
        np.testing.assert_allclose(find_dots(drawn), find_dots(image), atol=0.02)


def test_recuts_and_faces_of_several_sources_are_drawn_too(random_faces, make_prepared):
    """The second source stores its faces at another size."""
    other = make_prepared("cofw", train=10, test=1, size=64, seed=5)
    how = {"augment": AUGMENTS["all"], "recuts": {"seen": (16, BoxPolicy.parse("paper")), "large": (33, BoxPolicy())}}
    sources = [views_of(random_faces, np.arange(2, 8), batch_size=2, **how), views_of(other, batch_size=3, **how)]
    batches = MixedBatches(sources, steps=4)
    for place in ((0, 0), (1, 2)):
        assert_alike(*compared(batches, place))


def test_numbers_come_alike_from_any_step_on_through_every_kind_of_data_set(random_faces):
    views = views_of(random_faces, augment=STRONG, recuts={"seen": (16, BoxPolicy.parse("paper"))})
    batches = MixedBatches([views], steps=3).as_numbers()
    data = training_data(batches, 4, 7)
    for number, (numbers, arrays) in zip(range(4, 7), data, strict=False):
        expected, others = batches.batch(*divmod(number, 3))
        np.testing.assert_array_equal(numbers, expected)
        assert arrays.keys() == others.keys() == {"hard", "seen", "seen frame"}
        assert all(np.array_equal(arrays[name], others[name]) for name in others)


def test_a_cpu_draws_on_the_host_unless_asked_and_several_devices_always(random_faces, monkeypatch):
    batches = MixedBatches([views_of(random_faces)])
    for where, devices in (("auto", 1), ("host", 1), ("auto", 2)):
        assert placed(batches, where, devices) == (batches, None)
    monkeypatch.setattr(device_views, "accelerators", lambda: ["GPU"])
    assert placed(batches, "auto", 2) == (batches, None)
    for where in ("auto", "device"):
        numbered, views = placed(batches, where)
        assert numbered.batch(0, 0)[0].shape == (4, device_views.NUMBERS)
        assert views.sides == {"": 24}


class ResourceExhaustedError(Exception):
    """What TensorFlow raises; JAX raises a RuntimeError that begins with RESOURCE_EXHAUSTED."""


@pytest.mark.parametrize(
    "error", [None, ResourceExhaustedError("OOM"), RuntimeError("RESOURCE_EXHAUSTED: Out of memory")]
)
def test_faces_that_the_device_has_no_room_for(random_faces, monkeypatch, capsys, error):
    batches = MixedBatches([views_of(random_faces)])
    monkeypatch.setattr(device_views, "accelerators", lambda: ["GPU"])
    if error:

        def exhausted(_):
            raise error

        monkeypatch.setattr(device_views, "DeviceViews", exhausted)
    else:
        monkeypatch.setattr(device_views, "device_memory", lambda: 2 * 13 * 3 * 50**2 - 1)
    with pytest.raises(
        ConfigError, match=r"^--views device: .* has no room for 9.7e-05 GB of faces: give --views host$"
    ):
        placed(batches, "device")
    assert placed(batches, "auto") == (batches, None)
    assert "--views auto" in capsys.readouterr().out


def test_the_layer_keeps_faces_out_of_training_and_of_16_bits(random_faces):
    batches = MixedBatches([views_of(random_faces, augment=STRONG)]).as_numbers()
    numbers, _ = batches.batch(0, 0)
    expected = keras.ops.convert_to_numpy(DeviceViews(batches)(numbers))
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        views = DeviceViews(batches)
        # Faces and noise are arguments of the compiled step; as constants in it they would be compiled too.
        assert [variable.dtype for variable in views.variables] == ["uint8", "float32"]
        assert not views.trainable_variables
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(views(numbers)), expected)
    finally:
        keras.config.set_dtype_policy(policy)
