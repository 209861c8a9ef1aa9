"""From chunks of faces that were cut, by whomever, to the arrays and rows of one prepared set."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from asm.atomic import replacing
from data_prep.chunks import Uncut, chunk_starts, read_chunk


@dataclass
class Found:
    """What is known of the faces once their crops are on disk; one entry a face in each list but the last two."""

    numbers: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    points: list = field(default_factory=list)
    to_image: list = field(default_factory=list)
    occluded: list = field(default_factory=list)
    digests: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    outside: list = field(default_factory=list)


def gathered(chunks, total):
    """The `Found` of all chunks, which are done. Of faces of one name the first is taken."""
    found, seen = Found(), set()
    faces = (face for start in chunk_starts(total) for face in read_chunk(chunks, start))
    for number, face in enumerate(faces):
        name = face.name
        if name in seen and face.read:
            found.skipped.append({"name": name, "reason": "a face of this name came before"})
        elif isinstance(face, Uncut):
            found.skipped.append({"name": name, "reason": face.reason})
        else:
            seen.add(name)
            found.numbers.append(number)
            found.rows.append(face.row)
            found.points.append(face.points)
            found.to_image.append(face.to_image)
            found.occluded.append(face.occluded)
            found.digests.append(face.digest)
            if face.outside:
                found.outside.append(name)
    return found


def close_gaps(faces, found):
    """Moves the faces that were cut up, so that they are the first in the `FacesFile`."""
    for place, number in enumerate(found.numbers):
        if place != number:
            faces.put(place, faces.get(number))


def gaps_closed_before(faces, chunks, total):
    """The `Found`, if another process has begun to close its gaps, and this one can bring that to an end; else None."""
    try:
        found = gathered(chunks, total)
    except (OSError, ValueError):
        return None
    for place, (number, digest) in enumerate(zip(found.numbers, found.digests, strict=True)):
        if not _is(faces.get(place), digest):
            pixels = faces.get(number)
            if not _is(pixels, digest):
                return None
            faces.put(place, pixels)
    return found


def _is(pixels, digest):
    return hashlib.sha256(pixels).digest() == digest.tobytes()


def write_arrays(folder, found):
    """Writes the arrays of a prepared folder, but for the faces themselves."""
    arrays = {
        "points": np.array(found.points, np.float32),
        "to_image": np.array(found.to_image, np.float64),
        "digests": np.array(found.digests, np.uint8),
    }
    if any(flags is not None for flags in found.occluded):
        none = np.zeros(len(found.points[0]), bool)
        arrays["occluded"] = np.stack([none if flags is None else flags for flags in found.occluded])
    for name, array in arrays.items():
        with replacing(folder / f"{name}.npy") as work:
            np.save(work, array, allow_pickle=False)
