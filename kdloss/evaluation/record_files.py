"""What commands wrote with ``--json``, as the tables that they printed, so that documents can hold them unchanged."""

import dataclasses
import importlib
from pathlib import Path

from kdloss.errors import DataError
from kdloss.evaluation.provenance import read_json
from kdloss.evaluation.table import Table

SUFFIX = ".json"
# kind of a record -> module and function: record -> a Table, or a list of them.
_TABLES = {
    "accuracy_time": ("kdloss.benchmarking.accuracy_time_tables", "accuracy_time_table"),
    "confidence": ("kdloss.deploy.confidence_views", "reliability_table"),
    "fuzz": ("kdloss.benchmarking.reliability_tables", "fuzz_table"),
    "inference": ("kdloss.benchmarking.tables", "inference_tables"),
    "memory": ("kdloss.benchmarking.reliability_tables", "memory_table"),
    "pipeline": ("kdloss.benchmarking.pipeline_tables", "pipeline_tables"),
    "predict": ("kdloss.benchmarking.tables", "folder_table"),
    "prepare": ("kdloss.benchmarking.reliability_tables", "prepare_table"),
    "kills": ("kdloss.benchmarking.reliability_tables", "kills_table"),
    "shapes": ("kdloss.benchmarking.shapes_tables", "shapes_table"),
    "startup": ("kdloss.benchmarking.startup_tables", "startup_table"),
    "suite": ("kdloss.benchmarking.suite_tables", "suite_tables"),
    "training": ("kdloss.benchmarking.training_tables", "training_tables"),
    "workers": ("kdloss.benchmarking.reliability_tables", "workers_table"),
}


def record_tables(path):
    """The tables of a record, the last with its command and date among the notes.

    Args:
        path: of the JSON file.

    Raises:
        DataError: no such file, or not what one of the commands writes.
    """
    path = Path(path)
    record = read_json(path, f"a record, written with --json by a command ({', '.join(_TABLES)})")
    try:
        module, function = _TABLES[record["kind"]]
        made = getattr(importlib.import_module(module), function)(record)
        tables = [made] if isinstance(made, Table) else list(made)
        notes = (*tables[-1].notes, f"`{record['command']}`, {record['date']}")
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise DataError(f"{path}: not a record of one of {', '.join(_TABLES)} ({error!r}): write it anew") from error
    return [*tables[:-1], dataclasses.replace(tables[-1], notes=notes)]
