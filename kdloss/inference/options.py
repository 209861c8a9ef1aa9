"""How commands are told which model reads faces, and what finds them: the options, and the landmarker they ask for."""

from kdloss.inference.detectors import SMALLEST_FACE
from kdloss.inference.readers import DEVICES

DETECTOR = "lbp"


def add_landmarker_options(parser, detectors, detector_help):
    """Adds ``--detector``, ``--detector-model``, ``--detector-calibration``, ``--smallest-face``, ``--device`` and
    ``--threads``.

    Args:
        parser: an `argparse.ArgumentParser`.
        detectors: the names that may be chosen; detector_help: what the command says of them.
    """
    parser.add_argument("--detector", choices=detectors, help=f"{detector_help} (default: {DETECTOR})")
    parser.add_argument("--detector-model", metavar="FILE", help="model file of a detector that needs one (yunet)")
    parser.add_argument(
        "--detector-calibration",
        metavar="FILE",
        help="of python -m kdloss.calibrate detector --out, where the package knows none",
    )
    parser.add_argument(
        "--smallest-face",
        type=float,
        default=SMALLEST_FACE,
        metavar="SHARE",
        help="side of the smallest face searched for, of the image's shorter side; less takes longer (default: "
        "%(default)s)",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="of LiteRT and ONNX files (default: one for each core)")


def check_landmarker(args, checkpoint, *, detects=True):
    """Checks parsed options for a checkpoint; returns what loads their `Landmarker`, see `Landmarker.checked`.

    ``detects``: whether it needs a detector.
    """
    from kdloss.inference.landmarker import Landmarker

    return Landmarker.checked(
        checkpoint,
        (args.detector or DETECTOR) if detects else None,
        args.detector_model,
        args.detector_calibration,
        args.smallest_face,
        device=args.device,
        threads=args.threads,
    )
