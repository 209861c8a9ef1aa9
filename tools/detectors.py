"""Measures the detectors on 300-W in its official layout, end to end: from the picture to the landmarks.

python tools/detectors.py --raw data/raw/300w --yunet face_detection_yunet_2023mar.onnx
python tools/detectors.py --raw data/raw/300w --faces 0 --detector blazeface
python tools/detectors.py --raw data/raw/300w --thresholds

The first takes a share of the test faces, upright, turned in the picture and made small. A face is found if a detected
one overlaps it (IoU 0.5 of the landmark boxes). The second reads all test faces (``--faces 0``) as they are, beside the
same faces in boxes of the truth. The third shows what scores faces and other things have on training faces and on
pictures without faces (of scikit-image and scikit-learn, and strips beside the training faces), to choose by.
"""

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np
from tabulate import tabulate

import kdloss
from data_prep.w300 import read_300w
from kdloss.data.geometry import box_iou, landmark_box, transform_points, turning
from kdloss.data.images import read_image
from kdloss.inference.detectors import DETECTORS, photograph_detections
from kdloss.machine import machine

VARIATIONS = {"upright": (0, 1), "15": (15, 1), "30": (30, 1), "45": (45, 1), "90": (90, 1), "180": (180, 1)}
VARIATIONS["x 0.35"] = (0, 0.35)
FOUND = 0.5
FACELESS = ("coffee.png", "chelsea.png", "rocket.jpg", "coins.png", "motorcycle_left.png", "page.png", "retina.jpg")
FACELESS += ("ihc.png", "brick.png", "grass.png", "gravel.png", "moon.png", "clock_motion.png", "cell.png", "color.png")
FACELESS += ("hubble_deep_field.jpg",)


def faces_of(raw, split, count):
    """(subset, image, points) of ``count`` faces of each subset, evenly spaced; 0: of all."""
    entries, subsets = read_300w(raw).entries, {}
    for number, (_, part, found, *_) in enumerate(entries.described):
        if found == split:
            subset = "training" if split == "train" else "challenging" if part == "ibug" else "common"
            subsets.setdefault(subset, []).append(number)
    for subset, numbers in subsets.items():
        for row in np.unique(np.linspace(0, len(numbers) - 1, count or len(numbers)).round().astype(int)):
            face = entries[numbers[row]]
            yield subset, face.image, face.points.astype(np.float64)


def varied(image, points, degrees, scale):
    """The picture turned clockwise, on a canvas that holds all of it, or smaller, and its points."""
    height, width = image.shape[:2]
    if scale != 1:
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return small, (points + 0.5) * np.array([small.shape[1] / width, small.shape[0] / height]) - 0.5
    matrix = turning(np.deg2rad(degrees), ((width - 1) / 2, (height - 1) / 2))
    reach = np.abs(matrix[:, :2]) @ (width, height)
    matrix[:, 2] += (reach - (width, height)) / 2
    size = tuple(int(np.ceil(side - 1e-6)) for side in reach)
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR), transform_points(matrix, points)


def error(found, truth):
    """Mean distance of 68 points, in percent of the distance of the outer eye corners."""
    return 100 * np.linalg.norm(found - truth, axis=-1).mean() / np.linalg.norm(truth[36] - truth[45])


def faceless(raw):
    """Pictures without faces: those of two libraries, and strips from beside training faces, four together."""
    import skimage.data
    import sklearn.datasets

    folder = Path(skimage.data.__file__).parent
    for name in FACELESS:
        yield read_image(folder / name)
    for name in ("china.jpg", "flower.jpg"):
        yield sklearn.datasets.load_sample_image(name)
    strips = []
    for _, image, points in faces_of(raw, "train", 400):
        x, _, width, height = landmark_box(points)
        gap = 0.2 * max(width, height)
        for part in (image[:, : max(0, int(x - gap))], image[:, int(x + width + gap) :]):
            if part.shape[1] > 40:
                strips.append(cv2.resize(part, (part.shape[1], 400), interpolation=cv2.INTER_AREA))
    for i in range(0, len(strips) - 3, 4):
        yield np.hstack(strips[i : i + 4])


