"""New quantities for ``results.yml``: box robustness, a detector's boxes and throughput, as the commands that measure
them wrote them."""

from pathlib import Path

from kdloss.errors import DataError
from kdloss.evaluation.protocol import DETECTED
from kdloss.evaluation.provenance import circumstances, machine_facts, read_evaluation, read_json, told
from kdloss.evaluation.recorded_fields import QUANTITY
from kdloss.evaluation.recording import completed


def robustness_entries(folder, of, prefix, **stated):
    """The quantities of a box robustness: in the own box, in perturbed boxes, in those of a detector where measured.

    Args:
        folder: holds the ``metrics.json`` of ``kdloss.evaluate --robustness``.
        of: the `MeasuredResult` of the same checkpoint on the same data set.
        prefix: of the ids.
        stated: ``command``, ``machine``, ``accelerator``, ``date``; they replace what the folder says, None does not.

    Raises:
        DataError: no box robustness there, or one of another checkpoint or other faces.
        ConfigError: a field that neither the folder nor ``stated`` tells.
    """
    return _evaluation_entries(folder, of, prefix, stated, "robustness", _of_robustness)


def detector_entries(folder, of, prefix, **stated):
    """The quantities of a model in a detector's boxes: how many faces it finds, and the NME of those found.

    Args:
        folder: holds the ``metrics.json`` of ``kdloss.evaluate --detector``.
        of, prefix, stated: see `robustness_entries`.

    Raises:
        DataError: no detector there, or one of another checkpoint or other faces.
        ConfigError: see `robustness_entries`.
    """
    return _evaluation_entries(folder, of, prefix, stated, "detector", _of_a_detector)


