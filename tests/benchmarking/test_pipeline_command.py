"""``kdloss.benchmark pipeline``: what is timed is what training gets. How fast it is is nobody's to assert."""

import json
import shutil
import statistics
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kdloss.augment import AUGMENTATIONS
from kdloss.benchmark import main
from kdloss.benchmarking.pipeline_stages import STAGES, draw_in_stages, vary_in_kinds
from kdloss.benchmarking.pipeline_tables import pipeline_tables
from kdloss.benchmarking.pipeline_ways import Consumer, Drawing, training_feed
from kdloss.benchmarking.repeated_set import repeated_set
from kdloss.errors import DataError
from kdloss.evaluation.record_files import record_tables
from kdloss.evaluation.table import text_table
from kdloss.pipeline import ViewBatches
from kdloss.prepared import PreparedDataset
from tests.training.tiny_chain import ARCH, SIZE

QUICK = ["--rounds", "5", "--views", "6", "--batch-size", "4", "--image-size", str(SIZE), "--threads", "1", "2"]


def batches_of(faces):
    rows = faces.indices("train")
    return ViewBatches(faces, rows, size=SIZE, batch_size=4, augment=AUGMENTATIONS["strong"], seed=3)


def test_the_stages_draw_what_training_gets(faces):
    batches = batches_of(faces)
    for epoch, step in ((0, 1), (2, 0)):
        seconds, images, points = draw_in_stages(batches, batches._positions(epoch, step), epoch)
        expected, expected_points = batches.batch(epoch, step)
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(points["hard"], expected_points["hard"])
        assert seconds.keys() == STAGES.keys()
        assert all(taken > 0 for taken in seconds.values())


def test_kinds_are_those_of_the_augmentation_and_pictures_stay(faces):
    images, _ = batches_of(faces).batch(0, 0)
    before = images.copy()
    assert [*vary_in_kinds(AUGMENTATIONS["paper"], images, 0)] == ["colour", "blur", "noise"]
    assert vary_in_kinds(AUGMENTATIONS["none"], images, 0) == {}
    np.testing.assert_array_equal(images, before)


def test_a_feed_is_drained_from_its_step_on(faces):
    """Views that were drawn ahead are not counted, and those that are counted are all drawn."""
    batches, seen = batches_of(faces), []

    def feed(batches, first, last):
        for number in range(first, last):
            seen.append(number)
            yield number

    assert Drawing(batches, 5).drained("here", feed, 7)["here"] > 0
    assert seen == [*range(7, 20)]
    drawn = training_feed(batches, 3, 5)
    for number in (3, 4):
        images, points = next(drawn)
        expected, expected_points = batches.batch(*divmod(number, batches.steps))
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(images), expected)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(points["hard"]), expected_points["hard"])


def test_a_consumer_trains_and_draws_one_batch_alone(faces, tiny_networks, monkeypatch):
    batches, drawn = batches_of(faces), []
    batch = ViewBatches.batch
    monkeypatch.setattr(ViewBatches, "batch", lambda self, *place: drawn.append(place) or batch(self, *place))
    consumer = Consumer(ARCH, batches, 2)
    before = [weight.copy() for weight in consumer._trainer.student.get_weights()]
    (rate,) = consumer.train(0).values()
    assert rate > 0
    assert drawn == [(0, 0)]
    assert any((old != new).any() for old, new in zip(before, consumer._trainer.student.get_weights(), strict=True))


def test_all_ways_in_turns(faces, tiny_networks, tmp_path, capsys):
    words = ["--dataset", "300w", "--data", str(faces.path), *QUICK, "--arch", ARCH, "--steps", "1", "--times", "2"]
    words += ["--work", str(tmp_path), "--json", str(tmp_path / "a.json")]
    assert main(["pipeline", *words]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    rows = {(row["group"], row["what"], row["threads"]): row for row in record["rows"]}
    feeds = ("PyDataset", "tf.data") if keras.backend.backend() == "tensorflow" else ("PyDataset",)
    whole = [("ViewBatches.batch in a loop", 1), ("as training gets them", None)]
    together = whole + [(feed, threads) for feed in feeds for threads in (1, 2)]
    assert [key[1:] for key in rows if key[0] == "together"] == together
    assert [key[1:] for key in rows if key[0] == "larger"] == whole
    assert len([key for key in rows if key[0] == "alone"]) == 11
    (training,) = (row for key, row in rows.items() if key[0] == "training")
    for (group, what, threads), row in rows.items():
        rates = row["views_per_second_of_rounds"]
        assert len(rates) == 5
        assert row["views_per_second"]["median"] == statistics.median(rates)
        other = {"together": training, "larger": rows.get(("together", what, threads))}.get(group)
        if other is None:
            assert row["ratio"] is None
            continue
        ratios = [a / b for a, b in zip(rates, other["views_per_second_of_rounds"], strict=True)]
        assert row["ratio"]["median"] == pytest.approx(statistics.median(ratios))
    assert record["faces"]["n"] == len(faces.indices("train"))
    tables = pipeline_tables(record)
    assert [table.title.split()[0] for table in tables] == ["Stages", "Batches", "2"]
    printed = capsys.readouterr().out
    assert all(text_table(table) in printed for table in tables)
    *_, last = record_tables(tmp_path / "a.json")
    assert last.rows == tables[-1].rows
    # Without the larger set and without a training there is less to say.
    assert len(pipeline_tables(record | {"settings": record["settings"] | {"times": 1, "steps": 0}})) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "4"], "--rounds 4: expected 5 at least"),
        (["--views", "0"], "--views 0: expected 1 at least"),
        (["--times", "0"], "--times 0: expected 1 at least"),
        (["--batch-size", "99"], "--batch-size 99: larger than the"),
        (["--arch", "absent"], "unknown architecture 'absent'"),
    ],
)
def test_wrong_options(words, message, faces, capsys):
    assert main(["pipeline", "--dataset", "300w", "--data", str(faces.path), *QUICK, *words]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1


def test_a_repeated_set_is_there_for_a_while(faces, tmp_path, monkeypatch):
    with repeated_set(faces, 3, tmp_path) as made:
        assert len(PreparedDataset(made)) == 3 * len(faces)
    assert [*tmp_path.iterdir()] == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    with (
        pytest.raises(DataError, match=r"0\.0 GB free, expected 0\.\d: give another --work"),
        repeated_set(faces, 100, tmp_path),
    ):
        pass