def compare(args):
    faces = list(faces_of(args.raw, "test", args.faces))
    empty = list(faceless(args.raw))[: args.empty]
    rows = []
    for name in args.detector:
        landmarker, spent = loaded(args, name), []
        landmarker.detector.detect = timed(landmarker.detector.detect, spent)
        for variation, (degrees, scale) in VARIATIONS.items():
            found, errors, seconds = 0, {}, []
            for subset, image, points in faces:
                image, points = varied(image, points, degrees, scale)
                spent.clear()
                hits = [face for face in landmarker.detect(image) if box_iou(face.box, landmark_box(points)) >= FOUND]
                seconds.append(sum(spent))
                if hits:
                    found += 1
                    errors.setdefault(subset, []).append(min(error(face.landmarks, points) for face in hits))
            nme = [
                f"{np.mean(errors[subset]):.2f}" if subset in errors else "-" for subset in ("common", "challenging")
            ]
            false = sum(len(landmarker.detect(image)) for image in empty) if variation == "upright" else ""
            share, milliseconds = f"{100 * found / len(faces):.1f}", f"{1000 * np.median(seconds):.0f}"
            rows.append([name, variation, share, false, *nme, milliseconds])
            print(*rows[-1], flush=True)
    columns = ["detector", "picture", "found, %", "false", "NME, common", "NME, challenging", "ms"]
    print(tabulate(rows, columns, tablefmt="github", disable_numparse=True))
    print(f"{len(faces)} test faces; false: in {len(empty)} pictures without faces; ms: processor time of detection")


def whole_set(args):
    rows = []
    for name in args.detector:
        landmarker, found = loaded(args, name), {}
        for subset, image, points in faces_of(args.raw, "test", args.faces):
            hits = [face for face in landmarker.detect(image) if box_iou(face.box, landmark_box(points)) >= FOUND]
            (truth,) = landmarker.in_boxes(image, landmark_box(points)[None])
            best = min((error(face.landmarks, points) for face in hits), default=np.nan)
            found.setdefault(subset, []).append((best, error(truth.landmarks, points)))
        for subset, pairs in found.items():
            pairs = np.array(pairs)
            seen = np.isfinite(pairs[:, 0])
            nme, truth = pairs[seen].mean(axis=0)
            cells = [f"{value:.2f}" for value in (nme, truth, nme - truth)]
            rows.append([name, subset, len(pairs), f"{100 * seen.mean():.2f}", *cells])
    columns = ["detector", "faces", "n", "found, %", "NME", "in boxes of the truth", "difference"]
    print(tabulate(rows, columns, tablefmt="github", disable_numparse=True))


def thresholds(args):
    for name in args.detector:
        landmarker, rows = loaded(args, name), []
        finder, smallest = landmarker.detector, landmarker.smallest_face
        things = [face[5] for image in faceless(args.raw) for face in photograph_detections(finder, image, smallest)]
        scores = {}
        for _, image, points in faces_of(args.raw, "train", args.faces):
            for degrees in (0, 45, 90, 180):
                turned, there = varied(image, points, degrees, 1)
                hits = photograph_detections(finder, turned, smallest)
                near = [face[5] for face in hits if box_iou(face[:4], landmark_box(there)) >= 0.3]
                scores.setdefault(degrees, []).append(max(near, default=-np.inf))
        for least in np.unique(np.quantile(things, np.linspace(0, 1, 12)).round(2)):
            shares = [f"{100 * np.mean(np.array(found) >= least):.1f}" for found in scores.values()]
            rows.append([least, *shares, int(np.sum(np.array(things) >= least))])
        columns = [name, *(f"found at {degrees}, %" for degrees in scores), "false"]
        print(tabulate(rows, columns, tablefmt="github"))


def timed(detect, spent):
    """The same function, which also appends its seconds of processor time to a list."""

    def run(image):
        started = time.process_time()
        found = detect(image)
        spent.append(time.process_time() - started)
        return found

    return run


def loaded(args, name):
    model = args.yunet if DETECTORS[name].takes_model else None
    return kdloss.Landmarker.load(args.checkpoint, name, detector_model=model, threads=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--raw", type=Path, required=True, help="folder of 300-W in its official layout")
    parser.add_argument("--yunet", default=os.environ.get("KDLOSS_YUNET"), metavar="FILE", help="YuNet's model file")
    parser.add_argument("--checkpoint", default="mobilenetv2-300w", help="default: %(default)s")
    parser.add_argument("--detector", nargs="+", choices=list(DETECTORS), default=list(DETECTORS), help="default: all")
    parser.add_argument("--faces", type=int, default=60, help="of each subset; 0: all, upright only (default: 60)")
    parser.add_argument("--empty", type=int, default=60, help="pictures without faces (default: %(default)s)")
    parser.add_argument("--thresholds", action="store_true", help="scores of training faces and of other things")
    args = parser.parse_args()
    (thresholds if args.thresholds else compare if args.faces else whole_set)(args)
    about = machine()
    print(f"{about['processor'] or about['platform']}, {about['cores']} cores, {time.strftime('%Y-%m-%d')}")
