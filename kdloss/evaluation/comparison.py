"""Models compared on the same faces: by how much they differ, and whether the faces are enough to tell."""

import itertools
from dataclasses import replace

import numpy as np

from kdloss.data.datasets import dataset_spec
from kdloss.errors import ConfigError, DataError
from kdloss.evaluation import metrics
from kdloss.evaluation.protocol import THRESHOLDS, subset_masks
from kdloss.evaluation.tables import LEGEND, Column, Row, Table, protocol_text

# Errors closer than this (fractions of the normaliser, far below a thousandth of a pixel) are a tie.
TIE = 1e-9

# With fewer faces a percentile interval covers visibly less than it says.
FEW = 30

YES_NO = {True: "yes", False: "no", None: "not stated"}

# Keys of the protocol that must agree before errors can be compared -> their names in messages.
SAME = {"dataset": "data set", "split": "split", "scheme": "scheme", "content": "content hash"}
SAME |= {"normaliser": "normaliser"}


def compare(evaluations, *, seed=0):
    """Compares two or more models: each with the first, the reference, and then all other pairs.

    Args:
        evaluations: `Evaluation`\\ s of the same split of the same prepared faces. Faces are matched by name; those
            that some model lacks are left out and counted. Labels that repeat are numbered.
        seed: of the bootstrap.

    Returns:
        A dict that JSON can hold::

            {"dataset", "split", "normaliser", "synthetic", "official_n", "n": faces in common, "reference", "seed",
             "models": {label: {"n", "left_out", "missing", "nme", "fr10", "box", "flip_test", "protocol"}},
             "pairs": [{"model", "against", "n", "n_found", "difference", "low", "high", "settled", "median_difference",
                        "wins", "losses", "ties", "distance", "parts": {part: difference},
                        "subsets": {name: {"n", "difference", "low", "high"}},
                        "failures": {"both", "model_only", "against_only"}}, ...],
             "notes": [...]}

        Of a model's ``n`` faces, ``left_out`` are not in common; ``missing`` of the common ones have no prediction.
        ``difference`` is the NME of ``model`` minus that of ``against`` in points of a percent, with its paired
        bootstrap interval of 95 %; it is ``settled`` if the interval excludes zero. ``distance`` is the mean distance
        between both predictions of a point in percent of the normaliser. Failures (percent, at 0.10) and wins (better
        by more than `TIE`) are over all common faces, NMEs, differences and distances over those with a prediction.

    Raises:
        ConfigError: fewer than two models.
        DataError: measured on other faces, no face in common, or none that both models of a pair found.
    """
    if len(evaluations) < 2:
        raise ConfigError(f"comparison: found {len(evaluations)}, expected two models or more: give --compare A B ...")
    labels = distinct_labels([evaluation.label for evaluation in evaluations])
    first, *others = common = [
        replace(evaluation, label=label, rows=evaluation.rows[faces], points=evaluation.points[faces])
        for label, evaluation, faces in zip(labels, evaluations, common_faces(evaluations), strict=True)
    ]
    # The later model against the earlier one.
    pairs = [(model, first) for model in others] + [(b, a) for a, b in itertools.combinations(others, 2)]
    protocol = first.metrics["protocol"]
    found = {key: protocol[key] for key in ("dataset", "split", "normaliser", "synthetic", "official_n")} | {
        "n": len(first.rows),
        "reference": first.label,
        "seed": seed,
        "models": {one.label: _model(one, len(whole.rows)) for one, whole in zip(common, evaluations, strict=True)},
        "pairs": [_pair(model, against, seed) for model, against in pairs],
    }
    return found | {"notes": _notes(found)}


def distinct_labels(labels):
    """Labels with a number after those that came before: ``a``, ``b``, ``a (2)``."""
    distinct = []
    for label in labels:
        numbered = (f"{label} ({number})" for number in itertools.count(2))
        distinct.append(next(name for name in itertools.chain([label], numbered) if name not in distinct))
    return distinct


