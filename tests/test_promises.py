"""Every promise of SECURITY.md names tests that exist."""

import ast
import re

from tests.conftest import REPOSITORY


def test_each_promise_has_tests_that_exist():
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8").partition("## Promises")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", text, re.MULTILINE)[1:]
    assert len(rows) > 20
    for promise, named in rows:
        tests = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", named)
        assert tests, promise
        for path, name in tests:
            tree = ast.parse((REPOSITORY / "tests" / path).read_text(encoding="utf-8"))
            found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert (name or next(name for name in found if name.startswith("test_"))) in found, (promise, path, name)
