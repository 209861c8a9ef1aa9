"""The jobs of a study: what each needs, what they have in common, and how processes share them."""

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kdloss.errors import ConfigError, DataError
from kdloss.experiments import study
from kdloss.experiments.study import CONTROL, RECIPES, ROWS_OF_STUDY, check_results, read_rows, run_jobs, study_jobs
from kdloss.files import held, write_whole
from kdloss.training.checks import check_settings
from kdloss.training.runs import mark_finished
from kdloss.training.state import Deadline, OutOfTime

every_recipe = pytest.mark.parametrize("name", RECIPES)
# How a student is taught, and with what loss; all else is the same in every row but that of longer training.
TAUGHT = {"method", "kd_preset", "tough", "tolerant", "feature_teacher", "pseudo_teacher", "unlabelled", "placebo"}
WITHOUT_TEACHER = ("20-l1-seed0", "20-average-seed0")  # of the recipe smoke
TAUGHT |= {"unlabelled_share", "pseudo_keep", "loss"}


def jobs_of(name, folder, extra=None):
    return study_jobs(RECIPES[name], "300w", folder, extra)


@every_recipe
def test_each_job_comes_after_those_that_it_needs(name, tmp_path):
    jobs, recipe = jobs_of(name, tmp_path, "extra"), RECIPES[name]
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    if recipe.rows[0] == CONTROL:
        assert (jobs[0].row, jobs[0].share, jobs[0].seed) == (CONTROL, 0.2, 0)
    by_name = {job.name: job for job in jobs}
    for number, job in enumerate(jobs):
        check_settings(job.config)
        assert {*job.needs} <= {*names[:number]}
        # Teachers know no more labels than their students, and do not depend on the seed.
        for need in job.needs:
            teacher = by_name[need]
            assert teacher.row is None
            assert teacher.config.label_share == teacher.share == job.config.label_share == job.share
            assert (teacher.config.seed, teacher.seed) == (0, 0)
        if job.row is None:
            assert job.config.kind == job.name.split("-")[1]
            starts = job.config.kind == "tolerant" and "weights" not in recipe.tolerant
            own = recipe.teacher.get("weights", "none")
            assert job.config.weights == (str(tmp_path / job.needs[0] / "best.keras") if starts else own)
        else:
            for field, teacher in ROWS_OF_STUDY[job.row].teachers.items():
                place = f"{100 * job.share:g}-{teacher}"
                assert getattr(job.config, field) == str(tmp_path / place)
                assert place in {need.partition("/")[0] for need in job.needs}
            assert (job.config.seed, job.config.kind) == (job.seed, "student")


@every_recipe
def test_students_differ_in_how_they_are_taught_alone(name, tmp_path):
    students = {(job.row, job.share, job.seed): job.config for job in jobs_of(name, tmp_path, "extra") if job.row}
    for (row, share, seed), config in students.items():
        control = students[CONTROL, share, seed]
        if control.teacher_views:  # the recipe paper: the same few views of all rows
            assert config.teacher_views == control.teacher_views
        elif config.teacher_views:  # no view comes twice: all see the same ones
            assert config.teacher_views == round(config.epochs / share)
            assert config.by_points
        longer = {"epochs"} if ROWS_OF_STUDY[row].longer != 1 else set()
        assert {*config.differences(control)} <= TAUGHT | longer | {"teacher_views"}
        assert (config.epochs > control.epochs) is bool(longer)


def test_what_is_studied_at_which_share(tmp_path):
    jobs = jobs_of("cpu", tmp_path)
    found = {}
    for job in jobs:
        if job.row:
            found.setdefault((job.row, job.share), []).append(job.seed)
    assert found["l1", 0.2] == [0, 1, 2, 3, 4]
    assert found["l1", 0.05] == found["pseudo", 0.5] == found["fa", 1.0] == [0, 1, 2]
    # No faces without labels are left where all have some, nor where no others are given.
    assert ("pseudo", 1.0) not in found
    assert not {share for row, share in found if row == "extra"}
    assert {share for row, share in found if row == "kd"} == {0.2, 1.0}
    assert any(job.row == "extra" for job in jobs_of("cpu", tmp_path, "faces"))
    folds = [job for job in jobs if job.name.startswith("20-tolerant-folds/")]
    assert [(job.config.fold, job.config.folds) for job in folds] == [(1, 3), (2, 3), (3, 3)]
    assert [job.needs for job in folds] == [(f"20-tough-folds/fold-{fold}",) for fold in (1, 2, 3)]


@pytest.fixture
def trained(monkeypatch):
    """Stands in for trainings and their evaluation; returns the names of what is trained."""
    names = []

    def train(config, prepared, place, **how):
        assert how["resume"]
        names.append(f"{place.parent.name}/{place.name}" if config.fold else place.name)
        mark_finished(place, results := results_of(config))
        return results

    monkeypatch.setattr("kdloss.training.fit.train", train)
    metrics = {"subsets": {"full": {"nme_interocular": 3.0}, "common": {"nme_interocular": 2.0}}}
    evaluation = SimpleNamespace(
        normaliser="interocular", metrics=metrics | {"protocol": {"content": "c"}}, errors=np.array([0.02, 0.04])
    )
    monkeypatch.setattr("kdloss.evaluation.evaluation.evaluate_checkpoint", lambda *_: evaluation)
    return names


