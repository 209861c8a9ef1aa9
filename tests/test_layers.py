"""Imports point one way, within functions too: a package imports from itself and from those before it in the order."""

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# The commands come last.
ORDER = ["asm", "machine", "names", "errors", "files", "data", "data_prep", "pretrained", "models", "losses"]
ORDER += ["inference", "evaluation", "training", "deploy", "experiments", "serving"]


def rank(module):
    """The place of a dotted name in the order; 0 for another library."""
    top, _, rest = module.partition(".")
    name = rest.partition(".")[0] if top == "kdloss" else "" if rest.startswith("__main__") else top
    return ORDER.index(name) if name in ORDER else len(ORDER) if top in ("asm", "data_prep", "kdloss") else 0


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_point_one_way():
    for package in ("asm", "data_prep", "kdloss"):
        for path in (REPOSITORY / package).rglob("*.py"):
            module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
            for imported in imports_of(path):
                assert rank(imported) <= rank(module), f"{module} imports {imported}"
