"""Finds faces in photographs and their landmarks.

    python -m kdloss.predict photo.jpg
    python -m kdloss.predict holiday/ --checkpoint runs/student --out found
    python -m kdloss.predict holiday/ --boxes boxes.json --no-overlay

Writes for each photograph a JSON file of its faces and a picture with them drawn in, in the folders of the photographs.
"""

import argparse
import io
import json
import sys
from pathlib import Path

from PIL import Image

from asm.atomic import write_whole
from kdloss.detectors import DETECTORS
from kdloss.errors import ConfigError, DataError, exits_on_user_error
from kdloss.given_boxes import GivenBoxes
from kdloss.photographs import find_photographs, read_photograph

DEFAULT_MODEL = "mobilenetv2-300w"
DETECTOR = "lbp"


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    if args.checkpoint == "":
        raise ConfigError("--checkpoint: empty: give a path or the name of a shipped model")
    photographs = find_photographs(args.images, skipped=args.out)
    _spare_originals(args, photographs)
    boxes = None if args.boxes is None else GivenBoxes(args.boxes)
    # Not before here: the network's libraries take seconds to load.
    from kdloss.landmarker import Landmarker

    named = "boxes" if boxes else "whole" if args.whole else args.detector or DETECTOR
    landmarker = Landmarker.load(args.checkpoint, None if boxes or args.whole else named)
    failed = 0
    for photograph in photographs:
        try:
            given = boxes.of(photograph.name) if boxes else None
            image = read_photograph(photograph.path)
        except DataError as error:
            failed += 1
            print("error: " + " ".join(str(error).split()), file=sys.stderr, flush=True)
            continue
        if boxes:
            faces = landmarker.in_boxes(image, given)
        else:
            faces = [landmarker.whole(image)] if args.whole else landmarker.detect(image)
        written = _write(args, photograph, image, faces, landmarker, named)
        print(f"{photograph.name}: {len(faces)} face{'' if len(faces) == 1 else 's'} -> {written}", flush=True)
    return 2 if failed else 0


def _write(args, photograph, image, faces, landmarker, named):
    record = {
        "image": photograph.name,
        "model": landmarker.name,
        "detector": named,
        "faces": [
            {
                "box": face.box.round(2).tolist(),
                "score": face.score,
                "landmarks": face.landmarks.round(2).tolist(),
            }
            for face in faces
        ],
    }
    if not args.no_overlay:
        from kdloss.overlay import draw_faces

        picture, overlay = io.BytesIO(), _overlay(args.out, photograph)
        how = {"quality": 92} if overlay.suffix == ".jpg" else {}
        Image.fromarray(draw_faces(image, faces, landmarker.scheme)).save(
            picture, Image.EXTENSION[overlay.suffix], **how
        )
        write_whole(overlay, picture.getvalue())
    # Last: where it stands, all of the photograph's results do.
    write_whole(_record(args.out, photograph), json.dumps(record, allow_nan=False) + "\n")
    return _record(args.out, photograph)


def _record(out, photograph):
    return out / f"{photograph.result}.json"


def _overlay(out, photograph):
    return out / f"{photograph.result}{'.jpg' if photograph.path.suffix.lower() in ('.jpg', '.jpeg') else '.png'}"


def _spare_originals(args, photographs):
    """
    Raises:
        ConfigError: an overlay would take the place of one of the photographs.
    """
    originals = {photograph.path.resolve() for photograph in photographs}
    for photograph in photographs:
        if not args.no_overlay and _overlay(args.out, photograph).resolve() in originals:
            raise ConfigError(
                f"--out {args.out}: the overlay of {photograph.name} would overwrite a photograph: give another "
                "folder, or --no-overlay"
            )


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.predict", description=__doc__.split("\n")[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE|FOLDER", help="folders are searched with all below them")
    parser.add_argument(
        "--checkpoint",
        default=DEFAULT_MODEL,
        metavar="PATH_OR_NAME",
        help=".keras file, run folder, or the name of a shipped model (default: %(default)s)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--detector", choices=list(DETECTORS), help=f"what finds the faces (default: {DETECTOR})")
    where.add_argument(
        "--boxes",
        metavar="FILE",
        help="known landmark boxes: JSON, image name -> list of [x, y, width, height]",
    )
    where.add_argument("--whole", action="store_true", help="each image is one face, already cut as the model's crops")
    parser.add_argument("--out", type=Path, default=Path("predictions"), help="folder (default: %(default)s)")
    parser.add_argument("--no-overlay", action="store_true", help="JSON alone, no pictures")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