def results_of(config):
    return {"train_faces": 9, "unlabelled_faces": 2, "epochs": config.epochs, "seconds": 1.5, "val_nme": 4.0}


def test_every_job_is_done_once_in_order(trained, tmp_path):
    jobs = jobs_of("smoke", tmp_path)
    run_jobs(jobs, None, tmp_path, Deadline())
    assert trained == [job.name for job in jobs]
    found, by_name = read_rows(tmp_path), {job.name: job for job in jobs}
    assert found.keys() == set(trained)
    assert found["20-kd-seed0"] == {
        "name": "20-kd-seed0", "settings": by_name["20-kd-seed0"].settings,
        "row": "kd", "share": 0.2, "seed": 0, "labels": 9, "unlabelled": 2, "epochs": 1,
        "seconds": 1.5, "val_nme": 4.0, "nme": {"full": 3.0, "common": 2.0}, "content": "c", "errors": [2.0, 4.0],
    }  # fmt: skip
    assert found["20-tough-folds/fold-2"]["row"] == "tough-folds/fold-2"
    run_jobs(jobs, None, tmp_path, Deadline())
    assert len(trained) == len(jobs)


def test_results_of_students_need_no_teachers_and_a_missing_one_only_its_own(trained, tmp_path):
    jobs = jobs_of("smoke", tmp_path)
    run_jobs(jobs, None, tmp_path / "first", Deadline())
    rows = list(read_rows(tmp_path / "first").values())
    # As someone finds it who has the results, and no runs.
    write_whole(tmp_path / study.RESULTS, json.dumps({"rows": rows}))
    trained.clear()
    run_jobs(jobs, None, tmp_path, Deadline())
    assert trained == []
    write_whole(tmp_path / study.RESULTS, json.dumps({"rows": [row for row in rows if row["row"] != "kd"]}))
    run_jobs(jobs, None, tmp_path, Deadline())
    assert trained == ["20-tough", "20-tolerant", "20-kd-seed0"]


def test_results_of_other_settings_are_not_taken(trained, tmp_path):
    jobs = [job for job in jobs_of("smoke", tmp_path) if job.name in WITHOUT_TEACHER]
    rows = [{"name": job.name, "settings": job.settings} for job in jobs]
    rows[0]["settings"] = "others"
    write_whole(tmp_path / study.RESULTS, json.dumps({"rows": rows}))
    run_jobs(jobs, None, tmp_path, Deadline())
    assert trained == [jobs[0].name]
    # They do not depend on where the study lies.
    assert [job.settings for job in jobs_of("smoke", tmp_path / "a")] == [
        job.settings for job in jobs_of("smoke", tmp_path)
    ]


def test_the_results_on_record_are_of_the_recipe_as_it_is(tmp_path):
    record = Path(__file__).resolve().parents[2] / "docs" / "results" / "distillation.json"
    rows = json.loads(record.read_text(encoding="utf-8"))["rows"]
    settings = {job.name: job.settings for job in jobs_of("cpu", tmp_path, extra=tmp_path / "more")}
    assert {row["name"]: row["settings"] for row in rows}.items() <= settings.items()


def test_two_processes_never_take_the_same_job(trained, tmp_path, monkeypatch):
    jobs, lock = jobs_of("smoke", tmp_path), contextlib.ExitStack()
    taken = next(job for job in jobs if job.name == "20-tough")
    (tmp_path / taken.name).mkdir()
    lock.enter_context(held(tmp_path / taken.name))
    waited = []

    def other_process_ends(seconds):
        waited.append([*trained])
        mark_finished(tmp_path / taken.name, results_of(taken.config))
        write_whole(
            tmp_path / study.ROWS / "20-tough.json", json.dumps({"name": taken.name, "settings": taken.settings})
        )
        lock.close()

    monkeypatch.setattr(study.time, "sleep", other_process_ends)
    run_jobs(jobs, None, tmp_path, Deadline())
    # All that does not need it is done meanwhile.
    without = [job.name for job in jobs if job.name in WITHOUT_TEACHER or "folds" in job.name]
    assert waited == [without]
    assert sorted([*trained, taken.name]) == sorted(job.name for job in jobs)
    assert trained.count("20-tough") == 0


def test_results_of_other_faces_and_damaged_ones_are_refused(random_faces, tmp_path):
    check_results(tmp_path, random_faces)
    row = tmp_path / study.ROWS / "20-l1-seed0.json"
    write_whole(row, json.dumps({"name": "20-l1-seed0", "content": random_faces.manifest["content"]}))
    check_results(tmp_path, random_faces)
    write_whole(row, json.dumps({"name": "20-l1-seed0", "content": "other faces"}))
    with pytest.raises(ConfigError, match=f"^--out {tmp_path}: holds results of a study of other faces: give"):
        check_results(tmp_path, random_faces)
    write_whole(row, "{")
    with pytest.raises(DataError, match=rf"^{row}: damaged .*: delete it"):
        check_results(tmp_path, random_faces)


def test_no_job_starts_after_the_deadline(trained, tmp_path):
    jobs = jobs_of("smoke", tmp_path)
    with pytest.raises(OutOfTime, match=rf"^{tmp_path}: {len(jobs)} of {len(jobs)} jobs are left$"):
        run_jobs(jobs, None, tmp_path, Deadline(minutes=-1))
    assert trained == []
