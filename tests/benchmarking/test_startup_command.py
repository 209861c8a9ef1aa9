"""``kdloss.benchmark startup``: which processes are started. How long they take is nobody's to assert."""

import json

import pytest

from kdloss.__main__ import VERBS
from kdloss.benchmark import main
from kdloss.benchmarking import startup
from kdloss.errors import ConfigError
from kdloss.evaluation.record_files import record_tables


def test_every_command_says_what_it_does_in_a_process_of_its_own(tmp_path, monkeypatch):
    started = []

    def seconds(what, words):
        started.append((what, words))
        return float(len(started))

    monkeypatch.setattr(startup, "_seconds", seconds)
    assert main(["startup", "--json", str(tmp_path / "startup.json")]) == 0
    record = json.loads((tmp_path / "startup.json").read_text(encoding="utf-8"))
    names = [row["what"] for row in record["rows"]]
    assert names[:3] == ["python -c pass", "import kdloss", "import asm"]
    assert {"python -m asm --help", "python -m data_prep --help", "python -m kdloss.evaluate --help"} < set(names)
    assert len(names) == 3 + len(VERBS)
    assert [what for what, _ in started] == 6 * names  # in turns, the first of which warms up
    for number, row in enumerate(record["rows"]):
        assert row["seconds_of_rounds"] == [len(names) * turn + number + 1 for turn in range(1, 6)]
        assert row["above_python"] == {"median": number, "low": number, "high": number}
    (table,) = record_tables(tmp_path / "startup.json")
    assert table.rows[0].cells["ms"] == 1000 * (3 * len(names) + 1)


def test_a_process_is_timed_and_one_that_fails_is_told():
    assert 0 < startup._seconds("bare", ["-c", "pass"]) < 60
    with pytest.raises(ConfigError, match=r"it: ended with 3 \(so it is\): install kdloss"):
        startup._seconds("it", ["-c", "import sys; print('so it is', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(ConfigError, match=r"it: ended with 1 \(it said nothing\)"):
        startup._seconds("it", ["-c", "raise SystemExit(1)"])
