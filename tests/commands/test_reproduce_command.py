"""Whole systems in small: trainings, evaluation and report, as ``python -m kdloss.reproduce`` leaves them."""

import dataclasses
import html.parser
import json
import re
import shutil

import pytest

from kdloss import reproduce
from kdloss.chain import CONTINUED, DEFAULT_SYSTEM, SYSTEMS
from kdloss.recipes import EFFICIENTFAN, KD_LOSS, Recipe
from tests.training.tiny_chain import ARCH, BATCH, DEEP, FAN, MAPS_SIZE, SIZE, use_tiny_networks

SHORT = {"batch_size": BATCH, "augment": "paper", "loss": "l1", "epochs": 1}
SMALL = Recipe(
    about="seconds; shows that the chain holds together",
    common=SHORT | {"arch": ARCH, "image_size": SIZE},
    teacher={},
    student={},
    distilled={"teacher_views": 1, "kd_preset": "dev2020"},
    warm={"learning_rate": 5e-4},
)
SMALL_MAPS = Recipe(
    about="seconds; shows that the chain holds together",
    common=SHORT | {"image_size": MAPS_SIZE, "heatmap_loss": "cross-entropy", "heatmap_weight": 0.05},
    teacher={"arch": FAN},
    student={"arch": FAN},
    distilled={"kd_preset": "dev2020"},
    warm={"learning_rate": 5e-4},
    regressor={"teacher": {"arch": DEEP}, "student": {"arch": DEEP}},
)
LINKS = ["none", "tough", "tolerant", CONTINUED, "kd-tough", "kd-tolerant", "kd-both"]


@pytest.fixture(scope="module")
def reproduced(data, tmp_path_factory):
    """What ``python -m kdloss.reproduce --preset smoke`` leaves, with a recipe of one epoch a network."""
    root = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        patch.setitem(KD_LOSS, "smoke", SMALL)
        patch.setenv("KDLOSS_DATA", str(data))
        patch.setenv("KDLOSS_RUNS", str(root))
        assert reproduce.main(["--dataset", "300w", "--preset", "smoke"]) == 0
    return root / "reproduce-300w-smoke"


@pytest.fixture
def again(data, monkeypatch, capsys):
    """Types the command once more for a folder; returns what it printed."""

    def type_it(folder, *flags, status=0):
        monkeypatch.setitem(KD_LOSS, "smoke", SMALL)
        monkeypatch.setenv("KDLOSS_DATA", str(data))
        assert reproduce.main(["--dataset", "300w", "--preset", "smoke", "--out", str(folder), *flags]) == status
        return capsys.readouterr().out

    return type_it


