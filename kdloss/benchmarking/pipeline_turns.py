"""Views a second of the input pipeline, measured in turns."""

import contextlib
import functools
import math

import cv2
import keras

from kdloss.augment import augmentation
from kdloss.benchmarking.inference import spread
from kdloss.benchmarking.pipeline_ways import (
    LEAD_IN,
    SHARED,
    Consumer,
    Drawing,
    keras_feed,
    tf_feed,
    training_feed,
)
from kdloss.benchmarking.repeated_set import repeated_set
from kdloss.pipeline import ViewBatches
from kdloss.prepared import PreparedDataset

ALONE, TOGETHER, TRAINING, LARGER = "alone", "together", "training", "larger"


def measure_pipeline(
    prepared,
    *,
    image_size,
    augment,
    batch_size,
    threads,
    views,
    rounds,
    arch,
    steps,
    times,
    work,
    announce=lambda line: None,
):
    """Measures how many views a second the input pipeline draws, and how many a training takes.

    Machines are shared and noisy: in a round each way draws or takes its views once, one after the other, so that
    whatever else the machine does meets all, and ratios are taken within the round. A first round warms up and does not
    count.

    Args:
        prepared: the `PreparedDataset` whose training faces are drawn.
        image_size, augment, batch_size: of the views.
        threads: a list of numbers, of those that draw.
        views: that each way draws in a round, at least.
        rounds: how many count.
        arch: name of the network that is trained.
        steps: of its training in a round; 0: it is not trained.
        times: a set of so many times the faces is measured too; 1: none.
        work: folder for that set, which is removed.
        announce: takes a line of progress now and then.

    Returns:
        A list of dicts for JSON: ``group``, ``what``, ``threads`` (None: as many as training has),
        ``views_per_second`` and ``ratio``, each a `spread`, and ``views_per_second_of_rounds``. The ratio is, in the
        same round, to what training takes, of a larger set to the set as it is; or None.

    Raises:
        ConfigError: the batch is larger than the set, or there is no such augmentation or network.
        DataError: the set has no training faces, or the disk is too small for ``times``.
    """
    cv2.setNumThreads(1)  # as in training
    make = functools.partial(_batches, size=image_size, batch_size=batch_size, augment=augmentation(augment))
    batches, count = make(prepared), math.ceil(views / batch_size)
    ways = _ways(batches, count, threads)
    if steps:
        announce(f"compiling the training of {arch}")
        ways.append((TRAINING, None, Consumer(arch, batches, steps).train))
    found = {}
    with contextlib.ExitStack() as stack:
        if times > 1:
            announce(f"writing {times} times the faces")
            larger = make(PreparedDataset(stack.enter_context(repeated_set(prepared, times, work))))
            ways += _whole(Drawing(larger, count), LARGER)
        for number in range(rounds + 1):
            announce(f"round {number} of {rounds}" if number else "warming up")
            for group, drawing, rates in ways:
                for what, rate in rates(number * (LEAD_IN + count)).items():
                    found.setdefault((group, what, drawing), []).extend([rate] if number else [])
    return [_row(*key, rates, _compared(key, found)) for key, rates in found.items()]


def _batches(prepared, **settings):
    return ViewBatches(prepared, prepared.indices("train"), **settings)


def _ways(batches, count, threads):
    """``(group, threads, rates)``: ``rates(first)`` -> what -> views a second, from a step on."""
    drawing, feeds = Drawing(batches, count), {"PyDataset": keras_feed}
    if keras.backend.backend() == "tensorflow":
        feeds["tf.data"] = tf_feed
    return [
        (ALONE, 1, drawing.in_stages),
        (ALONE, 1, drawing.cut),
        *_whole(drawing, TOGETHER),
        *(
            (TOGETHER, number, functools.partial(drawing.drained, title, functools.partial(feed, number)))
            for title, feed in feeds.items()
            for number in threads
        ),
    ]


def _whole(drawing, group):
    shared = functools.partial(drawing.drained, SHARED, training_feed)
    return [(group, 1, drawing.in_a_loop), (group, None, shared)]


def _compared(key, found):
    """The rates that those of a row are divided by, or None."""
    group, what, threads = key
    if group == LARGER:
        return found[TOGETHER, what, threads]
    return next((rates for (other, *_), rates in found.items() if group == TOGETHER and other == TRAINING), None)


def _row(group, what, threads, rates, compared):
    return {
        "group": group,
        "what": what,
        "threads": threads,
        "views_per_second": spread(rates),
        "ratio": spread([one / other for one, other in zip(rates, compared, strict=True)]) if compared else None,
        "views_per_second_of_rounds": rates,
    }
