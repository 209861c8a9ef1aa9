"""Rendered faces, the run folder of a tiny student that was trained on them, and its exported files."""

import functools

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy, FaceCrop
from kdloss.deploy.litert import export_litert
from kdloss.deploy.onnx import export_onnx
from kdloss.deploy.savedmodel import export_savedmodel
from kdloss.models.checkpoint import load_model
from kdloss.training.fit import train
from tests.training.tiny_chain import SIZE, tiny_config, use_tiny_networks
from tests.training.tiny_chain import faces as faces
from tests.training.tiny_chain import tiny_networks as tiny_networks

BOX = BoxPolicy.parse("gt:1.25")
# Format -> its writer, and the name of its files.
EXPORTS = {
    "litert": (export_litert, "a.tflite"),
    "onnx": (export_onnx, "a.onnx"),
    "savedmodel": (export_savedmodel, "a"),
}


def crops_of(faces, size):
    """(26, size, size, 3) uint8: every face in its own box."""
    boxes = faces.boxes(BOX)
    return np.stack([FaceCrop.from_box(box, size).image(face) for box, face in zip(boxes, faces.faces, strict=True)])


def export(form, model, folder, precision="fp32", crops=None, card=None):
    """The file of a model in a new folder; ``crops`` decide the scales of 8 bits."""
    write, name = EXPORTS[form]
    folder.mkdir()
    given = {"representative": iter(np.split(crops, 2))} if precision == "int8" else {}
    write(model, folder / name, card=card, **({} if form == "savedmodel" else {"precision": precision} | given))
    assert [file.name for file in folder.iterdir()] == [name]
    return folder / name


@pytest.fixture(scope="session")
def run(faces, tmp_path_factory):
    """The run folder of a student, ``runs/student``."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        train(tiny_config("student", epochs=3), faces, folder, verbose=0)
    return folder


@pytest.fixture(scope="session")
def student(run):
    """The student and its card."""
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        return load_model(run)


@pytest.fixture(scope="session")
def exported(student, faces, tmp_path_factory):
    """``exported(form, precision="fp32", card=False)``: a file of the student; each is written once."""
    place, (model, facts) = tmp_path_factory.mktemp("exported"), student

    @functools.cache
    def file(form, precision, card):
        given = facts | {"source_sha256": "ab"} if card else None
        crops = crops_of(faces, SIZE) if precision == "int8" else None
        return export(form, model, place / f"{form}-{precision}-{card}", precision, crops, given)

    return lambda form, precision="fp32", card=False: file(form, precision, card)
