"""What a finished chain leaves for people: ``report.html``, ``results.json`` and ``pictures/``."""

import dataclasses
import json
import sys
import time

import numpy as np

from asm import ShapeModel
from asm.atomic import write_whole
from asm.plots import modes_figure
from kdloss.chain import DEFAULT_SYSTEM, SYSTEMS
from kdloss.datasets import dataset_spec
from kdloss.evaluation import plots
from kdloss.evaluation.comparison import compare, comparison_lines
from kdloss.evaluation.evaluation_folder import overlaid_ced
from kdloss.evaluation.evaluation_report import face_gallery
from kdloss.evaluation.report import Section, colour_key, faces_notice, facts, paragraph, picture, write_report
from kdloss.evaluation.table import html_table, json_table
from kdloss.evaluation.tables import Result, parts_table
from kdloss.runs import environment

RECONSTRUCTED = "those of FA and PS are reconstructed, the text of EfficientFAN was not at hand"


def write_chain_report(folder, system, preset, recipe, prepared, runs, evaluations, baseline, table):
    """Writes them into ``folder``.

    Args:
        folder: of the chain (`pathlib.Path`).
        system: name of the `System`.
        preset, recipe: name and `Recipe`.
        prepared: the `PreparedDataset`.
        runs: name -> (link, config, training results), from `kdloss.chain.run_chain`.
        evaluations: name -> `kdloss.evaluate.Evaluation`, of the test split.
        baseline: the `Evaluation` of the mean shape.
        table: the `Table` of all of them.
    """
    spec = dataset_spec(prepared.dataset)
    title, best = SYSTEMS[system].title, SYSTEMS[system].best
    comparisons = compare_with_controls(runs, evaluations)
    chosen = "" if system == DEFAULT_SYSTEM else f" --system {system}"
    command = f"python -m kdloss.reproduce --dataset {prepared.dataset}{chosen} --preset {preset}"
    machine = environment()
    hours = sum(results["seconds"] for _, _, results in runs.values()) / 3600
    facts_ = {
        "command": command,
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
        facts_["formulas"] = RECONSTRUCTED
    record = {
        "facts": facts_,
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
        sections=_sections(folder, prepared, runs, evaluations, baseline, best, table, comparisons, facts_, machine),
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
    full = {name: evaluation.metrics["subsets"]["full"] for name, evaluation in evaluations.items()}
    protocol, link = evaluations[best].metrics["protocol"], runs[best][0]
    name = f"nme_{protocol['normaliser']}"
    return (
        f"{_sentence(link.title)}: NME {full[best][name]:.2f} % ({protocol['normaliser']}, {full[best]['n']} test "
        f"faces); {runs[link.control][0].title}: {full[link.control][name]:.2f} %; mean shape: "
        f"{baseline.metrics['subsets']['full'][name]:.2f} %."
    )


def _sentence(title):
    return title[0].upper() + title[1:]


def _sections(folder, prepared, runs, evaluations, baseline, best, table, comparisons, facts_, machine):
    shown_model, title = evaluations[best], runs[best][0].title
    titles = {name: link.title for name, (link, _, _) in runs.items()}
    shown = plots.spread_by_error(shown_model.errors, 12)
    faces = plots.face_grid(
        prepared, shown_model.rows[shown], shown_model.points[shown], errors=shown_model.errors[shown]
    )
    lines = [paragraph(line) for comparison in comparisons for line in comparison_lines(comparison)]
    histories = {titles[name]: plots.read_history(folder / name / "metrics.jsonl") for name in runs}
    parts = parts_table([Result(titles[name], evaluation.metrics) for name, evaluation in evaluations.items()])
    ced = plots.figure_bytes(overlaid_ced([*evaluations.values()], baseline))
    training = plots.figure_bytes(plots.training_curves(histories))
    configs = {titles[name]: dataclasses.asdict(config) for name, (_, config, _) in runs.items()}
    pictures = folder / "pictures"
    write_whole(pictures / "ced.png", ced)
    write_whole(pictures / "faces.jpg", plots.figure_bytes(faces, "jpeg"))
    write_whole(pictures / "curves.png", training)
    return [
        Section("Results", (html_table(table), *lines, html_table(parts))),
        Section("Cumulative error", (picture(ced, "Share of test faces below each error."),)),
        Section(
            "Faces",
            (
                paragraph(f"{_sentence(title)}: evenly spaced from its best to its worst face."),
                colour_key({"truth": plots.TRUTH, "prediction": plots.PREDICTION}),
                face_gallery(shown_model, shown),
            ),
        ),
        *(_shape_section(folder, name, prepared) for name, (link, _, _) in runs.items() if link.part == "tolerant"),
        Section("Training", (picture(training, "Validation NME and loss terms, epoch by epoch."),)),
        Section("Protocol", (facts(shown_model.metrics["protocol"]),)),
        Section("Run", (facts(facts_ | {"typed": " ".join(sys.argv[1:])}), facts(machine))),
        Section("Configuration", (facts(configs),)),
    ]


def _shape_section(folder, teacher, prepared):
    """The shape model that the tolerant teacher learnt from."""
    shape = ShapeModel.load(folder / teacher / "shape.npz")
    modes = plots.figure_bytes(modes_figure(shape))
    write_whole(folder / "pictures" / "modes.png", modes)
    caption = (
        f"First modes of the shape model ({len(shape.modes)} modes keep {100 * shape.explained:.1f} % of the variance "
        f"of {int(np.sum(prepared.table['split'] == 'train'))} training shapes)."
    )
    return Section("Shape model", (picture(modes, caption),))
