"""`python -m asm`, and where it finds its shapes."""

import csv
import json

import numpy as np
import pytest

from asm import ShapeModel
from asm.__main__ import main
from asm.training_shapes import to_unit_crop
from kdloss.geometry import BoxPolicy, FaceCrop, landmark_box

BASE = np.array([[20.0, 20.0], [44.0, 21.0], [40.0, 45.0], [22.0, 40.0]])
SPLITS = ["train", "test", "train", "val", "train", "test", "train", "train", "val", "train"]


def shapes(count=10):
    return (BASE + np.random.default_rng(0).normal(size=(count, 4, 2))).astype(np.float32)


def write_prepared(folder, points, splits=SPLITS, **changes):
    folder.mkdir(exist_ok=True)
    scheme = {"name": "custom-4", "skeleton": [[0, 1, 2, 3, 0]]}
    manifest = {"scheme": scheme, "size": 64, "crop_scale": 2.0, "dataset": "toy"} | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    np.save(folder / "points.npy", points)
    with open(folder / "table.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "split"])
        writer.writerows([f"face {i}", split] for i, split in enumerate(splits))
    return folder


def error_of(capsys, *argv):
    """Runs a command that must fail; its one line."""
    assert main([str(arg) for arg in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_unit_coordinates_are_those_of_the_cropping_code():
    face = np.array([[30.0, 40.0], [95.0, 52.0], [88.0, 130.0], [41.0, 110.0]])
    prepared = FaceCrop.from_box(BoxPolicy("gt", 2.0).grow(landmark_box(face)), 256)
    network = FaceCrop.from_box(BoxPolicy("gt", 1.25).grow(landmark_box(face)), 80)
    found = to_unit_crop(prepared.points(face), 256, 2.0)
    np.testing.assert_allclose(found, network.unit_points(face), atol=1e-12)
    # By hand: the box is 90 high, so top and bottom lie at +-0.5 / 1.25.
    np.testing.assert_allclose([found[:, 1].min(), found[:, 1].max()], [-0.4, 0.4], atol=1e-12)


def test_fit_reads_the_training_rows_and_no_other(tmp_path, capsys):
    points = shapes()
    rows = [i for i, split in enumerate(SPLITS) if split == "train"]
    hidden = points.copy()
    hidden[[i for i in range(10) if i not in rows]] = np.nan  # the fit would refuse them if it saw them
    data = write_prepared(tmp_path / "data", hidden)
    assert main(["fit", "--data", str(data), "--modes", "2", "--out", str(tmp_path / "shape.npz")]) == 0
    assert "6 shapes of 4 points; 2 of 5 modes" in capsys.readouterr().out
    model = ShapeModel.load(tmp_path / "shape.npz")
    np.testing.assert_allclose(model.mean, to_unit_crop(points[rows], 64, 2.0).mean(axis=0), atol=1e-12)
    assert model.skeleton == ((0, 1, 2, 3, 0),)
    assert (model.metadata["scheme"], model.metadata["source"]) == ("custom-4", "toy")
    assert model.reference is None


def test_fit_plot_soften(tmp_path, capsys):
    faces, model, soft = tmp_path / "faces.npy", tmp_path / "shape.npz", tmp_path / "soft.npy"
    modes, curve = tmp_path / "modes.png", tmp_path / "curve.png"
    np.save(faces, shapes(50))
    assert main(["fit", "--data", str(faces), "--align", "--out", str(model)]) == 0
    fitted = ShapeModel.load(model)
    assert fitted.reference is not None
    assert fitted.explained >= 0.90 > fitted.explained - fitted.shares[-1]
    assert main(["plot", str(model), "--out", str(modes), "--curve", str(curve), "--rows", "1"]) == 0
    assert modes.read_bytes()[:4] == curve.read_bytes()[:4] == b"\x89PNG"
    assert main(["soften", str(model), "--points", str(faces), "--limit", "1.5", "--out", str(soft)]) == 0
    result = np.load(soft)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, fitted.soften(shapes(50), limit=1.5))
    assert "softened 50 shapes" in capsys.readouterr().out


def test_fit_says_what_is_wrong_with_a_prepared_folder(tmp_path, capsys):
    fit = ("fit", "--out", tmp_path / "shape.npz", "--data")
    data = tmp_path / "data"
    data.mkdir()
    assert "manifest.json: missing, so not a prepared folder" in error_of(capsys, *fit, data)
    (data / "manifest.json").write_text("{")
    assert "manifest.json: damaged" in error_of(capsys, *fit, data)
    (data / "manifest.json").write_text('{"size": 64}')
    assert "damaged (KeyError: 'crop_scale')" in error_of(capsys, *fit, data)
    write_prepared(data, shapes(), size=0)
    assert "expected size and crop_scale > 0" in error_of(capsys, *fit, data)
    write_prepared(data, shapes(9))
    assert "found shape (9, 4, 2), expected 10 shapes" in error_of(capsys, *fit, data)
    write_prepared(data, shapes(), splits=["test"] * 10)
    assert "none of its 10 faces is of split train" in error_of(capsys, *fit, data)
    write_prepared(data, shapes())
    (data / "table.csv").write_text("name\nface\n")
    assert "has no column split" in error_of(capsys, *fit, data)
    (data / "table.csv").unlink()
    assert "table.csv: unreadable" in error_of(capsys, *fit, data)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_bad_files_and_flags_end_in_one_line(tmp_path, capsys):
    faces, model, out = tmp_path / "faces.npy", tmp_path / "shape.npz", tmp_path / "out.npy"
    fit = ("fit", "--out", model, "--data")
    assert "no such file or folder" in error_of(capsys, *fit, tmp_path / "nothing")
    faces.write_bytes(b"\x93NUMPY\x01\x00")
    assert "not a readable .npy" in error_of(capsys, *fit, faces)
    np.save(faces, np.array([{}], dtype=object), allow_pickle=True)
    assert "not a readable .npy" in error_of(capsys, *fit, faces)
    np.save(faces, np.array(["a", "b"]))
    assert "not an array of numbers" in error_of(capsys, *fit, faces)
    np.save(faces, shapes())
    assert "variance: found 90.0" in error_of(capsys, *fit, faces, "--variance", "90")
    assert "modes: found 99" in error_of(capsys, *fit, faces, "--modes", "99")
    assert main(["fit", "--data", str(faces), "--modes", "2", "--out", str(model)]) == 0
    capsys.readouterr()
    soften = ("soften", model, "--points", faces, "--out")
    assert "expected a name that ends in .npy" in error_of(capsys, *soften, tmp_path / "out.npz")
    assert "limit: found -1.0" in error_of(capsys, *soften, out, "--limit", "-1")
    assert "rows: found 0" in error_of(capsys, "plot", model, "--out", tmp_path / "modes.png", "--rows", "0")
    assert "not a shape model" in error_of(capsys, "plot", faces, "--out", tmp_path / "modes.png")
    np.save(faces, shapes()[:, :3])
    assert "found 3 points a shape, expected 4" in error_of(capsys, *soften, out)
    (tmp_path / "file").touch()
    assert "cannot be written" in error_of(capsys, *fit, faces, "--modes", "1", "--out", tmp_path / "file" / "x.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.npy", "file", "shape.npz"]


def test_variance_and_modes_exclude_each_other(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--data", "x.npy", "--variance", "0.9", "--modes", "3", "--out", str(tmp_path / "s.npz")])
    assert stopped.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
