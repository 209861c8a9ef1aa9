"""The tables of the documents come from JSON beside them."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "tables.py"
BEGIN, END = "<!-- table: numbers.json speed -->", "<!-- end of table -->"
TABLE = {
    "title": "Speed",
    "columns": ["way", "ms", "spread", "crop"],
    "rows": [["one | two", 3.5, "3.4 to 3.6 ms", "paper"], ["three", None, "-", "gt:1.25"]],
    "notes": ["*every* round"],
}


@pytest.fixture
def document(tmp_path):
    (tmp_path / "numbers.json").write_text(json.dumps({"tables": {"speed": TABLE, "gone": TABLE | {"rows": ["gone"]}}}))
    path = tmp_path / "page.md"
    path.write_text(f"# Page\n\n{BEGIN}\n{END}\n\nAfter it.\n")
    return path


def run(*arguments):
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_table_is_written_and_then_up_to_date(document):
    before, done = document.read_text(), run("--check", document)
    assert (done.returncode, done.stdout) == (1, f"{document}: numbers.json speed: not what its JSON says\n")
    assert document.read_text() == before
    assert run(document).stdout == f"{document}: numbers.json speed: written\n"
    expected = f"""# Page

{BEGIN}

Speed

| way        |   ms |        spread | crop    |
|:-----------|-----:|--------------:|:--------|
| one \\| two |  3.5 | 3.4 to 3.6 ms | paper   |
| three      |    - |             - | gt:1.25 |

- \\*every* round

{END}

After it.
"""
    assert document.read_text() == expected
    assert run("--check", document).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no table\n", "no table in these documents"),
        (f"{BEGIN}\n", "a marker of a table without its other half"),
        (f"{BEGIN}\n{BEGIN}\n{END}\n", "a marker of a table without its other half"),
        (f"{BEGIN.replace('speed', 'size')}\n{END}\n", "no table size: found speed, gone"),
        (f"{BEGIN.replace('speed', 'gone')}\n{END}\n", "no measurement gone"),
        (f"{BEGIN.replace('numbers', 'other')}\n{END}\n", "other.json: cannot be read"),
    ],
)
def test_mistakes_are_answered_in_one_line(document, text, message):
    document.write_text(text)
    done = run("--check", document)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def measured(label, **changes):
    """A measurement of 554 of 689 faces, as in metrics.json."""
    subset = {"n": 554, "official_n": 554, "complete": True, "nme_interocular": 3.1754, "nme_box": 1.905, "fr10": 0.0}
    protocol = {"normaliser": "interocular", "box": "gt:1.25", "thresholds": [0.1, 0.08], "flip_test": False}
    protocol |= {"occluded_points": "counted", "missing": {"n": 0, "counted": "none missing"}, "content": "572d"}
    protocol |= {"checkpoint": {"sha256": "c8402c0e5d2fb9a1", "arch": "mobilefan", "image_size": 224}}
    protocol |= {"split": "test", "synthetic": False}
    found = {"id": label, "label": label, "dataset": "300w", "protocol": protocol}
    found |= {"subsets": {"common": subset, "full": subset | {"official_n": 689, "complete": False}}}
    return found | {"machine": "AMD EPYC, 2 cores", "accelerator": "none"} | changes


def test_rows_named_by_id_show_measurements_of_several_files(document):
    columns = ["method", "common", "common (box)", "full", "FR10", "start", "network", "checkpoint"]
    table = {"title": "NME", "columns": columns, "rows": ["a", "b", "paper-a"], "from": ["other.json", "published.yml"]}
    own = measured("a", training={"start": "scratch"}, caveats=["one seed"])
    folder = document.parent
    (folder / "numbers.json").write_text(json.dumps({"measured": [own], "tables": {"speed": table}}))
    (folder / "other.json").write_text(json.dumps({"measured": [measured("b")]}))
    (folder / "published.yml").write_text(
        "certainty: {F: read}\npublished: [{id: paper-a, method: Paper, nme_interocular: {common: 3}, fr10: 1.5, "
        "box: paper, date: 2022, certainty: F, source: Fard}]\n"
    )
    renewed = runpy.run_path(str(SCRIPT))["renewed"]
    lines = [line.replace(" ", "") for line in renewed(document, document.read_text()).split("\n")]
    assert "|a|3.18|1.91|3.18*|0.00*|scratch|mobilefan|c8402c0e|" in lines
    assert "|b|3.18|1.91|3.18*|0.00*|-|mobilefan|c8402c0e|" in lines
    assert "|Paper|3.00|-|-|1.50|-|-|-|" in lines
    assert "-\\*measuredonapartofthetestset:notcomparablewithfull-setnumbers" in lines
    assert "-a:oneseed" in lines
    assert "-published2022,F(read):Fard;interocular,croppaper" in lines
    assert sum(line.startswith("-300wtest(554of554common,554of689full") for line in lines) == 1
