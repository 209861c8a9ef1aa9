"""Writes synthetic faces as the official 300-W, COFW or WFLW releases lie on the disk, for the real readers to read."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

from asm.atomic import new_folder
from data_prep.cofw import VARIABLES
from data_prep.face import SYNTHETIC_MARK
from data_prep.points98 import to_29, to_68
from data_prep.synthetic import SMALLEST, render_face
from data_prep.wflw import ANNOTATIONS, FLAGS, IMAGES, LISTS
from kdloss.errors import ConfigError, DataError
from kdloss.geometry import landmark_box

SPLITS = ("train", "test")
# Parts of 300-W that take turns, about as often as in the release; the first turns visit each.
_PARTS = {
    "train": ("helen/trainset", "lfpw/trainset", "afw") + ("helen/trainset", "helen/trainset", "lfpw/trainset") * 2,
    "test": ("helen/testset", "lfpw/testset", "ibug", "helen/testset", "helen/testset", "lfpw/testset"),
}
_NAMES = {
    "helen": "{:010d}_1.jpg",
    "lfpw": "image_{:04d}.png",
    "afw": "{:09d}_1.jpg",
    "ibug": "image_{:03d}.jpg",
}
# ibug was collected for its hard faces.
_DIFFICULTY = {"ibug": 1.7}
_EVENTS = ("0--Synthetic_Parade", "1--Synthetic_Meeting", "2--Synthetic_Portrait", "3--Synthetic_Crowd")
# One COFW picture in this many is grey.
_GREY_EVERY = 7
_MATLAB_HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."


@dataclass(frozen=True)
class _Renderer:
    """Face i of a split depends on the seed, the split and i alone, not on how many there are."""

    seed: int
    size: int

    def __call__(self, split, i, difficulty=1.0):
        rng = np.random.default_rng([self.seed, SPLITS.index(split), i])
        # Taller than wide, so that a reader that swaps the axes is found out.
        shape = (self.size + int(rng.integers(1, self.size // 6)), self.size)
        return render_face(rng, shape, difficulty)


def write_layout(layout, out, *, count, test_count=None, seed=0, size=200, progress=iter):
    """Renders faces into a folder of an official layout.

    Beside the official files stand ``SYNTHETIC.json``, which says that the faces were rendered, and
    ``attributes.csv``, a line a face with all that was drawn for it, under the name the reader gives the face.

    Args:
        layout: ``300w``, ``cofw`` or ``wflw``.
        out: the folder to make; written beside itself and renamed at the end.
        count, test_count: training and test faces; a quarter of ``count`` if no ``test_count`` is given.
        seed: the same seed gives the same bytes.
        size: width of the pictures in pixels; they are up to a sixth taller.
        progress: wraps the list of faces to render, for example to show a bar.

    Returns:
        Faces of each part of the data set, a dict.

    Raises:
        ConfigError: an unknown layout, or a number out of range.
        DataError: ``out`` exists.
    """
    test_count = count // 4 if test_count is None else test_count
    _check(layout, count, test_count, seed, size)
    out = Path(out)
    if out.exists():
        raise DataError(f"{out}: exists already: give another --out, or remove it first")
    with new_folder(out) as work:
        jobs = [(split, i) for split, n in zip(SPLITS, (count, test_count), strict=True) for i in range(n)]
        counts = _write(layout, work, progress(jobs), _Renderer(seed, size), {"train": count, "test": test_count})
        mark = {
            "synthetic": True,
            "generator": "data_prep.synthetic",
            "layout": layout,
            "seed": seed,
            "size": size,
            "counts": counts,
            "attributes": "attributes.csv",
        }
        (work / SYNTHETIC_MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="utf-8")
    return counts


def _check(layout, count, test_count, seed, size):
    if layout not in _WRITERS:
        raise ConfigError(f"--layout {layout}: expected one of {', '.join(_WRITERS)}")
    if count < 1 or test_count < 0:
        raise ConfigError(f"--count {count} --test-count {test_count}: expected at least 1 and 0 faces")
    if seed < 0:
        raise ConfigError(f"--seed {seed}: expected 0 or more")
    if not SMALLEST <= size <= 2048:
        raise ConfigError(f"--size {size}: expected {SMALLEST} to 2048 pixels")


def _write(layout, root, jobs, render, totals):
    counts = {}
    with (
        open(root / "attributes.csv", "w", newline="", encoding="utf-8") as file,
        _WRITERS[layout](root, totals) as writer,
    ):
        table = None
        for split, i in jobs:
            part = writer.part(split, i)
            face = render(split, i, _DIFFICULTY.get(part, 1.0))
            row = {"name": writer.add(face, split, i), "split": split} | face.attributes
            if table is None:
                table = csv.DictWriter(file, row)
                table.writeheader()
            table.writerow(row)
            counts[part] = counts.get(part, 0) + 1
    return counts


class _Writer300W:
    """Folders of pictures, each with a 1-based ``.pts`` file beside it."""

    def __init__(self, root, totals):
        self.root = root

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def part(self, split, i):
        return _PARTS[split][i % len(_PARTS[split])]

    def add(self, face, split, i):
        part = self.part(split, i)
        path = self.root / part / _NAMES[part.split("/")[0]].format(i + 1)
        _write_image(path, face.image)
        rows = [f"{x:.6f} {y:.6f}" for x, y in to_68(face.points98).astype(np.float64) + 1]
        lines = ["version: 1", f"n_points:  {len(rows)}", "{", *rows, "}"]
        path.with_suffix(".pts").write_text("\n".join(lines) + "\n", encoding="ascii")
        return path.relative_to(self.root).as_posix()


class _WriterWFLW:
    """One list of faces a split, and folders of pictures."""

    def __init__(self, root, totals):
        self.root, self.lines = root, {split: [] for split in SPLITS}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        folder = self.root / ANNOTATIONS / LISTS
        folder.mkdir(parents=True)
        for split, lines in self.lines.items():
            (folder / f"list_98pt_rect_attr_{split}.txt").write_text("".join(lines), encoding="ascii")

    def part(self, split, i):
        return split

    def add(self, face, split, i):
        event = _EVENTS[i % len(_EVENTS)]
        name = f"{event}/{event.replace('--', '_')}_{SPLITS.index(split)}_{i + 1}.jpg"
        _write_image(self.root / IMAGES / name, face.image)
        x, y, width, height = landmark_box(face.points98).astype(np.float64)
        box = [round(value) for value in (x, y, x + width, y + height)]
        flags = [int(face.flags[name]) for name in FLAGS]
        words = [f"{value:.6f}" for value in face.points98.reshape(-1)]
        self.lines[split].append(" ".join([*words, *map(str, box + flags), name]) + "\n")
        return f"{name}#{i + 1}"


class _WriterCOFW:
    """Two MATLAB v7.3 files, that is HDF5 behind a block of 512 bytes; all arrays transposed, all positions 1-based."""

    def __init__(self, root, totals):
        self.totals, self.root = {split: n for split, n in totals.items() if n}, root
        self.files, self.columns = {}, {split: ([], []) for split in self.totals}

    def __enter__(self):
        for split in self.totals:
            file = h5py.File(self._path(split), "w", userblock_size=512)
            self.files[split] = file
            images = file.create_dataset(VARIABLES[split][0], (1, self.totals[split]), h5py.ref_dtype)
            images.attrs["MATLAB_class"] = np.bytes_("cell")
        return self

    def __exit__(self, *exception):
        for split, file in self.files.items():
            if exception[0] is None:
                for name, columns in zip(VARIABLES[split][1:], self.columns[split], strict=True):
                    file[name] = np.stack(columns, axis=-1)
                    file[name].attrs["MATLAB_class"] = np.bytes_("double")
            file.close()
            with open(self._path(split), "r+b") as raw:
                raw.write(_MATLAB_HEADER.ljust(116) + bytes(8) + b"\x00\x02IM")

    def _path(self, split):
        return self.root / f"COFW_{split}_color.mat"

    def part(self, split, i):
        return self._path(split).name

    def add(self, face, split, i):
        file = self.files[split]
        grey = i % _GREY_EVERY == _GREY_EVERY - 1
        image = cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY) if grey else face.image
        stored = file.create_dataset(f"#refs#/{split}{i + 1}", data=np.ascontiguousarray(image.T))
        stored.attrs["MATLAB_class"] = np.bytes_("uint8")
        file[VARIABLES[split][0]][0, i] = stored.ref
        points = to_29(face.points98).astype(np.float64)
        occluded = to_29(face.occluded[:, None].astype(np.float64))[:, 0] >= 0.5
        phis, boxes = self.columns[split]
        phis.append(np.concatenate([points[:, 0] + 1, points[:, 1] + 1, occluded]))
        box = landmark_box(points)
        boxes.append(np.round(np.concatenate([box[:2] + 1, box[2:]])))
        return f"{split}/{i + 1:04d}"


_WRITERS = {"300w": _Writer300W, "cofw": _WriterCOFW, "wflw": _WriterWFLW}


def _write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    path.write_bytes(encoded.tobytes())
