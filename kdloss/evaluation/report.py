"""One HTML file that holds everything: tables, pictures, configuration. It asks no network for anything."""

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from pathlib import Path

from asm.atomic import write_whole
from kdloss.errors import DataError

STYLE = r"""
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--page:#fff;--card:#f6f8fa;--line:#d1d9e0;--accent:#0072b2;
--warn:#fff4d6;--warn-line:#b07d00}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--page:#0d1117;--card:#161b22;--line:#30363d;
--accent:#56b4e9;--warn:#3a2d05;--warn-line:#e69f00}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem;max-width:72rem;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:.2rem 0 .6rem}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
h3{font-size:1.02rem;margin:1.4rem 0 .5rem}
h1,h2,h3,p,li,figcaption{overflow-wrap:anywhere}
a{color:var(--accent)}
nav{display:flex;flex-wrap:wrap;gap:.3rem 1rem;font-size:.9rem}
.notice{background:var(--warn);border-left:4px solid var(--warn-line);padding:.6rem .9rem;margin:.8rem 0}
.scroll{margin:.8rem 0;overflow-x:auto;border:1px solid var(--line);border-radius:6px;
background:linear-gradient(to left,var(--page) 40%,transparent) right/3rem 100% no-repeat local,
linear-gradient(to left,var(--soft),transparent) right/.7rem 100% no-repeat scroll,var(--page)}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.5rem .7rem;color:var(--soft);position:sticky;left:0;max-width:min(70rem,100vw - 2rem)}
th,td{padding:.35rem .7rem;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
thead th{background:var(--card)}
tr>:first-child{text-align:left;position:sticky;left:0;background:var(--page)}
thead tr>:first-child{background:var(--card)}
thead .sortable{padding:0}
.sortable button{all:unset;display:block;box-sizing:border-box;width:100%;padding:.35rem .7rem;cursor:pointer}
.sortable button::after{content:"\2195";display:inline-block;width:1em;margin-left:.2em;text-align:center;
color:var(--soft)}
[aria-sort=ascending] button::after{content:"\2191";color:var(--accent)}
[aria-sort=descending] button::after{content:"\2193";color:var(--accent)}
.sortable button:hover{color:var(--accent)}
:focus-visible,.sortable button:focus-visible{outline:2px solid var(--accent);outline-offset:-2px}
tbody th{font-weight:600}
.words{text-align:left}
.published th,.published td,.baseline th,.baseline td{font-weight:400;color:var(--soft)}
.facts th,.facts td{text-align:left;white-space:normal;overflow-wrap:anywhere;vertical-align:top}
.facts th{width:30%;font-weight:600}
.notes{color:var(--soft);font-size:.85rem;padding-left:1.2rem}
figure{margin:1rem 0}
img{max-width:100%;height:auto;background:#fff;border-radius:6px;padding:4px}
figcaption{color:var(--soft);font-size:.88rem}
.gallery{display:grid;gap:.7rem;grid-template-columns:repeat(auto-fill,minmax(max(9.3rem,22%),1fr))}
.charts{display:grid;gap:0 1.2rem;align-items:start;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
.wide{overflow-x:auto}
.wide img{min-width:44rem}
.gallery figure{margin:0}
.gallery img{display:block;width:100%;padding:0}
.gallery figcaption{font-size:.8rem;line-height:1.35;padding-top:.2rem}
.swatch{display:inline-block;width:1.6em;height:.35em;margin:0 .35em .2em 0;border:1px solid var(--ink)}
.swatch:not(:first-child){margin-left:1.1em}
details{margin:.8rem 0}
summary{cursor:pointer;padding:.3rem 0}
@media (max-width:40rem){body{padding:.7rem}th,td,.sortable button{padding:.3rem .5rem}tr>:first-child{
min-width:8rem;max-width:9.5rem;white-space:normal}.sortable button{padding-block:.55rem}}
"""

# Headings become buttons: ascending, descending, as written. The rows stand in the page, so without the script all but
# the sorting works. A column is of numbers if every cell that holds anything starts with one; marks and units may
# follow, the rest of a date or version may not.
SCRIPT = r"""
(() => {
  const words = new Intl.Collator("en", {numeric: true, sensitivity: "base"});
  const number = text => {
    const found = /^[(\[<>~]*([+\u2212-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)(?![\d.:-])/i.exec(text);
    return found ? Number(found[1].replace(/,/g, "").replace("\u2212", "-")) : NaN;
  };
  const next = {none: "ascending", ascending: "descending", descending: "none"};
  const order = (rows, column, direction) => {
    const cells = rows.map(row => row.cells[column].textContent.trim());
    const given = cells.filter(text => text !== "" && text !== "-");
    const keys = given.some(text => Number.isNaN(number(text))) ? cells : cells.map(number);
    const compare = keys === cells ? words.compare : (a, b) => a - b;
    const sign = direction === "descending" ? -1 : 1;
    const absent = i => cells[i] === "" || cells[i] === "-";
    const places = rows.map((_, i) => i);
    if (direction !== "none") {
      places.sort((i, j) => absent(i) - absent(j) || (absent(i) ? 0 : sign * compare(keys[i], keys[j])));
    }
    return places.map(i => rows[i]);
  };
  for (const table of document.querySelectorAll(".scroll table:not(.facts)")) {
    const heads = [...table.querySelectorAll("thead th")], body = table.tBodies[0];
    const rows = body ? [...body.rows] : [];
    if (rows.length < 2 || rows.some(row => row.cells.length !== heads.length)) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      head.classList.add("sortable");
      button.addEventListener("click", () => {
        const direction = next[head.getAttribute("aria-sort") || "none"];
        heads.forEach(other => other.removeAttribute("aria-sort"));
        if (direction !== "none") head.setAttribute("aria-sort", direction);
        body.append(...order(rows, column, direction));
      });
    });
  }
})();
"""

# What the page may load: pictures that it holds, its style, and the one script above. Nothing else runs, whatever text
# finds its way into the page.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)


@dataclass(frozen=True)
class Section:
    """A heading and the pieces of HTML below it (from `html_table` and the functions of this module)."""

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
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon, or the browser asks a server for one.
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        f"{paragraph(summary) if summary else ''}{boxes}<nav>{links}</nav>\n"
        f"{body}<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
    write_whole(path, page)


def paragraph(text):
    """Plain text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def subheading(text):
    """A heading inside a section, from plain text."""
    return f"<h3>{html.escape(text)}</h3>"


def colour_key(colours):
    """A line that says what colours mean: a dict of label -> colour (``#rrggbb``)."""
    return (
        "<p>"
        + "".join(
            f'<span class="swatch" style="background:{html.escape(colour)}"></span>{html.escape(label)}'
            for label, colour in colours.items()
        )
        + "</p>"
    )


def group(kind, *pieces):
    """Pieces side by side as the page's style has them.

    Args:
        kind: ``gallery``: small pictures, two on a phone, four on a desk; ``charts``: below each other on a phone, side
            by side where there is room; ``wide``: a picture with letters too small for a phone, where it scrolls.
        pieces: HTML, such as from `picture`.
    """
    return f'<div class="{kind}">{"".join(pieces)}</div>'


def folded(summary, *pieces):
    """Pieces that open with a click on their summary, plain text."""
    return f"<details><summary>{html.escape(summary)}</summary>{''.join(pieces)}</details>"


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
    """A dict as a table of two columns: configuration, environment, protocol. A dict in it becomes one line."""
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
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_plain(held)}" for key, held in value.items())
    return json.dumps(value, default=str)
