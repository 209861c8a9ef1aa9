"""The report: one page that parses, holds its pictures, runs nothing but its own script, and asks for nothing."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import cv2
import numpy as np

from kdloss.data.datasets import DATASETS
from kdloss.evaluation.html import PIECES, Section, faces_notice, html_table, picture, write_report
from kdloss.evaluation.tables import Column, Row, Table

VOID = {"meta", "link", "img"}
IMAGES = [cv2.imencode(ending, np.zeros((4, 4, 3), np.uint8))[1].tobytes() for ending in (".png", ".jpg")]
# Text that would be markup if it were not escaped, also within an attribute.
HOSTILE = """"'><script>alert("taken")</script><img src='https://faces.invalid/a.png'> & co"""


class Page(HTMLParser):
    """Checks nesting; collects links, tags and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.ids, self.tags, self.text = [], [], set(), [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [(tag, attrs[key]) for key in ("src", "href", "srcset", "action") if key in attrs]
        self.ids.add(attrs.get("id"))
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def written(path, sections, **more):
    write_report(path, sections=sections, **({"title": "A & B"} | more))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return path.read_text(encoding="utf-8")


def test_page_holds_what_it_was_given_and_requests_nothing(tmp_path):
    pictures = [picture(data, 'a "caption"') for data in IMAGES]
    notices = [faces_notice(DATASETS["300w"], synthetic=False)]
    sections = [Section("Faces <1>", pictures), Section("Two", [])]
    text = written(tmp_path / "deep" / "report.html", sections, summary="x < y", notices=notices)
    page = Page(text)
    notice = "Contains faces of 300-W: research use only, do not publish."
    expected = ["A & B", "A & B", "x < y", notice, "Faces <1>", "Two", "Faces <1>", *['a "caption"'] * 2, "Two"]
    assert page.text == expected
    links = [address[1:] for tag, address in page.addresses if tag == "a"]
    assert len(links) == 2
    assert set(links) <= page.ids
    assert all(address.startswith(("data:", "#")) for _, address in page.addresses)
    assert not re.search(r"https?://|url\(|@import|<script ", text)
    assert "prefers-color-scheme:dark" in text
    assert 'name="viewport"' in text
    found = [address.split(";base64,") for tag, address in page.addresses if tag == "img"]
    assert [kind for kind, _ in found] == ["data:image/png", "data:image/jpeg"]
    assert [base64.b64decode(data, validate=True) for _, data in found] == IMAGES
    # The policy names the one script of the page.
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)[1]
    assert {"default-src 'none'", "img-src data:", f"script-src 'sha256-{digest}'"} <= set(policy.split("; "))
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_text_is_escaped_wherever_it_stands(tmp_path):
    table = Table(HOSTILE, (Column("a", HOSTILE),), (Row(HOSTILE, {"a": HOSTILE}, HOSTILE),), (HOSTILE,), HOSTILE)
    pieces = [
        HOSTILE,
        PIECES.paragraph(HOSTILE),
        PIECES.subheading(HOSTILE),
        PIECES.colour_key({HOSTILE: HOSTILE}),
        PIECES.group(HOSTILE, [HOSTILE]),
        PIECES.folded(HOSTILE, [HOSTILE]),
        PIECES.facts({HOSTILE: {HOSTILE: HOSTILE}}),
        html_table(table),
        picture(IMAGES[0], HOSTILE),
    ]
    sections = [Section(HOSTILE, pieces)]
    text = written(tmp_path / "deep" / "report.html", sections, title=HOSTILE, summary=HOSTILE, notices=[HOSTILE])
    page = Page(text)
    assert page.tags.count("script") == page.tags.count("img") == 1
    # Title twice, summary, notice, heading twice; then the pieces.
    assert "".join(page.text).count(HOSTILE) == 6 + 1 + 1 + 1 + 1 + 1 + 2 + 3 + 6 + 1
