"""Finds faces and their landmarks in photographs, folders, videos and camera pictures.

    python -m kdloss.predict photo.jpg
    python -m kdloss.predict holiday/ talk.mp4 --checkpoint runs/student --out found
    python -m kdloss.predict holiday/ --boxes boxes.json --no-overlay
    python -m kdloss.predict camera:0 --frames 300

Writes a JSON file of the faces of each photograph and a picture with the faces drawn in, in folders like those of the
photographs, and one CSV table of all faces, faces.csv. For each video and camera it writes a JSON file, a CSV table and
a video. With ``--json`` it prints the records of the photographs too, and where those of videos and cameras are.
"""

import argparse
import csv
import dataclasses
import json
import sys

from tqdm import tqdm

from kdloss.errors import ConfigError, DataError, FullDisk, UserError, deferred_interrupt, exits_on_user_error
from kdloss.experiments.flags import add_checkpoint_flag, add_json_flag, add_out_flag, answered
from kdloss.files import replacing, require_place, require_replaceable, write_whole
from kdloss.inference.aligned import Aligner
from kdloss.inference.detectors import DETECTOR, DETECTORS
from kdloss.inference.landmarker import find_faces
from kdloss.inference.options import add_landmarker_options, chosen_landmarker
from kdloss.inference.output import (
    WRITTEN,
    csv_header,
    csv_row,
    draw_faces,
    face_record,
    predict_video,
    result_files,
    save_drawing,
)
from kdloss.inference.sources import GivenBoxes, find_sources, unread_pictures
from kdloss.inference.tracking import DETECT_EVERY
from kdloss.names import TEXT, counted, printable, to_cell
from kdloss.training.runs import runs_root

DEFAULT_MODEL = "mobilenetv2-300w"
BOXES, WHOLE = "boxes", "whole"
TABLE = "faces.csv"


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    return answered(lambda: _predict(args), args.json)


def _predict(args):
    """Finds the faces and writes the results; returns the exit status and what ``--json`` prints."""
    _check(args)
    sources, unread = find_sources(args.sources, skipped=args.out)
    _check_sources(args, sources)
    boxes = None if args.boxes is None else GivenBoxes(args.boxes)
    landmarker = chosen_landmarker(args, args.checkpoint, detects=not (boxes or args.detector == WHOLE))
    aligner = args.crops and Aligner(landmarker.scheme, args.crops)
    require_place(args.out)
    require_place(args.out / TABLE, folder=False)
    landmarker.ready()
    if landmarker.confidence is None:
        remedy = "python -m kdloss.calibrate confidence measures it"
        print(f"{args.checkpoint}: its confidence was never measured, so none is stated: {remedy}", file=sys.stderr)
    answer = {"out": str(args.out), "photographs": [], "videos": [], "errors": []}
    photographs = [source for source in sources if source.kind == "photograph"]
    _photographs(args, landmarker, boxes, aligner, photographs, answer)
    for source in sources:
        if source.kind != "photograph":
            _video(args, landmarker, source, answer)
    if unread:
        _say(f"passed over in folders: {unread_pictures(unread)}")
    return 2 if answer["errors"] else 0, answer


def _photographs(args, landmarker, boxes, aligner, photographs, answer):
    """Writes the faces of photographs, and adds their records and errors to the answer."""
    if not photographs:
        return
    failure, whole = None, args.detector == WHOLE
    detector = BOXES if boxes else WHOLE if whole else landmarker.detector.name
    with (
        deferred_interrupt() as interruption,
        replacing(args.out / TABLE) as work,
        open(work, "w", newline="", **TEXT) as table,
        _progress(len(photographs), "photograph") as bar,
    ):
        rows = csv.writer(table)
        rows.writerow(csv_header(landmarker.scheme.num_points, "image", "face"))
        try:
            for photograph, image, faces in find_faces(landmarker, photographs, boxes, whole):
                bar.update()
                try:
                    if image is None:
                        raise faces
                    record, path = _write_photograph(args, landmarker, detector, aligner, photograph, image, faces)
                except FullDisk:
                    raise
                except UserError as error:
                    _complain(error, answer)
                else:
                    if args.json:  # else the records of a large folder would fill the memory
                        answer["photographs"].append(record)
                    cells = (csv_row(face, to_cell(photograph.name), i) for i, face in enumerate(record["faces"]))
                    rows.writerows(cells)
                    _say(f"{photograph.name}: {counted(len(faces), 'face')} -> {path}")
                    if not faces and not (boxes or whole):
                        _say(_hint(landmarker, image))
                if interruption.asked:
                    break
        except Exception as error:  # the table of what was found is kept
            failure = error
    if failure:
        raise failure


def _write_photograph(args, landmarker, detector, aligner, photograph, image, faces):
    """Writes record, drawing and aligned faces of a photograph; returns the record and its file."""
    path, *overlays = result_files(args.out, photograph, not args.no_overlay)
    for overlay in overlays:
        with replacing(overlay) as work:
            save_drawing(work, draw_faces(image, faces, landmarker.scheme))
    record = {"image": photograph.name, "model": landmarker.name, "detector": detector}
    record |= {"faces": [face_record(face) for face in faces]}
    if aligner:
        _write_aligned(args.out, photograph, image, faces, record["faces"], aligner)
    # Written last: where the JSON file exists, all of the photograph's results do.
    write_whole(path, json.dumps(record, allow_nan=False) + "\n")
    return record, path


