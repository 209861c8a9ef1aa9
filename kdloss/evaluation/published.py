"""What papers report: the rows of ``published.yml``, which tables show beside measured ones."""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import yaml


@dataclass(frozen=True)
class PublishedResult:
    """One row of a paper, measured on the whole test set of ``dataset``. NMEs and FR are percents."""

    id: str
    method: str
    dataset: str  # key of `DATASETS`
    source: str  # citation
    date: int  # year of the source
    certainty: str  # a letter
    meaning: str  # what that letter says of the numbers
    nme_interocular: dict[str, float] = field(default_factory=dict)  # by subset
    nme_interpupil: dict[str, float] = field(default_factory=dict)
    fr10: float | None = None  # on the full set
    box: str = "not stated"  # what is known of the crops
    note: str = ""  # what a reader must know before comparing
    brief: bool = False  # whether it stands in the short tables too


def published_results(dataset):
    """The published rows of a data set, in the order of the file; empty where there are none."""
    return [row for row in _all() if row.dataset == dataset]


@functools.cache
def _all():
    held = yaml.safe_load(Path(__file__).with_name("published.yml").read_text(encoding="utf-8"))
    return [PublishedResult(meaning=held["certainty"][row["certainty"]], **row) for row in held["published"]]
