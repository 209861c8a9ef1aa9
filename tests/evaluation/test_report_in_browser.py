"""The report as a browser shows it."""

from dataclasses import replace

import pytest
from markupsafe import Markup

from kdloss.evaluation.comparison import compare
from kdloss.evaluation.html import Section, write_report
from kdloss.evaluation.report import write_evaluation_report
from kdloss.evaluation.tables import Column, Row, Table
from tests.browser import headless_chromium
from tests.evaluation.test_report import ROBUSTNESS


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless_chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory, two_evaluations):
    """The report of a comparison, with everything that one can hold."""
    evaluations = [replace(two_evaluations[0], label="a model with quite a long name <b>"), two_evaluations[1]]
    values = [
        ("ten", "10.5", "gt:1.25", "2024-03-01"),
        ("minus", "-3", "b", "2023-12-31"),
        ("marked", "9.36*", None, "2024-02-28"),
        ("none", None, "gt:1.1", None),
        ("partial", "554/689*", "A", "2024-02-03"),
        ("interval", "+0.2 [-0.1, 0.5]", "c", "2025-01-01"),
    ]
    rows = tuple(Row(label, dict(enumerate(cells))) for label, *cells in values)
    wide = Row("a published method of some length", {str(i): 100 * i for i in range(20)}, "published")
    path = tmp_path_factory.mktemp("report") / "report.html"
    command = "python -m kdloss.evaluate " + "--compare runs/a/b/c " * 20
    write_evaluation_report(
        path,
        evaluations,
        {"command": command, "environment": {"packages": {"numpy": "2"}, "processor": "x" * 120}},
        tables=[
            Table("results " * 30, tuple(Column(str(i), f"column {i}") for i in range(20)), (wide, wide)),
            Table("things", tuple(Column(*one) for one in enumerate(("value", "word", "day"))), rows),
        ],
        lines=["One sentence."],
        comparison=compare(evaluations),
        robustness=ROBUSTNESS,
        configuration={"epochs": 3},
    )
    return path


THINGS = "[...document.querySelectorAll('table')].find(t => t.caption && t.caption.textContent === 'things')"


def labels(browser):
    return browser.run(f"[...{THINGS}.tBodies[0].rows].map(row => row.cells[0].textContent)")


def directions(browser):
    return browser.run(f"[...{THINGS}.querySelectorAll('thead th')].map(th => th.getAttribute('aria-sort'))")


def test_page_loads_whole_without_complaint_or_request(browser, path):
    browser.visit(path.as_uri())
    assert browser.complaints == []
    assert browser.requested[0] == path.as_uri()
    assert all(address.startswith("data:") for address in browser.requested[1:])
    pictures = browser.run("[...document.images].map(i => i.complete && i.naturalWidth)")
    # Cumulative curves, intervals, boxes; a mean face of each model, three and two faces of each kind.
    assert len(pictures) == 3 + 2 + 3 * 3 + 2 * 3, pictures
    assert all(width > 100 for width in pictures)
    assert browser.run("document.title") == "300-W: 2 models compared"
    anchors = "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href')))"
    assert browser.run(anchors)


def test_headings_sort_numbers_words_and_dates_both_ways(browser, path):
    browser.visit(path.as_uri())
    written, by_value = labels(browser), ["minus", "interval", "marked", "ten", "partial"]
    assert written == ["ten", "minus", "marked", "none", "partial", "interval"]
    assert directions(browser) == [None] * 4
    for column, expected, direction in (
        (1, [*by_value, "none"], "ascending"),
        (1, [*by_value[::-1], "none"], "descending"),
        (1, written, None),
        (3, ["minus", "partial", "marked", "ten", "interval", "none"], "ascending"),
        (0, sorted(written), "ascending"),
    ):
        browser.run(f"{THINGS}.querySelectorAll('thead button')[{column}].click()")
        assert labels(browser) == expected
        assert directions(browser) == [direction if i == column else None for i in range(4)]


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_reaches_over_the_edge(browser, path, width):
    browser.visit(path.as_uri(), width)
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.run("document.documentElement.clientWidth") == width
    assert browser.run("document.documentElement.scrollWidth") == width
    # Only wide tables and charts do, inside of their own scrolling frames.
    over = """[...document.querySelectorAll('body *')].filter(e => !e.closest('table, .wide > *'))
        .filter(e => e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0)
        .map(e => e.outerHTML.slice(0, 200))"""
    assert browser.run(over) == []
    widths = "[...document.querySelectorAll('.gallery figure')].map(f => f.getBoundingClientRect().width)"
    assert min(browser.run(widths)) >= 140


def test_markup_that_escaped_escaping_neither_runs_nor_loads(browser, tmp_path):
    injected = "<script>document.title = 'taken'</script><img src='https://faces.invalid/a.png'>"
    write_report(tmp_path / "report.html", title="title", sections=[Section("heading", [Markup(injected)])])
    browser.visit((tmp_path / "report.html").as_uri())
    assert browser.run("document.images.length") == 1
    assert browser.run("document.title") == "title"
    blocked = [complaint for complaint in browser.complaints if "Content Security Policy" in complaint]
    assert any("img-src" in complaint for complaint in blocked)
    assert any("script-src" in complaint for complaint in blocked)
