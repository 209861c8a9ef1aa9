"""Valid files, damaged: bytes flipped, cut, repeated, spliced, numbers and values replaced, behind checksums too."""

import copy
import gzip
import io
import json
import re
import struct
import warnings
import zipfile

# Numbers and texts at which parsers break.
ODD_NUMBERS = (
    b"nan", b"inf", b"-inf", b"Infinity", b"NaN", b"1e400", b"1e308", b"1e-400", b"-1", b"0", b"-0.0",
    b"9223372036854775808", b"18446744073709551616", b"4294967296", b"1000000000000", b"1_000", b"0x10", b"1,5",
    b"1" * 5000, b"\xd9\xa3\xd9\xa4", b"\xef\xbc\x91", b"true", b"null", b'""',
)  # fmt: skip
ODD_TEXTS = (
    b"\0", b"\r", b"\x0b", b"\x85", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80", b"\\ud800", b"../", b"/", b"'", b'"', b"{", b"}", b"[", b",", b"\x1b[2J",
)  # fmt: skip
ODD_VALUES = (
    None, True, -1, 0, 10**12, 10**400, float("nan"), float("inf"), 1e308, "", "a" * 300, "../../etc/passwd",
    "\ud800", "\0", [], {}, [[]], [None], {"a": 1}, ["0"], [1, 2, 3],
)  # fmt: skip
_EXTREMES = tuple(
    struct.pack(order + kind, value)
    for order in "<>"
    for kind, values in {"H": (0, 1, 0xFFFF), "I": (0, 1 << 30, 0xFFFFFFFF), "Q": (0, 10**12, (1 << 64) - 1)}.items()
    for value in values
) + tuple(struct.pack(kind, value) for kind in ("<f", "<d", ">d") for value in (float("nan"), float("inf"), -3e38))
_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_DESCR = re.compile(rb"'[|<>=]?[a-zA-Z]\d*'")
_DESCRS = b"'|O' '<U0' '|S0' '|V0' '<U9' '|S9' '<c16' '|b1' '<i8' '>f4' '<f2' '<M8[s]' '|V8' '<f16' '|u1'".split()


def mutated(content, others, rng):
    """A damaged copy of a file's bytes, perhaps spliced with one of ``others``; ``rng`` alone decides."""
    if rng.random() < 0.5:
        for magic, damage in _INSIDE.items():
            if content.startswith(magic):
                return damage(content, rng)
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


def _repeat(content, others, rng):
    """A piece removed, or repeated."""
    start, end = _span(content, rng, rng.choice((1, 16, 1024)))
    return content[:start] + content[start:end] * rng.choice((0, 0, 2, 3, 50)) + content[end:]


def _splice(content, others, rng):
    """The beginning of one file, and the end of another or nothing."""
    other = rng.choice((*others, b""))
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
    place, depth = rng.randrange(len(content) + 1), rng.choice((10, 2000, 100_000))
    return content[:place] + rng.choice((b"[", b'{"a":', b"(", b"{")) * depth + content[place:]


_WAYS = (_flip, _flip, _overwrite, _repeat, _repeat, _splice, _splice, _number, _number, _number, _insert, _nest)


# Damage behind checksums, compression and syntax.


def _json(content, rng):
    """Some values, at any depth, removed or replaced."""
    record = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = record
        while place:
            key = rng.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
            if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
                place = place[key]
                continue
            if rng.random() < 0.25:
                del place[key]
            else:
                place[key] = copy.deepcopy(rng.choice(ODD_VALUES))
            break
    return json.dumps(record).encode()


def _zip(content, rng):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    chosen, result = rng.randrange(len(members)), io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive, warnings.catch_warnings(action="ignore"):  # of repeated names
        for number, (name, member) in enumerate(members):
            way = rng.randrange(8) if number == chosen else None
            if way == 0:
                continue
            if way == 1:
                name = rng.choice([other for other, _ in members])
            if way is not None:
                member = mutated(member, [other for _, other in members], rng)
            archive.writestr(zipfile.ZipInfo(name), member, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)), 1)
    return result.getvalue()


def _npy(content, rng):
    """The header's text damaged, its length mended."""
    (length,) = struct.unpack_from("<H", content, 8)
    header = content[10 : 10 + length]
    header = _DESCR.sub(lambda found: rng.choice((found[0], rng.choice(_DESCRS))), header, count=1)
    header = rng.choice((_number, _number, _insert, _flip, _repeat))(header, [header], rng)[:60000]
    return content[:8] + struct.pack("<H", len(header)) + header + content[10 + length :]


_INSIDE = {
    b"PK": _zip,
    b"\x1f\x8b": lambda content, rng: gzip.compress(mutated(gzip.decompress(content), [b""], rng), 1, mtime=0),
    b"\x93NUMPY": _npy,
    b"{": _json,
}
