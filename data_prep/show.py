"""A contact sheet of a prepared folder: some faces of each split, with points, their names and mirror partners."""

import collections
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.prepare import count_report
from kdloss.data.prepared import IMAGE_COLUMN, PreparedDataset
from kdloss.files import replacing

_TILE, _COLUMNS, _LINE = 320, 4, 16  # pixels, faces in a row, pixels of a line of text
_SIDES = {-1: (86, 180, 233), 0: (255, 255, 255), 1: (240, 228, 66)}  # RGB of a point: lower, own or higher partner
_NUMBERED = 30  # points at most, to be numbered in the faces


def show_prepared(path, out, count=12):
    """Writes the sheet of ``count`` faces to ``out``, a .png; returns lines of numbers that a person should check.

    Raises:
        UserError: no prepared folder, or ``out`` cannot be written.
    """
    prepared = PreparedDataset(path)
    names = prepared.scheme.names
    mirror = prepared.scheme.mirror if prepared.scheme.mirrorable else np.arange(len(names))
    pairs = [f"{i} {name} <-> {j} {names[j]}" for i, (name, j) in enumerate(zip(names, mirror, strict=True)) if i < j]
    single = [f"{i} {name}" for i, (name, j) in enumerate(zip(names, mirror, strict=True)) if i == j]
    with replacing(out) as work:
        _sheet(prepared, _spread(prepared.table["split"], count), mirror, [*pairs, *single]).save(work)
    lines = [
        *count_report(prepared.manifest),
        f"{len(pairs)} pairs of mirror partners, {len(single)} points of their own",
    ]
    return [*lines, *_duplicates(prepared.table)]


def _spread(splits, count):
    """Row numbers of faces, evenly from each split."""
    found = [np.flatnonzero(splits == split) for split in sorted(set(splits))]
    each = max(1, count // len(found))
    return np.concatenate([rows[np.linspace(0, len(rows) - 1, min(each, len(rows)), dtype=int)] for rows in found])


def _duplicates(table):
    """A line about pictures that are there under several names."""
    names = collections.defaultdict(set)
    for name, image in zip(table["name"], table.get(IMAGE_COLUMN, ()), strict=False):
        names[image].add(str(name).partition("#")[0])
    several = sorted(sorted(some) for some in names.values() if len(some) > 1)
    first = f", the first: {' and '.join(several[0][:2])}" if several else ""
    return [f"{len(several)} pictures are there under several names{first}"] if IMAGE_COLUMN in table else []


def _sheet(prepared, rows, mirror, names):
    font = ImageFont.load_default(size=_LINE - 4)
    down, listed = -(-len(rows) // _COLUMNS), -(-len(names) // _COLUMNS)
    height = down * (_TILE + _LINE)
    sheet = Image.new("RGB", (_COLUMNS * _TILE, height + (listed + 1) * _LINE))
    drawing = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        left, top = place % _COLUMNS * _TILE, place // _COLUMNS * (_TILE + _LINE)
        sheet.paste(Image.fromarray(prepared.faces[int(row)]).resize((_TILE, _TILE)), (left, top + _LINE))
        title = f"{prepared.table['split'][row]} {PurePosixPath(prepared.table['name'][row]).name}"
        drawing.text((left, top), title[:50].encode("ascii", "replace").decode(), font=font)
        points = (prepared.points[row] + 0.5) * (_TILE / prepared.size) - 0.5 + (left, top + _LINE)
        for i in np.flatnonzero(np.isfinite(points).all(axis=1)).tolist():
            (x, y), j = points[i], mirror[i]
            colour = _SIDES[int(np.sign(j - i))]
            if i < j and np.isfinite(points[j]).all():
                drawing.line([(x, y), tuple(points[j])], fill=(120, 120, 120))
            drawing.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
            if len(points) <= _NUMBERED:
                drawing.text((x + 3, y - 6), str(i), font=font, fill=colour)
    for place, name in enumerate(names):
        column, line = divmod(place, listed)
        drawing.text((column * _TILE, height + line * _LINE), name[:50].encode("ascii", "replace").decode(), font=font)
    return sheet
