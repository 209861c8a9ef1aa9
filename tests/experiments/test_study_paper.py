"""Recipe ``paper`` of the study, and the paper's own numbers beside its rows."""

from kdloss.experiments import study_report
from kdloss.experiments.study import RECIPES, study_jobs
from kdloss.training.checks import check_settings


def test_four_networks_train_at_once_and_only_kd_loss_waits(tmp_path):
    jobs, teachers = study_jobs(RECIPES["paper"], "300w", tmp_path), ("100-tough", "100-tolerant")
    assert {job.name: job.needs for job in jobs} == {
        "100-tough": (),
        "100-tolerant": (),
        "100-kd-seed0": teachers,
        "100-kd-public-seed0": teachers,
        "100-l2-seed0": (),
        "100-l1-seed0": (),
    }
    for job in jobs:
        check_settings(job.config)
        network = ("mobilenetv2", "imagenet-lite0") if job.row else ("efficientnetb3", "none")
        assert (job.config.arch, job.config.weights, job.config.image_size) == (*network, 224)
        assert job.config.loss == ("l1" if job.row in ("l1", "kd", "kd-public") else "l2")


def found(row, share, error, val):
    nme = dict.fromkeys(("common", "challenging", "full"), error)
    return {"row": row, "share": share, "seed": 0, "labels": 10, "val_nme": val, "nme": nme, "errors": [error] * 4}


def test_the_verdict_takes_all_labels_where_no_row_has_fewer():
    subsets = {"common": [0, 1], "full": [0, 1, 2, 3]}
    rows = [found("l1", 1.0, 4.0, 4.0), found("kd", 1.0, 3.5, 3.0), found("kd-public", 1.0, 3.0, 3.5)]
    verdict = study_report.verdict(rows, subsets)
    assert (verdict["share"], verdict["difference"]) == (1.0, -0.5)
    rows += [found("l1", 0.2, 6.0, 6.0), found("kd", 0.2, 5.0, 5.0), found("kd", 0.05, 9.0, 9.0)]
    assert study_report.verdict(rows, subsets)["share"] == 0.2