class _Page(html.parser.HTMLParser):
    """Rows of tables, and everything that a page asks the network for."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.asked, self.pictures, self.open, self.headings = [], [], 0, [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.open.append(tag)
        self.pictures += tag == "img"
        asked = [values[name] for name in ("src", "href", "srcset", "data", "action") if values.get(name)]
        self.asked += [value for value in asked if not value.startswith(("data:", "#"))]
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        self.open = self.open[: len(self.open) - 1 - self.open[::-1].index(tag)]

    def handle_data(self, text):
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1].append(text)
        elif self.open[-1:] == ["h2"]:
            self.headings.append(text)


def test_the_report_is_one_file_with_everything(reproduced):
    text = (reproduced / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert page.asked == []
    assert "@import" not in text
    assert not re.search(r"url\((?!data:)", text)
    assert text.count("<script") == text.count("<script>") == 1  # the page's own, which sorts tables
    assert page.pictures >= 4
    assert {"Results", "Cumulative error", "Faces", "Shape model", "Training", "Protocol"} <= set(page.headings)
    assert "SYNTHETIC" in text
    results = json.loads((reproduced / "results.json").read_text())
    rows = {row[0]: row[1:] for row in reversed(page.rows) if row}
    assert list(results["runs"]) == LINKS
    for run in results["runs"].values():
        assert f"{run['subsets']['full']['nme_interocular']:.2f}" in rows[run["title"]]
    titles = {name: run["title"] for name, run in results["runs"].items()}
    assert titles["none"] == "student, no distillation"
    assert titles["kd-tough"] == "student, tough teacher only"
    assert titles["kd-tolerant"] == "student, tolerant teacher only"
    assert "both" in titles["kd-both"]
    assert "mean training shape" in rows
    # How each network came to be is in its row.
    assert rows[titles["none"]][-4:-1] == [str(SIZE), "scratch", "1"]
    assert rows[titles["kd-both"]][-5:-1] == [ARCH, str(SIZE), "from none", "1"]
    assert rows[titles["tolerant"]][-5:-1] == [ARCH, str(SIZE), "from tough", "1"]
    # And how it was measured.
    for run in results["runs"].values():
        checkpoint = run["protocol"]["checkpoint"]["sha256"]
        assert rows[run["title"]][-1].startswith("SYNTHETIC 300-W test ")
        assert rows[run["title"]][-1].endswith(checkpoint[:8])


def test_results_for_machines_and_for_readers(reproduced):
    results = json.loads((reproduced / "results.json").read_text())
    assert results["facts"]["images"] == "SYNTHETIC"
    assert results["facts"]["command"] == "python -m kdloss.reproduce --dataset 300w --preset smoke"
    assert results["facts"]["system"] == "KD-Loss"
    assert "formulas" not in results["facts"]
    assert results["protocol"]["box"] == "gt:1.25"
    assert [row["title"] for row in results["differences"]] == [
        results["runs"][name]["title"] for name in ("kd-tough", "kd-tolerant", "kd-both")
    ]
    for row in results["differences"]:
        assert row["against"] == results["runs"][CONTINUED]["title"]
        assert row["low"] <= row["difference"] <= row["high"]
    rows = {row[0]: row for row in results["tables"]["results"]["rows"]}
    for run in results["runs"].values():
        assert f"{run['subsets']['full']['nme_interocular']:.2f}" in rows[run["title"]]
    for name in LINKS:
        folder = reproduced / name / "evaluation-300w"
        assert sorted(file.name for file in folder.iterdir()) == ["ced.png", "metrics.json", "predictions.npz"]
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["subsets"] == results["runs"][name]["subsets"]


def test_a_second_call_trains_nothing(reproduced, again):
    before = (reproduced / "results.json").read_text()
    trained = {name: (reproduced / name / "best.keras").stat().st_mtime_ns for name in LINKS}
    text = again(reproduced)
    assert text.count("done before") == len(LINKS)
    assert f"report: {reproduced / 'report.html'}" in text
    assert {name: (reproduced / name / "best.keras").stat().st_mtime_ns for name in LINKS} == trained
    assert (reproduced / "results.json").read_text() == before


def test_a_chain_that_was_cut_off_goes_on_to_the_same_numbers(reproduced, again):
    before = json.loads((reproduced / "results.json").read_text())["runs"]["kd-both"]
    shutil.rmtree(reproduced / "kd-both")
    text = again(reproduced)
    assert text.count("done before") == len(LINKS) - 1
    assert f"[7/7] student, KD-Loss (both): {ARCH}, 1 epochs" in text
    after = json.loads((reproduced / "results.json").read_text())["runs"]["kd-both"]
    assert after["subsets"] == before["subsets"]
    assert after["training"]["val_nme"] == before["training"]["val_nme"]


def test_a_chain_can_be_cut_into_pieces(reproduced, again):
    before = json.loads((reproduced / "results.json").read_text())["runs"]["kd-both"]["subsets"]
    shutil.rmtree(reproduced / "kd-both")
    # A run of one epoch: the teachers' points are stored already, and an epoch that was begun is ended.
    assert "report:" in again(reproduced, "--minutes", "0.001")
    assert json.loads((reproduced / "results.json").read_text())["runs"]["kd-both"]["subsets"] == before
    shutil.rmtree(reproduced / "kd-both")
    shutil.rmtree(reproduced / "kd-tolerant")
    assert "kd-both: is the next run: run the same command" in again(reproduced, "--minutes", "0.001", status=75)
    assert (reproduced / "kd-tolerant" / "finished.json").is_file()
    shutil.rmtree(reproduced / "teacher-views")
    text = again(reproduced, "--minutes", "0.00001", status=75)
    assert "on 0 of 1 rounds of views are stored: run the same command again to go on" in text
    assert "report:" in again(reproduced)


@pytest.fixture(scope="module")
def heatmaps(data, tmp_path_factory):
    """What the other systems leave: name -> texts by file name. Their chains share runs, and so here a folder."""
    folder = tmp_path_factory.mktemp("heatmaps") / "chain"
    kept = ("none", "teacher", "fa-ps", "tolerant", "regressor-none", "regressor-kd-loss+fa-ps")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        patch.setitem(EFFICIENTFAN, "smoke", SMALL_MAPS)
        patch.setenv("KDLOSS_DATA", str(data))
        for system in ("efficientfan", "crossed"):
            whole = SYSTEMS[system]

            def some(recipe_, ablation, whole=whole):
                return [link for link in whole.links(recipe_, ablation) if link.name in kept]

            patch.setitem(SYSTEMS, system, dataclasses.replace(whole, links=some, best="fa-ps"))
            flags = ["--dataset", "300w", "--preset", "smoke", "--seed", "1", "--out", str(folder)]
            assert reproduce.main(["--system", system, *flags]) == 0
            names = ("results.json", "report.html")
            found[system] = {name: (folder / name).read_text(encoding="utf-8") for name in names}
            found[system]["pictures"] = sorted(file.name for file in (folder / "pictures").iterdir())
    return found | {"folder": folder}


def differences_of(texts):
    """What was compared: (run, control), by the names of the links."""
    results = json.loads(texts["results.json"])
    names = {run["title"]: name for name, run in results["runs"].items()}
    for row in results["differences"]:
        assert row["low"] <= row["difference"] <= row["high"]
        errors = [
            results["runs"][names[row[key]]]["subsets"]["full"]["nme_interocular"] for key in ("title", "against")
        ]
        assert row["difference"] == pytest.approx(errors[0] - errors[1], abs=1e-6)
    return [(names[row["title"]], names[row["against"]]) for row in results["differences"]]


def test_students_of_feature_maps_are_compared_with_one_without(heatmaps):
    texts = heatmaps["efficientfan"]
    assert differences_of(texts) == [("fa-ps", "none")]
    page = _Page(texts["report.html"])
    assert "<h1>EfficientFAN on 300-W, preset smoke</h1>" in texts["report.html"]
    assert "Heatmap student, FA + PS: NME " in texts["report.html"]
    # No tolerant teacher, so no shape model.
    assert "Shape model" not in page.headings
    assert texts["pictures"] == ["ced.png", "curves.png", "faces.jpg"]
    facts = json.loads(texts["results.json"])["facts"]
    assert facts["command"] == "python -m kdloss.reproduce --dataset 300w --system efficientfan --preset smoke"
    assert facts["system"] == "EfficientFAN"
    assert "FA and PS are reconstructed" in facts["formulas"]


def test_crossed_students_are_compared_each_with_their_own_network(heatmaps):
    texts = heatmaps["crossed"]
    pairs = [("fa-ps", "none"), ("regressor-kd-loss+fa-ps", "regressor-none")]
    assert differences_of(texts) == pairs
    results = json.loads(texts["results.json"])
    titles = {name: run["title"] for name, run in results["runs"].items()}
    for student, control in pairs:
        line = f"{titles[student]} against {titles[control]}: "
        assert f"<p>{line}" in texts["report.html"].replace("&#x27;", "'")
    page = _Page(texts["report.html"])
    assert "Shape model" in page.headings
    assert texts["pictures"] == ["ced.png", "curves.png", "faces.jpg", "modes.png"]
    rows = {row[0]: row[1:] for row in reversed(page.rows) if row}
    assert rows[titles["regressor-none"]][-5:-1] == [DEEP, str(MAPS_SIZE), "scratch", "1"]
    assert rows[titles["tolerant"]][-5:-1] == [FAN, str(MAPS_SIZE), "from teacher", "1"]
    assert results["runs"]["fa-ps"]["config"]["seed"] == 1


def test_runs_that_two_systems_share_are_trained_once(heatmaps):
    before, after = (json.loads(heatmaps[system]["results.json"])["runs"] for system in ("efficientfan", "crossed"))
    assert list(before) == ["none", "teacher", "fa-ps"]
    for name, run in before.items():
        assert after[name]["training"] == run["training"]
        assert after[name]["subsets"] == run["subsets"]


def test_where_each_system_is_kept(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KDLOSS_DATA", str(data))
    asked = []
    monkeypatch.setattr(reproduce, "reproduce", lambda *how: asked.append(how) or "table")
    for flags, name in (
        ([], "reproduce-300w-smoke"),
        (["--system", "kd-loss", "--seed", "2"], "reproduce-300w-smoke-seed2"),
        (["--system", "crossed"], "reproduce-300w-crossed-smoke"),
        (["--system", "efficientfan", "--seed", "2"], "reproduce-300w-efficientfan-smoke-seed2"),
    ):
        assert reproduce.main(["--preset", "smoke", *flags]) == 0
        assert f"report: {tmp_path / 'runs' / name / 'report.html'}" in capsys.readouterr().out
        system = flags[1] if "--system" in flags else DEFAULT_SYSTEM
        assert (asked[-1][0], asked[-1][3]) == (system, tmp_path / "runs" / name)


def test_no_epochs_and_no_time_are_refused(capsys):
    assert reproduce.main(["--epochs", "0"]) == 2
    assert capsys.readouterr().err == "error: --epochs 0: expected 1 at least\n"
    assert reproduce.main(["--minutes", "0"]) == 2
    assert capsys.readouterr().err == "error: --minutes 0.0: expected a number above 0\n"


def test_without_data_it_says_how_to_get_some(workplace, capsys):
    assert reproduce.main(["--dataset", "cofw", "--preset", "smoke"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "make demo" in lines[0]
    assert list(workplace.iterdir()) == []
