"""Published results, as data, each with its source and how sure it is.

Certainty: **F** read in the authors' figures, code or logs; **C** as cited in other papers' tables.
"""

from dataclasses import dataclass, field

KD_LOSS = (
    "Fard and Mahoor, Facial landmark points detection using knowledge distillation-based neural networks, CVIU 2022"
)
EFFICIENTFAN = "Gao et al., EfficientFAN, TNNLS 34(3), 2023, as cited by two later papers"


@dataclass(frozen=True)
class PublishedResult:
    """One row of a paper.

    Args:
        method: as the row is called.
        dataset: key of `DATASETS`.
        interocular: subset -> NME in percent over the distance of the outer eye corners.
        interpupil: subset -> NME in percent over the distance of the pupils.
        fr10: percent of failures at 0.10 on the full set, or None.
        source: citation.
        certainty: ``F`` or ``C``, see the module.
        box: what is known of the crops.
        note: what a reader must know before comparing, or "".
    """

    method: str
    dataset: str
    interocular: dict[str, float] = field(default_factory=dict)
    interpupil: dict[str, float] = field(default_factory=dict)
    fr10: float | None = None
    source: str = KD_LOSS
    certainty: str = "F"
    box: str = "not known"
    note: str = ""


def _kd_loss_300w(method, common, challenging, full, fr10):
    nme = {"common": common, "challenging": challenging, "full": full}
    return PublishedResult(method, "300w", nme, fr10=fr10, box="paper")


def _kd_loss_cofw(method, full, fr10):
    return PublishedResult(method, "cofw", {"full": full}, fr10=fr10)


PUBLISHED = (
    _kd_loss_300w("KD-Loss paper: student, no teacher", 3.93, 6.84, 4.50, 1.59),
    _kd_loss_300w("KD-Loss paper: tough teacher only", 3.85, 6.59, 4.39, 1.30),
    _kd_loss_300w("KD-Loss paper: tolerant teacher only", 3.73, 6.41, 4.25, 1.01),
    _kd_loss_300w("KD-Loss paper: student, KD-Loss", 3.56, 6.13, 4.06, 0.87),
    _kd_loss_300w("KD-Loss paper: teacher EfficientNet-B3", 3.34, 5.80, 3.82, 0.72),
    PublishedResult(
        "EfficientFAN",
        "300w",
        {"common": 2.98, "challenging": 5.21, "full": 3.42},
        source=EFFICIENTFAN,
        certainty="C",
    ),
    _kd_loss_cofw("KD-Loss paper: student, no teacher", 5.04, 3.74),
    _kd_loss_cofw("KD-Loss paper: student, KD-Loss", 4.11, 2.37),
    _kd_loss_cofw("KD-Loss paper: teacher EfficientNet-B3", 3.81, 1.97),
    PublishedResult(
        "KD-Loss paper: student, KD-Loss",
        "wflw",
        interpupil={"full": 8.57, "pose": 15.06},
        note="normalised by the pupil distance: 8.57 full, 15.06 pose; that is about 6.0 inter-ocular (inferred)",
    ),
    PublishedResult(
        "EfficientFAN",
        "wflw",
        {
            "full": 4.54,
            "pose": 8.20,
            "expression": 4.87,
            "illumination": 4.39,
            "make-up": 4.54,
            "occlusion": 5.42,
            "blur": 5.04,
        },
        source=EFFICIENTFAN,
        certainty="C",
    ),
)


def published_results(dataset):
    """The published rows of a data set, in the order of the papers; empty where there are none."""
    return [result for result in PUBLISHED if result.dataset == dataset]
