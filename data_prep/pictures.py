"""Finds the pictures of annotations, whose names and sizes may be another machine's, and the frame of their points."""

import collections
import contextlib
import dataclasses
import itertools
import operator
import posixpath
import re
import unicodedata
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from data_prep.formats import Annotation
from kdloss.data.images import stored_size
from kdloss.errors import ConfigError

_SPLIT = r"(?:images?[ _-]?)?(train|val|test)(?:ing|id|idation)?(?:[ _-]?(?:set|images?|faces|data|\d+))?"


@dataclasses.dataclass(frozen=True)
class AnnotatedFace:
    """An annotation, and the picture that it is of."""

    name: str  # the picture's path below its folder, with #number if the picture holds several faces
    annotation: Annotation
    path: Path | None = None  # of the picture
    split: str = ""  # that files and folders name
    problem: str = ""  # why the face is unusable
    upright: bool = True  # whether points refer to the picture as its EXIF orientation turns it
    turned: bool = False  # whether that changes anything
    ways: dict = dataclasses.field(default_factory=dict)  # "upright", "stored" -> (width, height), as far as possible
    group: str = ""

    def changed(self, **fields):
        """A copy with other fields, also of the annotation. The first problem stays."""
        own = {name: fields.pop(name) for name in ("points", "occluded", "box") if name in fields}
        annotation = dataclasses.replace(self.annotation, **own) if own else self.annotation
        fields["problem"] = self.problem or fields.get("problem", "")
        return dataclasses.replace(self, annotation=annotation, **fields)


def split_of(path, words=""):
    """The split that folders of a relative path name (``images/train``), else words of a text, else ""."""
    texts = (*PurePosixPath(path.replace("\\", "/")).parts[:-1], *re.split(r"[\W\d_]+", words))
    matches = (re.fullmatch(_SPLIT, text, re.IGNORECASE) for text in texts)
    return next((match[1].lower() for match in matches if match), "")


def find_pictures(names, annotated):
    """A list of `AnnotatedFace`\\ s.

    The picture of an annotation is the one whose path has most last parts in common with the annotated name. The suffix
    may be missing there. It is none of another split, and none that fits another annotated name as well or better.

    Args:
        names: path of each picture -> its path below its folder, with /.
        annotated: (`Annotation`, folder of its file, split of its file) of each face, as texts.
    """
    alike, claims, faces = collections.defaultdict(list), collections.defaultdict(dict), []
    for path, name in names.items():
        *parts, last = _parts(name)
        for key in (last, last.rpartition(".")[0]):
            alike[key].append((path, parts, split_of(name)))
    for annotation, folder, split in annotated:
        wanted = _parts(posixpath.join(folder, annotation.picture.replace("\\", "/")))
        split, fits, path = split or split_of(annotation.picture), {}, None
        for other, parts, own in alike[wanted[-1]]:
            if not (own and split and own != split):
                same = itertools.takewhile(bool, map(operator.eq, parts[::-1], wanted[-2::-1]))
                fits[other] = sum(same), parts == wanted[:-1]
        absent = "its name is that of pictures of another split only" if alike[wanted[-1]] else "no such picture"
        most, problem = max(fits.values(), default=None), annotation.problem or absent
        if best := [other for other, fit in fits.items() if fit == most]:
            path, problem = best[0], annotation.problem
        if len(best) > 1:
            several = f"fits {names[best[0]]} and {names[best[1]]} equally well: give them other names"
            path, problem = None, problem or several
        claims[path][name := "/".join(wanted)] = most
        split = split or split_of(names.get(path, ""))
        faces.append((name, AnnotatedFace(names.get(path, name), annotation, path, split, problem)))
    counts = collections.Counter(face.path for _, face in faces)
    return [_claimed(wanted, face, claims[face.path], counts[face.path]) for wanted, face in faces]


def _parts(name):
    """The parts of a path of any system, in one Unicode form."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/"))).split("/")


def _claimed(wanted, face, claims, count):
    if not face.path:
        return face
    rivals = [name for name, fit in claims.items() if name != wanted and fit >= claims[wanted]]
    problem = f"its picture is annotated as {wanted} and as {rivals[0]}" if rivals else ""
    return face.changed(problem=problem, name=f"{face.name}#{face.annotation.number}" if count > 1 else face.name)


def in_frame(faces, exif, rescale, warnings):
    """Faces with points in pixels of their pictures, upright or as stored, whichever they were annotated in.

    Args:
        exif, rescale: see `data_prep.folder.read_folder`.
        warnings: a list, to which a line is added.

    Raises:
        ConfigError: pictures are turned by EXIF, and nothing tells which way they were annotated.
    """
    faces = [face if face.problem else _measured(face, exif, rescale) for face in faces]
    told = {way for face in faces if face.turned and len(face.ways) == 1 for way in face.ways}
    unclear = [face.name for face in faces if len(face.ways) > 1]
    if unclear and len(told) != 1:
        found = f"{len(unclear)} faces are in pictures that their EXIF orientation turns, the first is {unclear[0]}"
        raise ConfigError(f"{found}: nothing tells which way they were annotated: add --exif upright, or --exif stored")
    faces = [_framed(face, [*(face.ways if len(face.ways) < 2 else told)]) for face in faces]
    if stored := sum(not face.upright for face in faces):
        found = f"{stored} faces are in pictures read as stored, not as their EXIF orientation turns them"
        warnings.append(f"{found}: they were annotated so, and those that lie on their side there stay so")
    return faces


def _measured(face, exif, rescale):
    """The face with the ways to read its picture that the annotated size allows; refused if there is none."""
    sides, orientation, size = (0, 0), 1, face.annotation.size
    with contextlib.suppress(Image.DecompressionBombError):  # which reading it will refuse
        sides, orientation = stored_size(face.path) if face.path.is_file() else (sides, orientation)
    if not all(sides):
        return face
    ways = {"upright": sides[::-1] if orientation in range(5, 9) else sides}
    if turned := orientation in range(2, 9):
        ways |= {"stored": sides}
        ways = {exif: ways[exif]} if exif else ways
    fit = {way: (w, h) for way, (w, h) in ways.items() if not size or _alike(size, (w, h), rescale)}
    if not fit:
        (width, height), *_ = ways.values()
        found = f"was annotated at {size[0]:g} x {size[1]:g} pixels, and its picture has {width} x {height}"
        return face.changed(problem=f"{found}: give the picture that was annotated, or add --rescale")
    return face.changed(ways=fit, turned=turned)


def _alike(size, sides, rescale):
    """Whether two (width, height) are the same, or of the same shape if that is enough."""
    return size == sides or (rescale and abs(size[0] * sides[1] - size[1] * sides[0]) <= max(sides))


def _framed(face, way):
    if not way:
        return face
    annotation, sides, upright = face.annotation, face.ways[way[0]], way[0] == "upright"
    if annotation.size in (None, sides):
        return face.changed(upright=upright)
    scale = np.divide(sides, annotation.size)
    points, box = ((annotation.points + 0.5) * scale - 0.5).astype(np.float32), annotation.box
    box = box and (*((np.array(box[:2]) + 0.5) * scale - 0.5), *(np.array(box[2:]) * scale))
    return face.changed(upright=upright, points=points, box=box)
