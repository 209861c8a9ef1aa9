"""Which faces a run learns from: shares of labels, folds, and faces without labels."""

import itertools

import numpy as np
import pytest

from data_prep.prepare import write_prepared
from data_prep.raw import RawDataset
from kdloss.data.datasets import DATASETS
from kdloss.errors import ConfigError, DataError
from kdloss.training.faces import check_enough, fold_numbers, labelled_rows, rest_rows, unlabelled_faces
from tests.random_faces import make_faces
from tests.training.tiny_chain import tiny_config

SHARES = (0.01, 0.1, 0.3, 0.5, 1.0)


@pytest.fixture(scope="module")
def prepared(make_prepared):
    """54 training faces, 6 to validate, 5 to test; persons have one to four of the training faces."""
    prepared = make_prepared("cofw", train=60, test=5)
    prepared.table["group"] = np.array([f"person {(number * number) % 23}" for number in range(len(prepared))])
    return prepared


def config_of(kind="tough", **changes):
    return tiny_config(kind, "cofw", **changes)


def student_of(unlabelled, **changes):
    return config_of("student", unlabelled=str(unlabelled), pseudo_teacher="a", **changes)


def labelled(prepared, share, **changes):
    return labelled_rows(prepared, config_of(label_share=share, **changes)).tolist()


def test_a_smaller_share_is_a_part_of_a_larger_one_and_the_same_for_each_seed(prepared):
    train = prepared.indices("train").tolist()
    found = [labelled(prepared, share) for share in SHARES]
    assert [len(rows) for rows in found] == [1, 5, 16, 27, 54]
    assert found[-1] == train
    for smaller, larger in itertools.pairwise(found):
        assert set(smaller) < set(larger)
    everyone = sorted([*train, *prepared.indices("val").tolist()])
    assert labelled(prepared, 1.0, keep="last") == everyone
    # Not simply the first ones.
    assert found[3] != train[:27]
    for share, rows in zip(SHARES, found, strict=True):
        assert labelled(prepared, share, seed=7) == rows == sorted(rows)
        assert rest_rows(prepared, config_of(label_share=share)).tolist() == sorted({*train} - {*rows})


@pytest.mark.parametrize("folds", [2, 3])
def test_a_fold_leaves_whole_groups_out_whatever_the_share(prepared, folds):
    numbers, train = fold_numbers(prepared, folds), set(prepared.indices("train").tolist())
    assert set(numbers) == set(range(1, folds + 1))
    for group in set(prepared.table["group"]):
        assert len(set(numbers[prepared.table["group"] == group])) == 1
    for share in (0.3, 1.0):
        everyone, out = set(labelled(prepared, share)), []
        for fold in range(1, folds + 1):
            rows = set(labelled(prepared, share, fold=fold, folds=folds))
            assert rows < everyone
            assert {numbers[row] for row in everyone - rows} == {fold}
            assert fold not in {numbers[row] for row in rows}
            out += everyone - rows
        assert sorted(out) == sorted(everyone)
        assert everyone <= train


def test_the_rest_are_the_training_faces_without_a_label(prepared):
    config = student_of("rest", label_share=0.3)
    faces, rows = unlabelled_faces(config, prepared)
    assert faces is prepared
    assert rows.tolist() == rest_rows(prepared, config).tolist()
    assert len(rows) == 54 - 16


def test_test_faces_are_refused_by_name_and_validation_faces_left_out(prepared, make_prepared, tmp_path):
    # The same pictures as the test faces under other names, and the set itself.
    spec, scheme = DATASETS["cofw"], prepared.scheme
    again = RawDataset(scheme, [*make_faces(scheme, 5, "train", 2)])
    write_prepared(again, spec, tmp_path / "again", source="random faces", size=32)
    said = (
        rf"^--unlabelled {tmp_path / 'again'}: holds 5 test faces of {prepared.path} "
        r"\(train/face 0.png, train/face 1.png, train/face 2.png and 2 more\): leave them out"
    )
    with pytest.raises(DataError, match=said):
        unlabelled_faces(student_of(tmp_path / "again"), prepared)
    faces, rows = unlabelled_faces(student_of(prepared.path), prepared)
    assert faces.path == prepared.path
    assert rows.tolist() == prepared.indices("train").tolist()
    other = make_prepared("cofw", train=20, test=2, seed=5)
    assert unlabelled_faces(student_of(other.path), prepared)[1].tolist() == other.unlabelled_rows().tolist()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (config_of(folds=55, fold=1), "--folds 55: more than the 54 training faces"),
        (config_of(label_share=0.1, batch_size=6), "--batch-size 6: larger than the 5 faces that --label-share 0.1 "),
        (
            config_of(folds=2, fold=1, batch_size=50),
            r"--batch-size 50: larger than the \d+ faces that fold 1 of 2 leave",
        ),
        (
            student_of("rest", label_share=0.9, batch_size=12),
            "--unlabelled rest: holds 5 faces, expected 6 or more, as in each batch: give a smaller --batch-size",
        ),
    ],
)
def test_too_few_faces(prepared, config, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        check_enough(prepared, config)


def test_enough_faces(prepared):
    check_enough(prepared, config_of(batch_size=54))
    check_enough(prepared, student_of("rest", label_share=0.1, batch_size=10))
    # A batch of faces without labels alone needs none with labels.
    check_enough(prepared, student_of("rest", label_share=0.1, batch_size=20, unlabelled_share=1.0))
