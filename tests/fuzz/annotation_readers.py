"""Readers of raw data sets: annotation files, pictures, archives."""

import gzip
import io
import shutil
import tarfile

import h5py
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from data_prep.archives import unpack
from data_prep.cofw import read_cofw
from data_prep.folder import read_folder
from data_prep.images import read_image
from data_prep.pts import read_pts
from data_prep.wflw import ANNOTATIONS, IMAGES, LISTS, read_wflw
from kdloss.photographs import read_photograph
from tests.fuzz import structures
from tests.fuzz.reader import Reader
from tests.fuzz.structures import JSON, NUMBERS, TEXTS

_POINTS = np.random.default_rng(0).uniform(2, 18, (98, 2))


def _picture(mode="RGB", form="PNG", **options):
    file = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (16, 20, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


def _entries(raw):
    for number in range(len(raw.entries)):
        raw.entries[number]


def _encoded(text):
    return text.encode("utf-8", "surrogateescape" if all(not 0xD800 <= ord(c) < 0xDC80 for c in text) else "replace")


# .pts


def _pts_lines(points):
    return ["version: 1", f"n_points: {len(points)}", "{", *(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points), "}"]


def _begin_pts(folder):
    lines = _pts_lines(_POINTS[:68])
    return ["\n".join(some).encode() for some in (lines, lines[3:-1], _pts_lines(_POINTS[:5]))]


@st.composite
def _structured_pts(draw):
    lines = _pts_lines(_POINTS[: draw(st.sampled_from((1, 5, 68)))])
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        lines[place] = draw(st.one_of(st.tuples(NUMBERS, NUMBERS).map(" ".join), NUMBERS, TEXTS, st.just("n_points:")))
    return _encoded(draw(st.sampled_from(("\n", "\r\n", "\r", "\f", " "))).join(lines))


def _read_pts(folder):
    read_pts(folder / "face.pts")


# WFLW


def _wflw_words(count=98):
    return [f"{value:.4f}" for value in _POINTS[:count].reshape(-1)] + [*"22", "18", "18", *"0010010"[:6], "a/face.png"]


def _begin_wflw(folder):
    (folder / ANNOTATIONS / LISTS).mkdir(parents=True)
    (folder / IMAGES / "a").mkdir(parents=True)
    (folder / IMAGES / "a" / "face.png").write_bytes(_picture())
    return [(" ".join(_wflw_words()) + "\n").encode() * 2]


@st.composite
def _structured_wflw(draw):
    lines = []
    for _ in range(draw(st.integers(0, 3))):
        words = _wflw_words()
        for _ in range(draw(st.integers(0, 3))):
            words[draw(st.integers(0, len(words) - 1))] = draw(st.one_of(NUMBERS, TEXTS))
        lines.append(" ".join(words))
    return _encoded("\n".join(lines))


# COCO


def _coco():
    points = [value for x, y in _POINTS[:5] for value in (x, y, 2)]
    images = [{"id": 1, "file_name": "face.png"}, {"id": 2, "file_name": "train/face.png"}]
    faces = [{"id": i, "image_id": 1 + i % 2, "keypoints": points, "bbox": [1, 2, 15, 16]} for i in range(3)]
    return {"images": images, "annotations": faces, "categories": [{"keypoints": ["a", "b", "c", "d", "e"]}]}


def _begin_coco(folder):
    (folder / "train").mkdir()
    for name in ("face.png", "train/face.png"):
        (folder / name).write_bytes(_picture())
    return [structures.to_json(_coco())]


def _read_coco(folder):
    _entries(read_folder(folder, json=folder / "faces.json"))


# names of points


def _begin_names(folder):
    (folder / "face.png").write_bytes(_picture())
    (folder / "face.pts").write_bytes("\n".join(_pts_lines(_POINTS[:5])).encode())
    return [b"left_eye\nright_eye\nnose\nleft_mouth\nright_mouth\n"]


def _read_names(folder):
    _entries(read_folder(folder))


# COFW


def _mat(images, phis, boxes, *, refs=True, **storage):
    file = io.BytesIO()
    with h5py.File(file, "w") as mat:
        for i, image in enumerate(images):
            mat.create_dataset(f"#refs#/{i}", data=image, **(storage if np.ndim(image) else {}))
        if refs:
            cells = mat.create_dataset("IsT", (1, len(images)), h5py.ref_dtype)
            for i in range(len(images)):
                cells[0, i] = mat[f"#refs#/{i}"].ref
        else:
            mat["IsT"] = np.zeros((1, len(images)))
        mat["phisT"], mat["bboxesT"] = phis, boxes
    return file.getvalue()


def _mat_parts():
    pixels = np.random.default_rng(2).integers(0, 256, (3, 20, 16), np.uint8)
    phis = np.concatenate([_POINTS[:29].T.reshape(-1), np.zeros(29)])
    return [pixels, pixels[0]], np.stack([phis, phis], axis=1), np.array([[2.0, 2, 16, 16]] * 2).T


def _begin_cofw(folder):
    return [_mat(*_mat_parts()), _mat(*_mat_parts(), chunks=True, compression="gzip")]


@st.composite
def _structured_cofw(draw):
    images, phis, boxes = _mat_parts()
    numbers = structures.odd_arrays
    plain = lambda array: np.zeros(array.shape) if array.dtype.kind in "OUVM" else array  # noqa: E731  h5py has none of these
    if draw(st.booleans()):
        images[draw(st.integers(0, 1))] = plain(draw(numbers(images[1])))
    if draw(st.booleans()):
        phis = plain(draw(numbers(phis)))
    if draw(st.booleans()):
        boxes = plain(draw(numbers(boxes)))
    return _mat(images, phis, boxes, refs=draw(st.integers(0, 5)) > 0)


def _read_cofw(folder):
    _entries(read_cofw(folder))


# pictures


def _begin_pictures(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        _picture(),
        _picture("P"),
        _picture("LA"),
        _picture("I;16"),
        _picture("RGB", "JPEG", exif=exif),
        _picture("L", "JPEG"),
        _picture("CMYK", "JPEG"),
        _picture("RGB", "BMP"),
        _picture("RGB", "WEBP"),
        _picture("RGB", "TIFF", compression="tiff_lzw"),
        _picture("RGB", "PPM"),
        _picture("RGB", "GIF"),
    ]


@st.composite
def _structured_pictures(draw):
    mode = draw(st.sampled_from(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F")))
    form = draw(st.sampled_from(("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")))
    options = {"exif": draw(st.binary(max_size=40))} if form in ("PNG", "JPEG", "WEBP") and draw(st.booleans()) else {}
    try:
        content = _picture(mode, form, **options)
    except (OSError, ValueError):  # no such pictures
        content = _picture("L", "PPM")
    if form == "PPM" and draw(st.booleans()):
        numbers = (draw(NUMBERS) for _ in range(3))
        content = _encoded(" ".join((draw(st.sampled_from(("P2", "P3", "P5", "P6"))), *numbers, "x" * 40)))
    return content


def _read_picture(folder):
    content = (folder / "face.png").read_bytes()
    read_photograph(content)
    read_image(folder / "face.png")


# archives


def _begin_archives(folder):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name in ("faces/1.png", "faces/1.pts"):
            member = tarfile.TarInfo(name)
            member.size = 30
            tar.addfile(member, io.BytesIO(b"x" * 30))
    packed = gzip.compress(plain.getvalue(), 1, mtime=0)
    return [plain.getvalue(), packed, structures.zipped([("faces/1.png", b"x" * 30), ("faces/1.pts", b"y" * 9)])]


_MEMBERS = st.lists(st.tuples(TEXTS, st.binary(max_size=20)), max_size=4)


def _read_archive(folder):
    out = folder / "out"
    try:
        unpack([folder / "faces.archive"], out, most_bytes=1e8)
    finally:
        shutil.rmtree(out, ignore_errors=True)
        left = {path.name for path in folder.iterdir()} - {"faces.archive"}
        assert not left, f"left behind, or outside: {left}"


ANNOTATION_READERS = (
    Reader("pts", "face.pts", _begin_pts, _read_pts, _structured_pts(), 3),
    Reader(
        "wflw",
        f"{ANNOTATIONS}/{LISTS}/list_98pt_rect_attr_test.txt",
        _begin_wflw,
        lambda f: _entries(read_wflw(f)),
        _structured_wflw(),
        2,
    ),
    Reader(
        "coco", "faces.json", _begin_coco, _read_coco, structures.with_odd_values(_coco()).map(structures.to_json), 2
    ),
    Reader(
        "point names",
        "points.txt",
        _begin_names,
        _read_names,
        st.lists(TEXTS, max_size=6).map("\n".join).map(_encoded),
        0.5,
    ),
    Reader("cofw", "COFW_test_color.mat", _begin_cofw, _read_cofw, _structured_cofw(), 1),
    Reader("images", "face.png", _begin_pictures, _read_picture, _structured_pictures(), 3),
    Reader(
        "archives",
        "faces.archive",
        _begin_archives,
        _read_archive,
        st.one_of(structures.odd_tar(), _MEMBERS.map(structures.zipped)),
        1,
    ),
    Reader("any JSON as coco", "faces.json", _begin_coco, _read_coco, JSON.map(structures.to_json), 0.3),
)
