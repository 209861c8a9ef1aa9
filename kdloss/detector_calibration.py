"""How detectors' boxes lie to faces' landmark boxes, stored, so that a photograph can be read without a data set.

    python -m kdloss.detector_calibration --dataset 300w --detector lbp     measures it anew

A landmark box just holds the landmarks, so it depends on which points are annotated: a stored calibration belongs to
one detector and one landmark scheme.
"""

import argparse

from kdloss.data_location import find_prepared
from kdloss.datasets import DATASETS
from kdloss.detectors import DETECTORS, BoxCalibration, calibrate, detector
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.geometry import BoxPolicy

# The landmark box itself, widened to a square: what `BoxPolicy.grow` then makes any training crop of.
LANDMARK_BOX = BoxPolicy("gt", 1.0)

# (detector, scheme) -> calibration to `LANDMARK_BOX`. Measured on 2026-11-27 by the command above: `calibrate` on 300
# real 300-W training faces, evenly spaced among 1811; ``faces`` is how many of them the detector found.
CALIBRATIONS = {("lbp", "68"): BoxCalibration(dx=-0.0038, dy=0.1381, scale=0.8612, faces=284)}


def stored_calibration(detector_name, scheme):
    """The `BoxCalibration` from a detector's boxes to square landmark boxes.

    Args:
        detector_name: see `kdloss.detectors.DETECTORS`.
        scheme: the `LandmarkScheme` of the model that reads the boxes.

    Raises:
        ConfigError: none was measured for the two.
    """
    if (detector_name, scheme.name) not in CALIBRATIONS:
        known = ", ".join(name for detector_of, name in CALIBRATIONS if detector_of == detector_name) or "none"
        raise ConfigError(
            f"detector {detector_name}: its boxes are calibrated for landmark schemes: {known}; the model reads scheme "
            f"{scheme.name}: give the faces' boxes yourself (--boxes), or faces already cut (--whole)"
        )
    return CALIBRATIONS[detector_name, scheme.name]


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    prepared = find_prepared(args.dataset, args.data)
    found = calibrate(prepared, prepared.indices("train"), detector(args.detector), LANDMARK_BOX, announce=print)
    print(f'("{args.detector}", "{prepared.scheme.name}"): {found}')
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.detector_calibration", description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", required=True, choices=list(DATASETS), help="its training faces are measured")
    parser.add_argument("--data", help="prepared or official folder (default: KDLOSS_DATA/DATASET, data/DATASET)")
    parser.add_argument("--detector", required=True, choices=list(DETECTORS))
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
