"""Whole systems in small: trainings, evaluation and report, as ``python -m kdloss.reproduce`` leaves them."""

import dataclasses
import html
import json
import re
import shutil

import pytest

from kdloss import reproduce
from kdloss.experiments import study
from kdloss.experiments.recipes import EFFICIENTFAN, KD_LOSS, Recipe
from kdloss.experiments.systems import CONTINUED, SYSTEMS
from tests.training.tiny_chain import ARCH, BATCH, DEEP, FAN, MAPS_SIZE, SIZE, use_tiny_networks

SHORT = {"batch_size": BATCH, "augment": "paper", "loss": "l1", "epochs": 1}
SMALL = Recipe(
    about="seconds; shows that the chain holds together",
    common=SHORT | {"arch": ARCH, "image_size": SIZE},
    teacher={},
    student={},
    distilled={"teacher_views": 1, "kd_preset": "dev2020"},
    warm={"tolerant": {"learning_rate": 5e-4}, "student": {"learning_rate": 5e-4}},
)
SMALL_MAPS = Recipe(
    about="seconds; shows that the chain holds together",
    common=SHORT | {"image_size": MAPS_SIZE, "heatmap_loss": "cross-entropy", "heatmap_weight": 0.05},
    teacher={"arch": FAN},
    student={"arch": FAN},
    distilled={"kd_preset": "dev2020"},
    warm={"tolerant": {"learning_rate": 5e-4}},
    regressor={"teacher": {"arch": DEEP}, "student": {"arch": DEEP}},
)
SMALL_STUDY = study.StudyRecipe(
    about="seconds; shows that the study holds together",
    teacher=SHORT | {"arch": ARCH, "image_size": SIZE, "batch_size": 2},
    tolerant={"learning_rate": 5e-4},
    student=SHORT | {"arch": ARCH, "image_size": SIZE, "batch_size": 2},
    seeds=1,
    shares=(0.2,),
    rows=("l1", "pseudo", "kd"),
)
RUNS = ["none", "tough", "tolerant", CONTINUED, "kd-tough", "kd-tolerant", "kd-both"]


@pytest.fixture(scope="module")
def reproduced(data, tmp_path_factory):
    """What ``python -m kdloss.reproduce --recipe smoke`` leaves, with a recipe of one epoch a network."""
    root = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        patch.setitem(KD_LOSS, "smoke", SMALL)
        patch.setenv("KDLOSS_DATA", str(data))
        patch.setenv("KDLOSS_RUNS", str(root))
        assert reproduce.main(["--dataset", "300w", "--recipe", "smoke"]) == 0
    return root / "reproduce-300w-smoke"


def test_the_report_and_the_results_say_the_same(reproduced):
    text = (reproduced / "report.html").read_text(encoding="utf-8")
    assert text.count("<img") >= 4
    for heading in ("Results", "Cumulative error", "Faces", "Shape model", "Training", "Protocol"):
        assert f">{heading}</h2>" in text
    results, rows = json.loads((reproduced / "results.json").read_text()), {row[0]: row[1:] for row in rows_of(text)}
    facts = {"images": "SYNTHETIC", "system": "KD-Loss"}
    facts["command"] = "python -m kdloss.reproduce --dataset 300w --recipe smoke"
    assert results["facts"].items() >= facts.items()
    assert results["protocol"]["box"] == "gt:1.25"
    assert differences_of(results) == [(name, CONTINUED) for name in ("kd-tough", "kd-tolerant", "kd-both")]
    assert list(results["runs"]) == RUNS
    assert all(rows[title] == values for title, *values in results["tables"]["results"]["rows"])
    assert "mean training shape" in rows
    for name, run in results["runs"].items():
        row = rows[run["title"]]
        assert f"{run['subsets']['full']['nme_interocular']:.2f}" in row
        # How it was measured.
        assert row[-1].startswith("SYNTHETIC 300-W test ")
        assert row[-1].endswith(run["protocol"]["checkpoint"]["sha256"][:8])
        folder = reproduced / name / "evaluation-300w"
        assert sorted(file.name for file in folder.iterdir()) == ["ced.png", "metrics.json", "predictions.npz"]
        assert json.loads((folder / "metrics.json").read_text())["subsets"] == run["subsets"]
    # How each network came to be is in its row.
    for name, origin in (("none", "scratch"), ("kd-both", "from none"), ("tolerant", "from tough")):
        assert rows[results["runs"][name]["title"]][-5:-1] == [ARCH, str(SIZE), origin, "1"]


