"""One HTML file that holds a whole report: tables, pictures, configuration. It loads nothing from anywhere.

Its parts are pieces: what the macros of ``page/pieces.html`` return (tables, paragraphs, pictures).
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from kdloss.evaluation.tables import cell_text
from kdloss.files import write_whole


@dataclass(frozen=True)
class Section:
    """A heading and the pieces below it; plain text is escaped."""

    heading: str
    pieces: list


def write_report(path, *, title, sections, summary="", notices=()):
    """Writes the page, whole or not at all.

    Args:
        path: of the ``.html``.
        title: heading of the page.
        sections: `Section`\\ s in order.
        summary: one or two sentences under the title.
        notices: sentences set off at the top (rendered faces, faces that must not be published).
    """
    page = _PAGES.get_template("report.html")
    write_whole(path, page.render(title=title, sections=sections, summary=summary, notices=notices))


def picture(image, caption):
    """The bytes of a PNG or JPEG with a caption, as a piece."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return PIECES.figure(kind, base64.b64encode(image).decode("ascii"), caption)


def faces_notice(spec, synthetic):
    """What must be said above pictures of a data set's faces: they are rendered, or must not be published."""
    if synthetic:
        rendered = f"The faces are SYNTHETIC: rendered in the layout of {spec.title}."
        return f"{rendered} Published numbers are of real faces and not comparable."
    return f"Contains faces of {spec.title}: research use only, do not publish."


def _plain(value):
    """A value of `facts` as text; a dict becomes one line."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_plain(one)}" for key, one in value.items())
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value) if isinstance(value, str | Path) else json.dumps(value, default=str)


_FORMAT = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
_PAGES = Environment(loader=PackageLoader("kdloss.evaluation", "page"), **_FORMAT)
_PAGES.filters |= {
    "cell": cell_text,
    "plain": _plain,
    "sha256": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
}
PIECES = _PAGES.get_template("pieces.html").module
html_table = PIECES.html_table
