"""The report: one page that parses, holds its pictures, and asks for nothing."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from kdloss.datasets import DATASETS
from kdloss.errors import UserError
from kdloss.evaluation import report

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """Checks nesting; collects links, pictures and text."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.ids, self.text = [], [], set(), []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.addresses += [(tag, attrs[key]) for key in ("src", "href", "srcset", "action") if key in attrs]
        self.ids.add(attrs.get("id"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.text.append(data)


@pytest.fixture
def images():
    ramp = np.linspace(0, 255, 30) + np.linspace(0, 90, 20)[:, None]
    image = np.stack([ramp * 0.6, 255 - ramp / 2, ramp / 2], axis=-1).astype(np.uint8)
    return image, [cv2.imencode(ending, image)[1].tobytes() for ending in (".png", ".jpg")]


@pytest.fixture
def page(tmp_path, images):
    path = tmp_path / "deep" / "report.html"
    sections = [
        report.Section("Faces <1>", tuple(report.picture(data, 'a "caption"') for data in images[1])),
        report.Section("Protocol", (report.PIECES.facts({"box": "gt:1.25", "thresholds": [0.1, 0.08], "path": path}),)),
    ]
    notices = [report.faces_notice(DATASETS["300w"], synthetic=False)]
    report.write_report(path, title="A & B", sections=sections, summary="x < y", notices=notices)
    reader = Page()
    reader.feed(path.read_text(encoding="utf-8"))
    return path, reader


def test_page_parses_and_says_what_it_was_given(page):
    path, reader = page
    assert reader.open == []
    text = " ".join(reader.text)
    for expected in ("A & B", "x < y", "Faces <1>", "gt:1.25", "[0.1, 0.08]", str(path)):
        assert expected in text
    assert "Contains faces of 300-W: research use only, do not publish." in text
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_nothing_is_requested(page):
    path, reader = page
    for _, address in reader.addresses:
        assert address.startswith(("data:", "#"))
        if address.startswith("#"):
            assert address[1:] in reader.ids
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|<script ", text)
    assert "prefers-color-scheme:dark" in text
    assert 'name="viewport"' in text


def test_policy_names_the_one_script_of_the_page(page):
    text = page[0].read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)[1]
    assert {"default-src 'none'", "img-src data:", f"script-src 'sha256-{digest}'"} <= set(policy.split("; "))
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_pictures_decode_to_what_was_given(page, images):
    image, _ = images
    found = [address for tag, address in page[1].addresses if tag == "img"]
    assert [address.split(";")[0] for address in found] == ["data:image/png", "data:image/jpeg"]
    for address, tolerance in zip(found, (0, 6), strict=True):
        data = np.frombuffer(base64.b64decode(address.split(",")[1], validate=True), np.uint8)
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert np.abs(decoded.astype(int) - image).mean() <= tolerance


def test_facts_read_as_plain_words():
    values = {"flip": False, "missing": {"n": 3, "counted": ["a"]}, "checkpoint": None, "<b>": "x & y"}
    reader = Page()
    reader.feed(report.PIECES.folded("more & more", [report.PIECES.facts(values)]))
    assert reader.open == []
    assert reader.text == [
        "more & more",
        "flip",
        "no",
        "missing",
        'n: 3; counted: ["a"]',
        "checkpoint",
        "none",
        "<b>",
        "x & y",
    ]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        report.write_report(tmp_path / "file" / "report.html", title="t", sections=[])
    assert (tmp_path / "file").read_bytes() == b""
