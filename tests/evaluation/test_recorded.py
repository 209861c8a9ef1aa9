"""The record of results: its rules, what is in it, and the blocks of Markdown that come from it."""

import datetime
import json
from pathlib import Path

import pytest
import yaml

from kdloss.errors import DataError
from kdloss.evaluation import recorded
from kdloss.evaluation.generated import block_names, check_blocks, dataset_tables, recorded_table, write_blocks
from kdloss.evaluation.protocol import evaluate_points
from kdloss.evaluation.recorded import load_recorded, parse_recorded, recorded_metrics
from kdloss.evaluation.recording import add_entries, chain_entries, evaluation_entry
from kdloss.evaluation.tables import Result, markdown_table, recorded_result, results_table
from kdloss.geometry import BoxPolicy

REPOSITORY = Path(__file__).resolve().parents[2]
RECORD = REPOSITORY / "docs" / "results" / "results.yml"

SMALL = """\
# a record
certainty: {F: read, I: inferred}
tables:
  both: {title: Two rows, dataset: 300w, rows: [mine, theirs], columns: [common, full, MB]}
  paper: {title: A paper, dataset: 300w, rows: [theirs]}
published:
  - {id: theirs, method: Theirs, dataset: 300w, nme_interocular: {full: 3.5}, box: not stated, certainty: F, date: 2020,
     source: A paper}
# ours
measured:
  - id: mine
    label: Mine
    dataset: 300w
    split: test
    synthetic: false
    protocol: {normaliser: interocular, box: 'gt:1.25', thresholds: [0.1, 0.08], flip_test: false, content: abc,
      occluded_points: counted, missing: {n: 0, counted: none missing}}
    subsets:
      common: {n: 554, official_n: 554, complete: true, nme_interocular: 5.25, nme_interpupil: 7.5, nme_box: 3.0,
        fr10: 2.0, fr08: 4.0, auc10: 0.5, auc08: 0.4}
      full: {n: 554, official_n: 689, complete: false, nme_interocular: 5.25, nme_interpupil: 7.5, nme_box: 3.0,
        fr10: 2.0, fr08: 4.0, auc10: 0.5, auc08: 0.4}
    machine: a machine
    date: 2026-11-22
    command: make
    megabytes: 10.5
# the end
"""

LOST = """\
differences:
  - {id: d, model: mine, against: lost, difference: 0.1, low: 0.0, high: 0.2, method: m, date: 2026-11-22}
"""


def write(path, text=SMALL):
    path.write_text(text, encoding="utf-8")
    return path


