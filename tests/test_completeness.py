"""Everything that is listed can be used. What was added halfway is reported, with the place of the missing part.

Each of the functions yields one sentence for each missing part of a data set, loss, network, format or system.
"""

import importlib
import inspect
import re

import pytest

from data_prep.prepare import READERS
from kdloss import export
from kdloss.data.datasets import DATASETS
from kdloss.data.schemes import SCHEMES
from kdloss.errors import ConfigError
from kdloss.experiments.systems import SYSTEMS
from kdloss.losses import KD_PRESETS, heatmap_loss, point_loss
from kdloss.losses.feature_distillation import FeatureDistillation
from kdloss.models import architecture_names, build_model
from kdloss.training.config import METHODS, TrainConfig, flag
from kdloss.training.trainer import term_names
from tests.training.tiny_chain import HEATMAP_NETWORKS, REGRESSORS


def data_sets(tmp_path):
    for name, spec in DATASETS.items():
        module, function = READERS.get(name, (None, None))
        if module is None:
            yield f"data set {name}: no reader: add one to READERS in data_prep/prepare.py"
        elif importlib.util.find_spec(module) is None or not hasattr(importlib.import_module(module), function):
            yield f"data set {name}: no {function}: write it in {module}"
        if spec.scheme and spec.scheme not in SCHEMES:
            yield f"data set {name}: no landmark scheme {spec.scheme!r}: add it to kdloss/data/schemes.py"


def losses(tmp_path):
    for field, find, place in (("loss", point_loss, "point"), ("heatmap_loss", heatmap_loss, "heatmap")):
        for name in {*_choices(field)} - {"none"}:
            try:
                find(name)
            except ConfigError:
                yield f"{flag(field)} {name}: no such loss: add it to the table in kdloss/losses/{place}_losses.py"
    for name in {*_choices("kd_preset")} - {*KD_PRESETS}:
        yield f"--kd-preset {name}: no constants: add a KDLossConfig to KD_PRESETS in kdloss/losses/kd_presets.py"
    known = {*TrainConfig.__dataclass_fields__} & {*inspect.signature(FeatureDistillation).parameters}
    for method in _choices("method"):
        for term in METHODS[method]:
            if term != "kd-loss" and f"{term}_weight" not in known:
                yield (
                    f"--method {method}: no term {term!r}: add it to FeatureDistillation in "
                    f"kdloss/losses/feature_distillation.py, and {term}_weight to TrainConfig"
                )


def networks(tmp_path, built=()):
    tables = REGRESSORS | HEATMAP_NETWORKS
    for name in architecture_names():
        if not callable(tables[name].trunk):
            yield f"--arch {name}: no trunk: its entry needs a function that builds it"
        try:
            file, _ = tables[name].imagenet(224)
            assert file.endswith((".h5", ".pth"))
        except Exception:
            yield f"--arch {name}: no first weights: its entry needs `imagenet`, that gives (file name, url)"
        if name in built:
            try:
                assert build_model(name, 5, 64).output_shape == (None, 5, 2)
            except Exception as error:
                yield f"--arch {name}: it cannot be built ({type(error).__name__}: {error}): mend its trunk"


def formats(tmp_path):
    parts = {part.lower() for part in vars(export)}
    for name in export.FORMATS:
        for what, names in (("writer", {f"export_{name}"}), ("reader", {f"read_{name}", f"{name}model"})):
            if not names & parts:
                yield f"--format {name}: no {what}: write kdloss/deploy/{name}.py and call it in kdloss/export.py"


def systems(tmp_path):
    for title, system in SYSTEMS.items():
        for name, recipe in system.recipes.items():
            for run in system.runs(recipe, True):
                try:
                    config = run.config(recipe, "300w", tmp_path)
                    assert term_names(config)
                    assert config.arch in architecture_names()
                except Exception as error:
                    yield (
                        f"reproduce --system {title} --recipe {name}: no settings for {run.name} ({error!r}): "
                        "add them to kdloss/experiments/recipes.py"
                    )


def _choices(field):
    """What `TrainConfig`, and so the training commands, accept in a field."""
    return TrainConfig.__dataclass_fields__[field].metadata["choices"]


ALL = [data_sets, losses, networks, formats, systems]


@pytest.mark.parametrize("missing", ALL)
def test_nothing_is_missing(missing, tmp_path):
    assert [*missing(tmp_path)] == []


@pytest.mark.slow
def test_every_network_can_be_built(tmp_path):
    # Of the six networks between the least and the largest, trunk and decoder are each built in another one.
    some = [name for name in architecture_names() if not re.fullmatch("efficientnetb[1-6]-skips", name)]
    assert [*networks(tmp_path, some)] == []