def common_faces(evaluations):
    """For each `Evaluation` the (n,) positions of the faces that all of them have, in the order of the first.

    Raises:
        DataError: measured on other faces, or no face in common.
    """
    first = evaluations[0]
    for other, (key, name) in itertools.product(evaluations[1:], SAME.items()):
        expected, found = (one.metrics["protocol"][key] for one in (first, other))
        if found != expected:
            raise DataError(
                f"comparison: {other.label} was measured on another {name} ({found}) than {first.label} ({expected}): "
                "measure both on the same prepared faces"
            )
    places = [{name: place for place, name in enumerate(one.names.tolist())} for one in evaluations]
    names = [name for name in places[0] if all(name in place for place in places)]
    if not names:
        raise DataError(
            f"comparison: no face is common to {', '.join(one.label for one in evaluations)}: "
            "give predictions of the same faces"
        )
    return [np.array([place[name] for name in names]) for place in places]


def comparison_tables(comparison):
    """What `compare` found, as three `Table`\\ s: the pairs, their differences by part, and the models."""
    faces = f"{comparison['n']} {'SYNTHETIC' if comparison['synthetic'] else 'real'} faces"
    title = dataset_spec(comparison["dataset"]).title
    where = f"{title}, {comparison['split']} split, {faces}, normalised by {comparison['normaliser']}"
    rows, by_part = [], []
    for pair in comparison["pairs"]:
        label = f"{pair['model']} against {pair['against']}"
        kind = "measured" if pair["against"] == comparison["reference"] else "baseline"
        signed = {key: f"{pair[key]:+z.3f}" for key in ("difference", "low", "high", "median_difference")}
        rows.append(Row(label, pair | pair["failures"] | signed | {"settled": YES_NO[pair["settled"]]}, kind))
        by_part.append(Row(label, {part: f"{value:+z.3f}" for part, value in pair["parts"].items()}, kind))
    columns = [Column(key, key) for key in ("difference", "low", "high")]
    columns += [Column("settled", "excludes zero", words=True), Column("median_difference", "median")]
    columns += [Column("wins", "better"), Column("losses", "worse"), Column("ties", "equal")]
    columns += [Column("distance", "distance, %", 3), Column("both", "both fail, %")]
    columns += [Column("model_only", "first fails, %"), Column("against_only", "second fails, %"), Column("n", "faces")]
    pairs = Table(
        f"Differences of NME in points of a percent, paired bootstrap, 95 %: {where}",
        tuple(columns),
        tuple(rows),
        (
            "difference: NME of the first model minus that of the second, below zero the first is better; "
            "better, worse, equal: faces by their errors",
            "distance: between the two predictions of a point, mean over points and faces in percent of the normaliser",
            "fail: error above 0.10, of both models or of one alone",
            *comparison["notes"],
        ),
        heading="pair",
    )
    title = f"Differences of NME by part, points of a percent: {where}"
    columns = tuple(Column(part, part) for part in comparison["pairs"][0]["parts"])
    parts = Table(title, columns, tuple(by_part), heading="pair")
    title = f"The models on the faces in common: {where}"
    columns = [Column("nme", "NME, %"), Column("fr10", "FR10, %"), Column("n", "faces measured")]
    columns += [Column("left_out", "not in common"), Column("missing", "without prediction")]
    columns += [Column("protocol", "protocol", words=True)]
    rows = tuple(Row(label, facts) for label, facts in comparison["models"].items())
    return pairs, parts, Table(title, tuple(columns), rows, (LEGEND,), heading="model")


def comparison_lines(comparison):
    """One sentence for each model but the reference."""
    lines = []
    for pair in comparison["pairs"]:
        if pair["against"] == comparison["reference"]:
            line = (
                f"{pair['model']} against {pair['against']}: {pair['difference']:+z.3f} NME points "
                f"[{pair['low']:+z.3f}, {pair['high']:+z.3f}], the interval "
                f"{'excludes' if pair['settled'] else 'includes'} zero; better on {pair['wins']} of {pair['n']} faces"
            )
            line += f", equal on {pair['ties']}" if pair["ties"] else ""
            line += f"; NME over the {pair['n_found']} that both found" if pair["n_found"] < pair["n"] else ""
            lines.append(f"{line}.")
    return lines


def _model(evaluation, measured):
    """The record of a model: ``evaluation`` is on the faces in common, of ``measured`` faces."""
    errors, protocol = evaluation.errors, evaluation.metrics["protocol"]
    missing = int(np.sum(~np.isfinite(errors)))
    return {
        "n": measured,
        "left_out": measured - len(errors),
        "missing": missing,
        "nme": metrics.nme(errors) if missing < len(errors) else None,
        "fr10": metrics.failure_rate(errors, THRESHOLDS[0]),
        "box": protocol["box"],
        "flip_test": protocol["flip_test"],
        "protocol": protocol_text(evaluation.metrics),
    }


