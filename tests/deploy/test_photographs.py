"""``kdloss.benchmark predict``: every way reads the same faces. No test asserts how many a second."""

import json
import statistics

import pytest

from kdloss.benchmark import main
from kdloss.deploy.timing_report import record_tables
from kdloss.evaluation.tables import terminal_width, text_table
from kdloss.models import build_model
from kdloss.models.checkpoint import read_card, save_model
from tests.training.tiny_chain import ARCH, SIZE


@pytest.mark.slow
def test_every_way_reads_the_same_faces(run, faces, tmp_path, capsys):
    words = ["--checkpoint", str(run), "--dataset", "300w", "--data", str(faces.path), "--threads", "1"]
    words += ["--rounds", "5", "--faces", "4", "--json", str(tmp_path / "a.json")]
    assert main(["predict", *words]) == 0
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    loop, half, whole = record["rows"]
    ways = [(row["way"], row["threads"]) for row in record["rows"]]
    own = [(f"kdloss.predict, LiteRT {precision}", 1) for precision in ("fp16", "int8")]
    assert ways == [("loop over model.predict", None), *own]
    assert loop["difference"] == {"median": 0.0, "largest": 0.0}
    assert 0 < half["difference"]["largest"] < 0.05
    assert half["difference"]["median"] <= whole["difference"]["median"] < 2
    for row in record["rows"]:
        ratios = [a / b for a, b in zip(loop["seconds_of_rounds"], row["seconds_of_rounds"], strict=True)]
        assert row["ratio"] == {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    table = record_tables(record)["folder"]
    assert text_table(table, terminal_width()) in capsys.readouterr().out
    assert "4 rendered test faces of 300w, each a JPEG file of 64 px" in text_table(table)
    assert record["tables"]["folder"]["notes"][-1] == f"`{record['command']}`, {record['date']}"


def test_what_cannot_be_measured(run, exported, faces, tmp_path, capsys):
    save_model(tmp_path / "boxed.keras", build_model(ARCH, 68, SIZE), read_card(run) | {"box": "dataset:1.1"})
    for words, message in (
        (["--faces", "0"], "--faces 0: expected 1 at least"),
        (["--checkpoint", str(tmp_path / "boxed.keras")], "trained in dataset:1.1, expected"),
        (["--checkpoint", str(exported("litert", card=True))], "is an exported file"),
    ):
        assert main(["predict", "--dataset", "300w", "--data", str(faces.path), *words]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
