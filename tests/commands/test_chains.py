"""The chain of every recipe of every system: who is trained, from whom, and what is compared with what."""

import dataclasses

import pytest

from kdloss.errors import ConfigError
from kdloss.experiments.flags import recipe_for
from kdloss.experiments.recipes import EFFICIENTFAN, KD_LOSS, PRESETS, recipe
from kdloss.experiments.systems import CONTINUED, SYSTEMS, link_config
from kdloss.models import architecture_names, predicts_heatmaps

LINKS = ["none", "tough", "tolerant", CONTINUED, "kd-tough", "kd-tolerant", "kd-both", "finished"]
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
    ("system", "preset"), [(system, preset) for system in SYSTEMS for preset in SYSTEMS[system].recipes]
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
    absent |= set() if recipe_.finish else {"finished"}
    absent |= set() if "teacher" in (recipe_.regressor or {}) else BY_REGRESSOR
    assert names == [name for name in CHAINS[system] if name not in absent]
    capped = recipe_.capped(3)
    assert capped.capped(400) == capped
    assert [link.name for link in links_of(system, preset, ablation=False)[0]] == [
        name for name in names if name not in ABLATION
    ]
    assert len({link.title for link in links}) == len(links)
    assert SYSTEMS[system].best in names
    for number, link in enumerate(links):
        before = names[:number]
        assert {*link.teachers.values(), link.start, link.control} <= {None, *before}
        config = link_config(link, recipe_.seeded(3), "300w", tmp_path)
        cut_short = dataclasses.replace(config, epochs=min(3, config.epochs))
        assert link_config(link, capped.seeded(3), "300w", tmp_path) == cut_short
        assert config.arch in architecture_names()
        assert config.seed == 3
        assert config.kind == (link.part if link.part in ("tough", "tolerant") else "student")
        assert config.method == link.method
        taught = {role: path for role in ROLES if (path := getattr(config, role))}
        assert taught == {role: str(tmp_path / name / "best.keras") for role, name in link.teachers.items()}
        first = {"none", "imagenet"} | (set() if config.kind in ("tough", "tolerant") else {"imagenet-lite0"})
        assert config.weights in ({str(tmp_path / link.start / "best.keras")} if link.start else first)
        assert link.start is None or recipe_.warm
        # Whoever learns from a teacher is compared with one that does not, and nobody else is.
        assert (link.control is None) == (link.method == "none")


def test_what_starts_from_what_and_is_compared_with_what():
    def fields(name, system, preset, ablation=True):
        links = links_of(system, preset, ablation)[0]
        return {link.name: value for link in links if (value := getattr(link, name))}

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


@pytest.mark.parametrize("preset", EFFICIENTFAN)
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


def test_heatmap_settings_are_for_heatmap_networks():
    heatmaps, points = (
        KD_LOSS["cpu-long"].config("student", "300w", method="none", arch=arch) for arch in ("mobilefan", "mobilenetv2")
    )
    assert (heatmaps.heatmap_loss, points.heatmap_loss) == ("cross-entropy", "none")
    assert set(heatmaps.differences(points)) == {"arch", "heatmap_loss", "heatmap_weight", "weights"}
    # ImageNet weights that are selected for the recipe's own network fit few others.
    assert (heatmaps.weights, points.weights) == ("imagenet-lite0", "none")
    given = KD_LOSS["cpu-long"].config("student", "300w", method="none", arch="mobilenetv2", weights="imagenet-lite0")
    assert given.weights == "imagenet-lite0"


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
def test_whose_recipe_a_network_is_trained_by(name, arch, recipes):
    assert recipe_for(name, arch) is recipes[name]


@every_chain
def test_rows_of_a_recipe_compare_like_with_like(system, preset, tmp_path):
    links, configs = links_of(system, preset)[0], configs_of(system, preset, tmp_path)
    # Teachers see the student's views; the last run has no teacher and is compared with none.
    sizes = {(config.image_size, config.box) for name, config in configs.items() if name != "finished"}
    assert len(sizes) == 1
    for link in links:
        # A start takes over the weights, so the networks must be the same, and what they learnt alike.
        if link.start:
            for field in ("arch", "loss", "heatmap_loss"):
                assert getattr(configs[link.name], field) == getattr(configs[link.start], field)
        if link.control:
            # The number of views too: one who draws ever new ones has the better lessons.
            assert {*configs[link.name].differences(configs[link.control])} <= TAUGHT


@pytest.mark.parametrize("recipes", [KD_LOSS, EFFICIENTFAN], ids=["kd-loss", "efficientfan"])
def test_recipes_by_name(recipes, monkeypatch):
    assert set(recipes) <= set(PRESETS) == set(KD_LOSS)
    assert recipe("paper", recipes) is recipes["paper"]
    with pytest.raises(ConfigError, match=f"recipe fast: expected one of {', '.join(recipes)}, or auto"):
        recipe("fast", recipes)
    for accelerators, name in (([], "cpu"), (["GPU:0"], "gpu")):
        monkeypatch.setattr("kdloss.experiments.recipes.may_have_accelerator", lambda: True)
        monkeypatch.setattr(
            "kdloss.experiments.recipes.environment", lambda found=accelerators: {"accelerators": found}
        )
        assert recipe("auto", recipes) is recipes[name]


def test_what_is_frozen_and_staged_is_the_recipes_own_network():
    own = KD_LOSS["smoke"].common | {"stages": "32:0.5", "frozen": 8, "weights": "imagenet"}
    recipe_ = dataclasses.replace(KD_LOSS["smoke"], common=own)

    def fields(**changes):
        config = recipe_.config("student", "300w", **changes)
        return config.stages, config.frozen

    assert fields() == fields(epochs=1) == fields(image_size=64) == ("32:0.5", 8)
    assert fields(image_size=32) == ("none", 8)
    assert fields(weights="none") == ("32:0.5", 0)
    assert fields(arch="mobilenetv2-spatial") == ("none", 0)
    assert fields(arch="mobilenetv2", weights="a.keras", stages="48:0.5") == ("48:0.5", 8)
