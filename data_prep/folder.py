"""The user's own faces: a folder of pictures, with annotations in any format of `data_prep.formats`.

Faces may have any number of points, the same for all. Nothing is guessed in silence: `RawDataset.read_as` and the
warnings say what was found, and what can be read in two ways is refused.
"""

import collections
import re
from pathlib import Path, PurePosixPath

import numpy as np

from data_prep.formats import FILE_A_PICTURE, SUFFIXES, read_annotations
from data_prep.pictures import find_pictures, in_frame, split_of
from data_prep.raw import SYNTHETIC_MARK, Face, FacesOnDisk, RawDataset, SkippedFace
from data_prep.w300 import mirrored_copy_of
from kdloss.data.datasets import DATASETS
from kdloss.data.images import IMAGE_SUFFIXES, read_image
from kdloss.data.schemes import SCHEMES, LandmarkScheme
from kdloss.errors import DataError
from kdloss.files import data_files, read_text

NAMES_FILE = "points.txt"
# Numbered file names tell people apart only if they form at least this many groups.
_MIN_GROUPS = 10
_NUMBERED = re.compile(r"(.*[^_-])[_-]+\d+")
_DIGITS = "0123456789"


def read_folder(source, annotations=(), category=None, exif=None, rescale=False):
    """Opens a folder of the user's own faces.

    Args:
        source: the folder.
        annotations: files of one format; by default all that lie in the folder.
        category: the category of COCO-style files to read, if several have points.
        exif: whether points refer to pictures ``upright``, turned as their EXIF orientation says, or as ``stored``; by
            default the annotated width and height have to tell.
        rescale: whether to scale points that were annotated in a picture of another size; otherwise they are refused.

    Raises:
        UserError: no annotations, of several formats or kinds, or what can be read in two ways.
    """
    source, warnings, files = Path(source), [], list(data_files(source))
    pictures = {path: _below(source, path) for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    candidates = [path for path in files if path.suffix.lower() in SUFFIXES and path.name != SYNTHETIC_MARK]
    given = [*map(Path, annotations)]
    kind, annotated = _annotated(source, given or candidates, category, bool(given), warnings)
    faces = find_pictures(pictures, annotated)
    scheme, about, faces = _named(source, faces)
    if not scheme.mirrorable:
        warnings.append(f"no point's name says left or right, so no view is mirrored: name the points in {NAMES_FILE}")
    faces = in_frame(_grouped(faces, pictures, warnings), exif, rescale, warnings)
    if bare := sorted(pictures[path] for path in pictures.keys() - {face.path for face in faces}):
        warnings.append(f"{len(bare)} pictures have no annotation, the first is {bare[0]}")
    entries = FacesOnDisk([(face,) for face in faces], _read_face)
    return RawDataset(scheme, entries, warnings=tuple(warnings), read_as=f"{kind}, {about}")


def _annotated(source, files, category, chosen, warnings):
    """The format in words, and what `find_pictures` takes for each annotation in files."""
    found, unknown = collections.defaultdict(dict), []
    for path in files:
        try:
            kind, faces = read_annotations(path, category)
            found[kind][path] = faces
        except DataError as error:
            if chosen:
                raise
            unknown.append(error)
    if unknown and not found:
        raise DataError("; ".join(map(str, unknown[:3])))
    if len(found) != 1:
        kinds = ", ".join(f"{kind} ({_below(source, next(iter(some)))})" for kind, some in found.items())
        problem = f"several formats, {kinds}: choose with --annotations FILE" if found else f"no {', '.join(SUFFIXES)}"
        raise DataError(f"{source}: found {problem}")
    ((kind, some),) = found.items()
    lists = len(some) > 1 and kind not in FILE_A_PICTURE
    splits = {path: split_of(_below(source, path), path.stem if lists else "") for path in some}
    names = ", ".join(_below(source, path) for path in [*some][:3])
    if lists and not chosen and not all(splits.values()):
        problem = f"{len(some)} files of {kind} ({names}), and not all name a split (train, val, test)"
        raise DataError(f"{source}: found {problem}: choose with --annotations FILE")
    if unknown:
        warnings.append(f"left out {len(unknown)} other files, the first: {unknown[0]}")
    annotated = [(face, _below(source, path.parent), splits[path]) for path, faces in some.items() for face in faces]
    return f"{kind} ({names})" if len(some) < 4 else f"{len(some)} files of {kind}", annotated


def _below(root, path):
    """The path below a folder as a text with /, or the whole path if it lies elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _named(source, faces):
    """The scheme of the points, words about it, and the faces with points in its order, or refused."""
    usable = [face.annotation for face in faces if face.annotation.points is not None]
    if not usable:
        first = f": the first, {faces[0].name}: {faces[0].problem}" if faces else ""
        raise DataError(f"{source}: found no usable annotation{first}")
    counts = collections.Counter(name for annotation in usable for name in annotation.names)
    order = [name for name, count in counts.items() if 2 * count > len(usable)]
    num_points = len(order) or collections.Counter(len(face.points) for face in usable).most_common(1)[0][0]
    names, about = order, "named by their labels"
    if len({name.rstrip(_DIGITS) for name in order}) < 2 and all(name.endswith(tuple(_DIGITS)) for name in order):
        order.sort(key=lambda name: (len(name.lstrip("0")), name))
        names, about = None, "without names"
    elif any(annotation.names != usable[0].names for annotation in usable):
        order.sort()
    if (path := source / NAMES_FILE).is_file():
        names, about = _listed_names(path, num_points), f"named by {NAMES_FILE}"
        order = names if set(names) == set(order) else order
    scheme = LandmarkScheme.plain(num_points, names)
    if names is None and (known := SCHEMES.get(str(num_points))):
        title = next(spec.title for spec in DATASETS.values() if spec.scheme == known.name)
        scheme, about = known, f"taken for those of {title}"
    if scheme.mirrorable:
        scheme.mirror  # noqa: B018  a name without a partner is an error now, not in the middle of a training
    return scheme, f"{num_points} points {about}", [_in_order(face, order, num_points) for face in faces]


def _listed_names(path, num_points):
    try:
        names = [name.strip() for name in read_text(path, "utf-8-sig").splitlines() if name.strip()]
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: no text in UTF-8 ({error}): write one name a line") from error
    if len(names) != num_points:
        raise DataError(f"{path}: found {len(names)} names, expected {num_points}, one for each point")
    return names


def _in_order(face, order, num_points):
    points, names, hidden = face.annotation.points, face.annotation.names, face.annotation.occluded
    if points is None:
        return face
    if foreign := set(names) - set(order):
        return face.changed(problem=f"has a point {min(foreign)} that most faces lack")
    if names and [*names] != order:
        rows = [names.index(name) if name in names else len(names) for name in order]
        points = np.concatenate([points, [(np.nan, np.nan)]]).astype(np.float32)[rows]
        hidden = None if hidden is None else np.append(hidden, False)[rows]
    if len(points) != num_points:
        return face.changed(problem=f"has {len(points)} points, expected {num_points} as most faces have")
    if np.isnan(points).any(axis=-1).all():
        return face.changed(problem=f"none of its {num_points} points is labelled")
    return face.changed(points=points, occluded=hidden)


def _grouped(faces, pictures, warnings):
    """Faces with group and split. The group is the person or video that a numbered file name tells, or the picture.

    Mirrored copies belong to the group of their original; one in another split than that is refused. Without test
    faces, the split of all but those for validation is left to be drawn.
    """
    rest = "train" if any(face.split == "test" for face in faces) else ""
    faces = [face.changed(split=face.split if face.split in ("test", "val") else rest) for face in faces]
    splits = {face.path: face.split for face in faces if face.path}
    originals = _originals(splits)
    numbered = {path: _NUMBERED.fullmatch(original.stem) for path, original in originals.items()}
    groups = {path: match[1] if match else pictures[originals[path]] for path, match in numbered.items()}
    if len({*groups.values()}) < _MIN_GROUPS:
        groups = {path: pictures[original] for path, original in originals.items()}
    trained = {groups[path] for path, split in splits.items() if split == "train"}
    tested = [groups[path] in trained for path, split in splits.items() if split == "test"]
    if any(tested):
        count = f"{sum(tested)} of {len(tested)} test pictures"
        warnings.append(f"by their file names {count} are of people or videos also trained on")
    for number, face in enumerate(faces):
        if face.path:
            original = originals[face.path]
            mirrored = f"mirrors {pictures[original]}, which is for another split"
            problem = mirrored if splits[original] != face.split else ""
            faces[number] = face.changed(group=groups[face.path], problem=problem)
    return faces


def _originals(paths):
    """Path -> path of the picture that it is a mirrored copy of by its name, best in the same folder; or itself."""
    alike, originals = collections.defaultdict(list), {}
    for path in paths:
        alike[path.stem].append(path)
    for path in paths:
        found = alike.get(mirrored_copy_of(path.stem), [])
        originals[path] = next((other for other in found if other.parent == path.parent), (*found, path)[0])
    return originals


def top_folder(path):
    """The first folder of a path with /, or an empty text."""
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else ""


def _read_face(face):
    if face.problem:
        return SkippedFace(face.name, face.problem)
    try:
        image = read_image(face.path, face.upright)
    except DataError as error:
        return SkippedFace(face.name, str(error))
    given, part = face.annotation, top_folder(face.name) or "faces"
    more = {"box": given.box, "occluded": given.occluded}
    return Face(face.name, image, given.points, face.split, part, face.group, **more)
