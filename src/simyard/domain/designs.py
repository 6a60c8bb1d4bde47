"""Designs of experiments: in which combinations the values of several variables are tried.

Coded designs give a place for each variable in each run: -1 is the low end of its range, 1 the high
end, 0 the middle. Spaces are filled by sequences of points (`numerics/sampling.py`). The first
variable varies slowest.
"""

import math
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from fractions import Fraction
from functools import partial
from itertools import chain, combinations, product

from simyard.domain.generators import Distribution, Levels, fold, instead, spread
from simyard.domain.numberformat import canonical
from simyard.domain.records import dataclass

Point = tuple[float, ...]

MOST_FACTORS = 1_000
_MOST_CENTRES = 1_000
_MOST_LEVELS = 1_000
_MOST_CORNERS = 26  # variables of which all corners are run
_LARGEST_ALPHA = 10.0


class BadDesign(Exception):
    """Pairs of the option and what is wrong with it; "kind" where the design does not fit."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {text}" for key, text in faults))
        self.faults = faults


class Way(StrEnum):
    """How a design comes to its runs."""

    LEVELS = "levels"  # of each variable on its own
    SAMPLE = "sample"  # points of the unit cube, as many as one likes
    CODED = "coded"  # a table of places between the ends of each range


@dataclass(frozen=True, kw_only=True)
class DesignKind:
    name: str
    title: str  # for people
    way: Way
    runs: str  # how many there are, for d variables
    also: tuple[str, ...] = ()  # other names
    options: Mapping[str, str] = field(default_factory=dict)  # what each is for
    can_grow: bool = False  # more runs can be added that continue it
    needs_extra: bool = False  # of packages


_CENTRE = {"centre": "runs with all variables in the middle; 1 if not given"}

DESIGNS: Mapping[str, DesignKind] = {
    kind.name: kind
    for kind in (
        DesignKind(
            name="grid",
            title="Grid",
            way=Way.LEVELS,
            runs="product of the numbers of levels",
            also=("full-grid", "multidim"),
            options={"levels": "of a variable that has a range and no levels; 3 if not given"},
        ),
        DesignKind(
            name="lhs",
            title="Latin hypercube",
            way=Way.SAMPLE,
            runs="count",
            also=("latin-hypercube", "latin-hypercube-sampling"),
            needs_extra=True,
        ),
        DesignKind(
            name="sobol",
            title="Sobol sequence",
            way=Way.SAMPLE,
            runs="count",
            also=("scrambled-sobol", "sobol-sequence"),
            can_grow=True,
            needs_extra=True,
        ),
        DesignKind(
            name="halton",
            title="Halton sequence",
            way=Way.SAMPLE,
            runs="count",
            also=("scrambled-halton", "halton-sequence"),
            can_grow=True,
            needs_extra=True,
        ),
        DesignKind(
            name="monte-carlo",
            title="Monte Carlo",
            way=Way.SAMPLE,
            runs="count",
            also=("mc", "random"),
            can_grow=True,
        ),
        DesignKind(
            name="factorial",
            title="Two-level factorial",
            way=Way.CODED,
            runs="2^d",
            also=("full-factorial", "two-level", "2-level"),
        ),
        DesignKind(
            name="fractional",
            title="Fractional factorial",
            way=Way.CODED,
            runs="2^(letters in the generators); half of the factorial if not given",
            also=("fractional-factorial",),
            options={"generators": 'a word for each variable, in order: "a b ab"'},
        ),
        DesignKind(
            name="plackett-burman",
            title="Plackett-Burman",
            way=Way.CODED,
            runs="the next multiple of 4 above d; d is at most 23",
            also=("pb",),
        ),
        DesignKind(
            name="box-behnken",
            title="Box-Behnken",
            way=Way.CODED,
            runs="4 for each pair of variables (d=6: 48, d=7: 56) and the centre; d is at least 3",
            also=("bbd",),
            options=_CENTRE,
        ),
        DesignKind(
            name="central-composite",
            title="Central composite",
            way=Way.CODED,
            runs="2^d + 2d and the centre; d is at least 2",
            also=("ccd", "composite"),
            options={
                "type": "faced (default), circumscribed (goes beyond the ranges) or inscribed",
                "alpha": "distance of the star points; rotatable if not given; not of faced",
                **_CENTRE,
            },
        ),
        DesignKind(
            name="one-at-a-time",
            title="One at a time",
            way=Way.LEVELS,
            runs="1 + the numbers of levels other than the nominal values",
            also=("oat", "ofat", "one-factor-at-a-time"),
            options={"levels": "of a variable that has a range and no levels; 2 if not given"},
        ),
    )
}
# Other names of options.
_ALSO = {"centre": ("center", "centrePoints", "centerPoints"), "generators": ("generator",)}
_BY_NAME = {fold(name): kind for kind in DESIGNS.values() for name in (kind.name, *kind.also)}


def design_kind(name: str) -> DesignKind | None:
    """By its name or another one, whatever the case, blanks, dashes and underscores."""
    return _BY_NAME.get(fold(name))


def unknown_options(kind: DesignKind, options: Mapping[str, object]) -> list[tuple[str, str]]:
    """Pairs of an option that the design does not have, and what to say of it."""
    known = {fold(n) for name in kind.options for n in (name, *_ALSO.get(name, ()))}
    return [
        (key, f'{kind.name} has no option "{key:.100}"{instead(key, kind.options)}')
        for key in options
        if fold(key) not in known
    ]


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A coded design whose number of runs is known before any is made."""

    count: int
    places: tuple[float, ...]  # all that occur
    points: Callable[[], Iterator[Point]]  # in run order, as often as it is called


