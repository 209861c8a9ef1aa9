"""Whole runs of heatmap networks with feature distillation: what is trained, what is saved, and what is refused."""

import zipfile

import pytest

from kdloss.models import build_model
from kdloss.models.checkpoint import load_model
from kdloss.training.fit import train
from tests.training.run_folders import rows_of
from tests.training.tiny_chain import FAN, MAPS_SIZE, heatmap_config

TERMS = {"main", "tough", "heatmap", "fa", "ps"}


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory):
    """A folder of runs of the heatmap network: ``teacher``, and ``student``, two epochs with all methods and EMA."""
    folder = tmp_path_factory.mktemp("heatmap-runs")
    train(heatmap_config("tough"), faces, folder / "teacher", verbose=0)
    train(student_of(folder), faces, folder / "student", verbose=0)
    return folder


def student_of(folder, **changes):
    teacher = str(folder / "teacher" / "best.keras")
    fields = {"method": "kd-loss+fa-ps", "tough": teacher, "feature_teacher": teacher, "epochs": 2, "ema": 0.9}
    return heatmap_config(**fields | {"fa_weight": 0.5, "ps_weight": 0.5} | changes)


def test_every_term_is_logged_and_they_sum_to_the_loss(folder):
    assert {"l1_hard", "heatmap"} < set(rows_of(folder / "teacher")[0])
    rows = rows_of(folder / "student")
    assert len(rows) == 2
    for row in rows:
        assert set(row) == {"epoch", "loss", *TERMS, "val_nme", "learning_rate", "seconds"}
        assert row["loss"] == pytest.approx(sum(row[term] for term in TERMS), rel=1e-5)
        assert all(row[term] > 0 for term in TERMS - {"tough"})


def test_lifting_layers_are_not_saved_with_the_student(folder):
    with zipfile.ZipFile(folder / "student" / "best.keras") as archive:
        held = [archive.read(name) for name in ("config.json", "model.weights.h5")]
    for content in held:
        assert b"decoder_1" in content
        assert b"lift" not in content
        assert b"feature_distillation" not in content
    model, card = load_model(folder / "student")
    assert (card["arch"], card["method"]) == (FAN, "kd-loss+fa-ps")
    assert model.count_params() == build_model(FAN, 68, MAPS_SIZE).count_params()
