"""What the entries of ``results.yml`` may hold, field by field, and how a mapping is checked against that."""

import datetime
import math
import re
from dataclasses import dataclass, replace

from kdloss.datasets import DATASETS
from kdloss.errors import DataError
from kdloss.evaluation.metrics import NORMALISERS

KINDS = ("measured", "baseline", "reference")
MEASURES = (*(f"nme_{normaliser}" for normaliser in NORMALISERS), "fr10", "fr08", "auc10", "auc08")


@dataclass(frozen=True)
class Field:
    """What one field may hold.

    Args:
        expected: its description, for errors.
        holds: a predicate of the value, or the fields of a mapping.
        many: the mapping may have any names, each with those fields.
        required, nullable: must it be there; may it be null.
    """

    expected: str
    holds: object
    many: bool = False
    required: bool = True
    nullable: bool = False

    def check(self, value, where):
        """Raises a `DataError` that begins with ``where`` if the value is not what it should be."""
        if value is None and self.nullable:
            return
        if not isinstance(self.holds, dict):
            if not self.holds(value):
                either = " or null" if self.nullable else ""
                raise DataError(f"{where} is {value!r:.60}, expected {self.expected}{either}")
        elif self.many and isinstance(value, dict):
            for name, one in value.items():
                check_mapping(one, self.holds, f"{where}: {name}")
        else:
            check_mapping(value, self.holds, where)


def check_mapping(record, fields, where):
    """Checks that a mapping has all the required fields, no other ones, and in each what it may hold.

    Raises:
        DataError: it does not; the message begins with ``where`` and names the field.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where} is {record!r:.60}, expected a mapping")
    for name in record:
        if name not in fields:
            raise DataError(f"{where}: unknown field {name}: expected {', '.join(fields)}")
    for name, field in fields.items():
        if name in record:
            field.check(record[name], f"{where}: {name}")
        elif field.required:
            raise DataError(f"{where}: {name} is missing: expected {field.expected}")


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value):
    return isinstance(value, str) and bool(value.strip())


def _is_id(value):
    return isinstance(value, str) and re.fullmatch("[a-z0-9-]+", value) is not None


def _is_list_of(holds):
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _one_of(names):
    return Field(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


_TEXT = Field("a text", _is_text)
_TEXTS = Field("a list of texts", _is_list_of(_is_text))
_ID = Field("an id of lower case, digits and -", _is_id)
_NUMBER = Field("a finite number", _is_number)
_MEASURE = Field("a finite number, 0 or more", lambda value: _is_number(value) and value >= 0)
_POSITIVE = Field("a finite number above 0", lambda value: _is_number(value) and value > 0)
_COUNT = Field("a whole number, 0 or more", _is_count)
_BOOL = Field("true or false", lambda value: isinstance(value, bool))
_YEAR = Field("a year", lambda value: _is_count(value) and 1900 < value < 2200)
_DATE = Field("a date such as 2026-11-22", lambda value: type(value) is datetime.date)
_DATASET = _one_of(DATASETS)


def _optional(field, nullable=False):
    return replace(field, required=False, nullable=nullable)


_NME_BY_SUBSET = Field(
    "a mapping from subset to NME, above 0",
    lambda value: isinstance(value, dict) and all(_is_text(key) and _POSITIVE.holds(nme) for key, nme in value.items()),
    required=False,
)

_SUBSET = {
    "n": _COUNT,
    "official_n": replace(_COUNT, nullable=True),
    "complete": replace(_BOOL, nullable=True),
    **dict.fromkeys(MEASURES, replace(_MEASURE, nullable=True)),
}

_PROTOCOL = {
    "normaliser": _one_of(NORMALISERS),
    "box": _TEXT,
    "thresholds": Field("a list of numbers", _is_list_of(_is_number)),
    "flip_test": replace(_BOOL, nullable=True),
    "occluded_points": _TEXT,
    "missing": Field("a mapping", {"n": _COUNT, "counted": _TEXT}),
    "content": _TEXT,
}

_CHECKPOINT = {
    "sha256": replace(_TEXT, nullable=True),
    "arch": _TEXT,
    "image_size": _optional(_COUNT),
    "readout": _optional(_TEXT),
}

_TRAINING = {
    "faces": _optional(_COUNT),
    "validation_faces": _optional(_COUNT),
    "epochs": _optional(_COUNT),
    "seed": _optional(_COUNT),
    "start": _optional(_TEXT),
    "seconds": _optional(_MEASURE),
    "val_nme": _optional(_MEASURE),
}

PUBLISHED = {
    "id": _ID,
    "method": _TEXT,
    "dataset": _DATASET,
    "source": _TEXT,
    "date": _YEAR,
    "certainty": _TEXT,
    "nme_interocular": _NME_BY_SUBSET,
    "nme_interpupil": _NME_BY_SUBSET,
    "fr10": _optional(_MEASURE),
    "box": _TEXT,
    "note": _optional(_TEXT),
}

MEASURED = {
    "id": _ID,
    "label": _TEXT,
    "kind": _optional(_one_of(KINDS)),
    "dataset": _DATASET,
    "split": _TEXT,
    "synthetic": _BOOL,
    "protocol": Field("a mapping", _PROTOCOL),
    "subsets": Field("a mapping from subset to numbers", _SUBSET, many=True),
    "checkpoint": _optional(Field("a mapping", _CHECKPOINT), nullable=True),
    "training": _optional(Field("a mapping", _TRAINING)),
    "machine": _TEXT,
    "accelerator": _optional(_TEXT),
    "date": _DATE,
    "command": _TEXT,
    "ms": _optional(Field("a mapping", {"value": _POSITIVE, "what": _TEXT, "machine": _TEXT})),
    "megabytes": _optional(_POSITIVE),
    "parameters": _optional(_COUNT),
    "note": _optional(_TEXT),
    "caveats": _optional(_TEXTS),
}

DIFFERENCE = {
    "id": _ID,
    "model": _ID,
    "against": _ID,
    "difference": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "method": _TEXT,
    "date": _DATE,
}

QUANTITY = {
    "id": _ID,
    "of": _optional(_ID),
    "what": _TEXT,
    "unit": _TEXT,
    "value": _NUMBER,
    "low": _optional(_NUMBER),
    "high": _optional(_NUMBER),
    "n": _optional(_COUNT),
    "command": _TEXT,
    "machine": _TEXT,
    "accelerator": _optional(_TEXT),
    "date": _DATE,
    "note": _optional(_TEXT),
}

TABLE = {"title": _TEXT, "dataset": _DATASET, "rows": _TEXTS, "columns": _optional(_TEXTS)}

_LIST = Field("a list", lambda value: isinstance(value, list), required=False, nullable=True)

RESULTS_FILE = {
    "certainty": Field(
        "a mapping from letter to meaning",
        lambda value: isinstance(value, dict) and bool(value) and all(map(_is_text, (*value, *value.values()))),
    ),
    "tables": Field("a mapping from name to table", TABLE, many=True, required=False, nullable=True),
    "published": _LIST,
    "measured": _LIST,
    "differences": _LIST,
    "quantities": _LIST,
}
