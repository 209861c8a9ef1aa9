"""The chain of every recipe of every system, and the whole of them in small: trainings, evaluation and report."""

import dataclasses
import html.parser
import json
import re
import shutil

import pytest

from kdloss import reproduce
from kdloss.chain import CONTINUED, DEFAULT_SYSTEM, SYSTEMS, link_config
from kdloss.errors import ConfigError
from kdloss.evaluation.recording import chain_entries
from kdloss.models import architectures, predicts_heatmaps
from kdloss.recipes import EFFICIENTFAN, KD_LOSS, PRESETS, Recipe, recipe
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
FAN_LINKS = ["none", "teacher", "fa", "ps", "fa-ps"]
CROSSED_LINKS = [
    *FAN_LINKS,
    *("tolerant", "kd-loss", "kd-loss+fa-ps"),
    *("regressor-none", "regressor-fa-ps", "regressor-kd-loss+fa-ps"),
    *("regressor-teacher", "regressor-fa-ps-regressor"),
]
# Where the recipe has a regressor as teacher.
BY_REGRESSOR = {"regressor-teacher", "regressor-fa-ps-regressor"}
CHAINS = {"kd-loss": LINKS, "efficientfan": FAN_LINKS, "crossed": CROSSED_LINKS}
# Links without which the table has holes, but the chain still holds.
ABLATION = {CONTINUED, "kd-tough", "kd-tolerant", "fa", "ps"}
ROLES = ("tough", "tolerant", "feature_teacher")
# How a student is taught. All else must be the same in two rows that are compared.
TAUGHT = {"method", *ROLES, "kd_preset", "unit", "fa_weight", "ps_weight"}

every_chain = pytest.mark.parametrize(
    ("system", "preset"), [(system, preset) for system in SYSTEMS for preset in PRESETS]
)


def links_of(system, preset, ablation=True):
    chain = SYSTEMS[system]
    return chain.links(chain.recipes[preset], ablation), chain.recipes[preset]


def configs_of(system, preset, folder, ablation=True):
    links, recipe_ = links_of(system, preset, ablation)
    return {link.name: link_config(link, recipe_, "300w", folder) for link in links}


@every_chain
def test_every_recipe_is_a_chain_in_order(system, preset, tmp_path):
    links, recipe_ = links_of(system, preset)
    names = [link.name for link in links]
    absent = set() if recipe_.warm else {CONTINUED}
    absent |= set() if "teacher" in (recipe_.regressor or {}) else BY_REGRESSOR
    assert names == [name for name in CHAINS[system] if name not in absent]
    assert [link.name for link in links_of(system, preset, ablation=False)[0]] == [
        name for name in names if name not in ABLATION
    ]
    assert len({link.title for link in links}) == len(links)
    assert SYSTEMS[system].best in names
    for number, link in enumerate(links):
        before = names[:number]
        assert {*link.teachers.values(), link.start, link.control} <= {None, *before}
        config = link_config(link, recipe_.seeded(3), "300w", tmp_path)
        assert config.arch in architectures()
        assert config.seed == 3
        assert config.kind == (link.part if link.part in ("tough", "tolerant") else "student")
        assert config.method == link.method
        taught = {role: path for role in ROLES if (path := getattr(config, role))}
        assert taught == {role: str(tmp_path / name / "best.keras") for role, name in link.teachers.items()}
        assert config.weights == (str(tmp_path / link.start / "best.keras") if link.start else "none")
        assert link.start is None or recipe_.warm
        # Whoever learns from a teacher is compared with one that does not, and nobody else is.
        assert (link.control is None) == (link.method == "none")


def test_what_starts_from_what():
    def starts(system, preset):
        return {link.name: link.start for link in links_of(system, preset)[0] if link.start}

    students = dict.fromkeys((CONTINUED, "kd-tough", "kd-tolerant", "kd-both"), "none")
    assert starts("kd-loss", "cpu") == students | {"tolerant": "tough"}
    assert starts("kd-loss", "paper") == starts("crossed", "paper") == {}
    assert starts("efficientfan", "cpu") == {}
    assert starts("crossed", "cpu") == {"tolerant": "teacher"}


@pytest.mark.parametrize("ablation", [True, False])
def test_what_is_compared_with_what(ablation):
    def controls(system, preset):
        return {link.name: link.control for link in links_of(system, preset, ablation)[0] if link.control}

    assert set(controls("kd-loss", "cpu").values()) == {CONTINUED if ablation else "none"}
    assert set(controls("kd-loss", "paper").values()) == {"none"}
    assert set(controls("efficientfan", "cpu").values()) == {"none"}
    crossed = controls("crossed", "cpu")
    assert set(crossed.values()) == {"none", "regressor-none"}
    for name, control in crossed.items():
        assert name.startswith("regressor-") == (control == "regressor-none")