def rows_of(text):
    """The cells of each row of a page's tables behind the fold, as texts."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", text.partition("<details>")[2], re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in reversed(cells) if row]


def differences_of(results):
    """What was compared: (run, control), by the names of the runs."""
    names = {run["title"]: name for name, run in results["runs"].items()}
    for row in results["differences"]:
        assert row["low"] <= row["difference"] <= row["high"]
        runs = [results["runs"][names[row[key]]] for key in ("title", "against")]
        errors = [run["subsets"]["full"]["nme_interocular"] for run in runs]
        assert row["difference"] == pytest.approx(errors[0] - errors[1], abs=1e-6)
    return [(names[row["title"]], names[row["against"]]) for row in results["differences"]]


@pytest.mark.slow
def test_the_same_command_goes_on_to_the_same_numbers(reproduced, data, monkeypatch, capsys):
    monkeypatch.setitem(KD_LOSS, "smoke", SMALL)
    monkeypatch.setenv("KDLOSS_DATA", str(data))

    def again(*flags, status=0):
        assert reproduce.main(["--recipe", "smoke", "--out", str(reproduced), *flags]) == status
        return capsys.readouterr().out

    before = (reproduced / "results.json").read_text()
    trained = {name: (reproduced / name / "best.keras").stat().st_mtime_ns for name in RUNS}
    text = again()
    assert text.count("done before") == len(RUNS)
    assert f"report: {reproduced / 'report.html'}" in text
    assert {name: (reproduced / name / "best.keras").stat().st_mtime_ns for name in RUNS} == trained
    assert (reproduced / "results.json").read_text() == before
    shutil.rmtree(reproduced / "kd-both")
    # The teachers' points are stored already, and an epoch that was begun is ended, however short the time.
    text = again("--minutes", "0.001")
    assert text.count("done before") == len(RUNS) - 1
    assert f"[7/7] student, KD-Loss (both): {ARCH}, 1 epoch" in text
    texts = (before, (reproduced / "results.json").read_text())
    runs = [json.loads(text)["runs"]["kd-both"] for text in texts]
    assert runs[1]["subsets"] == runs[0]["subsets"]
    assert runs[1]["training"]["val_nme"] == runs[0]["training"]["val_nme"]
    shutil.rmtree(reproduced / "kd-both")
    shutil.rmtree(reproduced / "kd-tolerant")
    assert "kd-both: is the next run: run the same command" in again("--minutes", "0.001", status=75)
    assert (reproduced / "kd-tolerant" / "finished.json").is_file()
    shutil.rmtree(reproduced / "teacher-views")
    text = again("--minutes", "0.00001", status=75)
    assert "on 0 of 1 rounds of views are stored: run the same command again to go on" in text
    assert "report:" in again()


@pytest.mark.slow
def test_a_system_of_heatmap_networks(data, tmp_path, monkeypatch):
    kept = ["none", "teacher", "fa-ps", "tolerant", "regressor-none", "regressor-kd-loss+fa-ps"]
    use_tiny_networks(monkeypatch)
    monkeypatch.setitem(EFFICIENTFAN, "smoke", SMALL_MAPS)
    monkeypatch.setenv("KDLOSS_DATA", str(data))
    whole = SYSTEMS["crossed"]

    def some(recipe_, ablation):
        return [run for run in whole.runs(recipe_, ablation) if run.name in kept]

    monkeypatch.setitem(SYSTEMS, "crossed", dataclasses.replace(whole, runs=some))
    flags = ["--dataset", "300w", "--recipe", "smoke", "--seed", "1", "--out", str(tmp_path / "chain")]
    assert reproduce.main(["--system", "crossed", *flags]) == 0
    results = json.loads((tmp_path / "chain" / "results.json").read_text())
    assert differences_of(results) == [("fa-ps", "none"), ("regressor-kd-loss+fa-ps", "regressor-none")]
    command = "python -m kdloss.reproduce --dataset 300w --system crossed --recipe smoke"
    assert results["facts"].items() >= {"command": command, "system": "KD-Loss x EfficientFAN"}.items()
    text = (tmp_path / "chain" / "report.html").read_text(encoding="utf-8")
    assert "<h1>KD-Loss x EfficientFAN on 300-W, recipe smoke</h1>" in text
    assert ">Shape model</h2>" in text  # of the tolerant teacher
    runs, rows = results["runs"], {row[0]: row[1:] for row in rows_of(text)}
    assert list(runs) == kept
    assert rows[runs["regressor-none"]["title"]][-5:-1] == [DEEP, str(MAPS_SIZE), "scratch", "1"]
    assert rows[runs["tolerant"]["title"]][-5:-1] == [FAN, str(MAPS_SIZE), "from teacher", "1"]
    assert runs["fa-ps"]["config"]["seed"] == 1


@pytest.mark.slow
def test_a_study_is_stopped_continued_and_reported(data, workplace, monkeypatch, capsys):
    use_tiny_networks(monkeypatch)
    monkeypatch.setitem(study.RECIPES, "smoke", SMALL_STUDY)
    monkeypatch.setenv("KDLOSS_DATA", str(data))
    command, folder = (
        ["--study", "distillation", "--recipe", "smoke"],
        workplace / "runs/reproduce-300w-distillation-smoke",
    )
    assert reproduce.main([*command, "--minutes", "0.00001"]) == 75
    said = capsys.readouterr().out
    assert "5 of 5 jobs are left: run the same command again to go on" in said
    assert "No distilled student and its control are finished yet." in said
    assert json.loads((folder / "results.json").read_text())["rows"] == []
    assert reproduce.main(command) == 0
    said = capsys.readouterr().out
    assert "[5 to go] 20-l1-seed0: tiny, 1 epoch\n[4 to go] 20-tough: tiny, 1 epoch\n" in said
    results = json.loads((folder / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    assert [*rows] == ["20-kd-seed0", "20-l1-seed0", "20-pseudo-seed0", "20-tolerant", "20-tough"]
    faces = [(row["labels"], row["unlabelled"]) for row in rows.values()]
    assert faces == [(3, 0), (3, 0), (3, 14), (3, 0), (3, 0)]
    assert all(len(row["errors"]) == 6 for row in rows.values())
    assert results["verdict"]["control"] == "L1"
    assert results["missing"] == []
    # Nothing is left to train, and nothing to be lost.
    assert reproduce.main(command) == 0
    assert "to go]" not in capsys.readouterr().out
    assert json.loads((folder / "results.json").read_text())["rows"] == results["rows"]
