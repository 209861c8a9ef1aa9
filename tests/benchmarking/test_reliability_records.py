"""The records behind docs/reliability.md: each becomes its table, and meets what the document says that it met."""

import json
from pathlib import Path

import pytest

from kdloss.evaluation.record_files import record_tables
from kdloss.evaluation.table import markdown_table

RECORDS = Path(__file__).resolve().parents[2] / "docs" / "reliability"


def table_of(name):
    (table,) = record_tables(RECORDS / f"{name}.json")
    return table, json.loads((RECORDS / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["fuzz", "kills", "memory", "prepare", "workers"])
def test_every_record_becomes_a_table_with_its_command_and_date(name):
    table, record = table_of(name)
    assert table.notes[-1] == f"`{record['command']}`, {record['date']}"
    assert record["command"].startswith("python benchmarks/")
    lines = markdown_table(table).splitlines()
    assert len(lines) > 2 + len(table.rows)
    assert len({line.count("|") for line in lines[: 2 + len(table.rows)]}) == 1


def test_readers_met_some_hundred_thousand_inputs_and_none_crashed():
    table, record = table_of("fuzz")
    *readers, together = table.rows
    for column in ("inputs", "crashes"):
        assert together.cells[column] == sum(row.cells[column] for row in readers)
    assert together.cells["inputs"] >= 100_000
    assert together.cells["crashes"] == len(record["crashes"]) == 0


def test_all_that_was_killed_in_time_went_on():
    table, _ = table_of("kills")
    assert [row.label for row in table.rows] == ["prepare", "training", "teacher cache", "evaluate", "export"]
    for row in table.rows:
        assert row.cells["survived"] == row.cells["killed"] > 0


def test_workers_agree_as_far_as_they_are_held_to():
    table, record = table_of("workers")
    held = [row for row in record["rows"] if row["held_to"]]
    assert len(held) == 2
    assert all(row["difference"] <= row["held_to"] == 1e-4 for row in held)
    assert record["death"]["status"] == 1
    assert any("SIGKILL of process 1" in note for note in table.notes)
