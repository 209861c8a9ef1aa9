"""The authors' own student files, as the legacy Keras writes them: same points, one clear line for each wrong file."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from kdloss.data.geometry import from_unit
from kdloss.data.schemes import SCHEMES
from kdloss.errors import CheckpointError
from kdloss.inference.readers import find_model, load_reader
from kdloss.models import build_model
from kdloss.models.locate import is_published_student
from kdloss.models.published_student import load_published_student, published_card
from kdloss.models.regressors import HEAD

# A process of its own, because a process holds one Keras. The weights are drawn such that signals neither vanish nor
# blow up in any layer. A network that mixes up two of them gives other points.
WRITER = """
import os
import sys
import numpy as np
import tf_keras as keras

folder = sys.argv[1]
images = np.load(folder + "/images.npy").astype("float32") / 255

def randomise(model):
    rng = np.random.default_rng(3)
    draws = {"gamma": (0.8, 1.3), "beta": (-0.3, 0.3), "moving_mean": (-0.2, 0.2), "moving_variance": (0.5, 1.5)}
    for weight in model.weights:
        kind = weight.name.split("/")[-1].split(":")[0]
        shape = tuple(weight.shape)
        if "O_L" in weight.name:
            value = rng.normal(0, 0.0005, shape) if kind == "kernel" else rng.uniform(-0.4, 0.4, shape)
        elif kind in draws:
            value = rng.uniform(*draws[kind], shape)
        else:
            fan_in = np.prod(shape[:2] if "depthwise" in kind else shape[:3])
            value = rng.normal(0, np.sqrt(1.5 / fan_in), shape)
        weight.assign(value)

def head(points):
    return keras.layers.Dense(2 * points, name="O_L")

# As the authors build it: the classifier's model, cut after its pooling.
classifier = keras.applications.MobileNetV2(input_shape=(224, 224, 3), alpha=1.0, weights=None)
pooled = classifier.layers[-2].output
flat = keras.Model(classifier.input, head(5)(pooled))
randomise(flat)
flat.compile(keras.optimizers.Adam(), "mse")
flat.optimizer.build(flat.trainable_variables)  # its state is in the file too, under the same names
flat.save(folder + "/whole.h5")
flat.save_weights(folder + "/weights.h5")
np.save(folder + "/flat.npy", flat(images, training=False))

# A trunk nested as a model, 68 points, and a layer whose code leaves a mark whenever it runs.
trunk = keras.Model(classifier.input, pooled, name=classifier.name)
inputs = keras.Input((224, 224, 3))
mark = keras.layers.Lambda(lambda x, path=folder + "/ran": (open(path, "w").close(), x * 1.0)[1])
nested = keras.Model(inputs, head(68)(trunk(mark(inputs))))
randomise(nested)
nested.save(folder + "/nested.h5")
np.save(folder + "/nested.npy", nested(images, training=False))
os.remove(folder + "/ran")
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder of files that the legacy package wrote, with its outputs for ``images.npy``."""
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("published")
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)
    np.save(folder / "images.npy", images.repeat(8, axis=1).repeat(8, axis=2))
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", WRITER, folder], env=quiet, check=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("file", "outputs"), [("whole", "flat"), ("weights", "flat"), ("nested", "nested")])
def test_points_are_those_of_the_legacy_model(file, outputs, published):
    labels = np.load(published / f"{outputs}.npy")
    expected = (112 - 224 * labels.astype(np.float64)).reshape(3, -1, 2)
    assert expected.std(axis=0).min() > 0.01, "every output depends on the image"
    path = published / f"{file}.h5"
    assert is_published_student(path)
    model = load_published_student(path)
    assert model.output_shape == (None, *expected.shape[1:])
    images = np.load(published / "images.npy")
    points = from_unit(keras.ops.convert_to_numpy(model(images)).astype(np.float64), 224)
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-4)
    assert not (published / "ran").exists(), "code of the file was executed"
    if file == "nested":
        assert model.count_params() == 2_432_200  # the authors' count for 68 points


built_once = functools.cache(build_model)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file of weights for five points, in the layout of the legacy Keras."""
    path = tmp_path_factory.mktemp("written") / "weights.h5"
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for layer in built_once("mobilenetv2", 5, 224).layers:
            name = "O_L" if layer.name == HEAD else layer.name
            for weight in layer.weights:
                kind = "depthwise_kernel" if isinstance(layer, keras.layers.DepthwiseConv2D) else weight.name
                file[f"{name}/{name}/{kind}:0"] = rng.uniform(0.5, 1.5, weight.shape).astype("float32")
    return path


