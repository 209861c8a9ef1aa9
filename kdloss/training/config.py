"""What a training run is made of: one flat, frozen record that is stored beside its results."""

import dataclasses
import json
import math
from dataclasses import dataclass

from kdloss.data.augmentation import augmentation
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError
from kdloss.losses.kd_presets import KD_PRESETS
from kdloss.training.stages import NONE, STRIDES, parse_stages

KINDS = ("tough", "tolerant", "student")
# What a student learns from teachers besides the labels: their points (kd-loss) or their feature maps (fa, ps).
METHODS = {
    "none": (),
    "kd-loss": ("kd-loss",),
    "fa": ("fa",),
    "ps": ("ps",),
    "fa-ps": ("fa", "ps"),
    "kd-loss+fa": ("kd-loss", "fa"),
    "kd-loss+ps": ("kd-loss", "ps"),
    "kd-loss+fa-ps": ("kd-loss", "fa", "ps"),
}
HEATMAP_LOSSES = ("none", "mse", "adaptive-wing", "cross-entropy")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Args:
        kind: ``tough`` (teacher on hard landmarks), ``tolerant`` (teacher on soft landmarks) or ``student``.
        dataset: name of the data set.
        arch: name of the network.
        method: of a student: ``none``, or what it distils by: ``kd-loss`` (points of a tough and a tolerant teacher),
            ``fa``, ``ps`` or ``fa-ps`` (feature maps of one teacher), or both, such as ``kd-loss+fa-ps``.
        loss: point loss of teachers and of students without ``kd-loss``: ``l2`` (that of KD-Loss' teachers), ``l1`` or
            ``wing``.
        heatmap_loss: of heatmap networks, beside the point loss: ``none``, ``mse`` (EfficientFAN's, reconstructed),
            ``adaptive-wing`` or ``cross-entropy``.
        heatmap_weight: of that loss.
        kd_preset, unit: preset of the KD-Loss, and the unit of its errors: ``normalised`` or ``pixel``.
        tough, tolerant: checkpoints of the frozen teachers of ``kd-loss``, or None.
        feature_teacher: checkpoint of the frozen teacher of ``fa`` and ``ps``, or None.
        fa_weight, ps_weight: of their terms.
        teacher_views: how many drawings of each face are stored with the teachers' points and used in turn; 0 runs the
            teachers online on ever new views. A feature teacher runs online always.
        variance: share of shape variance that the soft landmarks keep.
        image_size, box, augment: side of the views in pixels, their crop, and how they vary.
        stages: ``none``, or smaller sides for the first epochs, each with its share of them: ``64:0.5,96:0.25``. One
            schedule and one optimizer go through all; each epoch is validated at its own side, and what is kept in the
            end is the best of those at image_size.
        weights: ``none``, ``imagenet`` or a file to start from.
        frozen: layers up to the last map at this stride stay as the weights to start from have them; 0 trains all.
        epochs, batch_size, learning_rate, warmup_epochs, weight_decay: of AdamW.
        schedule: ``cosine`` after the warm-up; ``inverse-time``: learning_rate / (1 + 1e-4 step), KD-Loss' own;
            ``steps``: a tenth after 3/8 of the epochs and again after 5/8, MobileFAN's.
        ema: momentum of the moving average of the weights that is validated and kept; 0 keeps the weights.
        precision: Keras dtype policy.
        seed: of weights, order and views.
    """

    kind: str
    dataset: str
    arch: str
    method: str = "none"
    loss: str = "l2"
    heatmap_loss: str = "none"
    heatmap_weight: float = 1.0
    kd_preset: str = "public"
    unit: str = "normalised"
    tough: str | None = None
    tolerant: str | None = None
    feature_teacher: str | None = None
    fa_weight: float = 0.01
    ps_weight: float = 0.01
    teacher_views: int = 0
    variance: float = 0.90
    image_size: int = 224
    box: str = "gt:1.25"
    augment: str = "strong"
    stages: str = NONE
    weights: str = "none"
    frozen: int = 0
    epochs: int = 150
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_epochs: float = 1.0
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    ema: float = 0.0
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self):
        self._one_of("kind", KINDS)
        self._one_of("method", METHODS)
        self._one_of("loss", ("l2", "l1", "wing"))
        self._one_of("heatmap_loss", HEATMAP_LOSSES)
        self._one_of("kd_preset", KD_PRESETS)
        self._one_of("unit", ("normalised", "pixel"))
        self._one_of("schedule", ("cosine", "inverse-time", "steps"))
        self._one_of("precision", PRECISIONS)
        augmentation(self.augment)
        BoxPolicy.parse(self.box)
        for name in ("epochs", "batch_size"):
            self._at_least(name, 1)
        weights = ("weight_decay", "heatmap_weight", "fa_weight", "ps_weight")
        for name in ("teacher_views", "warmup_epochs", *weights, "seed"):
            self._at_least(name, 0)
        if self.seed >= 1 << 32:
            raise ConfigError(f"--seed {self.seed}: expected a number below {1 << 32}")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"--learning-rate {self.learning_rate}: expected a number above 0")
        if not 0 < self.variance <= 1:
            raise ConfigError(f"--variance {self.variance}: expected a share of the variance, above 0, 1 at most")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"--ema {self.ema}: expected 0 (off) or a momentum below 1, such as 0.998")
        if self.frozen not in STRIDES:
            raise ConfigError(f"--frozen {self.frozen}: expected a stride, one of {', '.join(map(str, STRIDES))}")
        if self.frozen and self.weights == "none":
            raise ConfigError(
                f"--frozen {self.frozen}: random weights would stay random: leave it out, or give --weights"
            )
        self._check_teachers()
        if parse_stages(self.stages, self.image_size):
            self._check_teachers_of_stages()

    def _check_teachers_of_stages(self):
        if self.by_features:
            raise ConfigError(
                f"--stages {self.stages}: --method {self.method} follows feature maps, and its teacher's are of one "
                f"side: leave out --stages"
            )
        if self.teachers and not self.teacher_views:
            raise ConfigError(
                f"--stages {self.stages}: teachers that run online see one side: give --teacher-views K, or leave out "
                f"--stages"
            )

    def _check_teachers(self):
        if self.by_points and not self.teachers:
            raise ConfigError(f"--method {self.method}: needs a teacher: give --tough RUN, --tolerant RUN or both")
        if self.by_features and not self.feature_teacher:
            raise ConfigError(f"--method {self.method}: needs a teacher's feature maps: give --feature-teacher RUN")
        if self.teachers and not self.by_points:
            raise ConfigError(
                f"--method {self.method}: learns no teacher's points: leave out --tough and --tolerant"
                + (", or give one as --feature-teacher" if self.by_features else "")
            )
        if self.feature_teacher and not self.by_features:
            raise ConfigError(f"--method {self.method}: follows no feature maps: leave out --feature-teacher")

    def _one_of(self, name, known):
        value = getattr(self, name)
        if value not in known:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected one of {', '.join(known)}")

    def _at_least(self, name, low):
        value = getattr(self, name)
        if not value >= low:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {low} at least")

    @property
    def teachers(self):
        """Role -> checkpoint, of the teachers that this run distils from."""
        return {role: path for role in ("tough", "tolerant") if (path := getattr(self, role))}

    @property
    def teacher_paths(self):
        """Role -> checkpoint of all teachers, the teacher of feature maps as ``feature-teacher``."""
        return self.teachers | ({"feature-teacher": self.feature_teacher} if self.by_features else {})

    @property
    def by_points(self):
        """Whether the student distils teachers' points, by KD-Loss."""
        return "kd-loss" in METHODS[self.method]

    @property
    def by_features(self):
        """Which terms of feature distillation the student has: some of ``fa``, ``ps``."""
        return tuple(term for term in METHODS[self.method] if term != "kd-loss")

    def to_json(self):
        """The record as an indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text):
        return cls(**json.loads(text))

    def differences(self, other):
        """Names of the fields in which two configurations differ."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) != getattr(other, f.name)]
