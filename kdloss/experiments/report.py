"""The report of a finished chain: ``report.html`` and ``results.json``."""

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
from kdloss.evaluation.html import PIECES, Section, faces_notice, write_report
from kdloss.evaluation.report import drawn, face_gallery, overlaid_ced, result_pieces
from kdloss.evaluation.tables import Result, json_table, parts_table
from kdloss.experiments.systems import DEFAULT_SYSTEM, SYSTEMS
from kdloss.files import write_whole
from kdloss.machine import environment


def write_chain_report(folder, system, name, prepared, trained, evaluations, baseline, tables):
    """Writes the report of a finished chain into its folder (`pathlib.Path`), and returns its verdict, a sentence.

    Args:
        system, name: of the `System` and of its `Recipe`.
        prepared: the `PreparedDataset`.
        trained: what `kdloss.experiments.systems.run_chain` returned.
        evaluations: name of run -> its `Evaluation` on the test split.
        baseline: the `Evaluation` of the mean shape.
        tables: `Table`\\ s of all of them, the brief one and the whole one.
    """
    spec = dataset_spec(prepared.dataset)
    title, best = SYSTEMS[system].title, best_student(trained)
    comparisons = compare_with_controls(trained, evaluations)
    verdict = verdict_of(trained[best][0], comparisons)
    facts = _facts(system, name, prepared, trained)
    record = {
        "facts": facts,
        "verdict": verdict,
        "protocol": evaluations[best].metrics["protocol"],
        "runs": {
            key: {
                "title": run.title,
                "config": dataclasses.asdict(config),
                "training": results,
                "protocol": evaluations[key].metrics["protocol"],
                "subsets": evaluations[key].metrics["subsets"],
            }
            for key, (run, config, results) in trained.items()
        },
        "mean_shape": baseline.metrics["subsets"],
        "tables": {"results": json_table(tables[1])},
        "differences": [{"title": pair["model"]} | pair for comparison in comparisons for pair in comparison["pairs"]],
    }
    write_whole(folder / "results.json", json.dumps(record, indent=1))
    configs = {run.title: dataclasses.asdict(config) for run, config, _ in trained.values()}
    write_report(
        folder / "report.html",
        title=f"{title} on {spec.title}, recipe {name}",
        summary=f"{verdict_text(verdict)} {_summary(trained, evaluations, baseline, best)}",
        notices=(faces_notice(spec, prepared.synthetic),),
        sections=[
            *_result_sections(folder, prepared, trained, evaluations, baseline, best, tables, comparisons),
            Section("Protocol", [PIECES.facts(record["protocol"])]),
            Section("Run", [PIECES.facts(facts | {"typed": " ".join(sys.argv[1:])}), PIECES.facts(environment())]),
            Section("Configuration", [PIECES.facts(configs)]),
        ],
    )
    return verdict_text(verdict)


def compare_with_controls(trained, evaluations):
    """What `compare` finds of each control and its students, without the pairs of two students."""
    students = {}
    for name, (run, _, _) in trained.items():
        if run.control:
            students.setdefault(run.control, []).append(name)
    comparisons = [compare([evaluations[name] for name in (control, *names)]) for control, names in students.items()]
    return [
        found | {"pairs": [pair for pair in found["pairs"] if pair["against"] == found["reference"]]}
        for found in comparisons
    ]


def best_student(trained):
    """Name of the student with teachers that has the lowest validation NME."""
    taught = {name: found["val_nme"] for name, (run, _, found) in trained.items() if run.control and run.teachers}
    return min(taught, key=taught.get)


def verdict_of(run, comparisons):
    """What a student's teachers gain against its control on the test faces.

    Returns:
        ``{"method", "control", "difference", "low", "high"}``: titles, and points of NME with their paired 95 %
        interval; below zero: better.
    """
    pair = next(pair for found in comparisons for pair in found["pairs"] if pair["model"] == run.title)
    return {"method": run.title, "control": pair["against"]} | {key: pair[key] for key in ("difference", "low", "high")}


