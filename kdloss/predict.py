"""Finds faces and their landmarks in photographs, folders, videos and camera pictures.

    python -m kdloss.predict photo.jpg
    python -m kdloss.predict holiday/ talk.mp4 --checkpoint runs/student --out found
    python -m kdloss.predict holiday/ --boxes boxes.json --no-overlay
    python -m kdloss.predict camera:0 --frames 300

Writes for each photograph a JSON file of its faces and a picture with them drawn in, in the folders of the photographs,
and one CSV table of all of them, faces.csv; for each video and camera a JSON file, a CSV table and a video.
"""

import argparse
import contextlib
import csv
import functools
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from kdloss.data.images import read_photograph
from kdloss.errors import ConfigError, DataError, deferred_interrupt, exits_on_user_error
from kdloss.experiments.flags import add_checkpoint_flag, add_out_flag
from kdloss.files import replacing, require_place, write_whole
from kdloss.inference.detectors import DETECTORS
from kdloss.inference.options import add_landmarker_options, check_landmarker
from kdloss.inference.output import csv_header, csv_row, draw_faces, face_record
from kdloss.inference.sources import GivenBoxes, find_sources
from kdloss.inference.tracking import DETECT_EVERY
from kdloss.inference.video import Camera, VideoFile
from kdloss.inference.video_output import predict_video
from kdloss.training.runs import runs_root

DEFAULT_MODEL = "mobilenetv2-300w"
BOXES, WHOLE = "boxes", "whole"
TABLE = "faces.csv"


@dataclass(frozen=True)
class Finder:
    """Where the faces of photographs are: found, given or the whole image.

    Args:
        landmarker: a `kdloss.inference.landmarker.Landmarker`, with a detector unless one of the others is set.
        boxes: `GivenBoxes`, or None.
        whole: whether each image is one face, cut as the model's crops are.
    """

    landmarker: object
    boxes: GivenBoxes | None = None
    whole: bool = False

    @property
    def name(self):
        """What records call it."""
        return BOXES if self.boxes else WHOLE if self.whole else self.landmarker.detector.name

    def read(self, photograph):
        """The image (H, W, 3) uint8 RGB of a photograph, and its boxes if they are given.

        Raises:
            DataError: it cannot be read, or the file of boxes does not name it.
        """
        given = self.boxes.of(photograph.name) if self.boxes else None
        return read_photograph(photograph.path), given

    def faces(self, image, given):
        """The `Face`\\ s of what `read` returned."""
        if given is not None:
            return self.landmarker.in_boxes(image, given)
        return [self.landmarker.whole(image)] if self.whole else self.landmarker.detect(image)


def find_faces(finder, photographs):
    """Finds the faces of photographs, one after the other; the next one is read meanwhile.

    Args:
        finder: a `Finder`.
        photographs: `kdloss.inference.sources.Source`\\ s.

    Yields:
        (photograph, image, faces), or (photograph, None, error) with the `DataError` of one that cannot be read.
    """
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(finder.read, photographs[0]) if photographs else None
        for number, photograph in enumerate(photographs, 1):
            reading = ahead
            # At most two images are in memory.
            ahead = pool.submit(finder.read, photographs[number]) if number < len(photographs) else None
            try:
                image, given = reading.result()
                faces = finder.faces(image, given)
            except DataError as error:
                # The name, where the error does not begin with the file's.
                named = str(error).startswith((photograph.name, str(photograph.path)))
                yield photograph, None, error if named else DataError(f"{photograph.name}: {error}")
                continue
            yield photograph, image, faces


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    _check(args)
    sources = find_sources(args.sources, skipped=args.out)
    _check_sources(args, sources)
    boxes = None if args.boxes is None else GivenBoxes(args.boxes)
    load = check_landmarker(args, args.checkpoint, detects=not (boxes or args.detector == WHOLE))
    require_place(args.out)
    landmarker = load()
    if landmarker.confidence is None:
        print(
            f"{args.checkpoint}: its confidence was never measured, so none is stated: python -m kdloss.calibrate "
            "confidence measures it",
            file=sys.stderr,
        )
    finder = Finder(landmarker, boxes, args.detector == WHOLE)
    failed = _photographs(args, finder, [source for source in sources if source.kind == "photograph"])
    for source in sources:
        if source.kind != "photograph":
            failed += _video(args, finder, source)
    return 2 if failed else 0


def _photographs(args, finder, photographs):
    """Writes what is found in photographs; returns how many could not be read."""
    if not photographs:
        return 0
    failed = 0
    with (
        deferred_interrupt() as interruption,
        replacing(args.out / TABLE) as work,
        open(work, "w", newline="", encoding="utf-8") as table,
        _progress(len(photographs), "photograph") as bar,
    ):
        rows = csv.writer(table)
        rows.writerow(csv_header(finder.landmarker.scheme.num_points, "image", "face"))
        for photograph, image, faces in find_faces(finder, photographs):
            bar.update()
            if image is None:
                failed += 1
                _complain(faces)
            else:
                records = [face_record(face) for face in faces]
                rows.writerows(csv_row(record, photograph.name, i) for i, record in enumerate(records))
                _write(args, photograph, image, faces, records, finder)
            if interruption.asked:
                break
    return failed


