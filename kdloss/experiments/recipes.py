"""Recipes: the settings of each network of a system, for a kind of machine, and the results that they gave.

`KD_LOSS` is for the system ``kd-loss``, `EFFICIENTFAN` for ``efficientfan`` and ``crossed``. The tough teacher of a
recipe has the settings ``common | teacher``; ``record`` is the command that was run and what came of it.

``kdloss.reproduce --recipe NAME`` trains and measures a whole system (`kdloss.experiments.systems`), ``--recipe NAME``
of the training commands one network of it.
"""

from dataclasses import dataclass

from kdloss.errors import ConfigError
from kdloss.machine import environment, may_have_accelerator
from kdloss.models.architectures import predicts_heatmaps
from kdloss.training.config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """Settings of a chain: fields of `TrainConfig`, by the runs that have them. Later ones replace earlier ones.

    Args:
        about: one line for reports.
        common: every run.
        teacher: the tough and the tolerant teacher.
        student: every student.
        distilled: students with teachers, and their control without.
        warm: kind (``tolerant``, ``student``) -> its runs that start from another run; None: every run starts from
            scratch. The tolerant teacher starts from the tough one and distilled students from the student without
            teachers, as the authors did in development. A control without teachers is then trained for the same epochs.
        unlabelled: students that also learn faces without labels, which the tough teacher labels; None: no such runs.
        finish: a last run. It continues the student of both teachers without them, for example at a larger size. None:
            no such run.
        regressor: the regressors of the system ``crossed``, by ``student`` and ``teacher``; None: no such runs.
        record: the command that was run on real faces, what it took, and what came of it.
    """

    about: str
    common: dict
    teacher: dict
    student: dict
    distilled: dict
    warm: dict | None = None
    unlabelled: dict | None = None
    finish: dict | None = None
    regressor: dict | None = None
    record: str = "never run on real faces"

    def config(self, kind, dataset, *, distilled=False, start=None, regressor=False, labelling=False, **changes):
        """The `TrainConfig` of a network of the chain.

        Args:
            kind, dataset: see `TrainConfig`.
            distilled: whether it is a student with teachers, or the control of one.
            start: checkpoint of the run that it starts from, or None. A student with a start that is not ``distilled``
                gets the settings of ``finish``.
            regressor: take the regressor of the recipe, not the network of the system.
            labelling: whether it also learns faces without labels, by the recipe's ``unlabelled``.
            changes: fields that replace the recipe's; None leaves a field alone. Another ``arch`` drops the recipe's
                ``weights``, and without first weights no layer is frozen.
        """
        group = "student" if kind == "student" else "teacher"
        fields = {"kind": kind, "dataset": dataset} | self.common | getattr(self, group)
        if distilled:
            fields |= self.distilled
        if regressor:
            fields |= self.regressor[group]
        if labelling:
            fields |= self.unlabelled
        if start:
            last = kind == "student" and not distilled
            fields |= {"weights": str(start)} | (self.finish if last else self.warm[kind])
        changes = {name: value for name, value in changes.items() if value is not None}
        if changes.get("arch", fields["arch"]) != fields["arch"]:
            fields.pop("weights", None)  # a recipe's first weights are for its own network
        if (fields | changes).get("weights", "none") == "none":
            fields.pop("frozen", None)
        if not predicts_heatmaps((fields | changes)["arch"]):
            fields = {name: value for name, value in fields.items() if not name.startswith("heatmap_")}
        return TrainConfig(**fields | changes)


# How the recorded numbers were measured. Only the common subset was at hand, so every NME is on it.
_NME = "common NME (interocular, gt:1.25, 554 of 554 common, 0 of 135 challenging, 554 of 689 full faces, one seed)"
# The losses of heatmap networks.
HEATMAPS = {"loss": "l1", "heatmap_loss": "cross-entropy", "heatmap_weight": 0.05}

