"""The chain of every recipe, and the whole of it in small: seven trainings, their evaluation and the report."""

import dataclasses
import html.parser
import json
import re
import shutil

import pytest

from kdloss import reproduce
from kdloss.chain import CONTROL, chain, link_config
from kdloss.errors import ConfigError
from kdloss.models import architectures
from kdloss.models.regressors import REGRESSORS
from kdloss.recipes import RECIPES, Recipe, recipe
from tests.training.tiny_chain import ARCH, BATCH, SIZE, TINY

SMALL = Recipe(
    about="seconds; shows that the chain holds together",
    common={"arch": ARCH, "image_size": SIZE, "batch_size": BATCH, "augment": "paper", "loss": "l1", "epochs": 1},
    teacher={},
    student={},
    distilled={"teacher_views": 1, "kd_preset": "dev2020"},
    warm={"learning_rate": 5e-4},
)
LINKS = ["none", "tough", "tolerant", CONTROL, "kd-tough", "kd-tolerant", "kd-both"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_chain_in_order(name, tmp_path):
    links = chain(RECIPES[name])
    names = [link.name for link in links]
    warm = bool(RECIPES[name].warm)
    assert names == [link for link in LINKS if warm or link != CONTROL]
    assert len({link.title for link in links}) == len(links)
    for number, link in enumerate(links):
        before = set(names[:number])
        assert set(link.teachers) <= before
        assert link.start is None or link.start in before
        config = link_config(link, RECIPES[name].seeded(3), "300w", tmp_path)
        assert config.arch in architectures()
        assert config.seed == 3
        assert config.kind == (link.name if link.is_teacher else "student")
        assert config.method == ("kd-loss" if link.teachers else "none")
        assert config.teachers == {role: str(tmp_path / role / "best.keras") for role in link.teachers}
        assert config.weights == (str(tmp_path / link.start / "best.keras") if link.start else "none")
        starts = dict.fromkeys((CONTROL, "kd-tough", "kd-tolerant", "kd-both"), "none") | {"tolerant": "tough"}
        if not warm:
            starts = {}
        assert link.start == starts.get(link.name)


@pytest.mark.parametrize("part", ["tolerant", "distilled"])
def test_only_a_run_that_starts_from_another_is_short(part):
    changes = {"method": "kd-loss", "tough": "t.keras"} if part == "distilled" else {}
    scratch = RECIPES["cpu"].config(part, "300w", **changes)
    warm = RECIPES["cpu"].config(part, "300w", start="other.keras", **changes)
    assert scratch.epochs >= 5 * warm.epochs
    assert (scratch.weights, warm.weights) == ("none", "other.keras")


@pytest.mark.parametrize("name", RECIPES)
def test_rows_of_a_recipe_compare_like_with_like(name, tmp_path):
    configs = {link.name: link_config(link, RECIPES[name], "300w", tmp_path) for link in chain(RECIPES[name])}
    # Teachers see the student's views.
    assert len({(config.image_size, config.box) for config in configs.values()}) == 1
    # A start takes over the weights, so the networks must be the same.
    assert configs["tough"].arch == configs["tolerant"].arch
    assert configs["tough"].loss == configs["tolerant"].loss
    students = [config for link, config in configs.items() if config.kind == "student"]
    assert len({config.arch for config in students}) == 1
    distilled = [config for link, config in configs.items() if link.startswith("kd-") or link == CONTROL]
    for field in dataclasses.fields(distilled[0]):
        if field.name not in ("method", "tough", "tolerant"):
            assert len({getattr(config, field.name) for config in distilled}) == 1, field.name


@pytest.mark.parametrize("name", RECIPES)
def test_a_capped_recipe_differs_in_its_epochs_alone(name, tmp_path):
    whole, capped = RECIPES[name], RECIPES[name].capped(3)
    for link in chain(whole):
        config = link_config(link, whole, "300w", tmp_path)
        expected = dataclasses.replace(config, epochs=min(3, config.epochs))
        assert link_config(link, capped, "300w", tmp_path) == expected
    assert capped.capped(400) == capped


def test_recipes_by_name(monkeypatch):
    assert recipe("paper") is RECIPES["paper"]
    with pytest.raises(ConfigError, match="recipe fast: expected one of smoke, cpu, gpu, paper, or auto"):
        recipe("fast")
    for accelerators, name in (([], "cpu"), (["GPU:0"], "gpu")):
        monkeypatch.setattr("kdloss.runs.environment", lambda found=accelerators: {"accelerators": found})
        assert recipe("auto") is RECIPES[name]


@pytest.fixture(scope="module")
def reproduced(data, tmp_path_factory):
    """What ``python -m kdloss.reproduce --preset smoke`` leaves, with a recipe of one epoch a network."""
    root = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGRESSORS, ARCH, TINY)
        patch.setitem(RECIPES, "smoke", SMALL)
        patch.setenv("KDLOSS_DATA", str(data))
        patch.setenv("KDLOSS_RUNS", str(root))
        assert reproduce.main(["--dataset", "300w", "--preset", "smoke"]) == 0
    return root / "reproduce-300w-smoke"


@pytest.fixture
def again(data, monkeypatch, capsys):
    """Types the command once more for a folder; returns what it printed."""

    def type_it(folder):
        monkeypatch.setitem(RECIPES, "smoke", SMALL)
        monkeypatch.setenv("KDLOSS_DATA", str(data))
        assert reproduce.main(["--dataset", "300w", "--preset", "smoke", "--out", str(folder)]) == 0
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
    assert results["protocol"]["box"] == "gt:1.25"
    assert [row["title"] for row in results["differences"]] == [
        results["runs"][name]["title"] for name in ("kd-tough", "kd-tolerant", "kd-both")
    ]
    for row in results["differences"]:
        assert row["against"] == results["runs"][CONTROL]["title"]
        assert row["low"] <= row["difference"] <= row["high"]
    lines = (reproduced / "results.md").read_text(encoding="utf-8").splitlines()
    for run in results["runs"].values():
        row = next(line for line in lines if line.startswith(f"| {run['title']} |"))
        assert f"{run['subsets']['full']['nme_interocular']:.2f}" in row
    assert any("SYNTHETIC" in line for line in lines)
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


def test_no_epochs_are_refused(capsys):
    assert reproduce.main(["--epochs", "0"]) == 2
    assert capsys.readouterr().err == "error: --epochs 0: expected 1 at least\n"


def test_without_data_it_says_how_to_get_some(workplace, capsys):
    assert reproduce.main(["--dataset", "cofw", "--preset", "smoke"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "make demo" in lines[0]
    assert list(workplace.iterdir()) == []