def test_an_entry_becomes_a_row():
    record = parse_recorded(SMALL, "results.yml")
    (entry,) = record.measured
    assert entry.date == datetime.date(2026, 11, 22)
    assert entry.kind == "measured"
    lines = markdown_table(recorded_table(record, "both")).splitlines()
    protocol = "300-W test 554/689*, ocular, gt:1.25, at 0.10/0.08, no flip, occl. counted, none missing, no checkpoint"
    assert lines[2] == f"| Mine | 5.25 | 5.25* | 10.5 | {protocol} |"
    assert lines[3].startswith("| Theirs | - | 3.50 | - | 300-W test 689, ocular, ")
    assert any("published, F (read): A paper" in line for line in lines)
    paper = markdown_table(recorded_table(record, "paper")).splitlines()
    assert paper[0] == "| method | full | protocol |"


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("megabytes: 10.5", "megabites: 10.5", ["measured entry 1 (mine)", "unknown field megabites"]),
        ("megabytes: 10.5", "megabytes: .nan", ["measured entry 1 (mine): megabytes is nan, expected a finite number"]),
        ("auc10: 0.5", "auc10: .inf", ["subsets: common: auc10 is inf", "or null"]),
        ("n: 554,", "n: 5.5,", ["subsets: common: n is 5.5, expected a whole number"]),
        ("fr08: 4.0, ", "", ["subsets: common: fr08 is missing"]),
        ("    date: 2026-11-22\n", "", ["(mine): date is missing: expected a date such as"]),
        ("date: 2026-11-22", "date: yesterday", ["date is 'yesterday'"]),
        ("date: 2026-11-22", "date: 2026-13-22", ["not valid YAML: month must be in 1..12"]),
        ("\n     source: A paper", "", ["published entry 1 (theirs): source is missing"]),
        ("source: A paper", "source: ' '", ["source is ' ', expected a text"]),
        ("certainty: F,", "certainty: X,", ["(theirs): certainty: found X, expected one of F, I"]),
        ("nme_interocular: {full: 3.5}", "nme_interocular: {frontal: 3.5}", ["NME of frontal", "challenging, common"]),
        ("nme_interocular: {full: 3.5}, ", "", ["NME of no subset"]),
        ("nme_interocular: {full: 3.5}", "nme_interocular: {full: .nan}", ["nme_interocular is {'full': nan}"]),
        ("    protocol: {", "    protocols: {", ["unknown field protocols"]),
        ("normaliser: interocular, ", "", ["protocol: normaliser is missing"]),
        ("missing: {n: 0, counted", "missing: {n: 0, count", ["protocol: missing: unknown field count"]),
        ("- id: mine", "- id: theirs", ["measured entry 1 (theirs): the id theirs is taken"]),
        ("- id: mine", "- id: My model", ["id is 'My model', expected an id"]),
        ("dataset: 300w\n", "dataset: [300w]\n", ["dataset is ['300w'], expected one of 300w"]),
        ("      full: {n", "      fool: {n", ["(mine): subsets: found no full"]),
        ("# ours\nmeasured:", "measured: 3\nours:", ["unknown field ours"]),
        ("certainty: {F: read, I: inferred}\n", "", ["certainty is missing"]),
        ("rows: [theirs]", "rows: theirs", ["tables: paper: rows is 'theirs', expected a list of texts"]),
        ("# the end", LOST, ["differences: d: lost is not the id of a measured result"]),
        ("# the end", "  :\n- [", ["not valid YAML", "line"]),
        (SMALL, "- 1\n", ["results.yml is [1], expected a mapping"]),
        (SMALL, "", ["results.yml is None, expected a mapping"]),
        ("machine: a machine", "machine: !!python/object/apply:os.getcwd []", ["not valid YAML: could not determine"]),
    ],
)  # fmt: skip
def test_what_breaks_the_rules_is_named_in_one_line(old, new, parts):
    assert old in SMALL
    with pytest.raises(DataError) as caught:
        parse_recorded(SMALL.replace(old, new, 1), "results.yml")
    message = str(caught.value)
    assert message.startswith("results.yml")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_detected_boxes_are_said_to_be_kind():
    record = parse_recorded(SMALL.replace("box: 'gt:1.25'", "box: lbp as gt:1.25"), "results.yml")
    assert "kinder than whole photographs" in recorded_metrics(record.measured[0])["notes"][-1]
    assert recorded_metrics(parse_recorded(SMALL, "results.yml").measured[0])["notes"] == []


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        load_recorded(tmp_path / "absent.yml")
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        load_recorded(tmp_path / "bytes.yml")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("rows: [mine, theirs]", "rows: [mine, peer-ert-300w]", ["row peer-ert-300w is not recorded", "--id peer-ert"]),
        ("columns: [common, full, MB]", "columns: [common, width]", ["tables: both: column width"]),
        ("both: {title: Two rows, dataset: 300w", "both: {title: Two rows, dataset: cofw", ["row mine is of 300w"]),
        ("  both:", "  other:", ["tables: both: no such table: expected one of other, paper"]),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_made(old, new, parts):
    # A row that is not there yet spoils its table alone: the record can be read, and the row be added.
    record = parse_recorded(SMALL.replace(old, new, 1), "results.yml")
    with pytest.raises(DataError) as caught:
        recorded_table(record, "both")
    for part in parts:
        assert part in str(caught.value)


def test_real_and_rendered_faces_never_share_a_table():
    lines = SMALL.splitlines()
    begin, end = lines.index("  - id: mine"), lines.index("# the end")
    rendered = (
        "\n".join(lines[begin:end]).replace("id: mine", "id: drawn").replace("synthetic: false", "synthetic: true")
    )
    text = SMALL.replace("# the end", rendered).replace("rows: [mine, theirs]", "rows: [mine, drawn]")
    record = parse_recorded(text, "results.yml")
    with pytest.raises(DataError, match="real and rendered faces"):
        recorded_table(record, "both")
    real, synthetic = dataset_tables(record, "300w")
    assert [row.kind for row in real.rows] == ["measured", "published"]
    assert [row.kind for row in synthetic.rows] == ["measured"]
    assert "SYNTHETIC" in synthetic.title


