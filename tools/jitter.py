"""Measures how far landmarks jitter and lag in films, whose motion is known, for each detector.

python tools/jitter.py --yunet FILE --json jitter.json

Two films of 480 x 480 pixels, with noise: a photograph (scikit-image's astronaut) that sways by steps of up to half a
pixel, and a rendered head that turns from side to side. Their landmarks are read in each frame by itself, followed as
`kdloss.predict` follows them without smoothing, and followed with it.

Jitter: root mean square distance by which noise, independent from frame to frame, would move a landmark if its second
differences were as large as those of the landmarks' errors, in percent of the distance of the outer eye corners. Lag:
by how much the landmarks' motion comes later than the true one, from the phases of both at the film's period.
"""

import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from tabulate import tabulate

import kdloss
from data_prep.layouts import to_68
from data_prep.synthetic import draw_parameters, render
from kdloss.data.geometry import box_iou, landmark_box
from kdloss.data.images import read_image
from kdloss.inference.detectors import DETECTORS
from kdloss.inference.tracking import FaceTracker
from kdloss.machine import machine

SIDE, FPS, PERIOD = 480, 25.0, 40  # pixels, frames a second, frames
NOISE = 4.0  # grey levels
SWAY = np.array([3.0, 1.5])  # pixels to each side
TURN = 25.0  # degrees to each side
OUTER_EYES, FOUND = [36, 45], 0.5  # FOUND: IoU with the box of the true landmarks


def photograph(frames):
    """Pictures and how their landmarks moved, (68, 2) pixels each, of a photograph that sways."""
    import skimage.data

    picture = read_image(Path(skimage.data.__file__).parent / "astronaut.png")
    for angle in angles(frames):
        shift = SWAY * np.sin(angle)
        matrix = np.column_stack([np.eye(2), shift])
        yield cv2.warpAffine(picture, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC), np.tile(shift, (68, 1))


def head(frames):
    """Pictures and true landmarks of a rendered head that turns."""
    parameters = draw_parameters(np.random.default_rng(0), difficulty=0)
    parameters.share, parameters.glasses, parameters.occluder, parameters.noise = 0.4, "none", "none", 0.0
    parameters.hat = parameters.fringe = False
    for angle in angles(frames):
        parameters.yaw = TURN * np.sin(angle)
        face = render(parameters, np.random.default_rng(1), SIDE)
        yield face.image, to_68(face.points98).astype(np.float64)


FILMS = {"photograph": photograph, "head": head}


def angles(frames):
    return 2 * np.pi * np.arange(frames) / PERIOD


def ways(landmarker):
    """Name -> a function of picture and time that returns faces."""

    def followed(smooth):
        tracker = FaceTracker(landmarker, smooth=smooth)
        return lambda image, seconds: [face for _, face in tracker.update(image, seconds)]

    return {
        "each frame by itself": lambda image, seconds: landmarker.detect(image),
        "followed": followed(False),
        "followed, smoothed": followed(True),
    }


def measured(found, truth):
    """Jitter in percent of the distance of the outer eye corners, and lag in frames, of landmarks (T, 68, 2)."""
    right, left = np.moveaxis(found[:, OUTER_EYES], 1, 0)
    unit = np.nanmax(np.linalg.norm(left - right, axis=-1))
    # Second differences leave out what changes slowly, as the bias of a network does while a head turns.
    jitter = np.sqrt(np.nanmean(np.square(np.diff(found - truth, n=2, axis=0)) / 6) * 2)
    wave = np.exp(-1j * angles(len(found)))[:, None, None]
    known = np.isfinite(found).all(axis=(1, 2))
    phases = [((one - one[known].mean(axis=0)) * wave)[known].sum(axis=0) for one in (found, truth)]
    lag = -np.angle(np.sum(phases[0] * phases[1].conj())) * PERIOD / (2 * np.pi)
    return 100 * jitter / unit, lag


def rows(args):
    frames = (args.periods + 1) * PERIOD
    for film in FILMS.values():
        pictures, truth = zip(*film(frames), strict=True)
        noise = np.random.default_rng(2)
        noisy = [np.clip(p + noise.normal(0, NOISE, p.shape), 0, 255).round().astype(np.uint8) for p in pictures]
        truth = np.array(truth)
        for name in args.detector:
            model = args.yunet if DETECTORS[name].takes_model else None
            landmarker = kdloss.Landmarker.load(args.checkpoint, name, detector_model=model, threads=1)
            where = (landmarker.detect(pictures[0]) or [None])[0] if film is photograph else None
            for way, read in ways(landmarker).items():
                found = np.full(truth.shape, np.nan)
                for number, picture in enumerate(noisy):
                    box = landmark_box(truth[number]) if where is None else where.box
                    for face in read(picture, number / FPS):
                        if box_iou(face.box, box) >= FOUND:
                            found[number] = face.landmarks
                # The first period starts the tracker and its filter.
                share = 100 * np.isfinite(found[PERIOD:, 0, 0]).mean()
                jitter, lag = measured(found[PERIOD:], truth[PERIOD:]) if share else (np.nan, np.nan)
                yield name, way, f"{share:.0f}", f"{jitter:.2f}", f"{round(lag, 1) + 0:.1f}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--yunet", default=os.environ.get("KDLOSS_YUNET"), metavar="FILE", help="YuNet's model file")
    parser.add_argument("--checkpoint", default="mobilenetv2-300w", help="default: %(default)s")
    parser.add_argument("--detector", nargs="+", choices=list(DETECTORS), default=list(DETECTORS), help="default: all")
    parser.add_argument("--periods", type=int, default=3, help="of the motion, that count (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the table")
    args = parser.parse_args(argv)
    columns, found = ["detector", "landmarks"], {}
    columns += [cell for title in FILMS for cell in (f"{title}: found, %", "jitter, %", "lag, frames")]
    for name, way, *cells in rows(args):
        print(name, way, *cells, file=sys.stderr, flush=True)
        found.setdefault((name, way), [name, way]).extend(cells)
    found = list(found.values())
    here = machine()
    notes = [
        f"{args.checkpoint}; periods of {PERIOD} frames: {args.periods} after one; {FPS:g} frames a second",
        f"`python tools/jitter.py {shlex.join(sys.argv[1:])}`, {time.strftime('%Y-%m-%d')}, "
        f"{here['processor'] or here['platform']}, {here['cores']} cores",
    ]
    print(tabulate(found, columns, tablefmt="github", disable_numparse=True), *notes, sep="\n")
    if args.json:
        table = {"title": "Films", "columns": columns, "rows": found, "notes": notes}
        args.json.write_text(json.dumps({"tables": {"jitter": table}}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
