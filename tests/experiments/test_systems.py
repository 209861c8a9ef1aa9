"""The chain of every recipe of every system: who is trained, from whom, and what is compared with what."""

import dataclasses

import pytest

from kdloss.errors import ConfigError
from kdloss.experiments.launch import recipe_for
from kdloss.experiments.recipes import EFFICIENTFAN, KD_LOSS, RECIPES, recipe
from kdloss.experiments.systems import CONTINUED, SYSTEMS
from kdloss.models import architecture_names, predicts_heatmaps

KD_LOSS_RUNS = ["none", "tough", "tolerant", CONTINUED, "kd-tough", "kd-tolerant", "kd-both", "finished"]
FAN_RUNS = ["none", "teacher", "fa", "ps", "fa-ps"]
CROSSED_RUNS = [
    *FAN_RUNS,
    *("tolerant", "kd-loss", "kd-loss+fa-ps"),
    *("regressor-none", "regressor-fa-ps", "regressor-kd-loss+fa-ps"),
    *("regressor-teacher", "regressor-fa-ps-regressor"),
]
# Where the recipe has a regressor as teacher.
BY_REGRESSOR = {"regressor-teacher", "regressor-fa-ps-regressor"}
CHAINS = {"kd-loss": KD_LOSS_RUNS, "efficientfan": FAN_RUNS, "crossed": CROSSED_RUNS}
# Runs without which the table has holes, but the chain still holds.
ABLATION = {CONTINUED, "kd-tough", "kd-tolerant", "fa", "ps"}
TEACHERS = ("tough", "tolerant", "feature_teacher")
# How a student is taught. All else must be the same in two rows that are compared.
TAUGHT = {"method", *TEACHERS, "kd_preset", "unit", "fa_weight", "ps_weight"}

every_chain = pytest.mark.parametrize(
    ("system", "name"), [(system, name) for system in SYSTEMS for name in SYSTEMS[system].recipes]
)


def runs_of(system, name, ablation=True):
    chosen = SYSTEMS[system].recipes[name]
    return SYSTEMS[system].runs(chosen, ablation), chosen


@every_chain
def test_every_recipe_is_a_chain_in_order(system, name, tmp_path):
    runs, chosen = runs_of(system, name)
    names = [run.name for run in runs]
    absent = set() if chosen.warm else {CONTINUED}
    absent |= set() if chosen.finish else {"finished"}
    absent |= set() if "teacher" in (chosen.regressor or {}) else BY_REGRESSOR
    assert names == [run for run in CHAINS[system] if run not in absent]
    assert [run.name for run in runs_of(system, name, ablation=False)[0]] == [
        run for run in names if run not in ABLATION
    ]
    assert len({run.title for run in runs}) == len(runs)
    assert SYSTEMS[system].best in names
    for number, run in enumerate(runs):
        before = names[:number]
        assert {*run.teachers.values(), run.start, run.control} <= {None, *before}
        config = run.config(chosen, "300w", tmp_path, seed=3)
        cut_short = dataclasses.replace(config, epochs=min(3, config.epochs))
        assert run.config(chosen, "300w", tmp_path, 3, most_epochs=3) == cut_short
        assert config.arch in architecture_names()
        assert (config.seed, config.kind, config.method) == (3, run.kind, run.method)
        taught = {field: path for field in TEACHERS if (path := getattr(config, field))}
        assert taught == {field: str(tmp_path / name / "best.keras") for field, name in run.teachers.items()}
        first = {"none", "imagenet"} | (set() if config.kind in ("tough", "tolerant") else {"imagenet-lite0"})
        assert config.weights in ({str(tmp_path / run.start / "best.keras")} if run.start else first)
        # A student of a teacher is compared with one that has none, and nothing else is.
        assert (run.control is None) == (run.method == "none")


def test_what_starts_from_what_and_is_compared_with_what():
    def fields(field, system, name, ablation=True):
        return {run.name: value for run in runs_of(system, name, ablation)[0] if (value := getattr(run, field))}

    students = dict.fromkeys((CONTINUED, "kd-tough", "kd-tolerant", "kd-both"), "none")
    assert fields("start", "kd-loss", "cpu") == students | {"tolerant": "tough"}
    assert fields("start", "kd-loss", "cpu-long") == students | {"tolerant": "tough", "finished": "kd-both"}
    assert fields("start", "kd-loss", "paper") == fields("start", "efficientfan", "cpu") == {}
    assert fields("start", "crossed", "cpu") == {"tolerant": "teacher"}
    assert set(fields("control", "kd-loss", "cpu").values()) == {CONTINUED}
    assert set(fields("control", "kd-loss", "cpu", ablation=False).values()) == {"none"}
    assert set(fields("control", "kd-loss", "paper").values()) == {"none"}
    for name, control in fields("control", "crossed", "cpu").items():
        assert control == ("regressor-none" if name.startswith("regressor-") else "none")


