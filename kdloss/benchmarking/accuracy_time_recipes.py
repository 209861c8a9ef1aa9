"""Recipes of the benchmark ``time-to-accuracy``, from the published one to the preset ``cpu``."""

from dataclasses import dataclass

from kdloss.recipes import KD_LOSS
from kdloss.training.config import TrainConfig


@dataclass(frozen=True)
class TimedRecipe:
    """How a student is trained.

    Args:
        about: what it is, or in what it differs from the one before or from ``cpu``.
        student: fields of `TrainConfig`.
        teacher: fields of a tough teacher that is trained first, in the same minutes, or None.
        seeds: how many runs are worth the time.
    """

    about: str
    student: dict
    teacher: dict | None = None
    seeds: int = 5

    def configs(self, dataset, seed, folder, epochs=None):
        """``(teacher, student)``: the `TrainConfig`\\ s, the teacher's None where there is none.

        Args:
            dataset: its name.
            seed: of both.
            folder: of the teacher's run.
            epochs: neither takes more than this many; None: as the recipe says.
        """
        fields, taught = {"dataset": dataset, "seed": seed}, {}
        teacher = None
        if self.teacher:
            teacher = TrainConfig("tough", **fields | _capped(self.teacher, epochs))
            taught = {"tough": str(folder / "best.keras")}
        return teacher, TrainConfig("student", **fields | taught | _capped(self.student, epochs))


def _capped(settings, epochs):
    return settings if epochs is None else settings | {"epochs": min(epochs, settings["epochs"])}


_PUBLISHED = {
    "arch": "mobilenetv2",
    "image_size": 128,
    "batch_size": 70,
    "augment": "paper",
    "loss": "l2",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "warmup_epochs": 0.0,
    "schedule": "inverse-time",
    "epochs": 600,
}
_WARM = _PUBLISHED | {"weights": "imagenet-lite0"}
_HEATMAPS = _WARM | {"arch": "mobilefan", "loss": "l1", "heatmap_loss": "cross-entropy", "heatmap_weight": 0.05}
_ENCODER = _HEATMAPS | {"arch": "efficientfan-lite0", "weights": "imagenet"}
_SHORT = _ENCODER | {"augment": "none", "weight_decay": 1e-3, "warmup_epochs": 0.3, "schedule": "cosine", "epochs": 3}
_SMALL = _SHORT | {"batch_size": 16, "learning_rate": 3e-3, "epochs": 2}
_CPU = KD_LOSS["cpu"].common | KD_LOSS["cpu"].student

# Each differs from the one before by one idea, up to ``cpu``; those after it differ from ``cpu``.
RECIPES = {
    "published": TimedRecipe(
        "the paper's student, pooled, from random weights, L2, batches of 70", _PUBLISHED, seeds=1
    ),
    "warm-start": TimedRecipe("and ImageNet weights, selected from EfficientNet-Lite0", _WARM, seeds=1),
    "heatmaps": TimedRecipe("and heatmaps in place of pooling, L1", _HEATMAPS, seeds=1),
    "encoder": TimedRecipe("and EfficientNet-Lite0 itself as encoder", _ENCODER, seeds=1),
    "short": TimedRecipe("and a whole cosine of three epochs on unvaried views", _SHORT, seeds=2),
    "small-batches": TimedRecipe("and batches of 16 at three times the rate, two epochs", _SMALL, seeds=2),
    "small-faces": TimedRecipe("and faces of 96 px", _SMALL | {"image_size": 96}, seeds=3),
    "cpu": TimedRecipe("and the first blocks as they came: the preset", _CPU),
    "large-batches": TimedRecipe("cpu, with batches of 64", _CPU | {"batch_size": 64}, seeds=3),
    "resizing": TimedRecipe(
        "cpu, with the first of three epochs at 64 px", _CPU | {"stages": "64:0.34", "epochs": 3}, seeds=3
    ),
    "cached-teacher": TimedRecipe(
        "cpu, with the stored points of a teacher trained alike, its minutes counted",
        _CPU | {"method": "kd-loss", "kd_preset": "dev2020", "teacher_views": 1},
        teacher=_CPU,
        seeds=2,
    ),
}
