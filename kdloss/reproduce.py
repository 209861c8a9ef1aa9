"""Trains, measures and reports all networks of a system in one command.

    python -m kdloss.reproduce --dataset 300w --recipe cpu

Prepares the data, fits the shape model, trains the teachers and students of a system (`kdloss.experiments.systems`),
evaluates them on the test faces and writes ``report.html`` and ``results.json``. The same command goes on where it was
stopped.
"""

import argparse
from pathlib import Path

from data_prep.find import check_data, find_prepared
from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import evaluate_checkpoint, evaluate_mean_shape
from kdloss.evaluation.tables import Result, brief_table, results_table, terminal_width, text_table, wrapped
from kdloss.experiments.flags import add_data_flags, add_old_name, add_out_flag
from kdloss.experiments.recipes import RECIPES, recipe
from kdloss.experiments.systems import DEFAULT_SYSTEM, SYSTEMS, run_chain
from kdloss.files import require_place
from kdloss.models.checkpoint import require_backend
from kdloss.training.checks import check_faces, check_settings, check_weights
from kdloss.training.runs import check_run_folder, runs_root
from kdloss.training.state import Deadline, OutOfTime

OUT_OF_TIME = 75  # exit status: run the same command again (EX_TEMPFAIL)


def reproduce(system, name, plan, prepared, folder, deadline=None):
    """Trains a system's chain on prepared faces, evaluates it, writes the report, and returns table and verdict.

    ``system`` and ``name`` are those of the `System` and of its `Recipe`; for the rest see `run_chain`.
    """
    import keras

    from kdloss.evaluation.report import write_evaluation
    from kdloss.experiments.report import write_chain_report

    trained = run_chain(plan, prepared, folder, deadline)
    # Measures runs of this call and of earlier ones alike, whatever precision they were trained in.
    keras.config.set_dtype_policy("float32")
    evaluations = {}
    for run, _ in plan:
        evaluations[run.name] = evaluate_checkpoint(prepared, folder / run.name, label=run.title)
        write_evaluation(folder / run.name / f"evaluation-{prepared.dataset}", evaluations[run.name])
    policy = BoxPolicy.parse(evaluations["none"].metrics["protocol"]["box"])
    baseline = evaluate_mean_shape(prepared, policy)
    results = [Result(baseline.label, baseline.metrics, "baseline")]
    for key, (run, config, _) in trained.items():
        results.append(Result(run.title, evaluations[key].metrics, extra=_settings(config)))
    brief, width = brief_table(results, terminal_width()), terminal_width()
    tables = [brief, results_table(results)]
    verdict = write_chain_report(folder, system, name, prepared, trained, evaluations, baseline, tables)
    return f"{text_table(brief, width)}\n\n{wrapped(verdict, width)}"


def _settings(config):
    start = "scratch" if config.weights == "none" else f"from {Path(config.weights).parent.name or config.weights}"
    return {"network": config.arch, "px": str(config.image_size), "start": start, "epochs": str(config.epochs)}


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    if args.minutes is not None and not args.minutes > 0:
        raise ConfigError(f"--minutes {args.minutes}: expected a number above 0")
    if args.epochs is not None and args.epochs < 1:
        raise ConfigError(f"--epochs {args.epochs}: expected 1 at least")
    if args.study:
        return _study(args)
    if args.unlabelled:
        raise ConfigError("--unlabelled: the chain has no use for faces without labels: give --study distillation too")
    system, folder = SYSTEMS[args.system], args.out or _folder(args)
    deadline, settings = Deadline(args.minutes), recipe(args.recipe, system.recipes)
    how = (settings, args.dataset, folder, args.seed, args.epochs)
    plan = [(run, run.config(*how)) for run in system.runs(settings, not args.no_ablation)]
    for _, config in plan:
        check_settings(config)
    require_backend()
    prepared = check_data(args.dataset, args.data)
    require_place(folder)
    for run, config in plan:
        if prepared:
            check_faces(config, prepared)
        if run.start is None:
            check_weights(config)
        check_run_folder(folder / run.name, config, True, prepared)
    prepared = prepared or find_prepared(args.dataset, args.data)
    faces = "SYNTHETIC faces" if prepared.synthetic else "real faces"
    about = f"{system.title}, recipe {args.recipe}: {settings.about}"
    print(f"{DATASETS[args.dataset].title}: {len(prepared)} {faces}; {about}")
    print(f"on record: {settings.record}")
    try:
        table = reproduce(args.system, args.recipe, plan, prepared, folder, deadline)
    except OutOfTime as pause:
        print(f"{args.minutes:g} minutes are over; {pause}: run the same command again to go on")
        return OUT_OF_TIME
    print(table)
    print(f"report: {folder / 'report.html'}")
    return 0


