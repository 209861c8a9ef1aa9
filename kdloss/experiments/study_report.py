"""What a study found: ``results.json`` with tables and verdict, ``curve.png`` and ``report.html``."""

import json
import sys

import numpy as np

from kdloss.data.datasets import dataset_spec
from kdloss.evaluation.html import PIECES, Section, faces_notice, html_table, picture, write_report
from kdloss.evaluation.metrics import paired_bootstrap
from kdloss.evaluation.plots import PALETTE, STYLES, figure_bytes, legend_below, new_figure
from kdloss.evaluation.published import published_results
from kdloss.evaluation.tables import Column, Row, Table, json_table
from kdloss.experiments.report import run_facts, verdict_text
from kdloss.experiments.study import CONTROL, RESULTS, ROWS_OF_STUDY, SHARES, read_rows
from kdloss.files import write_whole
from kdloss.machine import environment

_SUBSETS = ("common", "challenging", "full")
_FEWEST = 0.2  # the lowest share of labels at which the verdict chooses its method


def write_study(folder, name, recipe, prepared, jobs):
    """Writes the report of what is finished of a study into its folder (`pathlib.Path`); returns its record.

    Args:
        name, recipe: the `StudyRecipe` and its name.
        prepared: the `PreparedDataset`.
        jobs: of `study_jobs`.
    """
    found, spec = read_rows(folder), dataset_spec(prepared.dataset)
    settings = {job.name: job.settings for job in jobs}
    rows = [row for row in found.values() if settings.get(row["name"], row["settings"]) == row["settings"]]
    test = prepared.indices("test")
    subsets = {name: np.flatnonzero(np.isin(test, prepared.indices("test", name))).tolist() for name in _SUBSETS}
    subsets = {name: faces for name, faces in subsets.items() if faces}  # other sets than 300-W have "full" alone
    papers = [paper for paper in published_results(prepared.dataset) if paper.id.startswith("kd-loss")]
    tables = {
        f"share-{share * 100:g}": share_table(rows, subsets, share, papers if share == 1 else ())
        for share in sorted(recipe.shares)
    }
    tables |= {"curve": curve_table(rows), "gains": gains_table(rows, subsets["full"])}
    done = {row["name"] for row in rows}
    missing = [job.name for job in jobs if job.row and job.name not in done]
    students, flags = sum(bool(job.row) for job in jobs), f"--study distillation --recipe {name}"
    facts = run_facts(f"--dataset {prepared.dataset} {flags}", prepared, sum(row["seconds"] for row in rows))
    facts |= {"recipe": recipe.about, "students": f"{students - len(missing)} of {students} finished"}
    record = {
        "facts": facts,
        "verdict": verdict(rows, subsets),
        "tables": {key: json_table(table) for key, table in tables.items()},
        "missing": missing,
        "subsets": subsets,
        "rows": rows,
    }
    write_whole(folder / RESULTS, _one_row_a_line(record))
    curve = figure_bytes(label_curve(rows))
    write_whole(folder / "curve.png", curve)
    write_report(
        folder / "report.html",
        title=f"Distillation on {spec.title}, recipe {name}",
        summary=verdict_text(record["verdict"]),
        notices=(faces_notice(spec, prepared.synthetic),),
        sections=[
            Section("Error against labels", [picture(curve, _CURVE), html_table(tables.pop("curve"))]),
            *(Section(table.title, [html_table(table)]) for table in tables.values()),
            Section("Run", [PIECES.facts(facts | {"typed": " ".join(sys.argv[1:])}), PIECES.facts(environment())]),
        ],
    )
    return record


_CURVE = "NME on all test faces against the share of training faces with labels; bands: lowest and highest seed."


