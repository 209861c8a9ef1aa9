"""Landmark schemes: the named points of an annotation style, their parts, lines, eye corners and mirror partners.

Left and right are the *subject's*: a point named ``right_x`` lies on the left of an upright picture, and its mirror
partner is ``left_x``. The order of the points is that of the official annotation (68: 300-W, 29: COFW, 98: WFLW).
"""

import collections
import dataclasses
import functools
import json
import re
from dataclasses import dataclass, field

import numpy as np

from kdloss.errors import DataError

_LONGEST = 200  # characters of a point's name
_OTHER_SIDE = {"left": "right", "right": "left"}
_LETTERS = {"l": ("left", "r"), "r": ("right", "l")}  # what a letter stands for, and the letter of the other side
_SIDE = "(?<!c)left|(?<!b)(?<!up)right"  # "cleft", "bright" and "upright" say no side
_WORD = re.compile(rf"{_SIDE}|[^\W\d_]+?(?={_SIDE}|[\W\d_]|$)|\d+")
_NEW_WORD = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class LandmarkScheme:
    """Named landmarks of one annotation style."""

    name: str  # recorded in manifests and checkpoints, for example "68"
    names: tuple[str, ...]  # one unique name for each point, in annotation order
    parts: dict[str, tuple[int, ...]] = field(default_factory=dict)  # facial part -> indices of its points
    skeleton: tuple[tuple[int, ...], ...] = ()  # polylines of indices, for drawing
    ocular: tuple[int, int] | None = None  # the outer eye corners: inter-ocular normaliser
    pupils: tuple[tuple[int, ...], tuple[int, ...]] | None = None  # the means are the pupils: inter-pupil normaliser
    mirrorable: bool = True  # whether mirror partners are known; without them, points must not be mirrored

    def __post_init__(self):
        if len(set(self.names)) != len(self.names):
            raise DataError(f"scheme {self.name}: point names repeat; every point needs a name of its own")
        if max((len(str(name)) for name in self.names), default=0) > _LONGEST:
            raise DataError(f"scheme {self.name}: a point's name is longer than {_LONGEST} characters: shorten it")

    @property
    def num_points(self):
        return len(self.names)

    @functools.cached_property
    def mirror(self):
        """(N,) int array: after an image is mirrored, new point i is old point ``mirror[i]``. An involution.

        Partners have the same words but for the side: ``left_eye`` and ``right_eye``, ``EyeL`` and ``R eye``. Raises a
        `DataError` if a point with a side has no partner, or shares one, or if no name has a side.
        """
        if not self.mirrorable:
            raise DataError(f"scheme {self.name} names no mirror partners: give its points left_/right_ names")
        names, alike = _words(self.names), collections.defaultdict(list)
        for i, words in enumerate(names):
            alike[tuple(sorted(words))].append(i)
        partners = []
        for i, words in enumerate(names):
            partner = tuple(_OTHER_SIDE.get(word, word) for word in words)
            others = [i] if partner == words else [j for j in alike[tuple(sorted(partner))] if j != i]
            found = [j for j in others if names[j] == partner] or others  # else in another order
            if len(found) != 1 or found[0] in partners:
                found = f"no mirror partner {'_'.join(partner)}" if not found else "a partner that others have too"
                rename = "name its partner like it, or neither with a side"
                raise DataError(f"scheme {self.name}: {self.names[i]} has {found}: {rename}")
            partners += found
        return np.array(partners)

    def to_json(self):
        """A dict that `from_json` turns back into an equal scheme."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, data):
        """The scheme of a dict that `to_json` made, or a `DataError` that says what is wrong with the dict."""
        try:
            scheme = cls(
                name=data["name"],
                names=tuple(data["names"]),
                parts={part: tuple(points) for part, points in data["parts"].items()},
                skeleton=tuple(tuple(line) for line in data["skeleton"]),
                ocular=tuple(data["ocular"]) if data["ocular"] else None,
                pupils=tuple(tuple(side) for side in data["pupils"]) if data["pupils"] else None,
                mirrorable=data["mirrorable"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not a landmark scheme ({type(error).__name__}: {error})") from error
        if problem := scheme._problem():
            raise DataError(f"not a landmark scheme ({problem})")
        return scheme

    def _problem(self):
        """What is wrong with the fields of a scheme that was read, or None."""
        texts = (self.name, *self.names, *self.parts)
        if not (self.names and all(isinstance(text, str) for text in texts) and isinstance(self.mirrorable, bool)):
            return "its names are not texts, or it has no points"
        lines = [*self.parts.values(), *self.skeleton, self.ocular or (), *(self.pupils or ())]
        if any(type(i) is not int or not 0 <= i < self.num_points for line in lines for i in line):
            return f"its parts or lines have points beyond its {self.num_points}"
        if len(self.ocular or (0, 0)) != 2 or len(self.pupils or (0, 0)) != 2:
            return "ocular and pupils are not pairs"
        return None

    @classmethod
    def plain(cls, num_points, names=None):
        """A scheme for a user's own points.

        They can be mirrored only if names say left and right, or L and R. Mirror partners named for eyes are the eyes
        that errors are normalised by: ``left_eye_outer`` the outer corner, ``left_eye`` or ``pupil_left`` the pupil.
        """
        named = tuple(names) if names else tuple(f"point_{i}" for i in range(num_points))
        if len(named) != num_points:
            raise DataError(f"found {len(named)} point names for {num_points} points: give one name a point")
        scheme = cls(
            name=f"custom-{num_points}", names=named, parts={"all": tuple(range(num_points))}, mirrorable=False
        )
        words = _words(named)
        sided = any(word in _OTHER_SIDE for some in words for word in some)
        return dataclasses.replace(scheme, mirrorable=sided, **_eyes(words))


def _eyes(names):
    """``ocular`` and ``pupils`` of a `LandmarkScheme`, from the words of its points' names; None where they say none.

    Pupils are the points named so, or else the means of the eyes' points.
    """

    def sides(*wanted):
        chosen = [(i, words) for i, words in enumerate(names) if {*wanted} <= {*words} and "brow" not in words]
        return [tuple(i for i, words in chosen if side in words) for side in ("right", "left")]

    right, left = sides("eye", "outer")
    pupils = next((pair for pair in (sides("pupil"), sides("eye")) if any(pair)), ((), ()))
    return {
        "ocular": (*right, *left) if len(right) == len(left) == 1 else None,
        "pupils": tuple(pupils) if len(pupils[0]) == len(pupils[1]) > 0 else None,
    }


def _words(names):
    """The words of each name in small letters, with sides as ``left`` and ``right``.

    A side is the word left or right, also where it begins or ends a longer one (``lefteye``); the word L or R; or the
    first letter of a name that the letter of the other side turns into another name (``Leye``, ``Reye``).
    """
    split = [tuple(_WORD.findall(_NEW_WORD.sub(" ", name).lower())) for name in names]
    known = set(split)
    return [tuple(part for i in range(len(words)) for part in _spelled_out(words, i, known)) for words in split]


def _spelled_out(words, i, known):
    word, rest = words[i], words[i + 1 :]
    side, other = _LETTERS.get(word[0], (None, None))
    if word in _LETTERS:
        # Letters that only count (..., k, l, m, ..., q, r, ...) are no sides.
        return (word,) if any((*words[:i], letter, *rest) in known for letter in "kq") else (side,)
    if side and i == 0 and word not in _OTHER_SIDE and (other + word[1:], *rest) in known:
        return side, word[1:]
    return (word,)


def _numbered(stem, count):
    return [f"{stem}_{i}" for i in range(count)]


def _jaw(count):
    """A contour from the right ear over the chin to the left ear; the numbers of both halves grow towards the chin."""
    half = count // 2
    return [*_numbered("right_jaw", half), "chin", *_numbered("left_jaw", half)[::-1]]


_NOSE = [*_numbered("nose_bridge", 4), "right_nostril_0", "right_nostril_1", "nose_base"]
_NOSE += ["left_nostril_1", "left_nostril_0"]
_MOUTH = ["right_mouth_corner", "right_upper_lip_0", "right_upper_lip_1", "upper_lip"]
_MOUTH += ["left_upper_lip_1", "left_upper_lip_0", "left_mouth_corner"]
_MOUTH += ["left_lower_lip_0", "left_lower_lip_1", "lower_lip", "right_lower_lip_1", "right_lower_lip_0"]
_MOUTH += ["right_inner_corner", "right_inner_upper_lip", "inner_upper_lip", "left_inner_upper_lip"]
_MOUTH += ["left_inner_corner", "left_inner_lower_lip", "inner_lower_lip", "right_inner_lower_lip"]


def _range(start, stop):
    return tuple(range(start, stop))


def _parts(**ranges):
    return {name: _range(*limits) for name, limits in ranges.items()}


def _lines(*ranges, closed=False):
    """Polylines through ranges of points; closed ones return to their first point."""
    return tuple((*range(start, stop), start) if closed else _range(start, stop) for start, stop in ranges)


def _scheme_68():
    brow_right = _numbered("right_brow", 5)
    eye_right = ["right_eye_outer", "right_eye_upper_0", "right_eye_upper_1", "right_eye_inner"]
    eye_right += ["right_eye_lower_1", "right_eye_lower_0"]
    eye_left = ["left_eye_inner", "left_eye_upper_1", "left_eye_upper_0", "left_eye_outer"]
    eye_left += ["left_eye_lower_0", "left_eye_lower_1"]
    names = _jaw(17) + brow_right + _numbered("left_brow", 5)[::-1] + _NOSE + eye_right + eye_left + _MOUTH
    return LandmarkScheme(
        name="68",
        names=tuple(names),
        parts=_parts(jaw=(0, 17), brows=(17, 27), nose=(27, 36), eyes=(36, 48), mouth=(48, 68)),
        skeleton=_lines((0, 17), (17, 22), (22, 27), (27, 31), (31, 36))
        + _lines((36, 42), (42, 48), (48, 60), (60, 68), closed=True),
        ocular=(36, 45),
        pupils=(_range(36, 42), _range(42, 48)),
    )


def _scheme_98():
    brow_right = [f"right_brow_upper_{i}" for i in range(5)] + [f"right_brow_lower_{i}" for i in range(4)]
    # The lower edge runs back from the inner end: index 38-41 on the right, 50-47 mirrored on the left.
    brow_left = [f"left_brow_upper_{i}" for i in range(4, -1, -1)] + [f"left_brow_lower_{i}" for i in range(3, -1, -1)]
    eye_right = ["right_eye_outer", "right_eye_upper_0", "right_eye_upper_1", "right_eye_upper_2"]
    eye_right += ["right_eye_inner", "right_eye_lower_2", "right_eye_lower_1", "right_eye_lower_0"]
    eye_left = ["left_eye_inner", "left_eye_upper_2", "left_eye_upper_1", "left_eye_upper_0"]
    eye_left += ["left_eye_outer", "left_eye_lower_0", "left_eye_lower_1", "left_eye_lower_2"]
    names = _jaw(33) + brow_right + brow_left + _NOSE + eye_right + eye_left + _MOUTH + ["right_pupil", "left_pupil"]
    return LandmarkScheme(
        name="98",
        names=tuple(names),
        parts=_parts(jaw=(0, 33), brows=(33, 51), nose=(51, 60), eyes=(60, 76), mouth=(76, 96))
        | {"eyes": (*_range(60, 76), 96, 97)},
        skeleton=_lines((0, 33))
        + _lines((33, 42), (42, 51), closed=True)
        + _lines((51, 55), (55, 60))
        + _lines((60, 68), (68, 76), (76, 88), (88, 96), closed=True),
        ocular=(60, 72),
        pupils=((96,), (97,)),
    )


def _scheme_29():
    names = [f"{side}_brow_{end}" for end in ("outer", "inner") for side in ("right", "left")]
    names += ["right_brow_upper", "right_brow_lower", "left_brow_upper", "left_brow_lower"]
    names += [f"{side}_eye_{end}" for end in ("outer", "inner") for side in ("right", "left")]
    names += ["right_eye_upper", "right_eye_lower", "left_eye_upper", "left_eye_lower", "right_pupil", "left_pupil"]
    names += ["right_nostril", "left_nostril", "nose_tip", "nose_base", "right_mouth_corner", "left_mouth_corner"]
    names += ["upper_lip", "inner_upper_lip", "inner_lower_lip", "lower_lip", "chin"]
    return LandmarkScheme(
        name="29",
        names=tuple(names),
        parts=_parts(brows=(0, 8), eyes=(8, 18), nose=(18, 22), mouth=(22, 28), jaw=(28, 29)),
        skeleton=(
            *((0, 4, 2, 5, 0), (1, 6, 3, 7, 1), (8, 12, 10, 13, 8), (9, 14, 11, 15, 9)),
            *((18, 20, 19, 21, 18), (22, 24, 23, 27, 22), (22, 25, 23, 26, 22)),
        ),
        ocular=(8, 9),
        pupils=((16,), (17,)),
    )


SCHEMES = {scheme.name: scheme for scheme in (_scheme_29(), _scheme_68(), _scheme_98())}