def test_adding_keeps_the_text_that_is_there(tmp_path):
    path = write(tmp_path / "results.yml")
    entry = yaml.safe_load(SMALL)["measured"][0]
    add_entries(path, measured=[entry | {"id": "second", "note": "with: a colon"}])
    text = path.read_text()
    head, tail = SMALL.split("# the end\n")
    assert text.startswith(head)
    assert text.endswith("# the end\n" + tail)
    assert [found.id for found in load_recorded(path).measured] == ["mine", "second"]
    assert load_recorded(path).measured[1].note == "with: a colon"
    difference = {"id": "d", "model": "second", "against": "mine", "difference": 0.1, "low": -0.1, "high": 0.3}
    add_entries(path, differences=[difference | {"method": "m", "date": datetime.date(2026, 11, 22)}])
    assert load_recorded(path).differences[0].high == 0.3
    before = path.read_text()
    for broken, message in (({"id": "mine"}, "taken"), ({"id": "third", "megabytes": float("nan")}, "finite")):
        with pytest.raises(DataError, match=message):
            add_entries(path, measured=[entry | broken])
        assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["results.yml"]


def test_adding_through_a_link_keeps_the_link(tmp_path):
    write(tmp_path / "results.yml")
    link = tmp_path / "link.yml"
    link.symlink_to("results.yml")
    add_entries(link, measured=[yaml.safe_load(SMALL)["measured"][0] | {"id": "second"}])
    assert link.is_symlink()
    assert len(load_recorded(tmp_path / "results.yml").measured) == 2


def test_a_block_is_written_once_and_found_stale(tmp_path):
    record = parse_recorded(SMALL, "results.yml")
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- results: both -->\nold\n<!-- end of results -->\nafter, without a line's end")
    assert block_names(page) == ["both"]
    assert check_blocks(page, record) == ["both"]
    assert write_blocks(page, record) == ["both"]
    text = page.read_text()
    assert text.startswith("# Page\n<!-- results: both -->\n\nTwo rows\n\n| method | common |")
    assert text.endswith("\n\n<!-- end of results -->\nafter, without a line's end")
    assert "\nold\n" not in text
    assert check_blocks(page, record) == []
    assert write_blocks(page, record) == []
    assert page.read_text() == text
    page.write_text(text.replace("5.25*", "5.24*"))
    assert check_blocks(page, record) == ["both"]
    changed = parse_recorded(SMALL.replace("5.25", "5.35"), "results.yml")
    page.write_text(text)
    assert check_blocks(page, changed) == ["both"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- results: both -->\n", "line 1: block both has no end"),
        ("a\n<!-- end of results -->\n", "line 2: <!-- end of results --> ends nothing"),
        ("<!-- results: both -->\n<!-- results: paper -->\n", "line 2: <!-- results: paper --> inside of block both"),
        ("<!-- results: both -->\n<!-- end of results -->\n" * 2, "line 3: block both stands twice"),
        ("<!-- results: absent -->\n<!-- end of results -->\n", "tables: absent: no such table"),
    ],
)
def test_blocks_that_are_not_whole(tmp_path, text, message):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(DataError, match=message):
        write_blocks(page, parse_recorded(SMALL, "results.yml"))
    assert page.read_text() == text


def test_the_repository_is_up_to_date():
    record = load_recorded(RECORD)
    pages = [REPOSITORY / "README.md", *sorted(RECORD.parent.glob("*.md"))]
    assert [(page.name, name) for page in pages for name in check_blocks(page, record)] == []
    # Whoever takes a marker away by accident hears of it.
    names = [name for page in pages for name in block_names(page)]
    assert sorted(name for name in names if not name.endswith(".json")) == sorted(record.tables)


def test_the_package_carries_the_record_of_the_repository():
    assert recorded.FILE.resolve() == RECORD
    assert not recorded.FILE.readlink().is_absolute()


def test_the_record_is_read_by_the_parser_in_c():
    """In some tens of milliseconds, where the one in Python takes seconds."""
    assert recorded._LOADER is yaml.CSafeLoader


