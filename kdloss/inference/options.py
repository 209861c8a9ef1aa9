"""The command-line options that choose a landmarker, and the landmarker that they choose."""

from kdloss.inference.detectors import DETECTOR
from kdloss.inference.landmarker import Landmarker
from kdloss.inference.readers import DEVICES


def add_landmarker_options(parser, detectors, detector_help):
    """Adds the options of `chosen_landmarker` to a parser, with the choices and the help text of ``--detector``."""
    parser.add_argument("--detector", choices=detectors, help=f"{detector_help} (default: {DETECTOR})")
    parser.add_argument("--detector-model", metavar="FILE", help="model file of a detector that needs one (yunet)")
    calibration = "what kdloss.calibrate detector --out wrote, for a detector that the model has no calibration for"
    parser.add_argument("--detector-calibration", metavar="FILE", help=calibration)
    share = "side of the smallest face to find, of the image's shorter side; less takes longer (0.03; lbp: 0.1)"
    parser.add_argument("--smallest-face", type=float, metavar="SHARE", help=share)
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="of LiteRT and ONNX files (default: one for each core)")


def chosen_landmarker(args, checkpoint, *, detects=True):
    """The `Landmarker` of a checkpoint and parsed options; ``detects``: whether the command needs a detector."""
    return Landmarker(
        checkpoint,
        (args.detector or DETECTOR) if detects else None,
        detector_model=args.detector_model,
        detector_calibration=args.detector_calibration,
        smallest_face=args.smallest_face,
        device=args.device,
        threads=args.threads,
    )