def _write_aligned(out, photograph, image, faces, records, aligner):
    """Writes the aligned faces of a photograph, and adds their files and transforms to the records of the faces."""
    for number, (face, record) in enumerate(zip(faces, records, strict=True)):
        if crop := aligner.crop(face.landmarks):
            file = f"{photograph.result}-faces/{number}.png"
            require_replaceable([out / file], [], WRITTEN)
            with replacing(out / file) as work:
                save_drawing(work, crop.image(image))
            record["aligned"] = {"file": file, "transform": crop.matrix.tolist()}


def _video(args, landmarker, source, answer):
    """Writes the faces of a video or a camera, and adds the place of its record, or its error, to the answer."""
    with _progress(None, "frame") as bar:

        def advance(done, expected):
            bar.total = expected
            bar.update(done - bar.n)

        try:
            how = {"smooth": not args.no_smoothing, "overlay": not args.no_overlay}
            how |= {"detect_every": args.detect_every, "frames": args.frames}
            summary = predict_video(landmarker, source, args.out, **how, progress=advance)
        except FullDisk:
            raise
        except UserError as error:
            _complain(error, answer)
            return
    answer["videos"].append({"video": source.name} | dataclasses.asdict(summary) | {"record": str(summary.record)})
    found = f"{counted(summary.frames, 'frame')}, {counted(summary.faces, 'face')}"
    _say(f"{source.name}: {found} -> {summary.record}")


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
    """Refuses options that do not suit the sources, and results that would overwrite an input or each other."""
    if all(source.kind != "camera" and not source.path.is_file() for source in sources):
        raise DataError(f"{sources[0].path}: no such file: give photographs, videos, folders of them, or camera:0")
    videos = [source for source in sources if source.kind != "photograph"]
    if videos and args.crops:
        raise ConfigError(f"{videos[0].name}: --crops is for photographs: leave it out")
    if videos and (args.boxes is not None or args.detector == WHOLE):
        found, expected = args.detector or BOXES, " or ".join(DETECTORS)
        raise ConfigError(f"{videos[0].name}: {found} is for photographs: expected a detector, {expected}")
    targets, owners = [args.out / TABLE] if len(videos) < len(sources) else [], {}
    owners |= {str(table).casefold(): "the table of all photographs" for table in targets}
    for source in sources:
        for file in result_files(args.out, source, not args.no_overlay):
            if (other := owners.setdefault(str(file).casefold(), source.name)) != source.name:
                raise ConfigError(f"{source.name}: {file} would be of {other} too: read it by itself")
            targets.append(file)
    inputs = [args.boxes, args.checkpoint, args.detector_model, args.detector_calibration]
    inputs += [source.path for source in sources if source.kind != "camera"]
    require_replaceable(targets, filter(None, inputs), WRITTEN)


def _hint(landmarker, image):
    """What was searched for in vain, and what to try."""
    share, name = landmarker.smallest_face, landmarker.detector.name
    least = landmarker.detector.LEAST_PIXELS
    smallest = max(round(share * min(image.shape[:2])), least)
    smaller = f"--smallest-face {max(0.02, share / 2):g}, " if share > 0.02 and smallest > least else ""
    other = "--detector yunet, " if name == DETECTOR else f"--detector {DETECTOR}, "
    return f"{name} searched for faces of {smallest} pixels and more: try {smaller}{other}or --boxes"


def _say(line):
    # tqdm writes the line above its bar.
    tqdm.write(printable(line), file=sys.stdout)
    sys.stdout.flush()


def _complain(error, answer):
    answer["errors"].append(str(error))
    tqdm.write(f"error: {printable(error)}", file=sys.stderr)


def _progress(total, unit):
    """A progress bar, on terminals only."""
    return tqdm(total=total, unit=unit, disable=None, file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.predict", description=__doc__.split("\n")[0])
    places = "folders are searched with all below them; cameras by number, device or address: camera:0, rtsp://..."
    parser.add_argument("sources", nargs="+", metavar="IMAGE|FOLDER|VIDEO|CAMERA", help=places)
    add_checkpoint_flag(parser, "network that reads the faces", default=DEFAULT_MODEL)
    how = "what finds the faces; whole: each image is one face, cut as the model's crops are"
    add_landmarker_options(parser, [*DETECTORS, BOXES, WHOLE], how)
    known = "known landmark boxes: JSON, image name -> list of [x, y, width, height]; or .csv: name,x,y,width,height"
    parser.add_argument("--boxes", metavar="FILE", help=known)
    add_out_flag(parser, "folder of the results (default: runs/predictions)", default=runs_root() / "predictions")
    parser.add_argument("--no-overlay", action="store_true", help="write JSON and CSV only, no pictures and videos")
    aligned = "also write each face of SIZE pixels, upright, eyes and mouth at fixed places"
    parser.add_argument("--crops", type=int, metavar="SIZE", help=aligned)
    add_json_flag(parser)
    film = parser.add_argument_group("videos and cameras")
    film.add_argument("--frames", type=int, help="stop after this number; without it, cameras go on until Ctrl-C")
    every = "frames between detections (default: %(default)s)"
    film.add_argument("--detect-every", type=int, default=DETECT_EVERY, help=every)
    film.add_argument("--no-smoothing", action="store_true", help="landmarks as read, without the One-Euro filter")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