def coded(kind: DesignKind, factors: int, options: Mapping[str, object]) -> Coded:
    """A design of kind CODED for so many variables. Raises BadDesign."""
    reading = _Options(options)
    if not 1 <= factors <= MOST_FACTORS:
        message = (
            f"{kind.name}: {factors} variables with a range; there must be 1 to {MOST_FACTORS}"
        )
        raise BadDesign([("kind", message)])
    match kind.name:
        case "factorial":
            _check_corners(kind, factors)
            made = Coded(count=2**factors, places=(-1, 1), points=partial(two_level, factors))
        case "fractional":
            made = _fractional(reading, factors)
        case "plackett-burman":
            if factors > 23:
                raise BadDesign([("kind", f"plackett-burman: {factors} variables; at most 23")])
            runs = _plackett_burman_runs(factors)
            points = partial(plackett_burman, factors)
            made = Coded(count=runs, places=(-1, 1), points=points)
        case "box-behnken":
            if factors < 3:
                raise BadDesign([("kind", "box-behnken needs at least 3 variables")])
            centre = reading.centre()
            made = Coded(
                count=_box_behnken_runs(factors) + centre,
                places=(-1, 0, 1),
                points=partial(box_behnken, factors, centre),
            )
        case "central-composite":
            if factors < 2:
                raise BadDesign([("kind", "central-composite needs at least 2 variables")])
            _check_corners(kind, factors)
            made = _central_composite(reading, factors)
        case _:
            raise ValueError(kind.name)
    if reading.faults:
        raise BadDesign(reading.faults)
    return made


def _check_corners(kind: DesignKind, factors: int) -> None:
    if factors > _MOST_CORNERS:
        message = f"{kind.name}: 2^{factors} corners; at most 2^{_MOST_CORNERS} can be planned"
        raise BadDesign([("kind", message)])


class _Options:
    def __init__(self, sent: Mapping[str, object]) -> None:
        self._sent = {fold(key): value for key, value in sent.items() if value is not None}
        self.faults: list[tuple[str, str]] = []

    def get(self, *keys: str) -> object:
        return next((self._sent[fold(key)] for key in keys if fold(key) in self._sent), None)

    def whole(self, keys: Sequence[str], default: int, least: int, most: int) -> int:
        sent = self.get(*keys)
        if sent is None:
            return default
        if isinstance(sent, str) and sent.strip().isdecimal() and len(sent) <= 20:
            sent = int(sent)
        if isinstance(sent, float) and sent.is_integer():
            sent = int(sent)
        if isinstance(sent, bool) or not isinstance(sent, int) or not least <= sent <= most:
            self.faults.append((keys[0], f"must be a whole number from {least} to {most}"))
            return default
        return sent

    def centre(self) -> int:
        return self.whole(("centre", *_ALSO["centre"]), 1, 0, _MOST_CENTRES)


def level_count(options: Mapping[str, object], default: int) -> int:
    """The option `levels` of grids. Raises BadDesign."""
    reading = _Options(options)
    count = reading.whole(("levels",), default, 2, _MOST_LEVELS)
    if reading.faults:
        raise BadDesign(reading.faults)
    return count


