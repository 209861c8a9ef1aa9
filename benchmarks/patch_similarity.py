"""What patch similarity costs as the side of the map grows: all pairs at once, and as it is computed here.

    python benchmarks/patch_similarity.py --json patch_similarity.json

``direct``: similarities of all M x M pairs for every size of patch. ``chosen``: `patch_similarity`, which takes
products of the widths wherever M is large. Measured is the value and its gradient with respect to the student's map,
as a compiled TensorFlow step: milliseconds a step, and the peak of resident memory above that of the process with its
libraries loaded, the maps made and a small step done.

Both forms are timed in every repetition, one after the other, so that whatever else the machine does meets both. The
peak of each form is that of a process of its own. ``direct`` is left out where its matrices would need more than
``--limit``.
"""

import argparse
import json
import multiprocessing
import resource
import shlex
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from asm.atomic import write_whole
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.runs import machine

FORMS = ("direct", "chosen")
# M x M matrices that live at the same time, forward and back.
MATRICES = 4
# A time is the mean over the steps of this many seconds, one step at least.
SECONDS = 0.5
COLUMNS = "{:>5}{:>7}  {:<7}{:>10}{:>22}{:>10}  {}"


def direct_bytes(side, batch):
    """What the matrices of all pairs of pixels need at least."""
    return MATRICES * 4 * batch * side**4


def compiled(form, widths, batch):
    """(step, maps): a function of two maps, value and gradient; and the maps of a side to call it with."""
    # Imported here alone: a process starts with the peak of the one that started it, which is to stay small.
    import numpy as np
    import tensorflow as tf

    from kdloss.losses.patch_similarity import direct_distance, patch_similarity

    @tf.function(autograph=False)
    def step(student, teacher):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = patch_similarity(student, teacher, direct_distance if form == "direct" else None)
        return value, tape.gradient(value, student)

    def maps(side):
        rng = np.random.default_rng(0)
        drawn = (rng.normal(size=(batch, side, side, width)).astype("float32") for width in widths)
        return [tf.constant(np.maximum(m, 0)) for m in drawn]

    return step, maps


def peak(form, side, widths, batch):
    """{"bytes": peak of a step, "value": of the loss}, for a process that has done nothing else."""
    step, maps = compiled(form, widths, batch)
    step(*maps(4))
    inputs = maps(side)
    before = _peak_bytes()
    value = float(step(*inputs)[0])
    return {"bytes": _peak_bytes() - before, "value": value}


def times(forms, side, widths, batch, repeats):
    """{form: seconds a step, one number a repetition}, the forms in turns."""
    steps = {form: compiled(form, widths, batch) for form in forms}
    inputs = steps["chosen"][1](side)
    found = {form: [] for form in forms}
    for repetition in range(repeats + 1):
        for form, (step, _) in steps.items():
            started, count = time.perf_counter(), 0
            while count == 0 or time.perf_counter() - started < SECONDS:
                step(*inputs)[1].numpy()
                count += 1
            if repetition:  # the first one compiles
                found[form].append((time.perf_counter() - started) / count)
    return found


def _peak_bytes():
    """The most memory this process has held. The system counts in KiB, on macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_own_process(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def measure_side(side, widths, batch, repeats, limit):
    """{form: {"bytes", "value", "seconds": list}}, without ``direct`` where it is over the limit."""
    forms = [form for form in FORMS if form != "direct" or direct_bytes(side, batch) <= limit]
    found = {form: in_own_process(peak, form, side, widths, batch) for form in forms}
    for form, seconds in in_own_process(times, forms, side, widths, batch, repeats).items():
        found[form]["seconds"] = seconds
    return found


def summary(values):
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def print_side(record, limit):
    for form in FORMS:
        start = (record["side"], record["side"] ** 2, form)
        if form in record["forms"]:
            numbers = record["forms"][form]
            milliseconds = {key: f"{1e3 * value:.1f}" for key, value in numbers["summary"].items()}
            spread = f"{milliseconds['min']} to {milliseconds['max']}"
            cells = (milliseconds["median"], spread, f"{numbers['bytes'] / 2**20:.0f}", f"{numbers['value']:.7f}")
            print(COLUMNS.format(*start, *cells), flush=True)
        else:
            needed = record["direct_bytes_expected"] / 2**30
            print(COLUMNS.format(*start, *3 * ["-"], f"skipped: needs {needed:.0f} GiB, limit {limit / 2**30:g}"))


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    if min(*args.sides, *args.widths, args.batch_size) < 1 or args.repeats < 5 or not args.limit >= 0:
        raise ConfigError(
            f"--sides, --widths, --batch-size, --repeats {args.repeats}, --limit {args.limit}: expected 1 at least, "
            "of repeats 5, to see the spread, of the limit 0"
        )
    limit = args.limit * 2**30
    print(f"batches of {args.batch_size}, widths {args.widths[0]} and {args.widths[1]}, {args.repeats} repetitions")
    print(COLUMNS.format("side", "M", "form", "ms a step", "from", "peak MiB", "value"), flush=True)
    sides = []
    for side in args.sides:
        found = measure_side(side, args.widths, args.batch_size, args.repeats, limit)
        for numbers in found.values():
            numbers["summary"] = summary(numbers["seconds"])
        sides.append({"side": side, "direct_bytes_expected": direct_bytes(side, args.batch_size), "forms": found})
        print_side(sides[-1], limit)
    record = {
        "batch_size": args.batch_size,
        "widths": {"student": args.widths[0], "teacher": args.widths[1]},
        "repeats": args.repeats,
        "limit_bytes": limit,
        "command": f"python benchmarks/patch_similarity.py {shlex.join(typed)}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "sides": sides,
    }
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1))
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python benchmarks/patch_similarity.py", description=__doc__.split("\n")[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 32, 64, 128], help="powers of two")
    parser.add_argument(
        "--widths", type=int, nargs=2, default=[128, 256], metavar=("STUDENT", "TEACHER"), help="channels of the maps"
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5, help="5 at least")
    parser.add_argument("--limit", type=float, default=4.0, help="GiB the direct form may need")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
