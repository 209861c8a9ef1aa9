"""What a finished chain leaves for people: ``report.html``, ``results.json`` and ``pictures/``."""

import dataclasses
import json
import sys
import time

import numpy as np

from asm import ShapeModel
from asm.plots import modes_figure
from kdloss.data.datasets import dataset_spec
from kdloss.evaluation import plots
from kdloss.evaluation.comparison import compare, comparison_lines
from kdloss.evaluation.html import PIECES, Section, faces_notice, html_table, picture, write_report
from kdloss.evaluation.report import face_gallery, overlaid_ced
from kdloss.evaluation.tables import Result, json_table, parts_table
from kdloss.experiments.systems import DEFAULT_SYSTEM, SYSTEMS
from kdloss.files import write_whole
from kdloss.machine import environment


def write_chain_report(folder, system, preset, recipe, prepared, runs, evaluations, baseline, table):
    """Writes them into ``folder``.

    Args:
        folder: of the chain (`pathlib.Path`).
        system: name of the `System`.
        preset, recipe: name and `Recipe`.
        prepared: the `PreparedDataset`.
        runs: name -> (link, config, training results), from `kdloss.experiments.systems.run_chain`.
        evaluations: name -> `kdloss.evaluate.Evaluation`, of the test split.
        baseline: the `Evaluation` of the mean shape.
        table: the `Table` of all of them.
    """
    spec = dataset_spec(prepared.dataset)
    title, best = SYSTEMS[system].title, SYSTEMS[system].best
    comparisons = compare_with_controls(runs, evaluations)
    chosen = "" if system == DEFAULT_SYSTEM else f" --system {system}"
    machine = environment()
    hours = sum(results["seconds"] for _, _, results in runs.values()) / 3600
    facts = {
        "command": f"python -m kdloss.reproduce --dataset {prepared.dataset}{chosen} --preset {preset}",
        "system": title,
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
    if any(config.by_features for _, config, _ in runs.values()):
        facts["formulas"] = "those of FA and PS are reconstructed, the text of EfficientFAN was not at hand"
    record = {
        "facts": facts,
        "protocol": evaluations[best].metrics["protocol"],
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
        "tables": {"results": json_table(table)},
        "differences": [{"title": pair["model"]} | pair for comparison in comparisons for pair in comparison["pairs"]],
    }
    write_whole(folder / "results.json", json.dumps(record, indent=1))
    write_report(
        folder / "report.html",
        title=f"{title} on {spec.title}, preset {preset}",
        summary=_summary(runs, evaluations, baseline, best),
        notices=(faces_notice(spec, prepared.synthetic),),
        sections=_sections(folder, prepared, runs, evaluations, baseline, best, table, comparisons, facts, machine),
    )


def compare_with_controls(runs, evaluations):
    """A comparison (see `compare`) for each control, of every student with it, and of none with each other."""
    students = {}
    for name, (link, _, _) in runs.items():
        if link.control:
            students.setdefault(link.control, []).append(name)
    comparisons = [compare([evaluations[name] for name in (control, *names)]) for control, names in students.items()]
    return [
        found | {"pairs": [pair for pair in found["pairs"] if pair["against"] == found["reference"]]}
        for found in comparisons
    ]


def _summary(runs, evaluations, baseline, best):
    kind, control = evaluations[best].metrics["protocol"]["normaliser"], runs[best][0].control
    full = [one.metrics["subsets"]["full"] for one in (evaluations[best], evaluations[control], baseline)]
    student, alone, mean_shape = (f"{found[f'nme_{kind}']:.2f} %" for found in full)
    return (
        f"{_sentence(runs[best][0].title)}: NME {student} ({kind}, {full[0]['n']} test faces); "
        f"{runs[control][0].title}: {alone}; mean shape: {mean_shape}."
    )


def _sentence(title):
    return title[0].upper() + title[1:]


def _sections(folder, prepared, runs, evaluations, baseline, best, table, comparisons, facts, machine):
    def drawn(name, figure, caption):
        """A picture of the page that is also a file."""
        image = plots.figure_bytes(figure)
        write_whole(folder / "pictures" / name, image)
        return [picture(image, caption)]

    shown_model, titles = evaluations[best], {name: link.title for name, (link, _, _) in runs.items()}
    shown = plots.spread_by_error(shown_model.errors, 12)
    grid = plots.figure_bytes(plots.face_grid(shown_model, shown), "jpeg")
    write_whole(folder / "pictures" / "faces.jpg", grid)
    lines = [PIECES.paragraph(line) for comparison in comparisons for line in comparison_lines(comparison)]
    parts = parts_table([Result(titles[name], evaluation.metrics) for name, evaluation in evaluations.items()])
    ced = overlaid_ced([*evaluations.values()], baseline)
    faces = [
        PIECES.paragraph(f"{_sentence(titles[best])}: evenly spaced from its best to its worst face."),
        PIECES.colour_key({"truth": plots.TRUTH, "prediction": plots.PREDICTION}),
        face_gallery(shown_model, shown),
    ]
    sections = [
        Section("Results", [html_table(table), *lines, html_table(parts)]),
        Section("Cumulative error", drawn("ced.png", ced, "Share of test faces below each error.")),
        Section("Faces", faces),
    ]
    for name, (link, _, _) in runs.items():
        if link.part == "tolerant":
            # The shape model that this teacher learnt from.
            shape = ShapeModel.load(folder / name / "shape.npz")
            caption = (
                f"First modes of the shape model ({len(shape.modes)} modes keep {100 * shape.explained:.1f} % of the "
                f"variance of {int(np.sum(prepared.table['split'] == 'train'))} training shapes)."
            )
            sections.append(Section("Shape model", drawn("modes.png", modes_figure(shape), caption)))
    curves = plots.training_curves({titles[name]: plots.read_history(folder / name / "metrics.jsonl") for name in runs})
    configs = {titles[name]: dataclasses.asdict(config) for name, (_, config, _) in runs.items()}
    run = facts | {"typed": " ".join(sys.argv[1:])}
    return [
        *sections,
        Section("Training", drawn("curves.png", curves, "Validation NME and loss terms, epoch by epoch.")),
        Section("Protocol", [PIECES.facts(shown_model.metrics["protocol"])]),
        Section("Run", [PIECES.facts(run), PIECES.facts(machine)]),
        Section("Configuration", [PIECES.facts(configs)]),
    ]