def verdict_text(verdict):
    """A `verdict_of`, or that of a study with its ``share`` of labels, in one sentence; None: nothing is finished."""
    if verdict is None:
        return "No distilled student and its control are finished yet."
    gain, low, high = (verdict[key] for key in ("difference", "low", "high"))
    found = f"{'gains' if gain < 0 else 'loses'} {abs(gain):.2f} points of NME"
    found = "gains nothing that these faces show" if low <= 0 <= high else found
    title = verdict["method"]
    title = f"with {verdict['share']:.0%} of the labels, {title}" if "share" in verdict else title
    return (
        f"{_capitalised(title)}: {found} against {verdict['control']} ({gain:+z.2f}, 95 % interval "
        f"{low:+z.2f} to {high:+z.2f}); chosen among the students with teachers on validation faces."
    )


def _facts(system, name, prepared, trained):
    configs = [config for _, config, _ in trained.values()]
    chosen = "" if system == DEFAULT_SYSTEM else f" --system {system}"
    facts = {
        "system": SYSTEMS[system].title,
        "preset": f"{name}: {SYSTEMS[system].recipes[name].about}",  # its name in files since the first ones
        "seed": configs[0].seed,
        "official training faces": dataset_spec(prepared.dataset).official("train"),
    }
    if any(config.by_features for config in configs):
        facts["formulas"] = "those of FA and PS are reconstructed, the text of EfficientFAN was not at hand"
    seconds = sum(results["seconds"] for _, _, results in trained.values())
    return run_facts(f"--dataset {prepared.dataset}{chosen} --recipe {name}", prepared, seconds) | facts


def run_facts(flags, prepared, seconds):
    """What the reports of a chain and of a study say of the run: ``flags`` of the command, faces, hours, machine."""
    machine = environment()
    return {
        "command": f"python -m kdloss.reproduce {flags}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{machine['processor']}, {machine['cores']} cores",
        "accelerators": ", ".join(machine["accelerators"]) or "none",
        "software": ", ".join(f"{package} {found}" for package, found in machine["packages"].items()),
        "back end": machine["backend"],
        "hours of training": f"{seconds / 3600:.1f}",
        "training faces": f"{len(prepared.indices('train'))} (validation: {len(prepared.indices('val'))})",
        "images": "SYNTHETIC" if prepared.synthetic else "real",
    }


def _summary(trained, evaluations, baseline, best):
    normaliser, control = evaluations[best].metrics["protocol"]["normaliser"], trained[best][0].control
    full = [one.metrics["subsets"]["full"] for one in (evaluations[best], evaluations[control], baseline)]
    student, alone, mean_shape = (f"{values[f'nme_{normaliser}']:.2f} %" for values in full)
    return (
        f"{_capitalised(trained[best][0].title)}: NME {student} ({normaliser}, {full[0]['n']} test faces); "
        f"{trained[control][0].title}: {alone}; mean shape: {mean_shape}."
    )


def _capitalised(title):
    return title[0].upper() + title[1:]


def _result_sections(folder, prepared, trained, evaluations, baseline, best, tables, comparisons):
    titles = {name: run.title for name, (run, _, _) in trained.items()}
    shown = plots.spread_by_error(evaluations[best].errors, 12)
    lines = [line for comparison in comparisons for line in comparison_lines(comparison)]
    parts = parts_table([Result(titles[name], evaluation.metrics) for name, evaluation in evaluations.items()])
    ced = overlaid_ced([*evaluations.values()], baseline)
    faces = [
        PIECES.paragraph(f"{_capitalised(titles[best])}: evenly spaced from its best to its worst face."),
        PIECES.colour_key({"truth": plots.TRUTH, "prediction": plots.PREDICTION}),
        face_gallery(evaluations[best], shown),
    ]
    sections = [
        Section("Results", result_pieces([*tables, parts], lines)),
        Section("Cumulative error", [drawn(ced, "Share of test faces below each error.")]),
        Section("Faces", faces),
    ]
    for name, (run, _, _) in trained.items():
        if run.kind == "tolerant":
            shape = ShapeModel.load(folder / name / "shape.npz")
            caption = (
                f"First modes of the tolerant teacher's shape model ({len(shape.modes)} modes keep "
                f"{100 * shape.explained:.1f} % of the variance of {int(np.sum(prepared.table['split'] == 'train'))} "
                "training shapes)."
            )
            sections.append(Section("Shape model", [drawn(modes_figure(shape), caption)]))
    history = {title: plots.read_history(folder / name / "metrics.jsonl") for name, title in titles.items()}
    curves = drawn(plots.training_curves(history), "Validation NME and loss terms, epoch by epoch.")
    return [*sections, Section("Training", [curves])]
