"""Faces a second that ``kdloss.Landmarker`` reads from known boxes, one after the other, beside ``model.predict``.

python tools/face_speed.py --data data/300w
python tools/face_speed.py --data data/300w --against ../other-checkout
"""

import argparse

import rounds


def _landmarker(args):
    import kdloss

    landmarker = kdloss.Landmarker.load(args.checkpoint, detector=None, threads=args.threads)
    return _work(args, lambda image, box: landmarker.in_boxes(image, box[None]))


def _loop(args):
    """What a newcomer writes."""
    from kdloss.data.geometry import BoxPolicy, FaceCrop
    from kdloss.models.checkpoint import load_model

    model, card = load_model(args.checkpoint)
    policy, size = BoxPolicy.parse(card["box"]), model.input_shape[1]

    def read(image, box):
        crop = FaceCrop.from_box(policy.grow(box), size)
        crop.inverse_unit(model.predict(crop.image(image)[None], verbose=0)[0])

    return _work(args, read)


def _work(args, read):
    from kdloss.data.geometry import landmark_box
    from kdloss.data.prepared import PreparedDataset

    prepared = PreparedDataset(args.data)
    rows = prepared.indices("test")[: args.faces]
    faces = [(prepared.faces[row], landmark_box(prepared.points[row].astype(float))) for row in rows]

    def work():
        started = args.now()
        for image, box in faces:
            read(image, box)
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
    ways = {"model.predict": _loop, "Landmarker": _landmarker}
    ways = {name: rounds.Way(make, "model.predict") for name, make in ways.items()}
    rounds.main(parser, ways, "faces", _describe)