def test_300w_full_is_the_mean_of_its_subsets():
    # Over 554 and 135 faces; two-digit rounding of three numbers allows 0.012. Catches a mistyped number.
    whole = [paper.nme_interocular for paper in recorded.published_results("300w") if len(paper.nme_interocular) == 3]
    assert len(whole) == 6
    for nme in whole:
        assert nme["full"] == pytest.approx((554 * nme["common"] + 135 * nme["challenging"]) / 689, abs=0.012)


def test_published_numbers_are_those_of_the_papers():
    by_id = {paper.id: paper for paper in load_recorded(RECORD).published}
    assert by_id["kd-loss-300w-both"].nme_interocular == {"common": 3.56, "challenging": 6.13, "full": 4.06}
    assert by_id["kd-loss-300w-both"].fr10 == 0.87
    assert by_id["kd-loss-wflw-both"].nme_interpupil == {"full": 8.57, "pose": 15.06}
    assert by_id["kd-loss-wflw-both"].nme_interocular == {}
    assert (by_id["star-cofw"].nme_interocular, by_id["star-cofw"].nme_interpupil) == ({"full": 3.21}, {"full": 4.62})
    assert len(by_id["efficientfan-wflw"].nme_interocular) == 7
    assert {paper.certainty for paper in by_id.values()} <= set("FCIR")


def test_measured_rows_are_those_of_the_chain_that_was_run():
    """The record against the chain's own results, number by number."""
    chain = json.loads((RECORD.parent / "300w-cpu.json").read_text())
    record = load_recorded(RECORD)
    by_id = {entry.id: entry for entry in record.measured}
    expected = {f"300w-cpu-{name}": run["subsets"] for name, run in chain["runs"].items()}
    expected["300w-cpu-mean-shape"] = chain["mean_shape"]
    for name, subsets in expected.items():
        for subset, values in subsets.items():
            assert by_id[name].subsets[subset] == pytest.approx(values, abs=1e-6), (name, subset)
    assert by_id["300w-cpu-kd-both"].checkpoint["sha256"] == chain["protocol"]["checkpoint"]["sha256"]
    assert len({by_id[name].checkpoint["sha256"] for name in expected if name != "300w-cpu-mean-shape"}) == 7
    assert [entry.difference for entry in record.differences[:3]] == pytest.approx(
        [row["difference"] for row in chain["differences"]], abs=1e-6
    )


def test_a_chain_away_from_its_runs_lacks_sizes_alone():
    measured, differences = chain_entries(RECORD.parent / "300w-cpu.json", "again", caveats=["a caveat"])
    assert [entry["id"] for entry in measured][:2] == ["again-mean-shape", "again-none"]
    by_id = {entry["id"]: entry for entry in measured}
    expected = {"sha256": "67d066b326a84efb", "arch": "mobilenetv2", "image_size": 96}
    assert by_id["again-none"]["checkpoint"] == expected
    assert by_id["again-kd-both"]["checkpoint"]["sha256"] == "9514eb99ecf53b73"
    assert "megabytes" not in by_id["again-none"]
    assert by_id["again-tolerant"]["training"]["start"] == "from tough"
    assert all(entry["caveats"] == ["a caveat"] for entry in measured)
    assert differences[0]["model"] == "again-kd-tough"
    assert differences[0]["against"] == "again-none-continued"


def test_recorded_metrics_make_the_row_that_evaluate_prints(faces_300w, tmp_path):
    rows = faces_300w.indices("test")
    points = faces_300w.source_points[rows] + 1.0
    found = evaluate_points(faces_300w, rows, points, split="test", box=BoxPolicy.parse("gt:1.25"))
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    entry = evaluation_entry(tmp_path, id="mine", label="Mine", machine="a machine", command="make")
    record = parse_recorded(yaml.safe_dump({"certainty": {"F": "read"}, "measured": [entry]}), "results.yml")
    again = recorded_result(record.measured[0])
    columns = ["common", "challenging", "full", "full (pupil)", "full (box)", "FR10", "FR8", "AUC10", "AUC8"]
    printed = results_table([Result("Mine", found)], published=False, columns=columns)
    kept = results_table([again], published=False, columns=columns)
    assert markdown_table(printed).splitlines()[:3] == markdown_table(kept).splitlines()[:3]
    assert recorded_metrics(record.measured[0])["protocol"]["content"] == found["protocol"]["content"]