def _study(args):
    """Runs what is left of a study, and reports what is finished of it, also when time is over."""
    from kdloss.experiments import study

    if args.recipe not in study.RECIPES:
        raise ConfigError(f"--recipe {args.recipe}: of studies expected one of {', '.join(study.RECIPES)}")
    for name in ("seed", "epochs", "no_ablation"):
        if getattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')}: a study has its own: leave it out")
    folder, chosen, deadline = args.out or _folder(args), study.RECIPES[args.recipe], Deadline(args.minutes)
    if args.unlabelled and "extra" not in chosen.rows:
        raise ConfigError(f"--unlabelled: recipe {args.recipe} has no row of other faces: leave it out")
    require_backend()
    prepared = check_data(args.dataset, args.data) or find_prepared(args.dataset, args.data)
    jobs = study.study_jobs(chosen, args.dataset, folder, args.unlabelled)
    for job in jobs:
        check_settings(job.config)
        check_faces(job.config, prepared)
    check_weights(jobs[0].config)
    study.check_results(folder, prepared)
    require_place(folder)
    from kdloss.experiments.study_report import verdict_text, write_study

    status = 0
    try:
        study.run_jobs(jobs, prepared, folder, deadline)
    except OutOfTime as pause:
        print(f"{args.minutes:g} minutes are over; {pause}: run the same command again to go on")
        status = OUT_OF_TIME
    record = write_study(folder, args.recipe, chosen, prepared, jobs)
    print(verdict_text(record["verdict"]))
    print(f"report: {folder / 'report.html'}")
    return status


def _folder(args):
    system = args.study or (args.system if args.system != DEFAULT_SYSTEM else "")
    words = ["reproduce", args.dataset, system, args.recipe, f"seed{args.seed}" if args.seed else ""]
    return runs_root() / "-".join(filter(None, words))


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.reproduce", description=__doc__.split("\n")[0])
    annotated = [name for name, spec in DATASETS.items() if spec.scheme]
    add_data_flags(parser, about="data set to train and measure on", default="300w", choices=annotated)
    add_out_flag(parser, "folder of the runs and the report (default: runs/reproduce-DATASET[-SYSTEM]-RECIPE)")
    text = f"networks and methods to train and compare (default: {DEFAULT_SYSTEM})"
    parser.add_argument("--system", default=DEFAULT_SYSTEM, choices=list(SYSTEMS), help=text)
    text = "settings for a kind of machine (default: cpu)"
    add_old_name(parser, parser.add_argument("--recipe", default="cpu", choices=RECIPES, help=text), "--preset")
    text = "train one student in many ways, at several shares of labels, instead of a system (docs/distillation.md)"
    parser.add_argument("--study", choices=("distillation",), help=text)
    text = "prepared faces without labels, for the rows of a study that use other faces than the training faces"
    parser.add_argument("--unlabelled", metavar="PREPARED", type=Path, help=text)
    parser.add_argument("--seed", type=int, default=0, help="random seed of weights, order and views (default: 0)")
    text = "train no students with a part of a method: one teacher of the KD-Loss, FA or PS alone"
    parser.add_argument("--no-ablation", action="store_true", help=text)
    parser.add_argument("--epochs", type=int, help="train each run for this many epochs at most, to try the chain")
    text = f"stop between epochs after this long, with exit status {OUT_OF_TIME}; the same command goes on"
    parser.add_argument("--minutes", type=float, help=text)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
