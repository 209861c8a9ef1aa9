"""Writes synthetic faces in the layout of the official 300-W, COFW or WFLW release, for the real readers to read."""

import collections
import functools
import itertools
import json
from pathlib import Path

import cv2
import h5py
import numpy as np

from data_prep.cofw import VARIABLES
from data_prep.raw import SYNTHETIC_MARK
from data_prep.synthetic import SMALLEST, render_face
from data_prep.wflw import ANNOTATIONS, FLAGS, IMAGES, LIST, LISTS
from kdloss.data.geometry import landmark_box
from kdloss.errors import ConfigError, DataError
from kdloss.files import new_folder

SPLITS = ("train", "test")
# Parts of 300-W in the order in which they get faces, about as often as in the release. Each comes early.
_PARTS = {
    "train": ("helen/trainset", "lfpw/trainset", "afw") + ("helen/trainset", "helen/trainset", "lfpw/trainset") * 2,
    "test": ("helen/testset", "lfpw/testset", "ibug", "helen/testset", "helen/testset", "lfpw/testset"),
}
_PICTURES = {"helen": "{:010d}_1.jpg", "lfpw": "image_{:04d}.png", "afw": "{:09d}_1.jpg", "ibug": "image_{:03d}.jpg"}
_EVENTS = ("0--Synthetic_Parade", "1--Synthetic_Meeting", "2--Synthetic_Portrait", "3--Synthetic_Crowd")
# One COFW picture in this many is grey.
_GREY_EVERY = 7
_MATLAB_HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."
# The points of the 98 that 300-W has: every second one of the jaw, upper brows, six of eight of an eye.
_AS_68 = [*range(0, 33, 2), *range(33, 38), *range(42, 47), *range(51, 60), 60, 61, 63, 64, 65, 67]
_AS_68 += [68, 69, 71, 72, 73, 75, *range(76, 96)]
# The points of the 98 that COFW has. It also has the inner ends of brows, each between two points of the 98.
_AS_29 = [33, 46, 37, 42, 35, 40, 44, 48, 60, 72, 64, 68, 62, 66, 70, 74, 96, 97, 55, 59, 54, 57, 76, 82, 79, 90, 94]
_AS_29 += [85, 16]
_INNER_BROWS, _UNDER_INNER_BROWS = slice(2, 4), [38, 50]


