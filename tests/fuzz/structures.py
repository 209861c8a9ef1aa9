"""Files that are nearly right: the form of a format, with values that no writer of the project would choose."""

import io
import json
import tarfile
import zipfile

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.mutations import ODD_NUMBERS, ODD_TEXTS

NUMBERS = st.one_of(
    st.floats(width=32).map(repr),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(ODD_NUMBERS).map(lambda text: text.decode()),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(ODD_TEXTS).map(lambda text: text.decode("utf-8", "surrogateescape")),
    st.sampled_from(("", "a" * 300, "../../etc/passwd", "/dev/stdin", "face.png", "train", "test", "val")),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.integers(10**18, 10**400), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
_DTYPES = ("f8", "f4", "f2", ">f8", "i8", "u1", "u8", "b1", "c16", "U3", "S3", "U1", "M8[s]", "V4", "f16", "O")
_SIDES = st.sampled_from((0, 1, 2, 3, 5, 10))


def to_json(value):
    """JSON as Python writes it: with NaN and Infinity; lone surrogates as they are."""
    return json.dumps(value).encode()


@st.composite
def with_odd_values(draw, record, values=JSON):
    """A dict like ``record``, some entries, at any depth, removed or replaced, one perhaps added."""
    record = json.loads(json.dumps(record))
    for _ in range(draw(st.integers(0, 3))):
        place = record
        while isinstance(place, dict | list) and place:
            key = (
                draw(st.sampled_from(sorted(place)))
                if isinstance(place, dict)
                else draw(st.integers(0, len(place) - 1))
            )
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            way = draw(st.integers(0, 3))
            if way == 0:
                del place[key]
            elif way == 1 and isinstance(place, dict):
                place[draw(TEXTS)] = draw(values)
            else:
                place[key] = draw(values)
            break
    return record


@st.composite
def odd_arrays(draw, like=None):
    """An array of any type and shape, often that of ``like``, with values at which arithmetic breaks."""
    dtype = np.dtype(draw(st.sampled_from(_DTYPES)) if like is None or draw(st.booleans()) else like.dtype)
    odd_shape = like is None or draw(st.integers(0, 3)) == 0
    shape = tuple(draw(st.lists(_SIDES, max_size=4))) if odd_shape else like.shape
    if dtype.kind == "O":
        return np.full(shape, None, dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    array = rng.normal(0, 50, shape)
    if like is not None and not odd_shape and draw(st.booleans()):
        array = np.array(like)
    with np.errstate(all="ignore"):
        if array.dtype.kind == "f" and array.size and draw(st.booleans()):
            array.flat[draw(st.integers(0, array.size - 1))] = draw(st.floats())
        return (
            array.astype(dtype, copy=False)
            if dtype.kind in "fiubc" and array.dtype.kind in "fiub"
            else np.zeros(shape, dtype)
        )


def npy(array):
    """The bytes of an .npy; of object arrays those that ask for unpickling."""
    file = io.BytesIO()
    if array.dtype.kind == "O":
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": array.shape})
        file.write(b"\x80\x04cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
    else:
        np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


@st.composite
def odd_npy(draw, like):
    """The bytes of an .npy; sometimes its header claims another size."""
    content = npy(draw(odd_arrays(like)))
    if draw(st.integers(0, 5)):
        return content
    shape = draw(st.sampled_from(((10**12,), (10**9, 2), (2**62, 2**62), (-1,), (10**6, 10**6, 10**6), (1,) * 40)))
    file, descr = io.BytesIO(), draw(st.sampled_from(("<f8", "<U0", "|u1", "<U9")))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + content[-64:]


@st.composite
def odd_npz(draw, arrays):
    """The bytes of an .npz like that of ``arrays``, a dict, with odd, absent, repeated and further members."""
    members = []
    for name, like in arrays.items():
        way = draw(st.integers(0, 7))
        if way:
            members.append((name, npy(like) if way > 3 else draw(odd_npy(like))))
    if draw(st.integers(0, 4)) == 0:
        members.append((draw(TEXTS), draw(odd_npy(np.zeros(3)))))
    return zipped([(f"{name}.npy", content) for name, content in members])


def zipped(members):
    """The bytes of a zip archive of (name, content)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in {encodable(name): content for name, content in members}.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def encodable(text):
    """The text without what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


@st.composite
def odd_tar(draw):
    """The bytes of a tar archive of members of all types."""
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=draw(st.sampled_from((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))
    ) as tar:
        for _ in range(draw(st.integers(0, 4))):
            member = tarfile.TarInfo(draw(TEXTS))
            member.type = draw(st.sampled_from((*(tarfile.REGTYPE,) * 6, b"1", b"2", b"3", b"5", b"6", b"S")))
            member.linkname, content = draw(TEXTS), draw(st.binary(max_size=20))
            member.size = len(content) if member.isreg() else 0
            try:
                tar.addfile(member, io.BytesIO(content))
            except (ValueError, UnicodeError):  # no header can hold it
                continue
    return file.getvalue()