def _evaluation_entries(folder, of, prefix, stated, part, quantities_of):
    """The quantities that a part of ``metrics.json`` holds."""
    path = Path(folder) / "metrics.json"
    metrics, run = read_evaluation(path)
    if not metrics.get(part):
        raise DataError(f"{path}: holds no {part}: run python -m kdloss.evaluate with --{part}")
    try:
        protocol = metrics["protocol"]
        _check_same(path, of, metrics["dataset"], protocol["split"], protocol["synthetic"], protocol["checkpoint"])
        shared = {"of": of.id} | circumstances(path, metrics, run) | told(stated)
        quantities = list(quantities_of(metrics[part]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: {part}: not as kdloss.evaluate writes it ({error!r})") from error
    return _quantities(quantities, prefix, shared, path)


def throughput_entries(path, of, prefix, **stated):
    """The quantities of a throughput, from the JSON of ``benchmarks/evaluation_throughput.py``.

    Args and errors: see `robustness_entries`.
    """
    path = Path(path)
    found = read_json(path, "the --json of benchmarks/evaluation_throughput.py")
    try:
        _check_same(path, of, found["dataset"], "test", found["synthetic"], found["checkpoint"])
        shared = {"of": of.id, "date": found["date"]} | machine_facts(found["machine"])
        shared |= told({"command": found.get("command")}) | told(stated)
        faces, times = f"{found['n']} test faces", f"batches of {found['batch_size']}"
        titles = {
            "model-rate": ("batch", f"model alone on a batch in memory, {times}, median", "faces/s"),
            "evaluation-rate": ("evaluation", f"evaluation from stored crops, {faces}, {times}, median", "faces/s"),
            "evaluation-share": ("ratio", "evaluation over model alone, within a repetition, median", "times"),
            "file-seconds": ("file", f"a predictions file of {faces} to all numbers, median", "s"),
        }
        quantities = []
        for name, (key, what, unit) in titles.items():
            one = found["summary"][key]
            spread = {"value": one["median"], "low": one["min"], "high": one["max"], "n": found["repeats"]}
            quantities.append({"id": name, "what": what, "unit": unit} | spread)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not the --json of benchmarks/evaluation_throughput.py ({error!r})") from error
    return _quantities(quantities, prefix, shared, path)


def _quantities(quantities, prefix, shared, path):
    return [completed(one | shared | {"id": f"{prefix}-{one['id']}"}, QUANTITY, path) for one in quantities]


def _of_robustness(found):
    yield from _robustness(found)
    if found.get("detector"):
        yield from _in_detector_boxes(found["detector"])


def _robustness(found):
    """The quantities of `kdloss.evaluation.robustness.measure_robustness`, without what they share."""
    nme, shift, turn = _nme(found), found["shift"], found["scale_rotation"]
    cells = [
        (value, f"shifted by {100 * dx:+.0f} % of its width and {100 * dy:+.0f} % of its height")
        for dy, line in zip(shift["shifts"], shift["nme"], strict=True)
        for dx, value in zip(shift["shifts"], line, strict=True)
    ]
    cells += [
        (value, f"scaled by {scale:g} and turned by {rotation:+g} degrees")
        for scale, line in zip(turn["scales"], turn["nme"], strict=True)
        for rotation, value in zip(turn["rotations"], line, strict=True)
    ]
    worst, where = max(cells)
    about = (
        f"mean of the shifts by up to {100 * max(shift['shifts']):.0f} % of a side and mean of the scales from "
        f"{min(turn['scales']):g} to {max(turn['scales']):g} with turns up to {max(turn['rotations']):g} degrees, each "
        f"a half; {100 * found['outside']:.0f} % of these crops reach beyond the stored one, where the model sees zeros"
    )
    of = {"unit": "%", "n": found["n"]}
    yield {"id": "nme", "what": f"{nme} in the box {found['box']}", "value": found["baseline_nme"]} | of
    yield {"id": "robust-nme", "what": f"{nme} in perturbed boxes", "value": found["robust_nme"], "note": about} | of
    if found["robust_ratio"] is not None:
        ratio = {"id": "robust-ratio", "what": f"{nme} in perturbed boxes over that in the own"}
        yield ratio | of | {"value": found["robust_ratio"], "unit": "times"}
    yield {"id": "worst-nme", "what": f"{nme} in the worst perturbed box", "value": worst, "note": f"box {where}"} | of


def _of_a_detector(found):
    """The quantities of `kdloss.evaluation.detected.detector_record`, without what they share."""
    share = {"id": "found", "what": f"faces that detector {found['name']} finds", "unit": "%", "n": found["n"]}
    yield share | {"value": 100 * found["n_found"] / found["n"], "note": DETECTED}
    where = {
        "policy": f"in the box {found['box']}",
        "calibrated": f"in calibrated boxes of detector {found['name']}",
        "again": "in boxes around the landmarks read there, as predict reads a face",
        "uncalibrated": f"in boxes of detector {found['name']} taken for landmark boxes",
    }
    for kind, words in where.items():
        what = f"NME ({found['normaliser']}) of the faces found, {words}"
        one = {"id": f"{kind}-nme", "what": what, "unit": "%", "n": found["n_found"], "value": found["nme"][kind]}
        yield one | {"note": f"median of the faces {found['median'][kind]:.2f} %"}


def _nme(found):
    return f"NME ({found['normaliser']}{', mirror test' if found.get('flip_test') else ''})"


def _in_detector_boxes(found):
    """The quantities of `kdloss.evaluation.robustness.measure_detector`, without what they share."""
    nme, name = _nme(found), found["detector"]
    share = {"id": "detector-found", "what": f"faces that detector {name} finds", "value": 100 * found["found"]}
    yield share | {"unit": "%", "n": found["n"], "note": DETECTED}
    if found["n_found"]:
        of = {"unit": "%", "n": found["n_found"]}
        boxes = f"{nme} in calibrated boxes of detector {name}"
        yield {"id": "detector-nme", "what": boxes, "value": found["nme_detector"]} | of
        same = f"{nme} on the same faces in the box {found['box']}"
        yield {"id": "detector-policy-nme", "what": same, "value": found["nme_policy"]} | of


def _check_same(path, of, dataset, split, synthetic, checkpoint):
    """Raises a `DataError` if the numbers of a file are not of the checkpoint and the faces of a `MeasuredResult`."""
    recorded, found = of.checkpoint and of.checkpoint["sha256"], checkpoint and checkpoint["sha256"]
    here, there = (dataset, split, synthetic, found), (of.dataset, of.split, of.synthetic, recorded)
    if here[:3] != there[:3] or (found != recorded and found and recorded):
        told = [
            f"{'SYNTHETIC' if one[2] else 'real'} {one[0]} {one[1]} faces, checkpoint {one[3]}" for one in (here, there)
        ]
        raise DataError(f"{path}: of {told[0]}, but --of {of.id} is of {told[1]}: expected the same")