KD_LOSS = {
    "smoke": Recipe(
        about="minutes on two cores; a fifth of the faces have labels, the others serve without",
        common={
            "image_size": 64, "batch_size": 16, "augment": "light", "loss": "l1", "learning_rate": 2e-3,
            "weight_decay": 1e-3, "weights": "imagenet-lite0", "label_share": 0.2,
        },
        teacher=HEATMAPS | {"arch": "mobilenetv2-skips", "epochs": 12},
        student={"arch": "mobilenetv2", "epochs": 16, "frozen": 8},
        distilled={"teacher_views": 16, "kd_preset": "figure"},
        warm={"tolerant": {"epochs": 2, "learning_rate": 5e-4, "warmup_epochs": 0.5}},
        unlabelled={"unlabelled": "rest", "teacher_views": 0},
    ),
    "cpu": Recipe(
        about="two cores, minutes on 1800 faces; 96 px, heatmap networks on the encoder of EfficientNet-Lite0, whose "
        "first blocks keep their ImageNet weights, small batches, a few epochs",
        common=HEATMAPS | {
            "image_size": 96, "batch_size": 16, "weights": "imagenet", "frozen": 8, "learning_rate": 3e-3,
            "weight_decay": 1e-3, "warmup_epochs": 0.3,
        },
        teacher={"arch": "efficientfan-lite0", "augment": "light", "epochs": 6},
        student={"arch": "efficientfan-lite0", "augment": "none", "epochs": 2},
        distilled={"augment": "light", "teacher_views": 3, "kd_preset": "dev2020"},
        warm={"tolerant": {"epochs": 2, "learning_rate": 1e-3}, "student": {"epochs": 3, "learning_rate": 1e-3}},
        record="kdloss reproduce --dataset 300w --data RAW/300w --recipe cpu: ten minutes on two AMD EPYC cores that "
        "other jobs kept busy, 1811 training faces, 2026-11-27; "
        f"{_NME} 5.36 without distillation, 4.70 trained on without teachers, 4.71 by KD-Loss; teachers 4.39 (tough) "
        "and 5.23 (tolerant) (docs/results/300w.md)",
    ),
    "cpu-long": Recipe(
        about="two cores, some three hours on 1800 faces; 128 px, heatmap networks from ImageNet weights of "
        "EfficientNet-Lite0, warm starts, the student at 192 px in the end",
        common=HEATMAPS | {
            "image_size": 128, "batch_size": 32, "augment": "strong", "learning_rate": 1e-3, "weight_decay": 1e-3,
            "warmup_epochs": 1.0,
        },
        teacher={"arch": "efficientfan-lite0", "weights": "imagenet", "epochs": 34},
        student={"arch": "mobilefan", "weights": "imagenet-lite0", "epochs": 24},
        distilled={"teacher_views": 5, "kd_preset": "dev2020"},
        warm={
            "tolerant": {"epochs": 4, "learning_rate": 4e-4, "warmup_epochs": 0.5},
            "student": {"epochs": 15, "learning_rate": 4e-4, "warmup_epochs": 0.5},
        },
        finish={"image_size": 192, "epochs": 8, "learning_rate": 4e-4},
        record="kdloss reproduce --dataset 300w --data RAW/300w --recipe cpu-long (then named cpu): 2.8 hours, summed "
        "over runs that were trained two at a time, an AMD EPYC core each, 1811 training faces, 2026-11-27; "
        f"{_NME} 3.92 without distillation, 3.83 trained on without teachers, 3.81 by KD-Loss, 3.69 after the last "
        "run; teachers 3.62 (tough) and 4.70 (tolerant) (docs/results/300w.md)",
    ),
    "gpu": Recipe(
        about="one accelerator, bfloat16; 224 px, heatmap networks from ImageNet weights, long schedules with EMA",
        common=HEATMAPS | {
            "image_size": 224, "batch_size": 32, "augment": "strong", "learning_rate": 1e-3, "weight_decay": 0.02,
            "warmup_epochs": 3.0, "ema": 0.998, "precision": "mixed_bfloat16",
        },
        teacher={"arch": "efficientfan-lite2", "weights": "imagenet", "epochs": 150},
        student={"arch": "mobilefan", "weights": "imagenet-lite0", "epochs": 150},
        distilled={"teacher_views": 20, "kd_preset": "dev2020"},
        warm={
            "tolerant": {"epochs": 20, "learning_rate": 4e-4, "warmup_epochs": 1.0},
            "student": {"epochs": 60, "learning_rate": 4e-4, "warmup_epochs": 1.0},
        },
        record="kdloss reproduce --dataset 300w --data RAW/300w --recipe gpu: its teachers and its student without "
        "distillation alone, in 53, 15 and 63 epochs, 6 minutes on an NVIDIA H200, 1811 training faces, 2026-11-27; "
        f"{_NME} 3.18 without distillation; teachers 3.09 (tough) and 3.22 (tolerant) (docs/results/300w.md)",
    ),
    "paper": Recipe(
        about="the published settings: 224 px, gt box + 10 px stretched, L2, batch 70, from scratch; 600 epochs of new "
        "views for the paper's 150 epochs over four stored copies of each 300-W face",
        common={
            "image_size": 224, "batch_size": 70, "box": "paper", "augment": "paper", "loss": "l2",
            "learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "inverse-time",
        },
        teacher={"arch": "efficientnetb3", "epochs": 600},
        student={"arch": "mobilenetv2", "epochs": 600},
        distilled={"kd_preset": "public"},
    ),
}  # fmt: skip

