"""Whole runs with few labels: faces without labels in each batch, folds, placebos, and the same numbers in pieces."""

import json

import keras
import numpy as np
import pytest

from kdloss.data.batches import MixedBatches
from kdloss.errors import Terminated
from kdloss.models.checkpoint import load_model
from kdloss.training import fit
from kdloss.training.fit import train
from tests.training.run_folders import equal_runs, progress_of, rows_of, signal_after, state_of
from tests.training.tiny_chain import student_config, tiny_config


def in_pieces(config, faces, folder, monkeypatch, steps=3):
    """Trains once as a whole, and once with a break after some steps; returns the folder of the whole run."""
    with monkeypatch.context() as patch:
        signal_after(patch, steps)
        with pytest.raises(Terminated):
            train(config, faces, folder / "pieces", verbose=0)
    assert progress_of(folder / "pieces") == divmod(steps, 17 // config.batch_size)
    train(config, faces, folder / "pieces", verbose=0)
    train(config, faces, folder / "whole", verbose=0)
    equal_runs(folder / "pieces", folder / "whole")
    return folder / "whole"


def test_faces_without_labels_with_stored_teachers(taught, faces, tmp_path, monkeypatch):
    mixed = []

    class Watched(MixedBatches):
        def __init__(self, sources, steps):
            mixed.append(sources)
            super().__init__(sources, steps)

    monkeypatch.setattr(fit, "MixedBatches", Watched)
    how = {"label_share": 0.3, "unlabelled": "rest", "pseudo_keep": 0.75, "batch_size": 8, "unlabelled_share": 0.5}
    config = student_config(taught, teacher_views=2, tolerant=None, **how)
    run = in_pieces(config, faces, tmp_path, monkeypatch)
    results = json.loads((run / "finished.json").read_text())
    assert (results["train_faces"], results["unlabelled_faces"], results["val_faces"]) == (5, 9, 3)
    assert {"main", "tough", "val_nme"} < set(rows_of(run)[0])
    labelled, others = mixed[-1]
    assert not set(labelled.rows) & set(others.rows)
    # The teacher's points on the views of each source are its own.
    teacher, _ = load_model(taught / "tough")
    for source in (labelled, others):
        assert source.batch_size == 4
        images, points = source.batch(1, 0)
        said = keras.ops.convert_to_numpy(teacher(images.astype(np.float32)))
        np.testing.assert_allclose(points["tough"], said, atol=1e-5)
    # Labels of faces with labels are their own, those of the others the teacher's.
    np.testing.assert_array_equal(labelled.targets["hard"], faces.points)
    assert np.abs(others.targets["hard"][others.rows] - faces.points[others.rows]).min(axis=(1, 2)).max() > 0


def test_faces_of_other_points_serve_without_labels(taught, faces, make_prepared, tmp_path):
    """Their own points are not read, and no more of them than a batch needs are necessary."""
    others = make_prepared("cofw", train=5, test=2, size=48)
    config = tiny_config("student", unlabelled=str(others.path), pseudo_teacher=str(taught / "tough"), label_share=0.3)
    results = train(config, faces, tmp_path / "run", verbose=0)
    assert (results["train_faces"], results["unlabelled_faces"]) == (5, 5)
    assert np.isfinite(rows_of(tmp_path / "run")[0]["l1_hard"])
    assert len(list((tmp_path / "teacher-views").glob("labels-*.npy"))) == 1


def test_the_average_of_the_placebo_is_saved_and_goes_on(faces, tmp_path, monkeypatch):
    config = tiny_config("student", method="kd-loss", placebo="average", epochs=2)
    run = in_pieces(config, faces, tmp_path, monkeypatch)
    assert {"main", "tough", "tolerant"} < set(rows_of(run)[0])
    plain = tiny_config("student", epochs=2)
    train(plain, faces, tmp_path / "plain", verbose=0)
    assert len(state_of(run)) > len(state_of(tmp_path / "plain"))
