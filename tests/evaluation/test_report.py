"""The report of an evaluation: which sections, faces and words it holds."""

import html
import re

import numpy as np

from kdloss.data.geometry import BoxPolicy
from kdloss.evaluation.comparison import compare
from kdloss.evaluation.evaluation import evaluate_mean_shape
from kdloss.evaluation.report import write_evaluation_report
from kdloss.evaluation.tables import Column, Row, Table

GRID = {"nme": [[5, 6, 7]] * 3, "outside": [[0, 0, 1]] * 3}
FACES = {"dataset": "300w", "synthetic": False, "n": 9, "box": "gt:1.25", "normaliser": "interocular"}
MEANS = {"flip_test": False, "baseline_nme": 4.0, "robust_nme": 5.25, "robust_ratio": 1.31, "outside": 0.1}
GRIDS = {
    "shift": {"shifts": [-0.1, 0, 0.1]} | GRID,
    "scale_rotation": {"scales": [0.9, 1, 1.2], "rotations": [-15, 0, 15]} | GRID,
}
ROBUSTNESS = FACES | MEANS | GRIDS
TABLE = Table("a table", (Column("a", "a"),), (Row("row <1>", {"a": 1.5}),))


def written(path, evaluations, **more):
    made = {"command": "python -m kdloss.evaluate", "environment": {"python": "3", "cores": 2}}
    write_evaluation_report(path, evaluations, made, **more)
    text = path.read_text(encoding="utf-8")
    headings = [html.unescape(found) for found in re.findall("<h2>(.*?)</h2>", text)]
    captions = [html.unescape(found) for found in re.findall("<figcaption>(.*?)</figcaption>", text)]
    return text, headings, captions


def test_report_of_one_model(tmp_path, two_evaluations):
    first = two_evaluations[0]
    more = {"tables": [TABLE], "lines": ["A sentence & more."], "configuration": {"epochs": 7}}
    more |= {"baseline": evaluate_mean_shape(first.prepared, BoxPolicy())}
    text, headings, captions = written(tmp_path / "report.html", [first], **more)
    expected = ["Results", "Cumulative error", "Errors by point", "Faces"]
    assert headings == [*expected, "Protocol", "Configuration", "Environment"]
    assert re.findall("<h3>(.*?)</h3>", text) == ["Worst", "Around the median", "Best"]
    # Three of nine each; the worst and the best from the ends.
    errors = [f"error {100 * error:.1f} %, {name}" for error, name in zip(first.errors, first.names, strict=True)]
    order = np.argsort(first.errors)
    assert captions[-9:] == [errors[i] for i in (*order[:-4:-1], *order[3:6], *order[:3])]
    escaped = ["row &lt;1&gt;", "A sentence &amp; more."]
    for words in (*escaped, "research use only", "python -m kdloss.evaluate", "epochs", "9 of 689 test faces"):
        assert words in text
    full = first.metrics["subsets"]["full"]
    assert f"NME {full['nme_interocular']:.2f} %, FR10 {full['fr10']:.2f} %, AUC10 {full['auc10']:.3f} " in text


def test_report_of_a_comparison(tmp_path, two_evaluations):
    more = {"comparison": compare(two_evaluations), "robustness": ROBUSTNESS}
    text, headings, captions = written(tmp_path / "report.html", two_evaluations, **more)
    expected = ["Results", "Cumulative error", "Differences", "Box robustness", "Errors by point"]
    assert headings == [*expected, "Faces: good", "Faces: bad", "Protocol", "Environment"]
    assert "NME as the box is shifted, and as it is scaled and turned." in captions
    # Eight faces with a prediction: two of each kind, the missing one first.
    assert captions[-6] == f"no face found, {two_evaluations[1].names[4]}"
    assert "bad: 1 faces without prediction, counted as failures." in text
    nmes = [one.metrics["subsets"]["full"]["nme_interocular"] for one in two_evaluations]
    assert f"NME: good {nmes[0]:.2f} %, bad {nmes[1]:.2f} % (interocular normaliser, 9 of 689 test faces)." in text
    protocol = text[text.index("<h2>Protocol") : text.index("<h2>Environment")]
    # What they share stands once.
    assert protocol.count("interocular") == 1
    assert '<th scope="row">good</th><td>box: gt:1.25;' in protocol
    assert '<th scope="row">bad</th><td>box: not stated;' in protocol