def write_layout(layout, out, *, count, test_count=None, seed=0, size=200, progress=None):
    """Renders faces into a folder of an official layout; ``SYNTHETIC.json`` in it says that they were rendered.

    Args:
        layout: ``300w``, ``cofw`` or ``wflw``.
        out: the folder to make; written beside its place and renamed at the end.
        count, test_count: numbers of training and test faces; ``test_count`` is a quarter of ``count`` by default.
        seed: the same seed gives the same bytes.
        size: width of the pictures in pixels; they are up to a sixth taller.
        progress: passes the faces to render on and shows how many are done, as `data_prep.prepare.print_progress` does.

    Returns:
        Part of the data set -> its number of faces.

    Raises:
        ConfigError: an unknown layout, or a number out of range.
        DataError: ``out`` exists.
    """
    test_count = count // 4 if test_count is None else test_count
    if layout not in _WRITERS:
        raise ConfigError(f"--layout {layout}: expected one of {', '.join(_WRITERS)}")
    if count < 1 or test_count < 0:
        raise ConfigError(f"--count {count} --test-count {test_count}: expected at least 1 and 0 faces")
    if seed < 0:
        raise ConfigError(f"--seed {seed}: expected 0 or more")
    if not SMALLEST <= size <= 2048:
        raise ConfigError(f"--size {size}: expected {SMALLEST} to 2048 pixels")
    out = Path(out)
    if out.exists():
        raise DataError(f"{out}: exists already: give another --out, or remove it first")
    jobs = [(split, i) for split, n in zip(SPLITS, (count, test_count), strict=True) for i in range(n)]
    counts = collections.Counter()
    faces = progress(jobs, len(jobs)) if progress else jobs
    with new_folder(out) as work:
        for split, of_split in itertools.groupby(faces, key=lambda job: job[0]):
            render = functools.partial(_render, seed, size, split)
            counts.update(_WRITERS[layout](work, split, (i for _, i in of_split), render))
        mark = {"synthetic": True, "generator": "data_prep.synthetic", "layout": layout, "seed": seed, "size": size}
        mark["counts"] = counts
        (work / SYNTHETIC_MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")
    return counts


def to_68(points98):
    """(..., 98, C) -> (..., 68, C) in 300-W order."""
    return points98[..., _AS_68, :]


def to_29(points98):
    """(..., 98, C) -> (..., 29, C) in COFW order."""
    points29 = points98[..., _AS_29, :]
    points29[..., _INNER_BROWS, :] = (points29[..., _INNER_BROWS, :] + points98[..., _UNDER_INNER_BROWS, :]) / 2
    return points29


def _render(seed, size, split, i, difficulty=1.0):
    """Face ``i`` of a split: it depends on the seed, the split and ``i``, not on the number of faces."""
    rng = np.random.default_rng([seed, SPLITS.index(split), i])
    # Pictures are taller than wide, which exposes a reader that swaps the axes.
    return render_face(rng, (size + int(rng.integers(1, size // 6)), size), difficulty)


def _write_300w(root, split, numbers, render):
    """Folders of pictures, each with a 1-based ``.pts`` file beside it. Yields their parts."""
    for i in numbers:
        part = _PARTS[split][i % len(_PARTS[split])]
        face = render(i, 1.7 if part == "ibug" else 1.0)  # ibug was collected for its hard faces
        name = f"{part}/{_PICTURES[part.split('/')[0]].format(i + 1)}"
        _write_image(root / name, face.image)
        lines = [f"{x:.6f} {y:.6f}\n" for x, y in to_68(face.points98).astype(np.float64) + 1]
        text = f"version: 1\nn_points:  {len(lines)}\n{{\n{''.join(lines)}}}\n"
        (root / name).with_suffix(".pts").write_text(text, encoding="ascii")
        yield part


def _write_wflw(root, split, numbers, render):
    """Folders of pictures and a list of their faces. Yields their part."""
    folder = root / ANNOTATIONS / LISTS
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LIST.format(split), "w", encoding="ascii") as file:
        for i in numbers:
            face, event = render(i), _EVENTS[i % len(_EVENTS)]
            name = f"{event}/{event.replace('--', '_')}_{SPLITS.index(split)}_{i + 1}.jpg"
            _write_image(root / IMAGES / name, face.image)
            x, y, width, height = landmark_box(face.points98).astype(np.float64)
            box = map(round, (x, y, x + width, y + height))
            points, flags = (f"{value:.6f}" for value in face.points98.flat), (int(face.flags[flag]) for flag in FLAGS)
            print(*points, *box, *flags, name, file=file)
            yield split


def _write_cofw(root, split, numbers, render):
    """A MATLAB v7.3 file: HDF5 after 512 bytes, arrays transposed, positions 1-based. Yields its part."""
    path, columns = root / f"COFW_{split}_color.mat", ([], [], [])
    with h5py.File(path, "w", userblock_size=512) as file:
        for i in numbers:
            face = render(i)
            grey = i % _GREY_EVERY == _GREY_EVERY - 1
            image = cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY) if grey else face.image
            stored = file.create_dataset(f"#refs#/{split}{i + 1}", data=np.ascontiguousarray(image.T))
            stored.attrs["MATLAB_class"] = np.bytes_("uint8")
            points = to_29(face.points98).astype(np.float64)
            occluded = to_29(face.occluded[:, None].astype(np.float64))[:, 0] >= 0.5
            box = landmark_box(points)
            columns[0].append([stored.ref])
            columns[1].append([*(points.T + 1).flat, *occluded])
            columns[2].append(np.round([*(box[:2] + 1), *box[2:]]))
            yield path.name
        types = (h5py.ref_dtype, "cell"), (np.float64, "double"), (np.float64, "double")
        for name, rows, (dtype, matlab) in zip(VARIABLES[split], columns, types, strict=True):
            file.create_dataset(name, data=np.array(rows, dtype).T).attrs["MATLAB_class"] = np.bytes_(matlab)
    with open(path, "r+b") as raw:
        raw.write(_MATLAB_HEADER.ljust(116) + bytes(8) + b"\x00\x02IM")


_WRITERS = {"300w": _write_300w, "cofw": _write_cofw, "wflw": _write_wflw}


def _write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    path.write_bytes(encoded.tobytes())