def _fractional(reading: _Options, factors: int) -> Coded:
    sent = reading.get("generators", *_ALSO["generators"])
    if sent is None:
        if not 3 <= factors <= 26:
            message = f"must be given for {factors} variables; only 3 to 26 have a usual half"
            raise BadDesign([("generators", message)])
        basic = string.ascii_lowercase[: factors - 1]
        sent = " ".join([*basic, basic])
    if isinstance(sent, list | tuple) and all(isinstance(word, str) for word in sent[:100]):
        sent = " ".join(sent[:100])
    if not isinstance(sent, str):
        raise BadDesign([("generators", 'must be words for the variables: "a b ab"')])
    words = sent.split(maxsplit=100)
    if len(words) != factors:
        message = f"{len(words)} words for {factors} variables: give one for each"
        raise BadDesign([("generators", message)])
    faults = _word_faults(words)
    if faults:
        raise BadDesign([("generators", fault) for fault in faults])
    letters = {word[-1].lower() for word in words if len(word.lstrip("+-")) == 1}
    return Coded(count=2 ** len(letters), places=(-1, 1), points=partial(fractional, sent))


def _word_faults(words: Sequence[str]) -> list[str]:
    bare = [word.lstrip("+-").lower() for word in words]
    alone = {word for word in bare if len(word) == 1}
    faults = []
    for word, letters in zip(words, bare, strict=True):
        shown = f'"{word[:30]}"'
        good = letters and all(c in string.ascii_lowercase for c in letters)
        if not good or len(word) - len(letters) > 1:
            faults.append(f"{shown}: a word is letters from a to z, perhaps with a sign")
        elif len(set(letters)) < len(letters):
            faults.append(f"{shown} has a letter twice")
        elif not set(letters) <= alone:
            missing = min(set(letters) - alone)
            faults.append(f'{shown}: no variable has the word "{missing}" alone')
    if len({"".join(sorted(word)) for word in bare}) < len(bare):
        faults.append("two variables have the same word: they could not be told apart")
    return faults


def _central_composite(reading: _Options, factors: int) -> Coded:
    names = {
        "faced": "faced",
        "face": "faced",
        "facecentred": "faced",
        "facecentered": "faced",
        "circumscribed": "circumscribed",
        "inscribed": "inscribed",
    }
    sent = reading.get("type")
    kind = names.get(fold(sent)) if isinstance(sent, str) else "faced" if sent is None else None
    if kind is None:
        reading.faults.append(("type", "must be faced, circumscribed or inscribed"))
        kind = "faced"
    alpha = _alpha(reading, kind)
    centre = reading.centre()
    far = 1.0 if kind == "faced" else alpha or _rotatable(factors)
    places = (-1 / far, 1 / far, -1, 0, 1) if kind == "inscribed" else (-1, 0, 1, -far, far)
    return Coded(
        count=2**factors + 2 * factors + centre,
        places=places,
        points=partial(central_composite, factors, kind, centre, alpha),
    )


def _alpha(reading: _Options, kind: str) -> float | None:
    sent = reading.get("alpha")
    if isinstance(sent, str):
        if fold(sent) == "rotatable":
            return None
        try:
            sent = float(sent[:50])
        except ValueError:
            sent = 0
    if sent is None:
        return None
    if isinstance(sent, bool) or not isinstance(sent, int | float):
        sent = 0
    if not 1 <= sent <= _LARGEST_ALPHA or (kind == "faced" and sent != 1):
        what = "is 1 where the type is faced" if kind == "faced" else "must be from 1 to 10"
        reading.faults.append(("alpha", f"{what}, or leave it out"))
        return None
    return float(sent)


# --- values ---------------------------------------------------------------------------------------


def levels_of(distribution: Distribution, count: int) -> Levels | None:
    """Levels over the range of a distribution, with both ends; None if it has none."""
    texts, bounds = distribution.choices(), distribution.bounds()
    if texts is None:
        if bounds is None:
            return None
        low, high = bounds
        if not distribution.is_whole:
            return Levels(count=count, text_at=lambda i: spread(low, high, Fraction(i, count - 1)))
        count = min(count, int(high - low) + 1)
        places = (Fraction(i, max(count - 1, 1)) for i in range(count))
        texts = tuple(_whole(low, high, place) for place in places)
    return Levels(count=len(texts), text_at=texts.__getitem__, is_list=True)


def placed(values: Levels | Distribution, place: float) -> str | None:
    """The value at -1 (low end), 0 (middle), 1 (high end) or elsewhere; None if it has none."""
    choices = values.choices()
    if choices is not None:
        index = (place + 1) / 2 * (len(choices) - 1)
        return choices[int(index)] if -1 <= place <= 1 and index.is_integer() else None
    bounds = values.bounds()
    if bounds is None:
        return None
    where = (Fraction(place) + 1) / 2
    is_whole = isinstance(values, Distribution) and values.is_whole
    return _whole(*bounds, where) if is_whole else spread(*bounds, where)


