"""What a study says of made-up rows whose answer is known."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from kdloss.experiments.report import best_student, verdict_of, verdict_text
from kdloss.experiments.study import RECIPES, ROWS_OF_STUDY, read_rows, study_jobs
from kdloss.experiments.study_report import curve_table, difference, gains_table, share_table, verdict, write_study
from kdloss.experiments.systems import Run


@pytest.fixture(scope="module")
def prepared(make_prepared):
    """Of its eight test faces five are common ones."""
    return make_prepared("300w", train=10, test=8, subsets=lambda i: ("common",) if i < 5 else ("challenging",))


def row_of(prepared, name, common, challenging=9.0, seed=0, share=0.2, val=5.0):
    common = np.broadcast_to(common, 5).tolist()
    errors = [*common, *3 * [challenging]]
    nme = {"common": np.mean(common), "challenging": challenging, "full": np.mean(errors)}
    record = {"name": f"{share * 100:g}-{name}-seed{seed}", "row": name, "share": share, "seed": seed, "val_nme": val}
    record |= {"nme": nme, "errors": errors, "labels": round(40 * share), "unlabelled": 0, "epochs": 3, "seconds": 1800}
    return record | {"settings": SETTINGS.get(record["name"], "others"), "content": prepared.manifest["content"]}


SETTINGS = {job.name: job.settings for job in study_jobs(RECIPES["smoke"], "300w", Path("study"))}
# Positions of the test faces.
SUBSETS = {"common": [0, 1, 2, 3, 4], "challenging": [5, 6, 7], "full": [*range(8)]}


@pytest.fixture
def rows(prepared):
    return [
        row_of(prepared, "l1", 4.0),
        row_of(prepared, "l1", 4.2, seed=1),
        row_of(prepared, "l1", 5.0, seed=2),
        # The best on test faces is not the best on validation faces.
        row_of(prepared, "kd", 3.0, val=4.5),
        row_of(prepared, "pseudo", 3.7, challenging=20.0, val=4.0),
        row_of(prepared, "pseudo", 3.8, challenging=20.0, seed=1, val=4.2),
        # Neither is a placebo distilled, nor a student without teachers.
        row_of(prepared, "shuffled", 1.0, val=1.0),
        row_of(prepared, "average", 1.0, val=1.0),
        row_of(prepared, "l2", 1.0, val=1.0),
        # Nor is it chosen at another share.
        row_of(prepared, "fa", 1.0, share=1.0, val=1.0),
        row_of(prepared, "l1", 2.0, share=1.0),
        row_of(prepared, "tough", 2.0, val=1.0),
    ]


def test_the_verdict_is_chosen_on_validation_and_measured_on_common_faces(rows):
    found = verdict(rows, SUBSETS)
    assert (found["method"], found["control"], found["share"]) == ("L1, teacher's labels", "L1", 0.2)
    # Each face changes by as much, so the interval is a point: -0.3 and -0.4 at the seeds that both have.
    assert [found[key] for key in ("difference", "low", "high")] == pytest.approx(3 * [-0.35])
    assert found["seeds"] == pytest.approx([-0.3, -0.4])
    assert verdict_text(found).startswith(
        "With 20% of the labels, L1, teacher's labels: gains 0.35 points of NME against L1 (-0.35, 95 % interval -0.35 "
    )


def test_without_a_student_or_its_control_there_is_no_verdict(rows):
    for left in ([], [row for row in rows if row["row"] != "l1"], [row for row in rows if row["row"] in ("l1", "l2")]):
        assert verdict(left, SUBSETS) is None
    assert "finished yet" in verdict_text(None)


def test_an_interval_is_over_faces(prepared):
    changes = np.array([-1.0, 1.0, 0.0, 0.5, -0.5])
    rows = [row_of(prepared, "l1", 4.0), row_of(prepared, "kd", 4.0 + changes), row_of(prepared, "tough", 3.0)]
    found = difference(rows, 0.2, "kd", SUBSETS["common"])
    assert found["difference"] == pytest.approx(0)
    assert found["low"] < -0.3 < 0.3 < found["high"]
    for name, share in (("l1", 0.2), ("tough", 0.2), ("kd", 1.0)):
        assert difference(rows, share, name, SUBSETS["full"]) is None


def test_tables_hold_means_over_seeds_and_differences_at_the_same_seeds(rows):
    table = share_table(rows, SUBSETS, 0.2)
    assert "20%" in table.title
    assert "8 faces" in table.title
    body = {row.label: row.cells for row in table.rows}
    assert next(iter(body)) == "L1"
    assert [*body][-1] == "teacher: tough"
    assert (body["L1"]["seeds"], body["L1"]["common-gain"]) == (3, None)
    assert body["L1"]["common"] == pytest.approx(4.4)
    assert body["L1"]["sd"] == pytest.approx(np.std([5 / 8 * nme for nme in (4.0, 4.2, 5.0)], ddof=1))
    assert body["L1, teacher's labels"]["common-gain"] == "-0.35 [-0.35, -0.35] (-0.40, -0.30)"
    curve = {row.label: row.cells for row in curve_table(rows).rows}
    assert {*curve} == {row.title for row in ROWS_OF_STUDY.values() if row.curve}
    assert curve["L1"]["1.0"] == "4.62 (1)"
    assert curve["L1, teacher's labels"]["1.0"] is None
    gains = {row.label: row.cells for row in gains_table(rows, SUBSETS["common"]).rows}
    assert gains["L1"]["1.0"] == "4.62 (1)"
    assert gains["L1, teacher's labels"]["0.2"].endswith(" -0.35 [-0.35, -0.35]")
    assert "1.0" not in gains["L1, teacher's labels"]


def test_a_report_is_read_as_it_was_written(rows, prepared, tmp_path):
    recipe = dataclasses.replace(RECIPES["smoke"], shares=(0.2, 0.5))  # nothing is found at the second
    (tmp_path / "rows").mkdir()
    for row in rows:
        (tmp_path / "rows" / f"{row['name']}.json").write_text(json.dumps(row))
    record = write_study(tmp_path, "smoke", recipe, prepared, study_jobs(RECIPES["smoke"], "300w", tmp_path))
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(record)) | {"rows": sorted(rows, key=lambda row: row["name"])}
    assert sum(line.startswith('  {"name"') for line in text.splitlines()) == len(rows)
    assert record["subsets"] == SUBSETS
    assert sorted(record["missing"]) == ["20-fa-ps-seed0", "20-kd-folds-seed0"]
    assert record["facts"]["hours of training"] == f"{len(rows) / 2:.1f}"
    assert "teacher&#39;s labels: gains 0.35 points of NME against L1" in (tmp_path / "report.html").read_text(
        encoding="utf-8"
    )
    assert (tmp_path / "curve.png").stat().st_size > 1000
    # The results are enough.
    for file in (tmp_path / "rows").iterdir():
        file.unlink()
    assert sorted(read_rows(tmp_path)) == sorted(row["name"] for row in rows)


def test_a_set_without_subsets_is_judged_on_all_its_faces(prepared):
    rows = [row_of(prepared, "l1", 4.0), row_of(prepared, "pseudo", 4.0, challenging=8.0)]
    for row in rows:
        row["nme"] = {"full": row["nme"]["full"]}
    subsets = {"full": [*range(8)]}
    assert verdict(rows, subsets)["difference"] == pytest.approx(-3 / 8)
    table = share_table(rows, subsets, 0.2)
    assert [column.key for column in table.columns] == ["seeds", "val", "full", "sd", "full-gain"]


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((-0.5, -0.7, -0.1), "Two: gains 0.50 points of NME against one (-0.50, 95 % interval -0.70 to -0.10)"),
        ((0.4, 0.1, 0.6), "Two: loses 0.40 points of NME against one (+0.40, 95 % interval +0.10 to +0.60)"),
        ((-0.2, -0.5, 0.1), "Two: gains nothing that these faces show against one (-0.20, 95 % "),
    ],
)
def test_the_verdict_of_a_chain(interval, said):
    runs = {
        "none": Run("none", "one", "student"),
        "kd": Run("kd", "two", "student", teachers={"tough": "tough"}, control="none"),
        "fa": Run("fa", "three", "student", teachers={"tough": "tough"}, control="none"),
        "trained on": Run("trained on", "four", "student", control="none"),
        "regressor": Run("regressor", "five", "student", teachers={"tough": "tough"}),
    }
    scores = {"none": 4.0, "kd": 5.0, "fa": 6.0, "trained on": 3.0, "regressor": 2.0}
    trained = {name: (run, None, {"val_nme": scores[name]}) for name, run in runs.items()}
    pairs = [
        {"model": title, "against": "one", "difference": gain, "low": low, "high": high}
        for title, (gain, low, high) in {"three": (9.0, 8.0, 10.0), "two": interval}.items()
    ]
    assert best_student(trained) == "kd"
    found = verdict_of(runs["kd"], [{"pairs": pairs[:1]}, {"pairs": pairs[1:]}])
    assert (found["method"], found["difference"]) == ("two", interval[0])
    assert verdict_text(found).startswith(said)
