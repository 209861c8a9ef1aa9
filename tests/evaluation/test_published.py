"""Published rows: those of the papers, without a mistyped number."""

import pytest

from kdloss.data.datasets import DATASETS
from kdloss.evaluation.published import published_results


def test_300w_full_is_the_mean_of_its_subsets():
    # Over 554 and 135 faces; two-digit rounding of three numbers allows 0.012. Catches a mistyped number.
    whole = [paper.nme_interocular for paper in published_results("300w") if len(paper.nme_interocular) == 3]
    assert len(whole) == 6
    for nme in whole:
        assert nme["full"] == pytest.approx((554 * nme["common"] + 135 * nme["challenging"]) / 689, abs=0.012)


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
