"""The whole system in one command, from faces to a report: ``python -m kdloss.reproduce --dataset 300w --preset cpu``.

Prepares the data, fits the shape model, trains the teachers and students of a system (``--system kd-loss``,
``efficientfan`` or ``crossed``, see `kdloss.experiments.systems`), evaluates them all on the test faces and writes
``report.html`` and ``results.json``. Run again, it goes on where it was stopped.
"""

import argparse
from pathlib import Path

from data_prep.find import check_data, find_prepared
from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import evaluate_checkpoint, evaluate_mean_shape
from kdloss.evaluation.tables import Result, results_table, text_table
from kdloss.experiments.recipes import PRESETS, recipe
from kdloss.experiments.systems import DEFAULT_SYSTEM, SYSTEMS, link_config, run_chain
from kdloss.files import require_place
from kdloss.models.checkpoint import require_backend
from kdloss.training.checks import check_faces, check_settings, check_weights
from kdloss.training.runs import check_run_folder, runs_root
from kdloss.training.state import Deadline, OutOfTime

OUT_OF_TIME = 75  # exit status: run the same command again (EX_TEMPFAIL)


def reproduce(system, preset, prepared, folder, seed=0, ablation=True, epochs=None, deadline=None):
    """Runs a system's chain on prepared faces, evaluates it and writes the report.

    Args:
        system: its name, of `kdloss.experiments.systems.SYSTEMS`.
        preset: name of its `Recipe`.
        prepared: the `PreparedDataset`.
        folder: where everything goes (`pathlib.Path`).
        seed: of everything random.
        ablation: train the rows of the table that are only compared with too, see `kdloss.experiments.systems`.
        epochs: no run takes more than this many; None: as the recipe says.
        deadline: a `Deadline` of the training.

    Returns:
        The printed table, a text.

    Raises:
        OutOfTime: the deadline came first; the same call goes on.
    """
    import keras

    from kdloss.evaluation.report import write_evaluation
    from kdloss.experiments.report import write_chain_report

    settings, links = _plan(system, preset, seed, ablation, epochs)
    runs = run_chain(links, settings, prepared, folder, deadline=deadline)
    # Runs that were just trained and runs that were taken up are measured alike.
    keras.config.set_dtype_policy("float32")
    evaluations = {}
    for name, (link, _, _) in runs.items():
        evaluations[name] = evaluate_checkpoint(prepared, folder / name, label=link.title)
        write_evaluation(folder / name / f"evaluation-{prepared.dataset}", evaluations[name])
    policy = BoxPolicy.parse(evaluations["none"].metrics["protocol"]["box"])
    baseline = evaluate_mean_shape(prepared, policy)
    results = [Result(baseline.label, baseline.metrics, "baseline")]
    results += [
        Result(link.title, evaluations[name].metrics, extra=_settings(config))
        for name, (link, config, _) in runs.items()
    ]
    table = results_table(results)
    write_chain_report(folder, system, preset, settings, prepared, runs, evaluations, baseline, table)
    return text_table(table)


def _plan(system, preset, seed, ablation, epochs):
    r"""The `Recipe` and the `Link`\ s of a chain."""
    settings = recipe(preset, SYSTEMS[system].recipes).seeded(seed)
    settings = settings if epochs is None else settings.capped(epochs)
    return settings, SYSTEMS[system].links(settings, ablation)


def _settings(config):
    start = "scratch" if config.weights == "none" else f"from {Path(config.weights).parent.name or config.weights}"
    return {"network": config.arch, "px": str(config.image_size), "start": start, "epochs": str(config.epochs)}


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m kdloss.reproduce", description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="300w", choices=["300w", "cofw", "wflw"])
    parser.add_argument("--data", help="prepared or official folder (default: data/DATASET)")
    parser.add_argument("--system", default=DEFAULT_SYSTEM, choices=list(SYSTEMS), help=f"default: {DEFAULT_SYSTEM}")
    parser.add_argument("--preset", default="cpu", choices=PRESETS, help="default: cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--no-ablation",
        action="store_true",
        help="leave out students by a part of a method, such as one teacher of the KD-Loss, FA or PS alone",
    )
    parser.add_argument(
        "--epochs", type=int, help="at most this many a run, to see that it works (default: the preset's)"
    )
    parser.add_argument("--out", type=Path, help="default: runs/reproduce-DATASET[-SYSTEM]-PRESET")
    parser.add_argument(
        "--minutes",
        type=float,
        help=f"train for at most so long, stop between epochs and exit with {OUT_OF_TIME}; the same command goes on",
    )
    args = parser.parse_args(argv)
    if args.minutes is not None and not args.minutes > 0:
        raise ConfigError(f"--minutes {args.minutes}: expected a number above 0")
    deadline = Deadline(args.minutes)
    if args.epochs is not None and args.epochs < 1:
        raise ConfigError(f"--epochs {args.epochs}: expected 1 at least")
    system, how = SYSTEMS[args.system], (args.seed, not args.no_ablation, args.epochs)
    named = args.system != DEFAULT_SYSTEM
    seed = f"seed{args.seed}" if args.seed else ""
    words = ["reproduce", args.dataset, args.system if named else "", args.preset, seed]
    folder = args.out or runs_root() / "-".join(word for word in words if word)
    settings, links = _plan(args.system, args.preset, *how)
    runs = [(link, link_config(link, settings, args.dataset, folder)) for link in links]
    for _, config in runs:
        check_settings(config)
    require_backend()
    prepared = check_data(args.dataset, args.data)
    require_place(folder)
    for link, config in runs:
        if prepared:
            check_faces(config, prepared)
        if link.start is None:
            check_weights(config)
        check_run_folder(folder / link.name, config, resume=True)
    prepared = prepared or find_prepared(args.dataset, args.data)
    kept = "SYNTHETIC faces" if prepared.synthetic else "real faces"
    print(
        f"{DATASETS[args.dataset].title}: {len(prepared)} {kept}; {f'{system.title}, ' if named else ''}"
        f"preset {args.preset}: {settings.about}"
    )
    if settings.record:
        print(f"on record: {settings.record}")
    try:
        table = reproduce(args.system, args.preset, prepared, folder, *how, deadline)
    except OutOfTime as pause:
        print(f"{args.minutes:g} minutes are over; {pause}: run the same command again to go on")
        return OUT_OF_TIME
    print(table)
    print(f"report: {folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
