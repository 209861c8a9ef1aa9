"""``kdloss.benchmark suite``: parts in processes of their own, their figures, and ratios to stored ones."""

import json

import pytest

from kdloss.benchmark import main
from kdloss.benchmarking import suite
from kdloss.benchmarking.suite_parts import PARTS, Part
from kdloss.benchmarking.suite_tables import suite_tables
from kdloss.errors import DataError
from kdloss.evaluation.record_files import record_tables
from kdloss.evaluation.table import text_table

SPREAD = {"median": 2.0, "low": 1.0, "high": 4.0}
# As the benchmarks write them, as far as figures are made of it.
RECORDS = {
    "startup": {"rows": [{"what": what, "seconds_of_rounds": [0.2]} for what in ("import asm", "import kdloss")]},
    "shapes": {
        "settings": {"shapes": [10, 20]},
        "rows": [
            {
                "step": "fit",
                "align": align,
                "shapes": count,
                "seconds_of_rounds": [0.4, 0.6],
                "product_seconds_of_rounds": [0.2, 0.2],
            }
            for align in (False, True)
            for count in (10, 20)
        ],
    },
    "inference": {
        "rows": [
            {"model": "net", "runtime": "keras", "ms_of_rounds": [3.0], "images_per_second_of_rounds": [50.0]},
        ]
    },
    "predict": {"faces": {"n": 8}, "rows": [{"way": "loop", "seconds_of_rounds": [2.0, 4.0]}]},
    "pipeline": {
        "rows": [
            {"group": "alone", "what": "cut", "threads": 1, "views_per_second_of_rounds": [9.0]},
            {"group": "together", "what": "loop", "threads": 1, "views_per_second_of_rounds": [7.0]},
            {"group": "together", "what": "shared", "threads": None, "views_per_second_of_rounds": [8.0]},
        ]
    },
    "training": {
        "rows": [
            {"way": "cached", "options": [], "images_per_second_of_rounds": [30.0], "first_step": 5.0},
            {"way": "cached", "options": ["bfloat16"], "fails": "no such thing"},
        ]
    },
    "time-to-accuracy": {
        "rows": [{"recipe": "cpu", "runs": [{"epochs": [{}, {"seconds": 60.0, "val_nme": 6.5}]}]}],
    },
}
FIGURES = {
    "startup": [("import kdloss", "ms", "less", [200.0])],
    "shapes": [
        ("fit, 20 shapes", "ms", "less", [400.0, 600.0]),
        ("fit, 20 shapes", "x product", "less", [2.0, 3.0]),
        ("fit, aligned, 20 shapes", "ms", "less", [400.0, 600.0]),
        ("fit, aligned, 20 shapes", "x product", "less", [2.0, 3.0]),
    ],
    "inference": [
        ("net, keras, one image", "ms", "less", [3.0]),
        ("net, keras, batches", "images/s", "more", [50.0]),
    ],
    "predict": [("loop", "faces/s", "more", [4.0, 2.0])],
    "pipeline": [("loop, threads: 1", "views/s", "more", [7.0]), ("shared", "views/s", "more", [8.0])],
    "training": [("cached", "images/s", "more", [30.0]), ("cached, first step", "s", "less", [5.0])],
    "time-to-accuracy": [("cpu", "s", "less", [60.0]), ("cpu", "val NME %", "less", [6.5])],
}


@pytest.mark.parametrize("name", PARTS)
def test_the_figures_of_every_benchmark(name):
    found = PARTS[name].figures(RECORDS[name])
    expected = FIGURES[name]
    for figure, (title, unit, better, values) in zip(found, expected, strict=True):
        assert (figure.name, figure.unit, figure.better) == (title, unit, better)
        assert figure.values == pytest.approx(values)


