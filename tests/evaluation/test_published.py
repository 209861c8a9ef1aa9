"""Published rows: those of the papers, without a mistyped number."""

import numpy as np
import pytest

from data_prep.w300 import read_300w
from kdloss.data.datasets import DATASETS
from kdloss.evaluation.metrics import image_errors, nme
from kdloss.evaluation.published import published_results


def test_300w_full_is_the_mean_of_its_subsets():
    # Over 554 and 135 faces; two-digit rounding of three numbers allows 0.012. Catches a mistyped number.
    whole = [paper.nme_interocular for paper in published_results("300w") if len(paper.nme_interocular) == 3]
    assert len(whole) == 6
    for found in whole:
        assert found["full"] == pytest.approx((554 * found["common"] + 135 * found["challenging"]) / 689, abs=0.012)


def test_numbers_are_those_of_the_papers():
    papers = [paper for name in DATASETS for paper in published_results(name)]
    by_id = {paper.id: paper for paper in papers}
    assert len(by_id) == len(papers) == 26
    both = by_id["kd-loss-300w-both"]
    assert (both.nme_interocular, both.fr10) == ({"common": 3.56, "challenging": 6.13, "full": 4.06}, 0.87)
    both = by_id["kd-loss-wflw-both"]
    assert (both.nme_interocular, both.nme_interpupil) == ({}, {"full": 8.57, "pose": 15.06})
    assert {paper.meaning[:4] for paper in papers if paper.certainty == "F"} == {"read"}
    for paper in papers:
        known = {*DATASETS[paper.dataset].subsets, "full"}
        assert {*paper.nme_interocular, *paper.nme_interpupil} <= known, paper.id


def test_the_points_that_spigas_authors_published_have_the_errors_that_they_published(raw_300w):
    file = raw_300w.parents[1] / "peers" / "spiga.npz"
    if not file.is_file():
        pytest.skip(f"no points of SPIGA at {file}")
    raw, arrays = read_300w(raw_300w), np.load(file)
    truth = {face.name: face for face in raw.entries if face.split == "test"}
    faces = [truth[name] for name in arrays["names"]]
    errors = image_errors(arrays["points"], np.array([face.points for face in faces]), raw.scheme, "interocular")
    challenging = np.array([face.name.startswith("ibug/") for face in faces])
    found = [nme(errors[~challenging]), nme(errors[challenging]), nme(errors)]
    assert found == pytest.approx([2.587, 4.662, 2.994], abs=0.0005)