def share_table(rows, subsets, share, papers=()):
    """The students at a share of labels, each against the control at the same seeds.

    Args:
        rows: what was found, of `kdloss.experiments.study.read_rows`.
        subsets: name -> positions of its faces among the test faces.
        share: of labels.
        papers: `PublishedResult`\\ s that stand below.
    """
    body, compared = [], [subset for subset in ("common", "full") if subset in subsets]
    for name, seeds in _by_seed(rows, share).items():
        values = {subset: [row["nme"][subset] for row in seeds.values()] for subset in subsets}
        cells = {"seeds": len(seeds), "val": _mean([row["val_nme"] for row in seeds.values()])}
        cells |= {subset: _mean(found) for subset, found in values.items()}
        cells["sd"] = float(np.std(values["full"], ddof=1)) if len(seeds) > 1 else None
        for subset in compared:
            gain = difference(rows, share, name, subsets[subset])
            cells[f"{subset}-gain"] = gain and _gain_text(gain)
        body.append(Row(_title(name), cells, "measured" if name in ROWS_OF_STUDY else "baseline"))
    body += [Row(paper.method, paper.nme_interocular, "published") for paper in papers]
    columns = [Column("seeds", "seeds"), Column("val", "validation")]
    columns += [*(Column(subset, subset) for subset in subsets), Column("sd", "sd of full")]
    columns += [Column(f"{subset}-gain", f"{subset} - control", words=True) for subset in compared]
    labels = [f" ({row['labels']} faces)" for row in rows if row["share"] == share and not row["row"].count("fold")]
    notes = (
        "NME in percent, interocular, means over seeds; sd: over seeds",
        *(["paper: 224 px, another crop"] if papers else []),
        f"control: {ROWS_OF_STUDY[CONTROL].title}, trained as long; differences: points of NME at the same seeds, "
        "paired interval of 95 % over faces; in brackets lowest and highest seed",
    )
    return Table(f"{share:.0%} of the labels{labels[0] if labels else ''}", tuple(columns), tuple(body), notes)


def curve_table(rows):
    """NME on all test faces of the rows of the curve, one column a share of labels."""
    shares = sorted({row["share"] for row in rows})
    body = []
    for name, row in ROWS_OF_STUDY.items():
        cells = {str(share): _cell(_by_seed(rows, share).get(name)) for share in shares}
        if row.curve:
            body.append(Row(row.title, cells))
    columns = tuple(Column(str(share), f"{share:.0%}", words=True) for share in shares)
    notes = ("NME of all test faces in percent, mean over seeds +- their standard deviation (number of seeds)",)
    return Table("Error against labels", columns, tuple(body), notes)


def gains_table(rows, faces):
    """NME on all test faces and its difference to the control, one column a share that all methods are trained at.

    Args:
        rows: see `share_table`.
        faces: positions of all test faces.
    """
    found, body = {share: _by_seed(rows, share) for share in SHARES}, []
    names = {name for seeds in found.values() for name in seeds if "/" not in name}  # without the networks of each fold
    for name in sorted(names, key=[*ROWS_OF_STUDY, *sorted(names - ROWS_OF_STUDY.keys())].index):
        cells = {}
        for share in SHARES:
            if seeds := found[share].get(name):
                gain = difference(rows, share, name, faces)
                nme = f"{_mean([row['nme']['full'] for row in seeds.values()]):.2f} ({len(seeds)})"
                cells[str(share)] = nme + (f" {_interval_text(gain)}" if gain else "")
        body.append(Row(_title(name), cells))
    columns = tuple(Column(str(share), f"{share:.0%}", words=True) for share in SHARES)
    notes = (
        f"NME of all test faces in percent (seeds), and less that of {ROWS_OF_STUDY[CONTROL].title}, trained as long "
        "at the same seeds [paired interval of 95 % over faces]",
    )
    return Table("Error, and difference to the control, against labels", columns, tuple(body), notes)


def label_curve(rows):
    """The figure of `curve_table`: the mean over seeds, and a band from the lowest to the highest."""
    figure, (axes,) = new_figure(6.4, 4.0)
    names = [name for name, row in ROWS_OF_STUDY.items() if row.curve or name in ("fa", "kd", "l2")]
    for number, name in enumerate(names):
        points = {}
        for row in rows:
            if row["row"] == name:
                points.setdefault(row["share"], []).append(row["nme"]["full"])
        if points:
            shares, found = zip(*sorted(points.items()), strict=True)
            x, colour = [100 * share for share in shares], PALETTE[number]
            label, style = ROWS_OF_STUDY[name].title, STYLES[number % len(STYLES)]
            axes.plot(x, list(map(np.mean, found)), style, marker="o", color=colour, label=label)
            axes.fill_between(x, list(map(min, found)), list(map(max, found)), color=colour, alpha=0.2, linewidth=0)
    axes.set(xscale="log", xlabel="training faces with labels, %", ylabel="NME, all test faces, %")
    ticks = sorted({100 * row["share"] for row in rows})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    legend_below(figure, {line.get_label(): line for line in axes.lines}, columns=2)
    return figure


