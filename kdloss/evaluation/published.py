"""What papers report: the rows of ``published.yml`` that stand beside measured ones."""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("published.yml")


@dataclass(frozen=True)
class PublishedResult:
    """One row of a paper.

    Args:
        id: unique in the file.
        method: as the row is called.
        dataset: key of `DATASETS`; numbers are of its whole test set.
        source: citation.
        date: year of the source.
        certainty, meaning: a letter of the file's ``certainty`` and what it says.
        nme_interocular: subset -> NME in percent over the distance of the outer eye corners.
        nme_interpupil: subset -> NME in percent over the distance of the pupils.
        fr10: percent of failures at 0.10 on the full set, or None.
        box: what is known of the crops.
        note: what a reader must know before comparing, or "".
    """

    id: str
    method: str
    dataset: str
    source: str
    date: int
    certainty: str
    meaning: str
    nme_interocular: dict[str, float] = field(default_factory=dict)
    nme_interpupil: dict[str, float] = field(default_factory=dict)
    fr10: float | None = None
    box: str = "not stated"
    note: str = ""


@functools.cache
def _all():
    held = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return [PublishedResult(meaning=held["certainty"][row["certainty"]], **row) for row in held["published"]]


def published_results(dataset):
    """The published rows of a data set, in the order of the file; empty where there are none."""
    return [row for row in _all() if row.dataset == dataset]
