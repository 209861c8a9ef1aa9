"""Minutes until a training reaches an accuracy, recipe by recipe: runs in turns, then their errors on test faces."""

import tempfile
from pathlib import Path

from kdloss.benchmarking.accuracy_time_recipes import RECIPES
from kdloss.benchmarking.accuracy_time_run import Run, serve
from kdloss.benchmarking.inference import spread
from kdloss.benchmarking.worker import Server
from kdloss.datasets import dataset_spec
from kdloss.evaluation.evaluation import evaluate_checkpoint
from kdloss.evaluation.metrics import available_normalisers


def measure_accuracy_time(names, prepared, *, target, seeds, minutes, epochs=None, announce=lambda line: None):
    """Trains recipes until their validation NME is at the target, and then looks at the test faces.

    Seed by seed all recipes are run, each in a process of its own, so that whatever else the machine does meets all.
    Validation alone ends a run. The test faces are read when all runs are over, for the record.

    Args:
        names: of `RECIPES`.
        prepared: the `PreparedDataset`.
        target: NME in percent.
        seeds: a list of whole numbers; a recipe of few seeds has the first of them.
        minutes: after which a run begins no further epoch.
        epochs: no run takes more than this many; None: as the recipe says.
        announce: takes a line of progress now and then.

    Returns:
        A dict for JSON: settings and ``rows``, a dict for each recipe with its ``runs``, their ``epochs`` as
        `kdloss.benchmarking.accuracy_time_run.train_timed` has them, with ``test_nme``, and what came of it.
    """
    runs = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="kdloss-") as work:
        for number, seed in enumerate(seeds):
            for name in names:
                recipe = RECIPES[name]
                if number >= recipe.seeds:
                    continue
                folder = Path(work) / f"{name}-{seed}"
                folder.mkdir()
                teacher, student = recipe.configs(prepared.dataset, seed, folder / "teacher", epochs)
                run = Run(prepared.path, teacher, student, target, minutes, folder)
                with Server(f"the process of {name}", serve, advice="leave this recipe out") as process:
                    rows = process.ask(run)
                runs[name].append({"seed": seed, "epochs": rows})
                announce(f"{name}, seed {seed}: {_said(rows, target)}")
        announce(f"evaluating {sum(len(of) for of in runs.values())} runs on the test faces")
        for name in names:
            for run in runs[name]:
                _add_test_errors(run, Path(work) / f"{name}-{run['seed']}", prepared)
    return {
        "dataset": prepared.dataset,
        "synthetic": prepared.synthetic,
        "faces": {split: len(prepared.indices(split)) for split in ("train", "val", "test")},
        "subset": _subset(prepared),
        "normaliser": available_normalisers(prepared.scheme)[0],
        "target": target,
        "minutes": minutes,
        "seeds": list(seeds),
        "rows": [_row(name, runs[name], target) for name in names],
    }


def _said(rows, target):
    last = rows[-1]
    reached = "" if last["val_nme"] <= target else ", the target is not reached"
    return f"validation NME {last['val_nme']:.2f} % after {last['seconds'] / 60:.2f} minutes{reached}"


def _subset(prepared):
    """Whose NME counts: 300-W's common subset, of other sets all test faces."""
    return "common" if "common" in dataset_spec(prepared.dataset).subsets else "full"


def _add_test_errors(run, folder, prepared):
    """``test_nme`` of each epoch, in percent: of the checkpoint that was the best until then; None: there is none."""
    normaliser, found = available_normalisers(prepared.scheme)[0], None
    for row in run["epochs"]:
        if row["checkpoint"]:
            subsets = evaluate_checkpoint(prepared, folder / row.pop("checkpoint")).metrics["subsets"]
            found = subsets[_subset(prepared)][f"nme_{normaliser}"]
        row["test_nme"] = found


def _row(name, runs, target):
    """A recipe, its runs, and what they came to, see `_over`."""
    student = RECIPES[name].student
    for run in runs:
        own = [row for row in run["epochs"] if row["role"] == "student"]
        final = [row for row in own if row["side"] == student["image_size"]]
        run["minutes_to_validation"] = _minutes(final, "val_nme", target)
        run["minutes_to_test"] = _minutes(own, "test_nme", target)
    last = [run["epochs"][-1] for run in runs]
    return {
        "recipe": name,
        "about": RECIPES[name].about,
        "student": student,
        "teacher": RECIPES[name].teacher,
        "runs": runs,
        "minutes_to_validation": _over(run["minutes_to_validation"] for run in runs),
        "minutes_to_test": _over(run["minutes_to_test"] for run in runs),
        "minutes": _over(row["seconds"] / 60 for row in last),
        "cpu_minutes": _over(row["cpu_seconds"] / 60 for row in last),
        "steps_minutes": _over(row["steps_seconds"] / 60 for row in last),
        "val_nme": _over(row["val_nme"] for row in last),
        "test_nme": _over(row["test_nme"] for row in last),
        "images": _over(row["images"] for row in last),
    }


def _minutes(rows, quantity, target):
    """After which an NME first was at the target, or None."""
    reached = (row["seconds"] / 60 for row in rows if row[quantity] is not None and row[quantity] <= target)
    return next(reached, None)


def _over(values):
    """The `spread` of a number over the seeds, of how many it is (``n``) ``of`` all; None where no run has it."""
    values = list(values)
    found = [value for value in values if value is not None]
    return spread(found) | {"n": len(found), "of": len(values)} if found else None