def difference(rows, share, name, faces):
    """NME of a row minus that of its control at the same share of labels and the same seeds, or None.

    Args:
        rows: see `share_table`.
        faces: positions of the test faces that count.

    Returns:
        ``{"difference", "low", "high", "seeds": [of each seed]}`` in points of NME. The interval of 95 % is over faces,
        of the mean over seeds.
    """
    found = _by_seed(rows, share)
    control = ROWS_OF_STUDY[name].control if name in ROWS_OF_STUDY else name
    seeds, others = (found.get(one, {}) for one in (name, control))
    common = sorted(seeds.keys() & others.keys())
    if name == control or not common:
        return None
    errors, against = (np.array([one[seed]["errors"] for seed in common])[:, faces] for one in (seeds, others))
    low, high = paired_bootstrap(errors.mean(axis=0), against.mean(axis=0))
    each = (errors - against).mean(axis=1).tolist()
    return {"difference": _mean(each), "low": low, "high": high, "seeds": each}


def verdict(rows, subsets):
    """The distilled row of the lowest validation NME at a fifth of the labels, against its control, on common faces.

    Where no row has that share, the next higher one counts. Sets without common faces have it on all test faces.
    """
    share = min((row["share"] for row in rows if row["share"] >= _FEWEST), default=_FEWEST)
    found = {
        name: _mean([row["val_nme"] for row in seeds.values()])
        for name, seeds in _by_seed(rows, share).items()
        if name in ROWS_OF_STUDY and ROWS_OF_STUDY[name].teachers and "placebo" not in ROWS_OF_STUDY[name].fields
    }
    faces = subsets.get("common", subsets["full"])
    if not found or not (gain := difference(rows, share, best := min(found, key=found.get), faces)):
        return None
    row = ROWS_OF_STUDY[best]
    return {"method": row.title, "control": ROWS_OF_STUDY[row.control].title, "share": share} | gain


def _by_seed(rows, share):
    """Name of row -> seed -> what was found at a share of labels, in the order of the study, then teachers."""
    names = [*ROWS_OF_STUDY, *sorted({row["row"] for row in rows} - ROWS_OF_STUDY.keys())]
    found = {name: {row["seed"]: row for row in rows if row["row"] == name and row["share"] == share} for name in names}
    return {name: seeds for name, seeds in found.items() if seeds}


def _title(name):
    return ROWS_OF_STUDY[name].title if name in ROWS_OF_STUDY else f"teacher: {name}"


def _mean(values):
    return float(np.mean(values))


def _cell(seeds):
    if not seeds:
        return None
    values = [row["nme"]["full"] for row in seeds.values()]
    spread = f" +- {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread} ({len(values)})"


def _gain_text(gain):
    seeds = f" ({min(gain['seeds']):+z.2f}, {max(gain['seeds']):+z.2f})" if len(gain["seeds"]) > 1 else ""
    return _interval_text(gain) + seeds


def _interval_text(gain):
    return f"{gain['difference']:+z.2f} [{gain['low']:+z.2f}, {gain['high']:+z.2f}]"


def _one_row_a_line(record):
    """JSON that is indented but for its rows, so that a new row is one new line, and for long lists of numbers."""
    rows = ",\n".join("  " + json.dumps(row) for row in sorted(record["rows"], key=lambda row: row["name"]))
    text = json.dumps(record | {"rows": [], "subsets": {}}, indent=1)
    text = text.replace('"subsets": {}', f'"subsets": {json.dumps(record["subsets"])}')
    before, _, after = text.rpartition('"rows": []')  # tables may be empty too
    return f'{before}"rows": [\n{rows}\n ]{after}'