@pytest.fixture
def changed(written, tmp_path, monkeypatch):
    """``changed(change)``: a copy of a good file of weights after ``change(file)``. No network is built afresh."""
    monkeypatch.setattr("kdloss.models.build.build_model", built_once)

    def copy(change):
        path = Path(shutil.copy(written, tmp_path / "changed.h5"))
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return copy


def test_weights_come_by_name_and_the_last_layer_takes_up_the_convention_of_the_labels(changed):
    """Scopes that a graph of TensorFlow 1 has renumbered are found too."""
    path = changed(lambda file: file.move("Conv1/Conv1", "Conv1/Conv1_2"))
    model = load_published_student(path)
    assert model.input_shape == (None, 224, 224, 3)
    card = published_card(path)
    assert (card["image_size"], card["box"], len(card["scheme"]["names"])) == (224, "paper", 5)
    assert find_model(path).card == load_reader(path).card == card
    with pytest.raises(CheckpointError, match="reads 5 points, expected the 68 of scheme 68"):
        find_model(path, scheme=SCHEMES["68"])
    kernel, bias = model.get_layer(HEAD).get_weights()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(model.get_layer("Conv1").kernel, file["Conv1/Conv1_2/kernel:0"])
        np.testing.assert_array_equal(kernel, -file["O_L/O_L/kernel:0"][()])
        np.testing.assert_allclose(bias, 0.5 / 224 - file["O_L/O_L/bias:0"][()], rtol=1e-6)


def replace(name, value):
    def change(file):
        if name in file:
            del file[name]
        file[name] = value

    return change


def rename_head(file):
    file.move("O_L/O_L", "predictions/predictions")
    del file["O_L"]


def by_two_links(file):
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
    file["model_weights"] = h5py.SoftLink("/elsewhere/model_weights")


BN = "block_3_expand_BN/block_3_expand_BN"

WRONG = {
    "no O_L": (rename_head, r"has no layer O_L \(found: .*\).*MobileNetV2"),
    "NaN": (replace(f"{BN}/gamma:0", np.full(144, np.nan, "f")), "layer block_3_expand_BN: gamma holds NaN"),
    "one more": (replace("extra/kernel:0", [1.0]), "layer 'extra/.*' is not expected"),
    "linked weights inside": (by_two_links, "'/elsewhere' is a link to 'other.h5:/'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_networks(case, changed, written):
    """The file to which a link leads is there, and good: the link is not followed."""
    change, message = WRONG[case]
    path = changed(change)
    shutil.copy(written, path.parent / "other.h5")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_published_student(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_impossible_head_makes_no_network(changed, monkeypatch):
    def huge(file):
        del file["O_L/O_L/kernel:0"]
        file.create_dataset("O_L/O_L/kernel:0", (1280, 2_000_000), "f", chunks=(1, 10))  # no chunk is written

    path = changed(huge)
    monkeypatch.setattr("kdloss.models.build.build_model", lambda *args: pytest.fail("a network was built"))
    with pytest.raises(CheckpointError, match="is not stored as it is"):
        load_published_student(path)


def test_damaged_and_foreign_files(written, tmp_path):
    (tmp_path / "cut.h5").write_bytes(written.read_bytes()[:-4000])
    (tmp_path / "text.h5").write_text("no weights")
    (tmp_path / "folder.h5").mkdir()
    shutil.copy(written, tmp_path / "weights.keras")
    for name in ("cut.h5", "text.h5", "folder.h5", "absent.h5"):
        message = "no such file" if name == "absent.h5" else "damaged"
        with pytest.raises(CheckpointError, match=f"{name}: {message}"):
            load_published_student(tmp_path / name)
    assert is_published_student(written)
    for name in ("weights.keras", "text.h5", "folder.h5", "absent.h5"):
        assert not is_published_student(tmp_path / name), name