def _write(args, photograph, image, faces, records, finder):
    if not args.no_overlay:
        picture, overlay = io.BytesIO(), _overlay(args.out, photograph)
        how = {"quality": 92} if overlay.suffix == ".jpg" else {}
        Image.fromarray(draw_faces(image, faces, finder.landmarker.scheme)).save(
            picture, Image.EXTENSION[overlay.suffix], **how
        )
        write_whole(overlay, picture.getvalue())
    # Last: where it stands, all of the photograph's results do.
    path = args.out / f"{photograph.result}.json"
    record = {"image": photograph.name, "model": finder.landmarker.name, "detector": finder.name, "faces": records}
    write_whole(path, json.dumps(record, allow_nan=False) + "\n")
    _say(f"{photograph.name}: {len(faces)} face{'' if len(faces) == 1 else 's'} -> {path}")


def _video(args, finder, source):
    """Writes what is found in a video or before a camera; returns whether that failed."""
    is_camera = source.kind == "camera"
    film = Camera(source.path) if is_camera else VideoFile(source.path, source.name, source.result)
    with _progress(None, "frame") as bar:
        try:
            done = predict_video(
                finder.landmarker,
                film,
                args.out,
                smooth=not args.no_smoothing,
                detect_every=args.detect_every,
                overlay=not args.no_overlay,
                frames=args.frames,
                progress=functools.partial(_advance, bar),
            )
        except DataError as error:
            _complain(error)
            return True
    faces = f"{done.faces} face{'' if done.faces == 1 else 's'}"
    _say(f"{film.name}: {done.frames} frame{'' if done.frames == 1 else 's'}, {faces} -> {done.record}")
    return False


def _advance(bar, done, expected):
    bar.total = expected
    bar.update(done - bar.n)


def _check(args):
    if args.checkpoint == "":
        raise ConfigError("--checkpoint: empty: give a path or the name of a shipped model")
    if args.detector == BOXES and args.boxes is None:
        raise ConfigError("--detector boxes: expected --boxes FILE beside it, the boxes of each image")
    if args.boxes is not None and args.detector not in (None, BOXES):
        raise ConfigError(f"--boxes {args.boxes}: with --detector {args.detector}: give one of them")
    for name, value in (("frames", args.frames), ("detect-every", args.detect_every)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: expected 1 frame at least")


def _check_sources(args, sources):
    """
    Raises:
        ConfigError: options that do not go with them, or an overlay that would take the place of an original.
    """
    if all(source.kind != "camera" and not source.path.is_file() for source in sources):
        raise DataError(f"{sources[0].path}: no such file: give photographs, videos, folders of them, or camera:0")
    films = [source for source in sources if source.kind != "photograph"]
    if films and (args.boxes is not None or args.detector == WHOLE):
        raise ConfigError(
            f"{films[0].name}: {args.detector or BOXES} are of photographs: faces in videos are found by a detector "
            f"({', '.join(DETECTORS)})"
        )
    if any(f"{film.result}.csv" == TABLE for film in films) and len(films) < len(sources):
        raise ConfigError(f"{films[0].name}: its table would be {TABLE}, that of the photographs: read it by itself")
    originals = {Path(source.path).resolve() for source in sources if source.kind != "camera"}
    for source in sources:
        if not args.no_overlay and _overlay(args.out, source).resolve() in originals:
            raise ConfigError(
                f"--out {args.out}: the overlay of {source.name} would overwrite it: give another folder, or "
                "--no-overlay"
            )


def _overlay(out, source):
    if source.kind != "photograph":
        return out / f"{source.result}.mp4"
    return out / f"{source.result}{'.jpg' if source.path.suffix.lower() in ('.jpg', '.jpeg') else '.png'}"


def _say(line):
    # Through the bar, which would be torn otherwise.
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def _complain(error):
    tqdm.write("error: " + " ".join(str(error).split()), file=sys.stderr)


@contextlib.contextmanager
def _progress(total, unit):
    """A progress bar on a terminal; elsewhere none, where lines say what was done."""
    with tqdm(total=total, unit=unit, disable=None, file=sys.stderr) as bar:
        yield bar


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.predict", description=__doc__.split("\n")[0])
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="IMAGE|FOLDER|VIDEO|CAMERA",
        help="folders are searched with all below them; cameras by number, device or address: camera:0",
    )
    add_checkpoint_flag(parser, "network that reads the faces", default=DEFAULT_MODEL)
    how = "what finds the faces; whole: each image is one face, cut as the model's crops"
    add_landmarker_options(parser, [*DETECTORS, BOXES, WHOLE], how)
    parser.add_argument(
        "--boxes",
        metavar="FILE",
        help="known landmark boxes: JSON, image name -> list of [x, y, width, height]",
    )
    add_out_flag(parser, "folder of the results (default: runs/predictions)", default=runs_root() / "predictions")
    parser.add_argument("--no-overlay", action="store_true", help="JSON and CSV alone, no pictures and videos")
    film = parser.add_argument_group("videos and cameras")
    film.add_argument("--frames", type=int, help="stop after so many; cameras go on until Ctrl-C otherwise")
    film.add_argument(
        "--detect-every", type=int, default=DETECT_EVERY, help="frames between detections (default: %(default)s)"
    )
    film.add_argument("--no-smoothing", action="store_true", help="landmarks as read, without the One-Euro filter")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