# FA and PS start from scratch; only the tolerant teacher of the system ``crossed`` starts from the tough one.
EFFICIENTFAN = {
    "smoke": Recipe(
        about="minutes on two cores; shows that the chain works, not how well",
        common=HEATMAPS | {
            "image_size": 64, "batch_size": 16, "augment": "light", "learning_rate": 1e-3, "weight_decay": 1e-3,
        },
        teacher={"arch": "efficientfan-b0", "epochs": 8},
        student={"arch": "efficientfan-b0", "epochs": 4},
        distilled={"kd_preset": "dev2020", "fa_weight": 0.01, "ps_weight": 0.1},
        warm={"tolerant": {"epochs": 2, "learning_rate": 4e-4, "warmup_epochs": 0.5}},
        regressor={"teacher": {"arch": "efficientnetb0"}, "student": {"arch": "mobilenetv2"}},
    ),
    "cpu": Recipe(
        about="two cores; 64 px, from scratch, the teacher is the student's own network trained two and a half times "
        "as long",
        common=HEATMAPS | {
            "image_size": 64, "batch_size": 16, "augment": "paper", "learning_rate": 1e-3, "weight_decay": 1e-3,
            "warmup_epochs": 1.0,
        },
        teacher={"arch": "efficientfan-b0", "epochs": 30},
        student={"arch": "efficientfan-b0", "epochs": 12},
        distilled={"kd_preset": "dev2020", "fa_weight": 0.01, "ps_weight": 0.1},
        warm={"tolerant": {"epochs": 4, "learning_rate": 4e-4, "warmup_epochs": 0.5}},
        # No regressor as teacher: EfficientNet-B3 from scratch learns far too slowly on two cores.
        regressor={"student": {"arch": "mobilenetv2"}},
        record="kdloss reproduce --dataset 300w --data RAW/300w --system crossed --recipe cpu: two hours on two AMD "
        "EPYC cores, 1811 training faces, 2026-11-23; "
        f"{_NME} 7.12 without distillation, 6.90 by FA, 7.12 by PS, 6.85 by both, 7.09 by KD-Loss, 7.10 by all three; "
        "teachers 5.89 (tough) and 6.01 (tolerant); regressor 8.29 without distillation, "
        "7.58 by FA and PS, 7.54 by all three (docs/results/300w-crossed.md)",
    ),
    "gpu": Recipe(
        about="one accelerator, bfloat16; 256 px, an EfficientNet-B3 encoder as teacher, long schedules with EMA",
        common=HEATMAPS | {
            "image_size": 256, "batch_size": 32, "augment": "strong", "learning_rate": 1e-3, "weight_decay": 0.02,
            "warmup_epochs": 5.0, "ema": 0.998, "precision": "mixed_bfloat16",
        },
        teacher={"arch": "efficientfan-b3", "epochs": 200},
        student={"arch": "efficientfan-b0", "epochs": 200},
        distilled={"kd_preset": "dev2020", "fa_weight": 0.01, "ps_weight": 0.1},
        warm={"tolerant": {"epochs": 50, "learning_rate": 3e-4, "warmup_epochs": 1.0}},
        regressor={"teacher": {"arch": "efficientnetb3"}, "student": {"arch": "mobilenetv2"}},
    ),
    "paper": Recipe(
        about="reconstructed: 256 px, gt box x 1.25, heatmap MSE and Wing loss, an EfficientNet-B7 encoder as teacher, "
        "Adam's rate and steps of its ancestor MobileFAN; the weights of the terms are not known",
        common={
            "image_size": 256, "batch_size": 8, "augment": "strong", "loss": "wing", "heatmap_loss": "mse",
            "heatmap_weight": 1000.0, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup_epochs": 0.0,
            "schedule": "steps",
        },
        teacher={"arch": "efficientfan-b7", "epochs": 80},
        student={"arch": "efficientfan-b0", "epochs": 80},
        distilled={"kd_preset": "public"},
        regressor={"teacher": {"arch": "efficientnetb3"}, "student": {"arch": "mobilenetv2"}},
    ),
}  # fmt: skip

RECIPES = tuple(KD_LOSS)

# For one network on a user's faces, not for a whole system.
OWN, OWN_FLAGS = "own", {"dataset": "folder", "method": "none"}  # and what its flags are where they are not given
OWN_FACES = Recipe(
    about="50 to 500 faces of any points: the shipped network, trained on; minutes on two cores",
    common=HEATMAPS | {
        "arch": "mobilenetv2-fpn", "image_size": 224, "weights": "mobilenetv2-300w", "batch_size": 8,
        "augment": "strong", "learning_rate": 1e-3, "weight_decay": 1e-3, "epochs": 20,
    },
    teacher={},
    student={},
    distilled={},
    record="docs/data.md, your own faces",
)  # fmt: skip


def recipe(name="auto", recipes=KD_LOSS):
    """The recipe called ``name``; ``auto`` is ``gpu`` where the back end sees an accelerator, else ``cpu``.

    Args:
        name: one of `RECIPES`, or ``auto``.
        recipes: `KD_LOSS` or `EFFICIENTFAN`.

    Raises:
        ConfigError: no such recipe.
    """
    if name == "auto":
        name = "gpu" if may_have_accelerator() and environment()["accelerators"] else "cpu"
    if name not in recipes:
        raise ConfigError(f"recipe {name}: expected one of {', '.join(recipes)}, or auto")
    return recipes[name]