@pytest.mark.parametrize("name", EFFICIENTFAN)
def test_which_network_teaches_which(name, tmp_path):
    runs, chosen = runs_of("crossed", name)
    for run in runs:
        config, is_regressor = run.config(chosen, "300w", tmp_path), run.name.startswith("regressor-")
        assert predicts_heatmaps(config.arch) is not is_regressor
        assert (config.heatmap_loss == "none") is is_regressor
        expected = {"tough": "teacher", "tolerant": "tolerant"} if config.by_points else {}
        if config.by_features:
            by_regressor = run.name == "regressor-fa-ps-regressor"
            expected["feature_teacher"] = "regressor-teacher" if by_regressor else "teacher"
        assert run.teachers == expected


@every_chain
def test_rows_of_a_recipe_compare_like_with_like(system, name, tmp_path):
    runs, chosen = runs_of(system, name)
    configs = {run.name: run.config(chosen, "300w", tmp_path) for run in runs}
    # Teachers see the student's views; the last run has no teacher and is compared with none.
    assert len({(config.image_size, config.box) for name, config in configs.items() if name != "finished"}) == 1
    for run in runs:
        # A start takes over the weights, so the networks must be the same, and what they learnt alike.
        if run.start:
            for field in ("arch", "loss", "heatmap_loss"):
                assert getattr(configs[run.name], field) == getattr(configs[run.start], field)
        if run.control:
            # The number of views too: a student that sees ever new ones has an advantage.
            assert {*configs[run.name].differences(configs[run.control])} <= TAUGHT


def test_heatmap_settings_are_for_heatmap_networks():
    archs = ("mobilefan", "mobilenetv2")
    heatmaps, points = (KD_LOSS["cpu-long"].config("student", "300w", arch=arch) for arch in archs)
    assert (heatmaps.heatmap_loss, points.heatmap_loss) == ("cross-entropy", "none")
    assert set(heatmaps.differences(points)) == {"arch", "heatmap_loss", "heatmap_weight", "weights"}
    # ImageNet weights that are selected for the recipe's own network fit few others.
    assert (heatmaps.weights, points.weights) == ("imagenet-lite0", "none")
    named = KD_LOSS["cpu-long"].config("student", "300w", arch="mobilenetv2", weights="imagenet-lite0")
    assert named.weights == "imagenet-lite0"


def test_only_the_recipes_own_network_is_frozen_and_staged():
    own = KD_LOSS["smoke"].common | {"stages": "32:0.5", "frozen": 8, "weights": "imagenet"}

    def fields(**changes):
        config = dataclasses.replace(KD_LOSS["smoke"], common=own).config("student", "300w", **changes)
        return config.stages, config.frozen

    assert fields() == fields(epochs=1) == fields(image_size=64) == ("32:0.5", 8)
    assert fields(image_size=32) == ("none", 8)
    assert fields(weights="none") == ("32:0.5", 0)
    assert fields(arch="mobilenetv2-spatial") == ("none", 0)
    assert fields(arch="mobilenetv2", weights="a.keras", stages="48:0.5") == ("48:0.5", 8)


@pytest.mark.parametrize(
    ("name", "arch", "recipes"),
    [
        ("cpu", None, KD_LOSS),
        ("cpu-long", "mobilefan", KD_LOSS),
        ("cpu", "efficientfan-lite0", KD_LOSS),
        ("cpu", "mobilenetv2-0.5", KD_LOSS),
        ("cpu", "efficientfan-b0", EFFICIENTFAN),
        ("smoke", "mobilefan", EFFICIENTFAN),
    ],
)
def test_which_recipe_trains_a_network(name, arch, recipes):
    assert recipe_for(name, arch) is recipes[name]


@pytest.mark.parametrize("recipes", [KD_LOSS, EFFICIENTFAN], ids=["kd-loss", "efficientfan"])
def test_recipes_by_name(recipes, monkeypatch):
    assert set(recipes) <= set(RECIPES) == set(KD_LOSS)
    assert recipe("paper", recipes) is recipes["paper"]
    with pytest.raises(ConfigError, match=f"recipe fast: expected one of {', '.join(recipes)}, or auto"):
        recipe("fast", recipes)
    monkeypatch.setattr("kdloss.experiments.recipes.may_have_accelerator", lambda: True)
    for accelerators, name in (([], "cpu"), (["GPU:0"], "gpu")):
        found = {"accelerators": accelerators}
        monkeypatch.setattr("kdloss.experiments.recipes.environment", lambda found=found: found)
        assert recipe("auto", recipes) is recipes[name]
