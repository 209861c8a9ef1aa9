"""Faces a second that ``kdloss.Landmarker`` reads from known boxes, one face after the other.

python tools/face_speed.py --data data/300w
python tools/face_speed.py --data data/300w --against ../other-checkout
"""

import argparse

import rounds


def _landmarker(args):
    import kdloss
    from kdloss.data.geometry import landmark_box
    from kdloss.data.prepared import PreparedDataset

    prepared = PreparedDataset(args.data)
    rows = prepared.indices("test")[: args.faces]
    faces = [(prepared.faces[row], landmark_box(prepared.points[row].astype(float))[None]) for row in rows]
    landmarker = kdloss.Landmarker.load(args.checkpoint, detector=None, threads=args.threads)

    def work():
        started = args.now()
        for image, boxes in faces:
            landmarker.in_boxes(image, boxes)
        return len(faces) / (args.now() - started)

    return work


def _describe(args):
    return f"{args.checkpoint} on the first {args.faces} test faces of {args.data}, {args.threads} threads"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, metavar="FOLDER", help="prepared folder")
    parser.add_argument("--checkpoint", default="mobilenetv2-300w", metavar="CHECKPOINT", help="default: %(default)s")
    parser.add_argument("--faces", type=int, default=100, help="of a round, at most (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    rounds.main(parser, {"Landmarker": rounds.Way(_landmarker, "Landmarker")}, "faces", _describe)