def test_parts_run_as_typed_and_are_compared_with_what_was_stored(tmp_path, monkeypatch, capsys):
    short = "shapes --shapes 40 80 --points 5 --rounds 5"
    monkeypatch.setitem(PARTS, "shapes", Part(short, PARTS["shapes"].figures))
    file = tmp_path / "bench.json"
    words = ["suite", "--part", "shapes", "--json", str(file), "--against", str(file)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert f"{file}: not there yet" in printed
    assert "Ratios" not in printed
    first = json.loads(file.read_text(encoding="utf-8"))
    (part,) = first["parts"]
    assert (part["benchmark"], part["words"]) == ("shapes", short)
    assert first["faces"] is None
    assert [figure["name"] for figure in first["figures"]][::2] == [
        f"{step}, 80 shapes" for step in ("fit", "fit, aligned", "soften", "soften, aligned")
    ]
    for figure in first["figures"]:
        assert figure["n"] == len(figure["values"]) == 5
        assert figure["low"] <= figure["median"] <= figure["high"]
    assert main(words) == 0
    second = json.loads(file.read_text(encoding="utf-8"))
    tables = suite_tables(second, first)
    assert "\n\n".join(map(text_table, tables)) in capsys.readouterr().out
    for row, now, before in zip(tables[1].rows, second["figures"], first["figures"], strict=True):
        assert row.cells["ratio"] == now["median"] / before["median"]
    (table,) = record_tables(file)
    assert table.rows == tables[0].rows


def record(machine="EPYC", words="startup", content="c0", **changes):
    figure = {"benchmark": "startup", "name": "import", "unit": "ms", "better": "less", "n": 3, **SPREAD} | changes
    environment = {"processor": machine, "cores": 2, "python": "3.11", "packages": {"numpy": "2"}}
    faces = {"dataset": "300w", "train": 90, "synthetic": content == "c0", "content": content}
    return {
        "parts": [{"benchmark": "startup", "words": words, "seconds": 3.0}],
        "figures": [figure],
        "faces": faces,
        "machine": environment,
        "date": "2026-01-01",
    }


def test_ratios_are_printed_and_nothing_is_judged():
    _, ratios = suite_tables(record(median=3.0), record())
    (row,) = ratios.rows
    assert row.cells["ratio"] == 1.5
    assert (row.cells["now"], row.cells["stored"]) == ("3 (1 to 4)", "2 (1 to 4)")
    text = text_table(ratios)
    assert "now: 2026-01-01, EPYC, 2 cores, accelerator: none, Python 3.11, tensorflow None, numpy 2" in text
    assert "DIFFER" not in text
    assert not {"slower", "faster", "worse", "regression", "pass", "fail"} & set(text.lower().split())


@pytest.mark.parametrize(
    ("other", "note", "compared"),
    [
        ({"machine": "Xeon"}, "THE MACHINES DIFFER: the ratios tell as much of them as of the code", True),
        ({"content": "c1"}, "the faces differ: now 90 SYNTHETIC training faces of 300w; stored 90 real training", True),
        ({"words": "startup --rounds 9"}, "not compared, for their short forms were others: startup", False),
        ({"name": "other"}, "stored: 2026-01-01, EPYC", False),
    ],
)
def test_what_differs_besides_the_code_is_said(other, note, compared):
    _, ratios = suite_tables(record(), record(**other))
    assert any(line.startswith(note) for line in ratios.notes)
    assert ("ratio" in ratios.rows[0].cells) == compared


def test_faces_are_rendered_where_none_are_given(monkeypatch):
    started = []

    def run(module, *words):
        started.append([module, *map(str, words)])
        if module == "data_prep":
            run_really(module, *words)
        else:
            (words[-1]).write_text(json.dumps(RECORDS["predict"]), encoding="utf-8")

    run_really = suite._run
    monkeypatch.setattr(suite, "_run", run)
    monkeypatch.setattr(suite, "_TRAIN", 2)
    monkeypatch.setattr(suite, "_TEST", 1)
    found = suite.run_suite(["predict"])
    assert found["faces"] == found["faces"] | {"dataset": "300w", "synthetic": True}
    assert found["figures"][0]["values"] == [4.0, 2.0]
    *_, (module, *words) = started
    assert module == "kdloss.benchmark"
    data = ["--dataset", "300w", "--data"]
    assert words[: -3 - 2][: len(PARTS["predict"].words.split())] == PARTS["predict"].words.split()
    assert words[-6:-3] == data


def test_mistakes(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PARTS, "shapes", Part("shapes --rounds 1", PARTS["shapes"].figures))
    assert main(["suite", "--part", "shapes"]) == 2
    message = "error: python -m kdloss.benchmark shapes: ended with 2 (error: --rounds 1: expected 5 at least)"
    assert capsys.readouterr().err == f"{message}: try it alone\n"
    others = {"{": "not JSON", "[]": "not a record of", '{"kind": "shapes"}': "not a record of"}
    others['{"kind": "suite", "figures": [{}]}'] = "damaged"
    for content, message in others.items():
        (tmp_path / "other.json").write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            suite.stored_suite(tmp_path / "other.json")
    assert suite.stored_suite(tmp_path / "absent.json") is None
    assert main(["suite", "--data", "somewhere"]) == 2
    assert "of which data set? give --dataset too" in capsys.readouterr().err
