"""A hook of MkDocs: brings the pages of the site together in ``docs_dir``, as they lie in the repository.

So a link that holds on a code host holds on the site. Notebooks become Markdown with the outputs that they store, and
their formulas become MathML, which browsers draw without a script.
"""

import html
import re
import shutil
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert import MarkdownExporter
from nbconvert.writers import FilesWriter

PAGES = ("*.md", "docs/**/*.*", "kdloss/pretrained/*/README.md", "kdloss/evaluation/published.yml")
# As the extension arithmatex leaves them: \(inline\), \[display\].
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config):
    place = Path(config.docs_dir)
    shutil.rmtree(place, ignore_errors=True)
    for file in [file for pattern in PAGES for file in Path().glob(pattern)]:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / file)
    for file in Path("notebooks").glob("*.ipynb"):
        names = {"unique_key": file.stem, "output_files_dir": f"{file.stem}_files"}
        text, resources = MarkdownExporter().from_filename(str(file), resources=names)
        writer = FilesWriter(build_directory=str(place / "notebooks"))
        writer.write(text, resources, notebook_name=file.stem)


def on_page_markdown(markdown, **_):
    return re.sub(r"(\]\([^()\s]+)\.ipynb\)", r"\1.md)", markdown)


def on_page_content(content, **_):
    return FORMULA.sub(_mathml, content)


def _mathml(found):
    return convert(html.unescape(found[2]), display="block" if found[1] == "div" else "inline")
