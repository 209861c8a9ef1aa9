"""What a training run is made of: one flat, frozen record that is stored beside its results."""

import dataclasses
import json
import math
from dataclasses import dataclass

from kdloss.data.augmentation import AUGMENTATIONS
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError
from kdloss.losses.kd_presets import KD_PRESETS
from kdloss.training.freezing import STRIDES

KINDS, NONE = ("tough", "tolerant", "student"), "none"
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


def flag(name):
    """The flag of the training commands that sets a field of `TrainConfig`."""
    return f"--{name.replace('_', '-')}"


def _field(help, default=dataclasses.MISSING, **more):
    """A field of `TrainConfig`, with the help of the flag that sets it.

    ``more``: ``choices`` or ``at_least``, the values it may have; ``metavar`` of the flag; ``command``, the training
    command that alone has the flag (teacher or student); ``term``, the term of `METHODS` that a student needs it for.
    """
    return dataclasses.field(default=default, metadata={"help": help} | more)


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The metadata of each field says what it is and what it may be; flags are made from them."""

    # fmt: off
    kind: str = _field(
        "tough: a teacher on annotated (hard) landmarks; tolerant: one on the soft landmarks of a shape model",
        choices=KINDS, command="teacher",
    )
    dataset: str = _field("name of the data set")
    arch: str = _field("network, such as mobilenetv2-0.5, efficientnetb3 or efficientfan-b0")
    method: str = _field(
        "how to distil: kd-loss: the points of a tough and a tolerant teacher; fa, ps: the feature maps of one teacher",
        "none", choices=METHODS, command="student",
    )
    loss: str = _field("point loss of teachers and of students without kd-loss", "l2", choices=("l2", "l1", "wing"))
    heatmap_loss: str = _field(
        "loss of heatmap networks besides the point loss; mse: EfficientFAN's, reconstructed",
        "none", choices=("none", "mse", "adaptive-wing", "cross-entropy"),
    )
    heatmap_weight: float = _field("weight of the heatmap loss", 1.0, at_least=0)
    kd_preset: str = _field("constants of the KD-Loss", "public", choices=KD_PRESETS, term="kd-loss")
    unit: str = _field("unit of errors in KD-Loss", "normalised", choices=("normalised", "pixel"), term="kd-loss")
    tough: str | None = _field("tough teacher of kd-loss", None, metavar="CHECKPOINT", command="student")
    tolerant: str | None = _field(
        "tolerant teacher of kd-loss (default of both: the newest pair below runs/)",
        None, metavar="CHECKPOINT", command="student",
    )
    feature_teacher: str | None = _field(
        "teacher of fa and ps (default: that of --tough or --tolerant, else the newest tough one)",
        None, metavar="CHECKPOINT", command="student",
    )
    fa_weight: float = _field("weight of the feature-aligned term", 0.01, at_least=0, term="fa")
    ps_weight: float = _field("weight of the patch-similarity term", 0.01, at_least=0, term="ps")
    teacher_views: int = _field(
        "store the teachers' points on this many views of each face and use these in turn; 0: run the teachers on new "
        "views in every epoch (a feature teacher always runs)",
        0, at_least=0, term="kd-loss",
    )
    placebo: str = _field(
        "a control of kd-loss whose teachers know nothing more; shuffled: the truth plus the teachers' errors at other "
        "faces; average: the moving average of the student itself",
        "none", choices=("none", "shuffled", "average"), term="kd-loss",
    )
    label_share: float = _field("use the labels of this share of the training faces, always the same ones", 1.0)
    hard_draws: int = _field(
        "draw the fifth of the training faces whose shapes differ most from the mean this often for once the others",
        1, at_least=1,
    )
    folds: int = _field(
        "train this many teachers, each without its share of the faces; 0: one teacher of all",
        0, at_least=0, command="teacher",
    )
    fold: int = _field("which of the folds this run leaves out, from 1; 0: the run is no fold", 0, command="none")
    unlabelled: str = _field(
        "faces without labels, which the teacher labels: rest: the training faces beyond --label-share; or a prepared "
        "folder",
        NONE, metavar="PREPARED", command="student",
    )
    unlabelled_share: float = _field("share of each batch that faces without labels have", 0.5, command="student")
    pseudo_teacher: str | None = _field(
        "teacher that labels faces without labels; several, separated by commas, are averaged (default: --tough or "
        "--feature-teacher)",
        None, metavar="CHECKPOINT,...", command="student",
    )
    pseudo_keep: float = _field(
        "share of the faces without labels that is used: those on which the teacher and its mirror test agree best",
        1.0, command="student",
    )
    variance: float = _field("share of the shape variance that soft landmarks keep", 0.90, command="teacher")
    image_size: int = _field("side of the views in pixels", 224)
    box: str = _field("crop of the views: gt:SCALE, dataset:SCALE or paper", "gt:1.25")
    augment: str = _field("how much the views vary", "strong", choices=AUGMENTATIONS)
    views: str = _field(
        "what draws them; device: the compiled step, from faces in the device's memory; auto: an accelerator itself, "
        "for a CPU the host",
        "auto", choices=("auto", "device", "host"),
    )
    weights: str = _field("first weights: none, imagenet, or a file or checkpoint", "none")
    frozen: int = _field(
        "keep the first layers as they start, up to the last feature map of this stride, such as 8; 0: train all", 0
    )
    epochs: int = _field("after each of which a run validates and saves", 150, at_least=1)
    passes: int = _field("passes over the training faces in an epoch; more where one takes a second", 1, at_least=1)
    keep: str = _field(
        "which epoch's weights are kept; best: by the validation faces; last: the validation faces are trained on too, "
        "for a model to use, once all settings are chosen",
        "best", choices=("best", "last"),
    )
    batch_size: int = _field("faces per training step", 32, at_least=1)
    learning_rate: float = _field("learning rate of AdamW after the warm-up", 1e-3)
    warmup_epochs: float = _field("epochs in which the learning rate rises", 1.0, at_least=0)
    weight_decay: float = _field("weight decay of AdamW", 1e-4, at_least=0)
    schedule: str = _field(
        "how the learning rate falls after the warm-up; inverse-time: divided by 1 + 1e-4 step, as by KD-Loss; steps: "
        "to a tenth after 3/8 of the epochs and again after 5/8, as by MobileFAN",
        "cosine", choices=("cosine", "inverse-time", "steps"),
    )
    ema: float = _field("momentum of the weights' moving average, which is validated and kept; 0: off", 0.0)
    precision: str = _field("dtype policy of Keras", "float32", choices=("float32", "mixed_bfloat16", "mixed_float16"))
    seed: int = _field("random seed of weights, order and views", 0, at_least=0)
    # fmt: on

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, choices, low = getattr(self, field.name), *map(field.metadata.get, ("choices", "at_least"))
            if choices and value not in choices:
                raise ConfigError(f"{flag(field.name)} {value}: expected one of {', '.join(choices)}")
            if low is not None and not value >= low:
                raise ConfigError(f"{flag(field.name)} {value}: expected {low} at least")
        BoxPolicy.parse(self.box)
        if self.seed >= 1 << 32:
            raise ConfigError(f"--seed {self.seed}: expected a number below {1 << 32}")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"--learning-rate {self.learning_rate}: expected a number above 0")
        for name in ("variance", "label_share", "unlabelled_share", "pseudo_keep"):
            if not 0 < (value := getattr(self, name)) <= 1:
                raise ConfigError(f"{flag(name)} {value}: expected a share, above 0, 1 at most")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"--ema {self.ema}: expected 0 (off) or a momentum below 1, such as 0.998")
        if self.frozen not in STRIDES:
            raise ConfigError(f"--frozen {self.frozen}: expected a stride, one of {', '.join(map(str, STRIDES))}")
        if self.frozen and self.weights == "none":
            reason = "random weights would stay random"
            raise ConfigError(f"--frozen {self.frozen}: {reason}: leave it out, or give --weights")
        self._check_unlabelled()
        self._check_teachers()

    def _check_unlabelled(self):
        if self.unlabelled == "rest" and self.label_share == 1:
            raise ConfigError("--unlabelled rest: all training faces have labels: give --label-share below 1 too")
        if self.unlabelled != NONE and not self.labellers:
            raise ConfigError(
                f"--unlabelled {self.unlabelled}: needs a teacher that labels them: give --pseudo-teacher"
            )
        if self.unlabelled == NONE and self.pseudo_teacher:
            raise ConfigError("--pseudo-teacher: labels faces without labels: leave it out, or give --unlabelled")
        if not 0 <= self.fold <= self.folds or self.folds == 1:
            raise ConfigError(f"--folds {self.folds}: expected 0 (one teacher of all faces), or 2 at least")

    def _check_teachers(self):
        if self.placebo == "average" and self.teachers:
            raise ConfigError("--placebo average: the student teaches itself: leave out --tough and --tolerant")
        if self.placebo == "shuffled" and not self.teacher_views:
            raise ConfigError("--placebo shuffled: takes stored points of teachers: give --teacher-views K")
        if self.placebo != "none" and not self.by_points:
            raise ConfigError(f"--placebo {self.placebo}: a control of kd-loss: give --method kd-loss")
        if self.by_points and not self.teachers and self.placebo != "average":
            raise ConfigError(f"--method {self.method}: needs a teacher: give --tough RUN, --tolerant RUN or both")
        if self.by_features and not self.feature_teacher:
            raise ConfigError(f"--method {self.method}: needs a teacher's feature maps: give --feature-teacher RUN")
        if self.teachers and not self.by_points:
            way_out = ", or give one as --feature-teacher" if self.by_features else ""
            reason = "learns no teacher's points: leave out --tough and --tolerant"
            raise ConfigError(f"--method {self.method}: {reason}{way_out}")
        if self.feature_teacher and not self.by_features:
            raise ConfigError(f"--method {self.method}: follows no feature maps: leave out --feature-teacher")

    @property
    def teachers(self):
        """Kind -> checkpoint of the teachers whose points this run distils."""
        return {kind: path for kind in ("tough", "tolerant") if (path := getattr(self, kind))}

    @property
    def teacher_paths(self):
        """Name -> checkpoint of all teachers; the teacher of feature maps is ``feature-teacher``."""
        return self.teachers | ({"feature-teacher": self.feature_teacher} if self.by_features else {})

    @property
    def taught_by(self):
        """Kinds of the teachers whose points the KD-Loss has."""
        return ("tough", "tolerant") if self.placebo == "average" else tuple(self.teachers)

    @property
    def unlabelled_batch(self):
        """Faces without labels in each batch."""
        if self.unlabelled == NONE:
            return 0
        return min(max(round(self.batch_size * self.unlabelled_share), 1), self.batch_size)

    @property
    def labellers(self):
        """Checkpoints of the teachers that label the faces without labels, whose points are averaged."""
        paths = self.pseudo_teacher or self.tough or self.feature_teacher or self.tolerant
        return paths.split(",") if paths else []

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
