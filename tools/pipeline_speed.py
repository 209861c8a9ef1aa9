"""Views a second that the package draws for a training: as numpy batches, by tf.data and by a Keras PyDataset.

python tools/pipeline_speed.py --data data/300w
python tools/pipeline_speed.py --data data/300w --against ../other-checkout
"""

import argparse
import itertools

import rounds

LEAD_IN = 8  # batches drawn before the clock starts, so that batches drawn ahead do not count


def _batches(args):
    import cv2

    from kdloss.data.augmentation import augmentation
    from kdloss.data.batches import ViewBatches
    from kdloss.data.prepared import PreparedDataset

    cv2.setNumThreads(1)  # as in training
    prepared = PreparedDataset(args.data)
    rows, augment = prepared.indices("train"), augmentation(args.augment)
    return ViewBatches(prepared, rows, size=args.image_size, batch_size=args.batch_size, augment=augment)


def _timed(args, feed):
    """A round of a way; ``feed(first, last)`` iterates over the batches of steps [first, last)."""
    starts, count = itertools.count(step=LEAD_IN + args.steps), args.steps

    def work():
        first = next(starts)
        drawn = feed(first, first + LEAD_IN + count)
        for _ in range(LEAD_IN):
            next(drawn)
        started = args.now()
        for _ in range(count):
            next(drawn)
        return count * args.batch_size / (args.now() - started)

    return work


def _numpy(args):
    batches = _batches(args)
    return _timed(args, lambda first, last: (batches.batch(*divmod(i, batches.steps)) for i in range(first, last)))


def _tf_data(args):
    from kdloss.data.batches import tf_dataset

    batches = _batches(args)
    return _timed(args, lambda first, last: iter(tf_dataset(batches, first, last)))


def _keras(args):
    from kdloss.data.batches import KerasBatches

    batches = _batches(args)

    def feed(first, last):
        drawn = KerasBatches(batches, first, args.threads)
        return (drawn[number] for number in range(last - first))

    return _timed(args, feed)


WAYS = {
    "numpy": rounds.Way(_numpy, "numpy"),
    "tf.data": rounds.Way(_tf_data, "numpy"),
    "PyDataset": rounds.Way(_keras, "numpy"),
}


def _describe(args):
    return f"views of {args.image_size} px, --augment {args.augment}, batches of {args.batch_size}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, metavar="FOLDER", help="prepared folder")
    parser.add_argument("--image-size", type=int, default=112, help="pixels (default: %(default)s)")
    parser.add_argument("--augment", default="strong", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=100, help="batches of a round (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of PyDataset (default: %(default)s)")
    rounds.main(parser, WAYS, "views", _describe)
