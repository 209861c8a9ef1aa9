"""The whole system in one command, from faces to a report: ``python -m kdloss.reproduce --dataset 300w --preset cpu``.

Prepares the data, fits the shape model, trains both teachers and the students of the paper's table, evaluates them
all on the test faces and writes ``report.html``, ``results.md`` and ``results.json``. Run again, it goes on where it
was stopped.
"""

import argparse
from pathlib import Path

from kdloss.chain import run_chain
from kdloss.data_location import find_prepared
from kdloss.datasets import DATASETS
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.chain_report import write_chain_report
from kdloss.evaluation.evaluation import evaluate_checkpoint, evaluate_mean_shape
from kdloss.evaluation.evaluation_folder import write_evaluation
from kdloss.evaluation.tables import Result, results_table, text_table
from kdloss.geometry import BoxPolicy
from kdloss.recipes import RECIPES
from kdloss.runs import runs_root


def reproduce(dataset, preset, prepared, folder, seed=0, ablation=True, epochs=None):
    """Runs a recipe's chain on prepared faces, evaluates it and writes the report.

    Args:
        dataset: its name.
        preset: name of the `Recipe`.
        prepared: the `PreparedDataset`.
        folder: where everything goes (`pathlib.Path`).
        seed: of everything random.
        ablation: see `kdloss.chain.chain`.
        epochs: no run takes more than this many; None: as the recipe says.

    Returns:
        The printed table, a text.
    """
    recipe = RECIPES[preset].seeded(seed)
    recipe = recipe if epochs is None else recipe.capped(epochs)
    runs = run_chain(recipe, prepared, folder, ablation)
    evaluations = {}
    for name, (link, _, _) in runs.items():
        evaluations[name] = evaluate_checkpoint(prepared, folder / name, label=link.title)
        write_evaluation(folder / name / f"evaluation-{dataset}", evaluations[name])
    policy = BoxPolicy.parse(evaluations["none"].metrics["protocol"]["box"])
    baseline = evaluate_mean_shape(prepared, policy)
    results = [Result(baseline.label, baseline.metrics, "baseline")]
    results += [
        Result(link.title, evaluations[name].metrics, extra=_settings(config))
        for name, (link, config, _) in runs.items()
    ]
    table = results_table(results)
    write_chain_report(folder, preset, recipe, prepared, runs, evaluations, baseline, table)
    return text_table(table)


def _settings(config):
    start = "scratch" if config.weights == "none" else f"from {Path(config.weights).parent.name or config.weights}"
    return {"network": config.arch, "px": str(config.image_size), "start": start, "epochs": str(config.epochs)}


@exits_on_user_error
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m kdloss.reproduce", description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="300w", choices=["300w", "cofw", "wflw"])
    parser.add_argument("--data", help="prepared or official folder (default: data/DATASET)")
    parser.add_argument("--preset", default="cpu", choices=list(RECIPES), help="default: cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--no-ablation", action="store_true", help="train the student with both teachers alone, not the whole table"
    )
    parser.add_argument(
        "--epochs", type=int, help="at most this many a run, to see that it works (default: the preset's)"
    )
    parser.add_argument("--out", type=Path, help="default: runs/reproduce-DATASET-PRESET")
    args = parser.parse_args(argv)
    if args.epochs is not None and args.epochs < 1:
        raise ConfigError(f"--epochs {args.epochs}: expected 1 at least")
    prepared = find_prepared(args.dataset, args.data)
    kept = "SYNTHETIC faces" if prepared.synthetic else "real faces"
    print(f"{DATASETS[args.dataset].title}: {len(prepared)} {kept}; preset {args.preset}: {RECIPES[args.preset].about}")
    seeded = f"-seed{args.seed}" if args.seed else ""
    folder = args.out or runs_root() / f"reproduce-{args.dataset}-{args.preset}{seeded}"
    print(reproduce(args.dataset, args.preset, prepared, folder, args.seed, not args.no_ablation, args.epochs))
    print(f"report: {folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
