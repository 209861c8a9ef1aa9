"""The notebooks as they are kept: whole, with pictures, small, and free of errors and of the machine they ran on."""

import json
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
LARGEST = 350_000  # bytes
LONGEST = 16  # lines of a cell of code, without its imports
# Places of one machine: /home/someone/..., /tmp/..., C:\Users\... A slash within a word or address does not begin one.
MACHINE = re.compile(r"(?<![\w.:/-])/(?:home|root|tmp|usr|opt|var|private|mnt|data|Users)/|[A-Z]:\\\\?Users")


@pytest.fixture(params=range(9))
def path(request):
    (found,) = FOLDER.glob(f"{request.param:02d}_*.ipynb")
    return found


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text(encoding="utf-8"))


def sources(notebook, kind):
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def outputs(notebook):
    return [output for cell in notebook["cells"] for output in cell.get("outputs", ())]


def words(notebook):
    """All that outputs say in words."""
    texts = [text for output in outputs(notebook) for text in output.get("text", ())]
    data = [item for output in outputs(notebook) for item in output.get("data", {}).items()]
    return "".join([*texts, *("".join(text) for kind, text in data if kind.startswith("text/"))])


def test_format_size_and_no_trace_of_the_run(path, notebook):
    nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))
    assert path.stat().st_size < LARGEST
    assert all(not cell["metadata"] for cell in notebook["cells"])
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    text = "\n".join([words(notebook), *sources(notebook, "code"), *sources(notebook, "markdown")])
    assert MACHINE.search("saved at '/tmp/x1/assets'")
    assert not MACHINE.search(text), text[MACHINE.search(text).start() :][:300]


def test_every_cell_ran_in_order_without_error_or_warning_and_drew_something(notebook):
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not {"error", "stderr"} & {output.get("name", output["output_type"]) for output in outputs(notebook)}
    assert any(kind.startswith("image/") for output in outputs(notebook) for kind in output.get("data", {}))
    assert not re.search(r"WARNING|Warning:", words(notebook))


def test_it_says_what_it_is_about_and_that_faces_are_synthetic(notebook):
    texts, code = sources(notebook, "markdown"), sources(notebook, "code")
    assert re.match(r"# 0[0-8] · (?s:.*)\*\*What you learn:\*\*(?s:.*)\*\*The data:\*\*", texts[0])
    assert "SYNTHETIC" in words(notebook) or not any("find_prepared" in source for source in code)
    for target in re.findall(r"\]\(([^)#]+)\)", "\n".join(texts)):
        assert target.startswith("https://") or (FOLDER / target).is_file(), target
    for source in code:
        assert sum(not re.match(r"(from|import) |$", line) for line in source.splitlines()) <= LONGEST, source
