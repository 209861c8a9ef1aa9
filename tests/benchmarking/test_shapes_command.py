"""``kdloss.benchmark shapes``: what is measured is what it says. How long it takes is nobody's to assert."""

import json
import statistics

import numpy as np
import pytest

from asm import ShapeModel
from kdloss.benchmark import main
from kdloss.benchmarking.shape_products import FIT, SOFTEN, Step, draw_shapes
from kdloss.evaluation.record_files import record_tables
from kdloss.evaluation.table import text_table


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def test_steps_and_products_in_turns(tmp_path, capsys):
    file = tmp_path / "shapes.json"
    words = ["shapes", "--shapes", "800", "400", "400", "--points", "5", "--rounds", "5"]
    assert main([*words, "--json", str(file)]) == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["settings"] == {"shapes": [400, 800], "points": 5, "rounds": 5, "variance": 0.9}
    assert "backend" not in record["machine"]
    steps = [(row["step"], row["align"], row["shapes"]) for row in record["rows"]]
    assert steps == [(step, align, n) for step in ("fit", "soften") for align in (False, True) for n in (400, 800)]
    for fewest, most in zip(record["rows"][::2], record["rows"][1::2], strict=True):
        assert fewest["growth"] == {"median": 1.0, "low": 1.0, "high": 1.0}
        own, others = most["seconds_of_rounds"], fewest["seconds_of_rounds"]
        assert most["growth"] == pytest.approx(spread([a / b / 2 for a, b in zip(own, others, strict=True)]))
        for row in (fewest, most):
            assert row["seconds"] == spread(row["seconds_of_rounds"])
            ratios = zip(row["seconds_of_rounds"], row["product_seconds_of_rounds"], strict=True)
            assert row["ratio"] == pytest.approx(spread([a / b for a, b in ratios]))
            assert len(row["seconds_of_rounds"]) == 5
            assert row["megabytes"] >= 0
    (table,) = record_tables(file)
    text = text_table(table)
    assert text.rsplit("\n", 1)[0] in capsys.readouterr().out
    assert all(len(line) <= 120 for line in text.splitlines()[:-1])


def test_the_products_are_what_fitting_and_softening_come_to():
    points = draw_shapes(300, 4)
    model = ShapeModel.fit(points, modes=3)
    (scatter,) = Step(FIT, False, 300).product(points - model.mean, model)
    assert np.trace(scatter) / 299 == pytest.approx(model.spectrum.sum())
    assert len(Step(FIT, True, 300).product(points, model)) == 2
    moved = Step(SOFTEN, False, 300).product(points - model.mean, model).reshape(300, 4, 2)
    np.testing.assert_allclose(model.mean + moved, model.soften(points, limit=np.inf), atol=1e-14)
    np.testing.assert_array_equal(Step(SOFTEN, False, 300).run(points, model), model.soften(points))


def test_drawn_shapes_are_the_same_each_time_and_have_few_great_modes():
    shapes = draw_shapes(4000, 10)
    np.testing.assert_array_equal(shapes, draw_shapes(4000, 10))
    deviations = np.sqrt(ShapeModel.fit(shapes, variance=1.0).spectrum)
    np.testing.assert_allclose(deviations[:5], 0.7 / np.arange(1, 6), rtol=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "4"], "--rounds 4: expected 5 at least"),
        (["--shapes", "1", "100"], "--shapes 1: expected 2 at least"),
        (["--points", "1"], "--points 1: expected 2 at least"),
    ],
)
def test_wrong_options(words, message, capsys):
    assert main(["shapes", *words]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
