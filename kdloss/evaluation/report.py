"""The files of an evaluation: JSON, pictures, and the report, one HTML file of one model or of several."""

import json
import time
from pathlib import Path

from kdloss.data.datasets import dataset_spec
from kdloss.evaluation import plots
from kdloss.evaluation.comparison import common_faces, comparison_lines
from kdloss.evaluation.html import PIECES, Section, faces_notice, html_table, picture, write_report
from kdloss.evaluation.point_errors import mean_face_error_figure
from kdloss.evaluation.predictions import save_predictions
from kdloss.evaluation.protocol import MISSING
from kdloss.evaluation.robustness import robustness_line
from kdloss.evaluation.tables import Result, points_table
from kdloss.files import write_whole

# Faces in each gallery: of one model, and of each of several.
FACES, FACES_COMPARED = 8, 4
HEADINGS = {"worst": "Worst", "median": "Around the median", "best": "Best"}


def write_evaluation(folder, evaluation, baseline=None, robustness=None, **made):
    """Writes ``metrics.json``, ``predictions.npz`` and ``ced.png`` of an `Evaluation` into a folder.

    ``baseline`` is the `Evaluation` of the mean shape, or None. ``made`` are further keys of ``metrics.json``, such as
    ``command`` (text) and ``environment`` (dict). Returns what ``metrics.json`` holds.
    """
    folder, record = Path(folder), evaluation.metrics | made
    record |= {} if baseline is None else {"mean_shape": baseline.metrics["subsets"]}
    record |= {} if robustness is None else {"robustness": robustness}
    write_whole(folder / "metrics.json", json.dumps(record, indent=1, allow_nan=False))
    save_predictions(folder / "predictions.npz", evaluation.names, evaluation.points, evaluation.truth)
    write_whole(folder / "ced.png", plots.figure_bytes(overlaid_ced([evaluation], baseline)))
    return record


def write_comparison(folder, comparison, evaluations, baseline=None, **made):
    """Writes ``comparison.json``, what `compare` found of evaluations, and ``ced.png``; see `write_evaluation`."""
    folder, record = Path(folder), comparison | made
    write_whole(folder / "comparison.json", json.dumps(record, indent=1, allow_nan=False))
    write_whole(folder / "ced.png", plots.figure_bytes(overlaid_ced(evaluations, baseline)))
    return record


def write_evaluation_report(
    path, evaluations, made, *, tables=(), lines=(), baseline=None, comparison=None, robustness=None, configuration=None
):
    """Writes the report of one model or of several.

    Args:
        path: of the ``.html``.
        evaluations: `Evaluation`\\ s of the same faces, each with a label of its own.
        made: ``command`` (as typed) and ``environment`` (versions and machine, a dict).
        tables: `Table`\\ s; the first is shown, the others are behind a fold.
        lines: sentences below the first table.
        baseline: the `Evaluation` of the mean shape for the cumulative curve, or None.
        comparison: the dict of `kdloss.evaluation.comparison.compare` on these evaluations, or None.
        robustness: the dict of `measure_robustness`, or None.
        configuration: label -> settings of the training, or None.

    Raises:
        DataError: a model without any prediction.
        UserError: the file can't be written.
    """
    first, several = evaluations[0], len(evaluations) > 1
    spec = dataset_spec(first.metrics["dataset"])
    ced = drawn(overlaid_ced(evaluations, baseline), "Share of the faces at or below each error.")
    sections = [
        Section("Results", result_pieces(tables, lines)),
        Section("Cumulative error", [ced]),
    ]
    if comparison:
        caption = "Differences of NME, paired bootstrap intervals of 95 %."
        intervals = drawn(plots.differences_figure(comparison), caption)
        sections.append(Section("Differences", [PIECES.group("wide", [intervals])]))
    if robustness:
        maps = drawn(plots.robustness_figure(robustness), "NME as the box is shifted, and as it is scaled and turned.")
        words = PIECES.paragraph(robustness_line(robustness))
        sections.append(Section("Box robustness", [words, PIECES.group("wide", [maps])]))
    sections.append(Section("Errors by point", _points(evaluations)))
    for evaluation in evaluations:
        heading, count = (f"Faces: {evaluation.label}", FACES_COMPARED) if several else ("Faces", FACES)
        sections.append(Section(heading, _faces(evaluation, count)))
    sections.append(Section("Protocol", _protocols(evaluations)))
    if configuration:
        sections.append(Section("Configuration", [PIECES.facts(configuration)]))
    facts = {"command": made["command"], "date": time.strftime("%Y-%m-%d")} | made["environment"]
    sections.append(Section("Environment", [PIECES.facts(facts)]))
    write_report(
        path,
        title=f"{spec.title}: {len(evaluations)} models compared" if several else f"{spec.title}: {first.label}",
        summary=" ".join([*(comparison_lines(comparison) if comparison else ()), _summary(first.metrics, comparison)]),
        notices=[faces_notice(spec, first.metrics["protocol"]["synthetic"]), *_missing(evaluations)],
        sections=sections,
    )


