"""What a finished chain leaves for people: ``report.html``, ``results.md``, ``results.json`` and ``pictures/``."""

import dataclasses
import json
import sys
import time

import numpy as np

from asm import ShapeModel
from asm.atomic import write_whole
from asm.plots import modes_figure
from kdloss.chain import CONTROL
from kdloss.datasets import dataset_spec
from kdloss.evaluation import plots
from kdloss.evaluation.comparison import compare, comparison_lines
from kdloss.evaluation.evaluation_report import face_gallery
from kdloss.evaluation.report import Section, colour_key, faces_notice, facts, paragraph, picture, write_report
from kdloss.evaluation.tables import Result, html_table, markdown_table, parts_table
from kdloss.runs import environment

BEST = "kd-both"


def write_chain_report(folder, preset, recipe, prepared, runs, evaluations, baseline, table):
    """Writes them into ``folder``.

    Args:
        folder: of the chain (`pathlib.Path`).
        preset, recipe: name and `Recipe`.
        prepared: the `PreparedDataset`.
        runs: name -> (link, config, training results), from `kdloss.chain.run_chain`.
        evaluations: name -> `kdloss.evaluate.Evaluation`, of the test split.
        baseline: the `Evaluation` of the mean shape.
        table: the `Table` of all of them.
    """
    spec = dataset_spec(prepared.dataset)
    comparison = compare_with_control(runs, evaluations)
    command = f"python -m kdloss.reproduce --dataset {prepared.dataset} --preset {preset}"
    machine = environment()
    hours = sum(results["seconds"] for _, _, results in runs.values()) / 3600
    facts_ = {
        "command": command,
        "preset": f"{preset}: {recipe.about}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{machine['processor']}, {machine['cores']} cores",
        "accelerators": ", ".join(machine["accelerators"]) or "none",
        "software": ", ".join(f"{name} {found}" for name, found in machine["packages"].items()),
        "back end": machine["backend"],
        "training time": f"{hours:.2f} hours of wall clock in all",
        "seed": next(iter(runs.values()))[1].seed,
        "training faces": f"{len(prepared.indices('train'))} (validation: {len(prepared.indices('val'))})",
        "official training faces": spec.official("train"),
        "images": "SYNTHETIC" if prepared.synthetic else "real",
    }
    record = {
        "facts": facts_,
        "protocol": evaluations[BEST].metrics["protocol"],
        "runs": {
            name: {
                "title": link.title,
                "config": dataclasses.asdict(config),
                "training": results,
                "protocol": evaluations[name].metrics["protocol"],
                "subsets": evaluations[name].metrics["subsets"],
            }
            for name, (link, config, results) in runs.items()
        },
        "mean_shape": baseline.metrics["subsets"],
        "differences": [{"title": pair["model"]} | pair for pair in comparison["pairs"]],
    }
    write_whole(folder / "results.json", json.dumps(record, indent=1))
    write_whole(folder / "results.md", _markdown(spec, facts_, table, runs, comparison, prepared.synthetic))
    write_report(
        folder / "report.html",
        title=f"KD-Loss on {spec.title}, preset {preset}",
        summary=_summary(evaluations, baseline),
        notices=(faces_notice(spec, prepared.synthetic),),
        sections=_sections(folder, spec, prepared, runs, evaluations, baseline, table, comparison, facts_, machine),
    )


def compare_with_control(runs, evaluations):
    """The comparison (see `compare`) of each distilled student with the one trained on without teachers.

    Without such a control the student without distillation takes its place.
    """
    control = CONTROL if CONTROL in runs else "none"
    distilled = [name for name, (link, _, _) in runs.items() if link.teachers]
    comparison = compare([evaluations[name] for name in (control, *distilled)])
    return comparison | {"pairs": [pair for pair in comparison["pairs"] if pair["against"] == comparison["reference"]]}


