"""The notebooks as they are kept: whole, with pictures, small, and free of errors and of the machine they ran on."""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 350_000  # bytes
LONGEST = 16  # lines of a cell of code

# Places of one machine: /home/someone/..., /tmp/..., C:\Users\... A slash within a word or address does not begin one.
MACHINE = re.compile(r"(?<![\w.:/-])/(?:home|root|tmp|usr|opt|var|private|mnt|data|Users)/|[A-Z]:\\\\?Users")


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code_of(cells):
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def outputs_of(cells):
    return [output for cell in cells for output in cell.get("outputs", ())]


def texts_of(outputs):
    """All that outputs say in words."""
    for output in outputs:
        yield "".join(output.get("text", ()))
        yield from ("".join(data) for kind, data in output.get("data", {}).items() if kind.startswith("text/"))


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)


def test_one_to_seven_are_there():
    assert [path.name[:3] for path in PATHS] == [f"{number:02d}_" for number in range(1, 8)]


def test_format(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.metadata.kernelspec.name == "python3"


def test_size(path):
    assert path.stat().st_size < LARGEST


def test_every_cell_ran_in_order_from_a_fresh_kernel(cells):
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_hold_a_picture_and_neither_error_nor_warning(cells):
    outputs = outputs_of(cells)
    assert any(kind.startswith("image/") for output in outputs for kind in output.get("data", {}))
    kinds = {(output["output_type"], output.get("name")) for output in outputs}
    assert ("error", None) not in kinds
    assert ("stream", "stderr") not in kinds
    assert not re.search(r"WARNING|Warning:", "\n".join(texts_of(outputs)))


def test_no_place_of_a_machine(cells):
    for text in [*texts_of(outputs_of(cells)), *("".join(cell["source"]) for cell in cells)]:
        assert not MACHINE.search(text), MACHINE.search(text).group() + " in: " + text[:300]
        assert str(FOLDER.parent) not in text


def test_no_time_of_execution(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert all(not cell["metadata"] for cell in notebook["cells"])
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}


def test_code_is_short_and_imports_the_package(cells):
    sources = code_of(cells)
    assert {"kdloss"} <= {name for source in sources for name in imported(source)}
    longest = max(sources, key=lambda source: len(source.splitlines()))
    # Imports may be many; code that does something must be short.
    bodies = [[line for line in source.splitlines() if not re.match(r"(from|import) |$", line)] for source in sources]
    assert max(map(len, bodies)) <= LONGEST, longest


def test_begins_with_title_aim_and_data(cells):
    first = "".join(cells[0]["source"])
    assert cells[0]["cell_type"] == "markdown"
    assert re.match(r"# 0[1-7] · ", first)
    assert "**What you learn:**" in first
    assert "**The data:**" in first


def test_faces_are_said_to_be_synthetic(cells):
    """Wherever a notebook draws faces of a data set."""
    if any("find_prepared" in source for source in code_of(cells)):
        assert "SYNTHETIC" in " ".join(texts_of(outputs_of(cells)))


def test_links_lead_somewhere(cells):
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (FOLDER / target).is_file(), target


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Saved artifact at '/tmp/x1/assets'", True),
        ("/home/me/kdloss/runs", True),
        ("runs/reproduce-300w-smoke/kd-both", False),
        ("https://example.org/data/300w", False),
        ("python -m data_prep 300w --out data/300w", False),
    ],
)
def test_what_counts_as_a_place_of_a_machine(text, named):
    assert bool(MACHINE.search(text)) == named
