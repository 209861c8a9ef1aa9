"""Faces without landmarks: the pictures of a folder, and a box for each face in place of its landmark box."""

from pathlib import Path

import numpy as np

from data_prep.folder import top_folder
from data_prep.raw import Face, FacesOnDisk, RawDataset, SkippedFace
from kdloss.data.boxes import box_array, read_boxes
from kdloss.data.images import IMAGE_SUFFIXES, read_image
from kdloss.data.prepared import UNLABELLED
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import DataError
from kdloss.files import data_files

_LARGEST = 4  # sides of the image; the crop of a larger box would hardly show the image


def read_unlabelled(source, boxes, progress):
    """Opens the pictures in a folder and in all folders below it, whatever annotations lie beside them.

    A picture without a face becomes a `SkippedFace`. Of several faces of a picture, the k-th is named ``picture#k``.

    Args:
        source: the folder.
        boxes: a file of `read_boxes` that names pictures by their paths below the folder; or a function from a picture
            (H, W, 3) uint8 RGB to the boxes (k, 4) of its faces in pixels, which is called at once for each picture.
        progress: shows how many pictures are searched, see `data_prep.prepare.print_progress`.

    Raises:
        DataError: no pictures, or a file of boxes that is damaged or names none of them.
    """
    source = Path(source)
    pictures, described = _pictures(source), []
    found = _search(source, pictures, boxes, progress) if callable(boxes) else _given(source, pictures, boxes)
    for picture, faces, reason in found:
        for number, box in enumerate(faces or [None], start=1):
            name = f"{picture}#{number}" if len(faces) > 1 else picture
            described.append((source / picture, picture, name, box, reason))
    return RawDataset(LandmarkScheme.plain(0), FacesOnDisk(described, _read_face))


def _pictures(source):
    """The paths of all pictures below a folder, sorted, with /."""
    paths = (path for path in data_files(source) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    pictures = sorted(path.relative_to(source).as_posix() for path in paths)
    if not pictures:
        raise DataError(f"{source}: holds no pictures ({', '.join(IMAGE_SUFFIXES)}): give another --source")
    return pictures


def _search(source, pictures, find, progress):
    """Yields each picture, its boxes, and the reason why it has none."""
    for picture in progress(pictures, len(pictures), "pictures"):
        try:
            yield picture, find(read_image(source / picture)).tolist(), "no face was found in it"
        except DataError as error:
            yield picture, [], str(error)


def _given(source, pictures, path):
    """As `_search`, from a file, also for names in it that no picture has. Boxes are as the file holds them."""
    given = read_boxes(path)
    if given.keys().isdisjoint(pictures):
        problem = f"names none of the {len(pictures)} pictures below {source}"
        raise DataError(f"--boxes {path}: {problem}: expected paths below that folder, such as {pictures[0]}")
    for picture in pictures:
        boxes = given.pop(picture, [])
        yield picture, boxes if isinstance(boxes, list) else [boxes], f"{path} has no box of it"
    for name in given:
        yield name, [], f"{path} names it, and there is no such picture below {source}"


def _read_face(path, picture, name, box, reason):
    if box is None:
        return SkippedFace(name, reason)
    if (boxes := box_array([box])) is None or boxes.shape[1] != 4:
        found = " ".join(map(str, box)) if isinstance(box, list) else box
        return SkippedFace(name, f"found box {found}, expected finite x, y, width, height, the last two above zero")
    try:
        image = read_image(path)
    except DataError as error:
        return SkippedFace(name, str(error))
    (x, y, width, height), (rows, columns) = boxes[0].tolist(), image.shape[:2]
    # Pixel centres lie at integers.
    inside = -0.5 - width < x < columns - 0.5 and -0.5 - height < y < rows - 0.5
    if not inside or max(width, height) > _LARGEST * max(rows, columns):
        problem = f"{'is far larger than' if inside else 'lies outside'} its image of {columns} x {rows} pixels"
        return SkippedFace(name, f"its box {x:g} {y:g} {width:g} {height:g} {problem}", read=True)
    part = top_folder(picture) or "faces"
    return Face(name, image, np.empty((0, 2), np.float32), UNLABELLED, part, group=picture, box=(x, y, width, height))
