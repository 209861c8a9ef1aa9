"""No module of the project loads or runs what a file says: looked for in the source of all of them."""

import ast
import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("asm", "data_prep", "kdloss", "tools")

UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "imp"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
# Those that write, too: of objects they would make pickles.
NUMPY = {f"np.{name}" for name in ("load", "save", "savez", "savez_compressed", "lib.format.read_array")}
NUMPY |= {name.replace("np.", "numpy.", 1) for name in NUMPY}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader"}
# The one module that unpacks archives; it looks through their members first.
ARCHIVES = "data_prep/archives.py"


def dangers(source):
    """Sentences about what a module's source could execute."""
    tree = ast.parse(source)
    loaders = {target.id for node in ast.walk(tree) if _names_safe_loader(node) for target in node.targets}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"imports {name.name}" for name in node.names if name.name.partition(".")[0] in UNPICKLING]
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").partition(".")[0]
            names = [f"{node.module}.{name.name}" for name in node.names]
            found += [f"imports {parts}"] if parts in UNPICKLING else []
            found += [f"imports {name}" for name in names if name in SHELLS | {"numpy.load", "yaml.load"}]
        elif isinstance(node, ast.Call):
            found += _call(node, loaders)
    return found


def _call(node, loaders):
    name, given = ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
    last = name.rpartition(".")[2]
    if name in BUILTINS or name in SHELLS:
        return [f"calls {name}"]
    if "shell" in given and not _is(given["shell"], False):
        return [f"calls {name} with a shell"]
    if name in NUMPY:
        return [] if _is(given.get("allow_pickle"), False) else [f"calls {name} without allow_pickle=False"]
    if last == "load_model" and name.startswith(("keras.", "tf.keras.")):
        return [] if _is(given.get("safe_mode"), True) else [f"calls {name} without safe_mode=True"]
    if last == "enable_unsafe_deserialization":
        return [f"calls {name}"]
    if name in ("yaml.load", "yaml.load_all"):
        loader = ast.unparse(given["Loader"]).rpartition(".")[2] if "Loader" in given else ""
        return [] if loader in SAFE_LOADERS | loaders else [f"calls {name} without a safe loader"]
    if name in ("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all"):
        return [f"calls {name}"]
    if last in ("extractall", "unpack_archive") or (last == "extract" and "archive" in name.lower()):
        return [f"calls {name}: unpack by {ARCHIVES}"]
    return []


def _is(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def _names_safe_loader(node):
    """Whether a statement gives a name to one of yaml's safe loaders, and to nothing else."""
    if not (isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)):
        return False
    words = {str(getattr(part, "attr", getattr(part, "value", ""))) for part in ast.walk(node.value)}
    named = {word for word in words if word.endswith("Loader") and word.isidentifier()}
    return bool(named) and named <= SAFE_LOADERS


def _sources():
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            yield path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8")
    yield "setup.py", (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
        # Lines for the shell and the notebook's own commands are no Python.
        yield path.name, "\n".join(line for line in lines if not line.lstrip().startswith(("!", "%")))


SOURCES = dict(_sources())


def test_no_module_executes_what_a_file_says():
    unpacking = {ARCHIVES: 2 * [f"calls shutil.unpack_archive: unpack by {ARCHIVES}"]}
    assert {name: found for name, source in SOURCES.items() if (found := dangers(source))} == unpacking


def test_all_that_is_installed_is_looked_at():
    assert len(SOURCES) > 100
    assert {"kdloss/files.py", ARCHIVES, "kdloss/models/torch_arrays.py"} <= set(SOURCES)
    assert sum(name.endswith(".ipynb") for name in SOURCES) == 7


DANGERS = """
import numpy, dill as d
from pickle import loads
def f(): import cloudpickle
import joblib.numpy_pickle
eval('1')
__import__(name)
from os import system
os.popen('true')
subprocess.run('true', shell=True)
run(words, shell=how)
np.load(path)
np.load(path, allow_pickle=True)
numpy.load(path, **how)
np.savez(path, **arrays)
from numpy import load
keras.saving.load_model(path)
keras.models.load_model(path, safe_mode=False)
keras.config.enable_unsafe_deserialization()
yaml.load(text)
LOADER = yaml.Loader; yaml.load(text, Loader=LOADER)
LOADER = getattr(yaml, 'CLoader', yaml.SafeLoader); yaml.load(text, Loader=LOADER)
yaml.unsafe_load(text)
archive.extractall(path)
archive.extract(name)
"""
SAFE = """
np.load(path, allow_pickle=False)
keras.saving.load_model(path, compile=False, safe_mode=True)
LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader); yaml.load(text, Loader=LOADER)
yaml.load(text, Loader=yaml.SafeLoader)
re.compile('x'), model.compile(optimizer), model.eval(), kdloss.load_model(path)
subprocess.run(words)
skimage.feature.extract(image)
"""


def test_what_executes_is_found_and_what_does_not_is_let_pass():
    assert [line for line in DANGERS.split("\n") if line and len(dangers(line)) != 1] == []
    assert [line for line in SAFE.split("\n") if dangers(line)] == []
