"""Valid files, damaged: bytes flipped, cut, repeated, spliced, numbers replaced, behind checksums, too."""

import gzip
import io
import re
import struct
import warnings
import zipfile
import zlib

# Numbers and texts at which parsers break.
ODD_NUMBERS = (
    b"nan", b"-nan", b"inf", b"-inf", b"Infinity", b"NaN", b"1e400", b"-1e400", b"1e308", b"-1e308", b"1e-400", b"-1",
    b"0", b"-0.0", b"9223372036854775808", b"18446744073709551616", b"4294967296", b"2147483648", b"1000000000000",
    b"1_000", b"0x10", b"1,5", b"1" * 5000, b"\xd9\xa3\xd9\xa4", b"\xef\xbc\x91\xef\xbc\x92", b"true", b"null", b'""',
)  # fmt: skip
ODD_TEXTS = (
    b"\0", b"\r", b"\x0b", b"\x1c", b"\x85", b"\xa0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xe2\x80\xae",
    b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\\ud800", b"\\u0000", b"../", b"/", b"'", b'"', b"{", b"}", b"[", b",",
    b"\x1b[2J",
)  # fmt: skip
_EXTREMES = tuple(
    struct.pack(f"{order}{kind}", value)
    for order in "<>"
    for kind, values in (
        ("H", (0, 1, 0x7FFF, 0xFFFF)),
        ("I", (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 30)),
        ("Q", (0, 1, (1 << 63) - 1, (1 << 64) - 1, 10**12)),
        ("f", (float("nan"), float("inf"), 3e38)),
        ("d", (float("nan"), float("inf"), -1e308)),
    )
    for value in values
)
_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_DEEPEST = 100_000


def mutated(content, others, rng):
    """A damaged copy.

    Args:
        content: bytes of a valid file.
        others: bytes of more such files, to splice with.
        rng: a `random.Random`, on which alone the result depends.
    """
    if rng.random() < 0.5:
        inside = _inside(content, others, rng)
        if inside is not None:
            return inside
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        content = rng.choice(_WAYS)(content, others, rng)
    return content


def _span(content, rng, longest=64):
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.randrange(1, longest + 1))


def _flip(content, others, rng):
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(content, others, rng):
    value = rng.choice(_EXTREMES)
    place = rng.randrange(max(1, len(content) - len(value) + 1))
    return content[:place] + value + content[place + len(value) :]


def _cut(content, others, rng):
    return content[: rng.randrange(len(content) + 1)]


def _remove(content, others, rng):
    start, end = _span(content, rng, rng.choice((1, 16, 1024)))
    return content[:start] + content[end:]


def _repeat(content, others, rng):
    start, end = _span(content, rng, rng.choice((16, 1024)))
    return content[:start] + content[start:end] * rng.choice((2, 3, 50)) + content[end:]


def _swap(content, others, rng):
    (a, b), (c, d) = sorted((_span(content, rng), _span(content, rng)))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[max(b, d) :]


def _splice(content, others, rng):
    other = rng.choice(others)
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def _number(content, others, rng):
    found = list(_NUMBER.finditer(content))
    if not found:
        return _overwrite(content, others, rng)
    chosen = rng.choice(found)
    return content[: chosen.start()] + rng.choice(ODD_NUMBERS) + content[chosen.end() :]


def _insert(content, others, rng):
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(ODD_TEXTS) * rng.choice((1, 1, 2, 300)) + content[place:]


def _nest(content, others, rng):
    place, depth = rng.randrange(len(content) + 1), rng.choice((10, 2000, _DEEPEST))
    return content[:place] + rng.choice((b"[", b'{"a":', b"(", b"{")) * depth + content[place:]


_WAYS = (_flip, _flip, _overwrite, _cut, _remove, _repeat, _swap, _splice, _number, _number, _number, _insert, _nest)


def _inside(content, others, rng):
    """A copy damaged behind its checksums and compression, or None if it has none."""
    if content.startswith(b"PK"):
        return _zip(content, rng)
    if content.startswith(b"\x1f\x8b"):
        return gzip.compress(mutated(gzip.decompress(content), [b"\0" * 512], rng), 1, mtime=0)
    if content.startswith(b"\x89PNG"):
        return _png(content, rng)
    if content.startswith(b"\x93NUMPY"):
        return _npy(content, rng)
    return None


def _zip(content, rng):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    chosen, result = rng.randrange(len(members)), io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive, warnings.catch_warnings(action="ignore"):  # of repeated names
        for number, (name, member) in enumerate(members):
            if number != chosen:
                archive.writestr(zipfile.ZipInfo(name), member)
                continue
            way = rng.randrange(8)
            if way == 0:
                continue
            if way == 1:
                name = rng.choice([other for other, _ in members])
            changed = mutated(member, [other for _, other in members], rng)
            packed = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            archive.writestr(zipfile.ZipInfo(name), changed, packed, 1)
    return result.getvalue()


def _npy(content, rng):
    """The header's text damaged, its length mended."""
    (length,) = struct.unpack_from("<H", content, 8)
    header = content[10 : 10 + length]
    for _ in range(rng.choice((1, 1, 2))):
        header = rng.choice((_number, _number, _insert, _flip, _remove, _descr))(header, [header], rng)
    header = header[:60000]
    return content[:8] + struct.pack("<H", len(header)) + header + content[10 + length :]


_DESCR = re.compile(rb"'[|<>=]?[a-zA-Z]\d*'")
_DESCRS = b"'|O' '<U0' '|S0' '|V0' '<U9' '|S9' '<c16' '|b1' '<i8' '>f4' '<f2' '<M8[s]' '|V8' '<f16' '|u1'".split()


def _descr(header, others, rng):
    return _DESCR.sub(lambda _: rng.choice(_DESCRS), header, count=1)


def _png(content, rng):
    """One chunk damaged, its checksum mended."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    chosen = rng.randrange(len(chunks))
    kind, data = chunks[chosen]
    if kind == b"IDAT" and rng.random() < 0.5:
        data = zlib.compress(_flip(zlib.decompress(data), [], rng))
    else:
        data = rng.choice((_flip, _overwrite, _cut, _repeat))(data, [], rng)
    chunks[chosen] = (kind, data)
    written = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(written)
