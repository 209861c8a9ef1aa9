"""`python -m asm`, and where it finds its shapes."""

import json

import numpy as np

from asm import ShapeModel
from asm.__main__ import load_training_shapes, main
from kdloss.data.geometry import BoxPolicy, FaceCrop, landmark_box

BASE = np.array([[20.0, 20.0], [44.0, 21.0], [40.0, 45.0], [22.0, 40.0]])


def shapes(count=10):
    return (BASE + np.random.default_rng(0).normal(size=(count, 4, 2))).astype(np.float32)


def error_of(capsys, *argv):
    """The error of a command that must fail."""
    assert main([str(arg) for arg in argv]) == 2
    return capsys.readouterr().err


def test_a_prepared_folder_gives_its_training_faces_as_networks_see_them(random_faces):
    found, metadata = load_training_shapes(random_faces.path)
    assert found.dtype == np.float64
    policy, faces = BoxPolicy("gt", 1.25), random_faces.source_points[random_faces.indices("train")]
    expected = [FaceCrop.from_box(policy.grow(landmark_box(face)), 80).unit_points(face) for face in faces]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    skeleton = json.dumps(random_faces.scheme.skeleton)
    unit = "gt x1.25 crop, [-0.5, 0.5]"
    assert metadata == {"scheme": "29", "skeleton": skeleton, "unit": unit, "source": "cofw"}


def test_fit_and_plot(tmp_path):
    faces, model, modes = tmp_path / "faces.npy", tmp_path / "shape.npz", tmp_path / "modes.png"
    np.save(faces, shapes(50))
    assert main(["fit", "--points", str(faces), "--align", "--out", str(model)]) == 0
    fitted = ShapeModel.load(model)
    assert fitted.reference is not None
    assert fitted.explained >= 0.90 > fitted.explained - fitted.shares[-1]
    assert main(["plot", str(model), "--out", str(modes)]) == 0
    assert modes.read_bytes()[:4] == b"\x89PNG"


def test_bad_files_and_flags_end_in_one_line(tmp_path, capsys):
    faces, model = tmp_path / "faces.npy", tmp_path / "shape.npz"
    fit = ("fit", "--out", model, "--data")
    assert "no manifest.json in it" in error_of(capsys, *fit, tmp_path)
    np.save(faces, np.array([{}], dtype=object), allow_pickle=True)
    assert "not a readable .npy" in error_of(capsys, *fit, faces)
    np.save(faces, shapes())
    assert "variance: found 90.0" in error_of(capsys, *fit, faces, "--variance", "90")
    assert "not a shape model" in error_of(capsys, "plot", faces, "--out", tmp_path / "modes.png")
    (tmp_path / "file").touch()
    assert "cannot be written" in error_of(capsys, *fit, faces, "--modes", "1", "--out", tmp_path / "file" / "x.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.npy", "file"]