def _summary(evaluations, baseline):
    full = {name: evaluation.metrics["subsets"]["full"] for name, evaluation in evaluations.items()}
    protocol = evaluations[BEST].metrics["protocol"]
    name = f"nme_{protocol['normaliser']}"
    return (
        f"Student with both teachers: NME {full[BEST][name]:.2f} % ({protocol['normaliser']}, {full[BEST]['n']} test "
        f"faces); without teachers {full['none'][name]:.2f} %; mean shape "
        f"{baseline.metrics['subsets']['full'][name]:.2f} %."
    )


def _markdown(spec, facts_, table, runs, comparison, synthetic):
    lines = [f"# {spec.title}: the KD-Loss chain, preset {facts_['preset'].split(':')[0]}", ""]
    lines += [faces_notice(spec, True), ""] if synthetic else []
    lines += [f"- {name}: {value}" for name, value in facts_.items()]
    lines += [
        "",
        markdown_table(table),
        "",
        "Differences on the same test faces (paired bootstrap, 95 %, one seed):",
        "",
    ]
    lines += [f"- {line}" for line in comparison_lines(comparison)]
    lines += ["", "| run | network | start | epochs | seconds | best validation NME |", "|---|---|---|---|---|---|"]
    for link, config, results in runs.values():
        start = "scratch" if config.weights == "none" else link.start
        lines.append(
            f"| {link.title} | {config.arch} | {start} | {config.epochs} | {results['seconds']:.0f} | "
            f"{results['val_nme']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _sections(folder, spec, prepared, runs, evaluations, baseline, table, comparison, facts_, machine):
    best = evaluations[BEST]
    titles = {name: link.title for name, (link, _, _) in runs.items()}
    curves = {titles[name]: evaluation.errors for name, evaluation in evaluations.items()}
    curves["mean training shape"] = baseline.errors
    shown = plots.spread_by_error(best.errors, 12)
    faces = plots.face_grid(prepared, best.rows[shown], best.points[shown], errors=best.errors[shown])
    shape = ShapeModel.load(folder / "tolerant" / "shape.npz")
    histories = {titles[name]: plots.read_history(folder / name / "metrics.jsonl") for name in runs}
    parts = parts_table([Result(titles[name], evaluation.metrics) for name, evaluation in evaluations.items()])
    ced = plots.ced_figure(curves, title=f"{spec.title}: cumulative error, {best.metrics['protocol']['n']} test faces")
    configs = {titles[name]: dataclasses.asdict(config) for name, (_, config, _) in runs.items()}
    images = {
        "ced.png": plots.figure_bytes(ced),
        "faces.jpg": plots.figure_bytes(faces, "jpeg"),
        "modes.png": plots.figure_bytes(modes_figure(shape)),
        "curves.png": plots.figure_bytes(plots.training_curves(histories)),
    }
    for name, image in images.items():
        write_whole(folder / "pictures" / name, image)
    return [
        Section("Results", (html_table(table), *map(paragraph, comparison_lines(comparison)), html_table(parts))),
        Section("Cumulative error", (picture(images["ced.png"], "Share of test faces below each error."),)),
        Section(
            "Faces",
            (
                paragraph("The student with both teachers, evenly spaced from its best to its worst face."),
                colour_key({"truth": plots.TRUTH, "prediction": plots.PREDICTION}),
                face_gallery(best, shown),
            ),
        ),
        Section(
            "Shape model",
            (
                picture(
                    images["modes.png"],
                    f"First modes of the shape model ({len(shape.modes)} modes keep {100 * shape.explained:.1f} % of "
                    f"the variance of {int(np.sum(prepared.table['split'] == 'train'))} training shapes).",
                ),
            ),
        ),
        Section("Training", (picture(images["curves.png"], "Validation NME and loss terms, epoch by epoch."),)),
        Section("Protocol", (facts(best.metrics["protocol"]),)),
        Section("Run", (facts(facts_ | {"typed": " ".join(sys.argv[1:])}), facts(machine))),
        Section("Configuration", (facts(configs),)),
    ]