def _whole(low: float, high: float, place: Fraction) -> str:
    return canonical(round(Fraction(low) + (Fraction(high) - Fraction(low)) * place))


# --- the designs ----------------------------------------------------------------------------------


def two_level(factors: int) -> Iterator[Point]:
    """All combinations of both ends: 2^d."""
    return product((-1.0, 1.0), repeat=factors)


def fractional(generators: str) -> Iterator[Point]:
    """A part of the two-level factorial in as many variables as there are words.

    The words of one letter vary freely; "ab" is the product of those two, "-ab" its opposite.
    """
    words = generators.lower().split()
    letters = sorted({c for word in words for c in word.lstrip("+-")})
    places = [[letters.index(c) for c in word.lstrip("+-")] for word in words]
    signs = [-1.0 if word.startswith("-") else 1.0 for word in words]
    for basic in two_level(len(letters)):
        yield tuple(
            sign * math.prod(basic[i] for i in place)
            for sign, place in zip(signs, places, strict=True)
        )


# First rows of the cyclic designs: Plackett and Burman, Biometrika 33 (1946), p. 323.
_CYCLIC = {
    12: "++-+++---+-",
    20: "++--++++-+-+----++-",
    24: "+++++-+-++--++--+-+----",
}


def _plackett_burman_runs(factors: int) -> int:
    return 4 * (factors // 4 + 1)


def plackett_burman(factors: int) -> Iterator[Point]:
    """Main effects of up to 23 variables in the next multiple of 4 runs.

    Where that is a power of 2 the columns are those of a Hadamard matrix of Sylvester's kind.
    """
    runs = _plackett_burman_runs(factors)
    columns = range(factors)
    if runs not in _CYCLIC:
        for row in reversed(range(runs)):
            yield tuple(-1.0 if (row & (i + 1)).bit_count() % 2 else 1.0 for i in columns)
        return
    first = [1.0 if sign == "+" else -1.0 for sign in _CYCLIC[runs]]
    for row in range(runs - 1):
        yield tuple(first[(i - row) % (runs - 1)] for i in columns)
    yield (-1.0,) * factors


# Which variables vary together where pairs would take more runs: Box and Behnken, Technometrics 2
# (1960), p. 455.
_TRIPLES = {
    6: ((0, 1, 3), (1, 2, 4), (2, 3, 5), (0, 3, 4), (1, 4, 5), (0, 2, 5)),
    7: ((3, 4, 5), (0, 5, 6), (1, 4, 6), (0, 1, 3), (2, 3, 6), (0, 2, 4), (1, 2, 5)),
}


def _box_behnken_runs(factors: int) -> int:
    triples = _TRIPLES.get(factors)
    return 8 * len(triples) if triples else 2 * factors * (factors - 1)


def box_behnken(factors: int, centre: int = 1) -> Iterator[Point]:
    """Middles of the edges, never a corner: for a full quadratic model of 3 or more variables."""
    blocks = _TRIPLES.get(factors) or combinations(range(factors), 2)
    for block in blocks:
        for signs in two_level(len(block)):
            point = [0.0] * factors
            for i, sign in zip(block, signs, strict=True):
                point[i] = sign
            yield tuple(point)
    for _ in range(centre):
        yield (0.0,) * factors


def _rotatable(factors: int) -> float:
    return float((2.0**factors) ** 0.25)


def central_composite(
    factors: int, kind: str = "faced", centre: int = 1, alpha: float | None = None
) -> Iterator[Point]:
    """The corners, two star points on each axis, and the centre.

    "faced": the stars lie on the faces. "circumscribed": they lie at alpha, beyond the ranges.
    "inscribed": the same made smaller, so that the stars lie on the faces. Without alpha the design
    is rotatable: the variance of a prediction is the same at equal distances from the centre.
    """
    far = 1.0 if kind == "faced" else alpha or _rotatable(factors)
    corner, star = (1 / far, 1.0) if kind == "inscribed" else (1.0, far)
    corners = (tuple(corner * place for place in point) for point in two_level(factors))
    stars = (
        tuple(sign * star if i == axis else 0.0 for i in range(factors))
        for axis in range(factors)
        for sign in (-1.0, 1.0)
    )
    return chain(corners, stars, ((0.0,) * factors for _ in range(centre)))


def one_at_a_time(levels: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Which level each variable has: 0 is the nominal one, 1 to n are the others.

    The first run is the nominal one; in each other run a single variable differs from it.
    """
    yield (0,) * len(levels)
    for axis, count in enumerate(levels):
        for level in range(1, count + 1):
            yield tuple(level if i == axis else 0 for i in range(len(levels)))
