"""Variants of training, measured in turns."""

import contextlib
import statistics

from kdloss.benchmarking.inference import spread
from kdloss.benchmarking.training_process import Trainer
from kdloss.benchmarking.training_variants import Variant, variants_of
from kdloss.errors import ConfigError

TOGETHER = 3  # processes beside the reference: each takes a gigabyte or two
HELPS = 1.02  # times the speed without an option: what counts as faster
BEST = "best"


def measure_training(work, backends, ways, options, *, rounds, steps, seconds, announce=lambda line: None):
    """Measures how fast variants train.

    Machines are shared and noisy: in a round the reference of a back end, its published recipe, and a few variants
    train one after the other, so that whatever else the machine does meets all, and ratios are taken within the round.
    A first round warms up and does not count.

    Args:
        work: the `kdloss.benchmarking.training_variants.Work`, with all files written.
        backends, ways, options: names of `BACKENDS`, `WAYS` and `OPTIONS` of that module; an option may be `BEST`: of
            each way also the combination of all options that made it faster, where there are several.
        rounds: how many count.
        steps, seconds: what a round takes of each at least.
        announce: takes a line of progress now and then.

    Returns:
        A list of dicts for JSON, a row a variant: ``backend``, ``way``, ``options``, and either ``fails``, why it does
        not run, or ``environment``, ``first_step`` (seconds), ``stored`` (see `Trainer.first_step`),
        ``images_per_second`` and ``ratio`` (to the published recipe on the same back end in the same round; None where
        that was not measured), each a `spread`, the peaks of memory ``megabytes`` and ``accelerator_megabytes``, and
        the rounds: ``images_per_second_of_rounds``, ``reference_of_rounds``.
    """
    rows = []
    for backend in backends:
        alone, changed = variants_of(backend, ways, options)
        with contextlib.ExitStack() as stack:
            turns = _Turns(work, rounds, steps, seconds, announce)
            if alone[0].way == "published":
                turns.refer_to(alone.pop(0), stack)
            turns.measure(alone + changed)
            if BEST in options and (best := [one for variant in alone if (one := best_of(turns.rows, variant))]):
                turns.measure(best)
            rows += turns.rows
    return rows


def best_of(rows, alone):
    """The `Variant` with all options that made ``alone`` faster, or None where fewer than two did."""
    speeds = {
        tuple(row["options"]): _speed(row)
        for row in rows
        if (row["backend"], row["way"]) == (alone.backend, alone.way) and "fails" not in row
    }
    faster = [name for (name,) in filter(None, speeds) if speeds[(name,)] > HELPS * speeds.get((), float("inf"))]
    return Variant(alone.backend, alone.way, tuple(faster)) if len(faster) > 1 else None


def _speed(row):
    rates, first = row["images_per_second_of_rounds"], row["reference_of_rounds"]
    return statistics.median(_ratios(rates, first) if first else rates)


def _ratios(rates, first):
    return [rate / one for rate, one in zip(rates, first, strict=True)]


class _Turns:
    """The rounds of a back end's variants; their ``rows``."""

    def __init__(self, work, rounds, steps, seconds, announce):
        self.work, self.rounds, self.least, self.announce = work, rounds, (steps, seconds), announce
        self.rows, self.reference = [], []

    def refer_to(self, variant, stack):
        """Keeps a variant, which all others are then compared with."""
        self.reference = self._start([variant], stack)

    def measure(self, variants):
        """Adds the rows of variants, some at a time."""
        groups = [variants[i : i + TOGETHER] for i in range(0, len(variants), TOGETHER)]
        for group in groups or [[]]:  # the reference alone
            with contextlib.ExitStack() as stack:
                self._run(self.reference + self._start(group, stack))

    def _start(self, variants, stack):
        """``(row, trainer)`` of those that have trained a step; the rows of others say why they have not."""
        trainers = [stack.enter_context(Trainer(self.work, variant)) for variant in variants]
        for trainer in trainers:
            trainer.wait()
        started = []
        for variant, trainer in zip(variants, trainers, strict=True):
            self.announce(f"{variant.title}: first step")
            row = {"backend": variant.backend, "way": variant.way, "options": list(variant.options)}
            self.rows.append(row)
            try:
                first = trainer.first_step()
            except ConfigError as error:
                row["fails"] = str(error)
                continue
            row |= {"environment": first["environment"], "stored": first["stored"], "first_step": first["seconds"]}
            row |= {"images_per_second_of_rounds": [], "reference_of_rounds": []}
            started.append((row, trainer))
        return started

    def _run(self, turns):
        for number in range(self.rounds + 1):
            found = []
            for row, trainer in turns:
                done = trainer.round(*self.least)
                found.append(done["steps"] * self.work.batch_size / done["seconds"])
                row |= {name: done[name] for name in ("megabytes", "accelerator_megabytes")}
                self.announce(f"round {number} of {self.rounds}: {trainer.title} {found[-1]:.1f} images/s")
            for (row, _), rate in zip(turns, found, strict=True) if number else ():
                row["images_per_second_of_rounds"].append(rate)
                row["reference_of_rounds"] += found[:1] if self.reference else []
        for row, _ in turns:
            rates, first = row["images_per_second_of_rounds"], row["reference_of_rounds"]
            row["images_per_second"] = spread(rates)
            row["ratio"] = spread(_ratios(rates, first)) if first else None