def result_pieces(tables, lines=()):
    """The pieces of a section of results: the first `Table`, sentences, and the other tables behind a fold."""
    first, others = [html_table(table) for table in tables[:1]], [html_table(table) for table in tables[1:]]
    fold = [PIECES.folded("All numbers, each with its protocol", others)] if others else []
    return [*first, *map(PIECES.paragraph, lines), *fold]


def face_gallery(evaluation, chosen):
    """The faces at positions ``chosen`` of an `Evaluation`, with truth and prediction, as a piece of a `Section`."""
    names, errors, pictures = evaluation.names, evaluation.errors, []
    for i in chosen:
        figure = plots.face_figure(evaluation, i)
        pictures.append(drawn(figure, f"{plots.error_text(errors[i])}, {names[i]}", "jpeg"))
    return PIECES.group("gallery", pictures)


def overlaid_ced(evaluations, baseline=None):
    """The cumulative error distributions of evaluations in one matplotlib `Figure`, on the faces that all have."""
    shown = [*evaluations, *([] if baseline is None else [baseline])]
    chosen = common_faces(shown)
    curves = {one.label: one.errors[faces] for one, faces in zip(shown, chosen, strict=True)}
    protocol, count = evaluations[0].metrics["protocol"], len(chosen[0])
    spec = dataset_spec(evaluations[0].metrics["dataset"])
    faces = f"{count} synthetic faces" if protocol["synthetic"] else f"{count} faces"
    official = spec.official(protocol["split"])
    if official not in (0, count) and not protocol["synthetic"]:
        faces = f"{count} of {official} faces (partial)"
    title = f"{spec.title}, {protocol['split']} split, {faces}, {protocol['normaliser']} normaliser"
    return plots.ced_figure(curves, title=title)


def _points(evaluations):
    limit = max(nme or 0 for evaluation in evaluations for nme in evaluation.metrics["points"].values())
    caption = "NME of each point, on the mean of the true shapes."
    maps = [drawn(mean_face_error_figure(evaluation, limit=limit), caption) for evaluation in evaluations]
    table = points_table([Result(evaluation.label, evaluation.metrics) for evaluation in evaluations])
    return [PIECES.group("charts", maps), PIECES.folded("All points", [html_table(table)])]


def _faces(evaluation, count):
    pieces = [PIECES.colour_key({"truth": plots.TRUTH, "prediction": plots.PREDICTION})]
    for name, chosen in plots.worst_median_best(evaluation.errors, count).items():
        pieces += [PIECES.subheading(HEADINGS[name]), face_gallery(evaluation, chosen)]
    return pieces


def _protocols(evaluations):
    """What all models share, then what differs, one line per model."""
    protocols = {evaluation.label: evaluation.metrics["protocol"] for evaluation in evaluations}
    first, *others = protocols.values()
    shared = {key: value for key, value in first.items() if all(other[key] == value for other in others)}
    own = {label: {key: one[key] for key in one if key not in shared} for label, one in protocols.items()}
    return [PIECES.facts(values) for values in ([shared, own] if len(shared) < len(first) else [shared])]


def _summary(measured, comparison):
    """The main numbers in a sentence; of several models those over the faces that all of them have."""
    protocol, full = measured["protocol"], measured["subsets"]["full"]
    count = comparison["n"] if comparison else full["n"]
    partial = full["official_n"] not in (None, count) and not protocol["synthetic"]
    faces = f"{count} of {full['official_n']}" if partial else str(count)
    measure = f"{protocol['normaliser']} normaliser, {faces} {protocol['split']} faces"
    if comparison:
        each = ", ".join(f"{label} {model['nme']:.2f} %" for label, model in comparison["models"].items())
        return f"NME: {each} ({measure})."
    nme = full[f"nme_{protocol['normaliser']}"]
    return f"NME {nme:.2f} %, FR10 {full['fr10']:.2f} %, AUC10 {full['auc10']:.3f} ({measure})."


def _missing(evaluations):
    """One sentence for each model that found no face somewhere: how many, and how they count."""
    for evaluation in evaluations:
        missing = evaluation.metrics["protocol"]["missing"]
        if missing["n"]:
            counted = "left out" if missing["counted"] == MISSING["skip"] else "counted as failures"
            yield f"{evaluation.label}: {missing['n']} faces without prediction, {counted}."


def drawn(figure, caption, image_format="png"):
    """A figure with a caption, as a piece of a `Section`."""
    return picture(plots.figure_bytes(figure, image_format), caption)
