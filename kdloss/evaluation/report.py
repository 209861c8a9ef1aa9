"""One HTML file that holds everything: tables, pictures, configuration. It asks no network for anything."""

import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path

from asm.atomic import write_whole
from kdloss.errors import DataError

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--page:#fff;--card:#f6f8fa;--line:#d1d9e0;--accent:#0072b2;
--warn:#fff4d6;--warn-line:#b07d00}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--page:#0d1117;--card:#161b22;--line:#30363d;
--accent:#56b4e9;--warn:#3a2d05;--warn-line:#e69f00}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem;max-width:72rem;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:.2rem 0 .6rem}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
h1,h2,p,li,figcaption{overflow-wrap:anywhere}
a{color:var(--accent)}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1rem;font-size:.9rem}
.notice{background:var(--warn);border-left:4px solid var(--warn-line);padding:.6rem .9rem;margin:.8rem 0}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.5rem .7rem;color:var(--soft)}
th,td{padding:.35rem .7rem;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
thead th{background:var(--card)}
tr>:first-child{text-align:left;position:sticky;left:0;background:var(--page)}
thead tr>:first-child{background:var(--card)}
tbody th{font-weight:600}
.published th,.published td,.baseline th,.baseline td{font-weight:400;color:var(--soft)}
.facts th,.facts td{text-align:left;white-space:normal;overflow-wrap:anywhere;vertical-align:top}
.facts th{width:30%;font-weight:600}
.notes{color:var(--soft);font-size:.85rem;padding-left:1.2rem}
figure{margin:1rem 0}
img{max-width:100%;height:auto;background:#fff;border-radius:6px;padding:4px}
figcaption{color:var(--soft);font-size:.88rem}
@media (max-width:40rem){body{padding:.7rem}th,td{padding:.3rem .5rem}tr>:first-child{max-width:9.5rem;
white-space:normal}}
"""


@dataclass(frozen=True)
class Section:
    """A heading and the pieces of HTML below it (from `html_table`, `picture`, `facts`, `paragraph`)."""

    heading: str
    pieces: tuple[str, ...]


def write_report(path, *, title, sections, summary="", notices=()):
    """Writes the report, whole or not at all.

    Args:
        path: of the ``.html``.
        title: heading of the page.
        sections: `Section`\\ s in order.
        summary: one or two sentences under the title, plain text.
        notices: plain sentences set off at the top (rendered faces, faces that must not be published).
    """
    links = "".join(f'<a href="#section-{i}">{html.escape(section.heading)}</a>' for i, section in enumerate(sections))
    body = "".join(
        f'<section id="section-{i}"><h2>{html.escape(section.heading)}</h2>{"".join(section.pieces)}</section>\n'
        for i, section in enumerate(sections)
    )
    boxes = "".join(f'<p class="notice">{html.escape(notice)}</p>' for notice in notices)
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon, or the browser asks a server for one.
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        f"{paragraph(summary) if summary else ''}{boxes}<nav>{links}</nav>\n"
        f"{body}</body>\n</html>\n"
    )
    write_whole(path, page)


def paragraph(text):
    """Plain text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def picture(image, caption):
    """The bytes of a PNG or JPEG, held in the page itself, with a caption that also serves as its description.

    Raises:
        DataError: bytes of another format.
    """
    kinds = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}
    kind = next((name for magic, name in kinds.items() if image.startswith(magic)), None)
    if kind is None:
        raise DataError(f"report picture ({caption}): neither PNG nor JPEG")
    data, text = base64.b64encode(image).decode("ascii"), html.escape(caption)
    return f'<figure><img src="data:image/{kind};base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def facts(values):
    """A dict as a table of two columns: configuration, environment, protocol. Nested values are shown as JSON."""
    lines = "".join(
        f'<tr><th scope="row">{html.escape(str(key))}</th><td>{html.escape(_plain(value))}</td></tr>'
        for key, value in values.items()
    )
    return f'<div class="scroll"><table class="facts"><tbody>{lines}</tbody></table></div>'


def faces_notice(spec, synthetic):
    """What must be said over pictures of a data set's faces: rendered, or not to be published."""
    if synthetic:
        return (
            f"The faces are SYNTHETIC: rendered in the layout of {spec.title}. "
            "Published numbers are of real faces and not comparable."
        )
    return f"Contains faces of {spec.title}: research use only, do not publish."


def _plain(value):
    if isinstance(value, str | Path):
        return str(value)
    return json.dumps(value, default=str)