def _pair(model, against, seed):
    errors, scheme = np.stack([model.errors, against.errors]), model.prepared.scheme
    found = np.isfinite(errors).all(axis=0)
    if not found.any():
        raise DataError(
            f"comparison: none of {len(found)} faces has a prediction of both {model.label} and "
            f"{against.label}: give predictions of the same faces"
        )
    difference = errors[0, found] - errors[1, found]
    low, high = _interval(errors[:, found], seed)
    members = subset_masks(model.prepared, model.rows, model.metrics["protocol"]["split"])
    subsets = {name: errors[:, found & member] for name, (member, _) in members.items() if (found & member).any()}
    by_point = 100 * metrics.mean_of_known(model.point_errors[found] - against.point_errors[found], axis=0)
    known = np.flatnonzero(np.isfinite(by_point))
    known_parts = {part: own for part, points in scheme.parts.items() if len(own := np.intersect1d(points, known))}
    length = metrics.normaliser(against.truth[found], scheme, against.normaliser)
    apart = np.linalg.norm(model.points[found] - against.points[found], axis=-1) / length[:, None]
    # Infinite errors, of faces without prediction, lose to all others and equal each other.
    wins, losses = (int(np.sum(a < b - TIE)) for a, b in (errors, errors[::-1]))
    fails, other_fails = errors > THRESHOLDS[0]
    return {
        "model": model.label,
        "against": against.label,
        "n": len(found),
        "n_found": int(found.sum()),
        "difference": float(100 * np.mean(difference)),
        "low": low,
        "high": high,
        "settled": low > 0 or high < 0,
        "median_difference": float(100 * np.median(difference)),
        "wins": wins,
        "losses": losses,
        "ties": len(found) - wins - losses,
        "distance": float(100 * apart.mean()),
        "parts": {part: float(by_point[points].mean()) for part, points in known_parts.items()},
        "subsets": {
            name: {"n": own.shape[1], "difference": float(100 * np.mean(own[0] - own[1]))}
            | dict(zip(("low", "high"), _interval(own, seed), strict=True))
            for name, own in subsets.items()
        },
        "failures": {
            "both": float(100 * np.mean(fails & other_fails)),
            "model_only": float(100 * np.mean(fails & ~other_fails)),
            "against_only": float(100 * np.mean(~fails & other_fails)),
        },
    }


def _interval(errors, seed):
    """The paired bootstrap interval of the difference of two models' errors (2, n), points of a percent."""
    return tuple(100 * bound for bound in metrics.paired_bootstrap(*errors, seed=seed))


def _notes(found):
    """What a reader must know before believing the numbers, one sentence each."""
    models, notes = found["models"], []

    def counts(key):
        return ", ".join(f"{facts[key]} of {label}" for label, facts in models.items() if facts[key])

    if found["official_n"] not in (None, found["n"]) and not found["synthetic"]:
        notes.append(f"{found['n']} of {found['official_n']} official faces, so these numbers are of a partial set")
    if left_out := counts("left_out"):
        notes.append(f"only the {found['n']} faces that every model has are compared; left out: {left_out}")
    if missing := counts("missing"):
        notes.append(
            f"faces without prediction ({missing}) count as failures and lose to a face found; differences of NME "
            "and distances are over the faces that both models of a pair found"
        )
    for key, title, words in (("box", "crops", {}), ("flip_test", "mirror test", YES_NO)):
        values = {label: words.get(facts[key], facts[key]) for label, facts in models.items()}
        if len(set(values.values())) > 1:
            each = ", ".join(f"{label} {value}" for label, value in values.items())
            notes.append(f"the models differ in more than weights, in {title}: {each}")
    if len(found["pairs"]) > 1:
        notes.append(f"{len(found['pairs'])} intervals of 95 % each, not widened for their number")
    if min(pair["n_found"] for pair in found["pairs"]) < FEW:
        notes.append(f"bootstrap intervals of fewer than {FEW} faces are too narrow")
    if found["synthetic"]:
        notes.append("the faces are SYNTHETIC (rendered)")
    return notes
