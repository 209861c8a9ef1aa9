"""A classical method beside the students: dlib's regression trees on the same faces, boxes and mirror images.

    python tools/peer_ert.py --dataset 300w --data RAW --out runs/peer-ert

Fits the trees (Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, CVPR 2014;
package ``dlib-bin``) on the training faces and their mirror images, predicts the test faces and writes ``trees.dat``,
``predictions.npz`` and ``peer.json``. ``tools/frontier.py`` measures their time.
"""

import argparse
import json
import time

import cv2
import dlib
import numpy as np

from data_prep.find import find_prepared
from kdloss.data.geometry import BoxPolicy, FaceCrop, mirror_points, transform_points
from kdloss.errors import exits_on_user_error
from kdloss.evaluation import metrics
from kdloss.evaluation.predictions import save_predictions
from kdloss.experiments.flags import add_data_flags, add_out_flag
from kdloss.files import replacing, write_whole
from kdloss.machine import machine

# dlib rounds landmarks to whole pixels. In a picture twice as large as the stored one, this costs 0.3 % of the eyes'
# distance, little beside errors of 3 % and more.
SIDE = 512
METHOD, TREES, FACTS = "dlib regression trees", "trees.dat", "peer.json"


def picture(prepared, row, box):
    """The stored crop of a face as a grey picture (SIDE, SIDE) uint8, dlib's box of the face, and the `FaceCrop`."""
    crop = FaceCrop.from_box((-0.5, -0.5, prepared.size, prepared.size), SIDE)
    (left, top), (right, bottom) = crop.points(np.array([box[:2], box[:2] + box[2:]])).round().astype(int).tolist()
    grey = cv2.cvtColor(crop.image(prepared.faces[row]), cv2.COLOR_RGB2GRAY)
    return grey, dlib.rectangle(left, top, right - 1, bottom - 1), crop


def examples(prepared, boxes):
    """The pictures and annotated boxes of the training faces, each followed by its mirror image."""
    pictures, objects = [], []
    for row in prepared.indices("train"):
        grey, box, crop = picture(prepared, row, boxes[row])
        points = crop.points(prepared.points[row].astype(np.float64))
        mirrored = dlib.rectangle(SIDE - 1 - box.right(), box.top(), SIDE - 1 - box.left(), box.bottom())
        pictures += [grey, np.ascontiguousarray(grey[:, ::-1])]
        flipped = mirror_points(points, SIDE, prepared.scheme.mirror)
        objects += [[annotated(box, points)], [annotated(mirrored, flipped)]]
    return pictures, objects


def annotated(box, points):
    return dlib.full_object_detection(box, [dlib.point(*point) for point in points.round().astype(int).tolist()])


def predict(trees, grey, box):
    return np.array([(part.x, part.y) for part in trees(grey, box).parts()], np.float64)


def train(args, prepared):
    boxes = prepared.boxes(BoxPolicy.parse(args.box))
    options = dlib.shape_predictor_training_options()
    options.cascade_depth, options.tree_depth, options.nu = args.cascades, args.depth, 0.1
    options.oversampling_amount, options.num_threads = args.oversampling, args.threads
    options.random_seed, options.be_verbose = str(args.seed), True
    pictures, objects = examples(prepared, boxes)
    started = time.perf_counter()
    trees = dlib.train_shape_predictor(pictures, objects, options)
    seconds = round(time.perf_counter() - started)
    with replacing(args.out / TREES) as work:
        trees.save(str(work))
    rows, points = prepared.indices("test"), []
    for row in rows:
        grey, box, crop = picture(prepared, row, boxes[row])
        points.append(transform_points(prepared.to_image[row], crop.inverse_points(predict(trees, grey, box))))
    points, truth = np.stack(points), prepared.source_points[rows]
    save_predictions(args.out / "predictions.npz", prepared.table["name"][rows], points, truth)
    megabytes = round((args.out / TREES).stat().st_size / 1e6, 2)
    facts = {name: getattr(args, name) for name in ("box", "cascades", "depth", "oversampling", "seed")}
    facts |= {"method": METHOD, "dataset": prepared.dataset, "synthetic": prepared.synthetic}
    facts |= {"content": prepared.manifest["content"], "training_faces": len(pictures) // 2}
    facts |= {"trees_per_cascade": options.num_trees_per_cascade_level, "seconds": seconds, "megabytes": megabytes}
    facts |= {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
    write_whole(args.out / FACTS, json.dumps(facts, indent=1))
    errors = metrics.image_errors(points, truth, prepared.scheme, "interocular")
    print(f"test NME {metrics.nme(errors):.2f} %, {megabytes} MB, trained in {seconds} s")


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_data_flags(parser, default="300w")
    add_out_flag(parser, "folder of the trees", required=True)
    parser.add_argument("--box", default="gt:1.25", help="gt:SCALE, dataset:SCALE or paper")
    defaults = {"cascades": 15, "depth": 4, "oversampling": 20, "threads": 0, "seed": 0}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args(argv)
    train(args, find_prepared(args.dataset, args.data))


if __name__ == "__main__":
    raise SystemExit(main())
