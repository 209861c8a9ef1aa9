"""The chain of every recipe of every system: who is trained, from whom, and what is compared with what."""

import dataclasses

import pytest

from kdloss.errors import ConfigError
from kdloss.experiments.launch import recipe_for
from kdloss.experiments.recipes import EFFICIENTFAN, KD_LOSS, RECIPES, recipe
from kdloss.experiments.systems import CONTINUED, SYSTEMS
from kdloss.models import architecture_names, predicts_heatmaps

POINTS, FEATURES = {"tough": "teacher", "tolerant": "tolerant"}, {"feature_teacher": "teacher"}
# Run: where it starts if the recipe is warm, what it is compared with, its teachers.
KD_LOSS_CHAIN = {
    "none": (None, None, {}),
    "tough": (None, None, {}),
    "tolerant": ("tough", None, {}),
    CONTINUED: ("none", None, {}),
    "kd-tough": ("none", CONTINUED, {"tough": "tough"}),
    "kd-tolerant": ("none", CONTINUED, {"tolerant": "tolerant"}),
    "kd-both": ("none", CONTINUED, {"tough": "tough", "tolerant": "tolerant"}),
    "labelled": ("none", CONTINUED, {"pseudo_teacher": "tough"}),
    "finished": ("kd-both", None, {}),
}
FAN_CHAIN = {"none": (None, None, {}), "teacher": (None, None, {})}
FAN_CHAIN |= dict.fromkeys(("fa", "ps", "fa-ps"), (None, "none", FEATURES))
CROSSED_CHAIN = FAN_CHAIN | {
    "tolerant": ("teacher", None, {}),
    "kd-loss": (None, "none", POINTS),
    "kd-loss+fa-ps": (None, "none", POINTS | FEATURES),
    "regressor-none": (None, None, {}),
    "regressor-fa-ps": (None, "regressor-none", FEATURES),
    "regressor-kd-loss+fa-ps": (None, "regressor-none", POINTS | FEATURES),
    "regressor-teacher": (None, None, {}),
    "regressor-fa-ps-regressor": (None, "regressor-none", {"feature_teacher": "regressor-teacher"}),
}
CHAINS = {"kd-loss": KD_LOSS_CHAIN, "efficientfan": FAN_CHAIN, "crossed": CROSSED_CHAIN}
# Runs without which the table has holes, but the chain still holds.
ABLATION = {CONTINUED, "kd-tough", "kd-tolerant", "fa", "ps"}
TEACHERS = ("tough", "tolerant", "feature_teacher", "pseudo_teacher")
# How a student is taught. All else must be the same in two rows that are compared.
TAUGHT = {"method", *TEACHERS, "kd_preset", "unit", "fa_weight", "ps_weight", "unlabelled"}

every_chain = pytest.mark.parametrize(
    ("system", "name"), [(system, name) for system in SYSTEMS for name in SYSTEMS[system].recipes]
)


@every_chain
@pytest.mark.parametrize("ablation", [True, False], ids=["ablation", "short"])
def test_every_recipe_is_a_chain_in_order(system, name, ablation, tmp_path):
    chosen, chain = SYSTEMS[system].recipes[name], CHAINS[system]
    runs = SYSTEMS[system].runs(chosen, ablation)
    names = [run.name for run in runs]
    warm = chosen.warm or {}
    needs = dict.fromkeys(ABLATION, ablation) | {CONTINUED: ablation and "student" in warm}
    needs |= {"finished": chosen.finish, "labelled": chosen.unlabelled}
    needs |= dict.fromkeys(("regressor-teacher", "regressor-fa-ps-regressor"), "teacher" in (chosen.regressor or {}))
    assert names == [run for run in chain if needs.get(run, True)]
    assert len({run.title for run in runs}) == len(runs)
    for number, run in enumerate(runs):
        start, control, teachers = chain[run.name]
        control = control if control in names else control and "none"
        begins = start if run.kind in warm or run.name == "finished" else None
        assert (run.start, run.control, run.teachers) == (begins, control, teachers)
        assert {*run.teachers.values(), run.start, run.control} <= {None, *names[:number]}
        config = run.config(chosen, "300w", tmp_path, seed=3)
        cut_short = dataclasses.replace(config, epochs=min(3, config.epochs))
        assert run.config(chosen, "300w", tmp_path, 3, most_epochs=3) == cut_short
        assert config.arch in architecture_names()
        assert predicts_heatmaps(config.arch) or config.heatmap_loss == "none"
        assert system == "kd-loss" or predicts_heatmaps(config.arch) is not run.name.startswith("regressor-")
        assert (config.seed, config.kind, config.method) == (3, run.kind, run.method)
        taught = {field: path for field in TEACHERS if (path := getattr(config, field))}
        assert taught == {field: str(tmp_path / name / "best.keras") for field, name in teachers.items()}
        first = {"none", "imagenet"} | ({"imagenet-lite0"} if config.arch.startswith("mobile") else set())
        assert config.weights in ({str(tmp_path / run.start / "best.keras")} if run.start else first)


@every_chain
def test_rows_of_a_recipe_compare_like_with_like(system, name, tmp_path):
    chosen = SYSTEMS[system].recipes[name]
    runs = SYSTEMS[system].runs(chosen, True)
    configs = {run.name: run.config(chosen, "300w", tmp_path) for run in runs}
    # Teachers see the student's views; the last run has no teacher and is compared with none.
    assert len({(config.image_size, config.box) for name, config in configs.items() if name != "finished"}) == 1
    for run in runs:
        # A start takes over the weights, so the networks must be the same, and what they learnt alike.
        if run.start:
            for field in ("arch", "loss", "heatmap_loss"):
                assert getattr(configs[run.name], field) == getattr(configs[run.start], field)
        if run.control:
            # The number of views too: a student that sees more of them has an advantage.
            assert views_of(configs[run.name]) == views_of(configs[run.control])
            assert {*configs[run.name].differences(configs[run.control])} <= TAUGHT | {"teacher_views"}


def views_of(config):
    return min(config.teacher_views or config.epochs, config.epochs)


def test_heatmap_settings_are_for_heatmap_networks():
    archs = ("mobilefan", "mobilenetv2")
    heatmaps, points = (KD_LOSS["cpu-long"].config("student", "300w", arch=arch) for arch in archs)
    assert (heatmaps.heatmap_loss, points.heatmap_loss) == ("cross-entropy", "none")
    assert set(heatmaps.differences(points)) == {"arch", "heatmap_loss", "heatmap_weight", "weights"}
    # ImageNet weights that are selected for the recipe's own network fit few others.
    assert (heatmaps.weights, points.weights) == ("imagenet-lite0", "none")
    named = KD_LOSS["cpu-long"].config("student", "300w", arch="mobilenetv2", weights="imagenet-lite0")
    assert named.weights == "imagenet-lite0"


def test_only_layers_with_first_weights_are_frozen():
    own = KD_LOSS["smoke"].common | {"frozen": 8, "weights": "imagenet"}

    def frozen(**changes):
        return dataclasses.replace(KD_LOSS["smoke"], common=own).config("student", "300w", **changes).frozen

    assert frozen() == frozen(arch="mobilenetv2", weights="a.keras") == 8
    assert frozen(weights="none") == frozen(arch="mobilenetv2-spatial") == 0


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
def test_recipes_by_name(recipes):
    assert set(recipes) <= set(RECIPES) == set(KD_LOSS)
    assert recipe("paper", recipes) is recipes["paper"]
    with pytest.raises(ConfigError, match=f"recipe fast: expected one of {', '.join(recipes)}, or auto"):
        recipe("fast", recipes)