@pytest.mark.parametrize("preset", PRESETS)
def test_who_teaches_whom(preset, tmp_path):
    configs = configs_of("crossed", preset, tmp_path)
    for name, config in configs.items():
        assert predicts_heatmaps(config.arch) is not name.startswith("regressor-")
        assert (config.heatmap_loss == "none") is name.startswith("regressor-")
        taught = {role: (tmp_path / getattr(config, role)).parent.name for role in ROLES if getattr(config, role)}
        expected = {"tough": "teacher", "tolerant": "tolerant"} if config.by_points else {}
        by_regressor = name == "regressor-fa-ps-regressor"
        expected |= (
            {"feature_teacher": "regressor-teacher" if by_regressor else "teacher"} if config.by_features else {}
        )
        assert taught == expected


@pytest.mark.parametrize("part", ["tolerant", "distilled"])
def test_only_a_run_that_starts_from_another_is_short(part):
    changes = {"method": "kd-loss", "tough": "t.keras"} if part == "distilled" else {}
    scratch = KD_LOSS["cpu"].config(part, "300w", **changes)
    warm = KD_LOSS["cpu"].config(part, "300w", start="other.keras", **changes)
    assert scratch.epochs >= 5 * warm.epochs
    assert (scratch.weights, warm.weights) == ("none", "other.keras")


@every_chain
def test_rows_of_a_recipe_compare_like_with_like(system, preset, tmp_path):
    links, configs = links_of(system, preset)[0], configs_of(system, preset, tmp_path)
    # Teachers see the student's views.
    assert len({(config.image_size, config.box) for config in configs.values()}) == 1
    for link in links:
        # A start takes over the weights, so the networks must be the same, and what they learnt alike.
        if link.start:
            for field in ("arch", "loss", "heatmap_loss"):
                assert getattr(configs[link.name], field) == getattr(configs[link.start], field)
        if link.control:
            # The number of views too: one who draws ever new ones has the better lessons.
            assert {*configs[link.name].differences(configs[link.control])} <= TAUGHT


@every_chain
def test_a_capped_recipe_differs_in_its_epochs_alone(system, preset, tmp_path):
    links, whole = links_of(system, preset)
    capped = whole.capped(3)
    for link in links:
        config = link_config(link, whole, "300w", tmp_path)
        expected = dataclasses.replace(config, epochs=min(3, config.epochs))
        assert link_config(link, capped, "300w", tmp_path) == expected
    assert capped.capped(400) == capped


@pytest.mark.parametrize("recipes", [KD_LOSS, EFFICIENTFAN], ids=["kd-loss", "efficientfan"])
def test_recipes_by_name(recipes, monkeypatch):
    assert tuple(recipes) == PRESETS
    assert recipe("paper", recipes) is recipes["paper"]
    with pytest.raises(ConfigError, match="recipe fast: expected one of smoke, cpu, gpu, paper, or auto"):
        recipe("fast", recipes)
    for accelerators, name in (([], "cpu"), (["GPU:0"], "gpu")):
        monkeypatch.setattr("kdloss.runs.environment", lambda found=accelerators: {"accelerators": found})
        assert recipe("auto", recipes) is recipes[name]


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

    def type_it(folder):
        monkeypatch.setitem(KD_LOSS, "smoke", SMALL)
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
    assert results["facts"]["system"] == "KD-Loss"
    assert "formulas" not in results["facts"]
    assert results["protocol"]["box"] == "gt:1.25"
    assert [row["title"] for row in results["differences"]] == [
        results["runs"][name]["title"] for name in ("kd-tough", "kd-tolerant", "kd-both")
    ]
    for row in results["differences"]:
        assert row["against"] == results["runs"][CONTINUED]["title"]
        assert row["low"] <= row["difference"] <= row["high"]
    lines = (reproduced / "results.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# 300-W: the KD-Loss chain, preset smoke"
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
            names = ("results.json", "results.md", "report.html")
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
    lines = texts["results.md"].splitlines()
    assert lines[0] == "# 300-W: the EfficientFAN chain, preset smoke"
    assert len([line for line in lines if "FA and PS" in line and "reconstructed" in line]) == 1


def test_crossed_students_are_compared_each_with_their_own_network(heatmaps):
    texts = heatmaps["crossed"]
    pairs = [("fa-ps", "none"), ("regressor-kd-loss+fa-ps", "regressor-none")]
    assert differences_of(texts) == pairs
    results = json.loads(texts["results.json"])
    titles = {name: run["title"] for name, run in results["runs"].items()}
    for student, control in pairs:
        line = f"{titles[student]} against {titles[control]}: "
        assert any(found.startswith(f"- {line}") for found in texts["results.md"].splitlines())
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


def test_a_crossed_chain_can_be_recorded(heatmaps):
    entries, differences = chain_entries(heatmaps["folder"] / "results.json", "crossed")
    ids = [entry["id"] for entry in entries]
    assert len({*ids}) == len(ids) == 7
    assert all(re.fullmatch("[a-z0-9-]+", id_) for id_ in ids)
    found = {(entry["model"], entry["against"]) for entry in differences}
    assert ("crossed-fa-ps", "crossed-none") in found
    assert ("crossed-regressor-kd-loss-fa-ps", "crossed-regressor-none") in found
    assert {*sum(found, ())} <= {*ids}


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
