"""No module of the project loads or runs what a file says.

Ruff finds eval, exec, unpickling, shells and unsafe loaders of YAML (the rules S of pyproject.toml). This test searches
the source for what Ruff does not know.
"""

import ast
import json
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("asm", "data_prep", "kdloss", "tools")

UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "imp"}
CALLS = {"compile", "__import__", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}
# Those that write, too: they would pickle objects.
NUMPY = {"load", "save", "savez", "savez_compressed", "lib.format.read_array"}
# The only module that unpacks archives. It checks their members first.
ARCHIVES = "data_prep/archives.py"


def dangers(source):
    """Sentences about what a module's source could execute."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"imports {name.name}" for name in node.names if name.name.partition(".")[0] in UNPICKLING]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
            unpickles = (node.module or "").partition(".")[0] in UNPICKLING
            found += [f"imports {name}" for name in names if unpickles or name == "numpy.load"]
        elif isinstance(node, ast.Call):
            found += _call(ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords})
    return found


def _call(name, keywords):
    first, _, rest = name.partition(".")
    last = name.rpartition(".")[2]
    if name in CALLS or last == "enable_unsafe_deserialization":
        return [f"calls {name}"]
    if "shell" in keywords and not _is(keywords["shell"], False):
        return [f"calls {name} with a shell"]
    if first in ("np", "numpy") and rest in NUMPY and not _is(keywords.get("allow_pickle"), False):
        return [f"calls {name} without allow_pickle=False"]
    if last == "load_model" and name.startswith(("keras.", "tf.keras.")) and not _is(keywords.get("safe_mode"), True):
        return [f"calls {name} without safe_mode=True"]
    if last in ("extractall", "unpack_archive") or (last == "extract" and "archive" in name.lower()):
        return [f"calls {name}: unpack by {ARCHIVES}"]
    return []


def _is(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def _sources():
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")
    yield "setup.py", (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        # Shell lines and the notebook's own commands are not Python.
        yield path.name, re.sub(r"^( *)[!%](.*\\\n)*.*", r"\1pass", source, flags=re.MULTILINE)


SOURCES = dict(_sources())


def test_no_module_executes_what_a_file_says():
    unpacking = {ARCHIVES: 2 * [f"calls shutil.unpack_archive: unpack by {ARCHIVES}"]}
    assert {name: found for name, source in SOURCES.items() if (found := dangers(source))} == unpacking


def test_all_modules_and_notebooks_are_searched():
    assert len(SOURCES) > 100
    assert {"kdloss/files.py", ARCHIVES, "kdloss/models/torch_arrays.py"} <= set(SOURCES)
    assert sum(name.endswith(".ipynb") for name in SOURCES) == 9


DANGERS = """
import numpy, dill as d
from pickle import loads
def f(): import cloudpickle
import joblib.numpy_pickle
__import__(name)
np.load(path)
np.load(path, allow_pickle=True)
numpy.load(path, **how)
np.savez(path, **arrays)
from numpy import load
keras.saving.load_model(path)
keras.models.load_model(path, safe_mode=False)
keras.config.enable_unsafe_deserialization()
archive.extract(name)
archive.extractall(path)
run(words, shell=how)
yaml.unsafe_load(text)
shutil.unpack_archive(path)
"""
SAFE = """
np.load(path, allow_pickle=False)
keras.saving.load_model(path, compile=False, safe_mode=True)
re.compile('x'), model.compile(optimizer), model.eval(), kdloss.load_model(path)
skimage.feature.extract(image)
"""


def test_dangers_are_found_and_nothing_else():
    assert [line for line in DANGERS.split("\n") if line and len(dangers(line)) != 1] == []
    assert [line for line in SAFE.split("\n") if dangers(line)] == []
