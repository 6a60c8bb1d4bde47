"""Value generators: what `valueGeneratorType` and `valueGeneratorSettings` say about a variable.

A generator is either a row of levels, which make up a grid, or a distribution, from which values
are drawn by its inverse CDF. Only the settings of FixedRange are public; the others are ours, with
further spellings accepted (studies reference, section 4).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Context, Decimal
from difflib import get_close_matches
from fractions import Fraction
from itertools import accumulate
from statistics import NormalDist

from simyard.domain.numberformat import (
    EXACT,
    as_written,
    canonical,
    canonical_decimal,
    decimal_of,
    has_point,
)
from simyard.domain.records import dataclass

MOST_LEVELS = 1_000_000
_MOST_LISTED = 100_000
_LONGEST_TEXT = 1_000
_LONGEST_NUMBER = 100  # characters
_LARGEST = 300  # decimal exponent: sums of such numbers are still finite
_MOST_WHOLE = 2**53  # beyond it a float is not every whole number
_EXACT = Context(prec=1_000)  # more digits than any two of our numbers can be apart
_LOWEST, _HIGHEST = 2.0**-53, 1 - 2.0**-53  # the open unit interval

Fault = tuple[str, str]


class BadSettings(Exception):
    """Pairs of the setting and what is wrong with it; "" stands for the generator's name."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{key}: {text}" if key else text for key, text in faults))
        self.faults = faults


def fold(name: str) -> str:
    """Names are the same whatever their case, blanks, dashes and underscores."""
    return "".join(c for c in name[:100].casefold() if c.isalnum())


def instead(name: str, known: Collection[str]) -> str:
    """What a name that is not known may stand for, or else what there is: the end of a message."""
    folded = {fold(one): one for one in known}
    close = get_close_matches(fold(name), folded, n=1)
    if close:
        return f" (did you mean {folded[close[0]]}?)"
    return f"; there are {', '.join(known)}" if known else "; there are none"


def spread(low: float, high: float, place: Fraction) -> str:
    """The text of the value at `place` (0: low, 1: high), without the errors of binary numbers."""
    first, last = Fraction(repr(low)), Fraction(repr(high))
    return canonical(float(first + (last - first) * place))


# --- levels ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Values in the order in which the grid takes them. They are made when they are asked for."""

    count: int
    text_at: Callable[[int], str]
    is_numeric: bool = True
    is_list: bool = False  # nothing lies between the values
    is_real: bool = False  # some are no whole numbers, or come from texts with a point

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(map(self.text_at, range(self.count)))

    def centre(self) -> str:
        """The level in the middle, the lower of two; of texts the first."""
        choices = self.choices()
        if choices is None:
            return self.text_at((self.count - 1) // 2)
        return choices[(len(choices) - 1) // 2] if self.is_numeric else choices[0]

    def bounds(self) -> tuple[float, float] | None:
        if not self.is_numeric:
            return None
        choices = self.choices() or (self.text_at(0), self.text_at(self.count - 1))
        ends = _float(choices[0]), _float(choices[-1])
        return min(ends), max(ends)

    def choices(self) -> tuple[str, ...] | None:
        """The values if there are no others between them; numbers ascend."""
        return _choices(self.values, numeric=self.is_numeric) if self.is_list else None


def _choices(texts: Sequence[str], *, numeric: bool) -> tuple[str, ...]:
    distinct = dict.fromkeys(texts)
    return tuple(sorted(distinct, key=_float)) if numeric else tuple(distinct)


def _float(text: str) -> float:
    """Of a text that is known to be a number."""
    return float(decimal_of(text) or 0)


# --- distributions --------------------------------------------------------------------------------


class Distribution:
    """What values are drawn from."""

    is_numeric: bool = True
    is_whole: bool = False
    is_real: bool = True  # as of `Levels`

    def at(self, u: float) -> float | str:
        """The value below which the part u of all draws lies: finite for every u in [0, 1]."""
        return self._at(min(max(u, _LOWEST), _HIGHEST))

    def _at(self, u: float) -> float | str:
        raise NotImplementedError

    def centre(self) -> float | str:
        """What stands for all: the mean, the mode or the value in the middle."""
        raise NotImplementedError

    def bounds(self) -> tuple[float, float] | None:
        """The finite range of the values; None where there is none."""
        return None

    def choices(self) -> tuple[str, ...] | None:
        """The values, if they are listed; numbers ascend."""
        return None


@dataclass(frozen=True, kw_only=True)
class Uniform(Distribution):
    low: float
    high: float

    def _at(self, u: float) -> float:
        return min(self.low + u * (self.high - self.low), math.nextafter(self.high, self.low))

    def centre(self) -> float:
        return float(spread(self.low, self.high, Fraction(1, 2)))

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass(frozen=True, kw_only=True)
class Whole(Distribution):
    """Whole numbers from low to high, all alike."""

    low: int
    high: int
    is_whole = True
    is_real = False

    def _at(self, u: float) -> float:
        return float(self.low + min(int(u * (self.high - self.low + 1)), self.high - self.low))

    def centre(self) -> float:
        return float((self.low + self.high) // 2)

    def bounds(self) -> tuple[float, float]:
        return float(self.low), float(self.high)


@dataclass(frozen=True, kw_only=True)
class Normal(Distribution):
    mean: float
    deviation: float
    low: float = -math.inf  # the distribution is cut off there, not piled up
    high: float = math.inf

    def _at(self, u: float) -> float:
        below, above = self._ends()
        flipped = below > 0  # far up, 1 - p has no digits left: take the other tail
        if flipped:
            below, above, u = -above, -below, 1 - u
        first, last = _phi(below), _phi(above)
        z = NormalDist().inv_cdf(min(max(first + u * (last - first), 1e-300), _HIGHEST))
        return min(max(self.mean + self.deviation * (-z if flipped else z), self.low), self.high)

    def _ends(self) -> tuple[float, float]:
        return (self.low - self.mean) / self.deviation, (self.high - self.mean) / self.deviation

    def part(self) -> float:
        """How much of the whole distribution lies between the limits."""
        below, above = self._ends()
        return _phi(above) - _phi(below) if below <= 0 else _phi(-below) - _phi(-above)

    def centre(self) -> float:
        return min(max(self.mean, self.low), self.high)

    def bounds(self) -> tuple[float, float] | None:
        both = math.isfinite(self.low) and math.isfinite(self.high)
        return (self.low, self.high) if both else None


def _phi(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


@dataclass(frozen=True, kw_only=True)
class Triangular(Distribution):
    low: float
    mode: float
    high: float

    def _at(self, u: float) -> float:
        width, left = self.high - self.low, self.mode - self.low
        if u * width < left:
            return self.low + math.sqrt(u * left) * math.sqrt(width)
        return self.high - math.sqrt((1 - u) * (self.high - self.mode)) * math.sqrt(width)

    def centre(self) -> float:
        return self.mode

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass(frozen=True, kw_only=True)
class LogNormal(Distribution):
    log_mean: float  # of ln x
    log_deviation: float
    middle: float  # the mean if it was given, else the median

    def _at(self, u: float) -> float:
        return math.exp(self.log_mean + self.log_deviation * NormalDist().inv_cdf(u))

    def centre(self) -> float:
        return self.middle


@dataclass(frozen=True, kw_only=True)
class Weibull(Distribution):
    shape: float
    scale: float

    def _at(self, u: float) -> float:
        return float(self.scale * (-math.log1p(-u)) ** (1 / self.shape))

    def centre(self) -> float:
        return self.scale * math.gamma(1 + 1 / self.shape)


@dataclass(frozen=True, kw_only=True)
class Discrete(Distribution):
    texts: tuple[str, ...]
    sums: tuple[float, ...]  # of the weights so far; the last is the whole
    is_numeric: bool = True
    is_real: bool = False

    def _at(self, u: float) -> str:
        last = len(self.texts) - 1
        return self.texts[min(bisect_right(self.sums, u * self.sums[-1]), last)]

    def centre(self) -> str:
        """The likeliest value, the first of several."""
        weights = [b - a for a, b in zip((0.0, *self.sums), self.sums, strict=False)]
        return self.texts[weights.index(max(weights))]

    def bounds(self) -> tuple[float, float] | None:
        choices = self.choices()
        return (_float(choices[0]), _float(choices[-1])) if self.is_numeric else None

    def choices(self) -> tuple[str, ...]:
        return _choices(self.texts, numeric=self.is_numeric)


# --- settings -------------------------------------------------------------------------------------

_MIN = ("minvalue", "min", "lower", "low")
_MAX = ("maxvalue", "max", "upper", "high")
_STEP = ("increment", "step")
_COUNT = ("count", "numberOfValues", "steps", "n")
_MODE = ("mode", "mostLikely", "peak")
_MEAN = ("mean", "mu")
_DEVIATION = ("standardDeviation", "sigma", "stddev", "std")
_MEAN_OF_X = ("mean",)
_DEVIATION_OF_X = ("standardDeviation", "stddev", "std")
_LOG_MEAN = ("logMean",)
_LOG_DEVIATION = ("logStandardDeviation", "logStddev", "logStd")
_SHAPE = ("shape", "k")
_SCALE = ("scale", "lambda")
_VALUES = ("values",)
_WEIGHTS = ("weights", "probabilities")


class _Settings:
    """Reads settings and gathers what is wrong with them."""

    def __init__(self, sent: Mapping[str, object]) -> None:
        self._sent = {fold(key): (key, what) for key, what in sent.items() if what is not None}
        self.faults: list[Fault] = []

    def has(self, keys: Sequence[str]) -> bool:
        return any(fold(key) in self._sent for key in keys)

    def take(self, keys: Sequence[str]) -> tuple[str, object]:
        """The setting under the name that was sent; else None under its own name."""
        return next((self._sent[fold(k)] for k in keys if fold(k) in self._sent), (keys[0], None))

    def fault(self, keys: Sequence[str], message: str) -> None:
        self.faults.append((self.take(keys)[0], message))

    def exact(self, keys: Sequence[str]) -> Decimal | None:
        key, sent = self.take(keys)
        if sent is None:
            self.faults.append((key, "is required"))
            return None
        number = _decimal(sent)
        if number is None:
            self.faults.append((key, f"{_shown(sent)} is not a number"))
        elif number and abs(number.adjusted()) > _LARGEST:
            self.faults.append((key, f"must be 0, or from 1e-{_LARGEST} to 1e{_LARGEST} in size"))
        else:
            return number
        return None

    def number(self, keys: Sequence[str], *, above: float | None = None) -> float | None:
        exact = self.exact(keys)
        if exact is not None and above is not None and exact <= above:
            self.fault(keys, f"must be above {above:g}")
            return None
        return None if exact is None else float(exact)

    def whole(self, keys: Sequence[str]) -> int | None:
        exact = self.exact(keys)
        if exact is None:
            return None
        if abs(exact) > _MOST_WHOLE or exact != int(exact):
            self.fault(keys, f"must be a whole number, at most {_MOST_WHOLE}")
            return None
        return int(exact)

    def texts(self, keys: Sequence[str]) -> tuple[str, ...] | None:
        key, sent = self.take(keys)
        if not isinstance(sent, list | tuple) or not sent:
            self.faults.append((key, "must be a list of numbers or texts, not empty"))
            return None
        if len(sent) > _MOST_LISTED:
            self.faults.append((key, f"{len(sent)} values; at most {_MOST_LISTED} are allowed"))
            return None
        texts = []
        for i, item in enumerate(sent):
            text = text_of(item)
            if text is None:
                self.faults.append((key, f"value {i + 1}: {_shown(item)} is no number and no text"))
                return None
            texts.append(text)
        return tuple(texts)


def _are_real(items: object) -> bool:
    """Whether one of these values is no whole number, or a text with a point or an exponent."""
    numbers = map(_decimal, items) if isinstance(items, list | tuple) else ()
    return any(number is not None and has_point(number) for number in numbers)


def text_of(sent: object) -> str | None:
    """A value in a setting as text: numbers in their canonical form, texts without blanks around.

    None if it can be no value.
    """
    if isinstance(sent, str):
        text = sent.strip()
        return text if len(text) <= _LONGEST_TEXT and "\0" not in text else None
    number = _decimal(sent)
    if number is None or (number and abs(number.adjusted()) > _LARGEST):
        return None
    return canonical_decimal(number)


def _decimal(sent: object) -> Decimal | None:
    if isinstance(sent, bool):
        return None
    if isinstance(sent, int):
        return Decimal(sent) if sent.bit_length() <= 1024 else None
    if isinstance(sent, float):
        if not math.isfinite(sent):
            return None
        number = Decimal(repr(sent))  # 2.0 is 2: JSON has one kind of numbers
        return number.quantize(Decimal(1), context=EXACT) if sent.is_integer() else number
    if isinstance(sent, str) and len(sent) <= _LONGEST_NUMBER:
        return as_written(sent.strip())
    return None


def _shown(sent: object) -> str:
    text = f'"{sent[:100]}"' if isinstance(sent, str) else repr(sent)[:100]
    return text if len(text) <= 40 else f"{text[:37]}..."


def _are_numbers(texts: Iterable[str]) -> bool:
    return all(len(t) <= _LONGEST_NUMBER and _decimal(t) is not None for t in texts)


# --- kinds ----------------------------------------------------------------------------------------


def _fixed_range(settings: _Settings) -> Levels | None:
    first, last, step = (settings.exact(keys) for keys in (_MIN, _MAX, _STEP))
    if first is None or last is None or step is None:
        return None
    way = _EXACT.subtract(last, first)
    if not step:
        settings.fault(_STEP, "must not be 0")
        return None
    if way and (way > 0) != (step > 0):
        settings.fault(_STEP, "has the wrong sign: the range never comes to its end")
        return None
    count = int(_EXACT.divide_int(way, step)) + 1
    if count > MOST_LEVELS:
        settings.fault(_STEP, f"{_many(count)} values; at most {MOST_LEVELS} are allowed")
        return None
    return Levels(
        count=count,
        text_at=lambda i: canonical_decimal(_EXACT.add(first, _EXACT.multiply(step, Decimal(i)))),
        is_real=has_point(first) or has_point(step),
    )


def _linspace(settings: _Settings) -> Levels | None:
    first, last = settings.exact(_MIN), settings.exact(_MAX)
    count = settings.whole(_COUNT)
    if count is not None and count < 1:
        settings.fault(_COUNT, "must be at least 1")
    elif count is not None and count > MOST_LEVELS:
        settings.fault(_COUNT, f"{_many(count)} values; at most {MOST_LEVELS} are allowed")
    if first is None or last is None or count is None or settings.faults:
        return None
    start, width = Fraction(first), Fraction(last) - Fraction(first)
    steps = max(count - 1, 1)
    return Levels(
        count=count,
        text_at=lambda i: canonical(float(start + width * i / steps)),
        is_real=has_point(first) or has_point(last) or (width / steps).denominator > 1,
    )


def _list(settings: _Settings) -> Levels | None:
    texts = settings.texts(_VALUES)
    if texts is None:
        return None
    return Levels(
        count=len(texts),
        text_at=texts.__getitem__,
        is_numeric=_are_numbers(texts),
        is_list=True,
        is_real=_are_real(settings.take(_VALUES)[1]),
    )


def _uniform(settings: _Settings) -> Distribution | None:
    low, high = settings.number(_MIN), settings.number(_MAX)
    if low is None or high is None or not _ascend(settings, low, high):
        return None
    return Uniform(low=low, high=high)


def _whole(settings: _Settings) -> Distribution | None:
    low, high = settings.whole(_MIN), settings.whole(_MAX)
    if low is None or high is None:
        return None
    if low > high:
        settings.fault(_MAX, "must not be below the lower limit")
        return None
    return Whole(low=low, high=high)


def _normal(settings: _Settings) -> Distribution | None:
    mean, deviation = settings.number(_MEAN), settings.number(_DEVIATION, above=0)
    low = settings.number(_MIN) if settings.has(_MIN) else -math.inf
    high = settings.number(_MAX) if settings.has(_MAX) else math.inf
    if low is None or high is None or not _ascend(settings, low, high):
        return None
    if mean is None or deviation is None:
        return None
    normal = Normal(mean=mean, deviation=deviation, low=low, high=high)
    if normal.part() < 1e-200:
        far = _MIN if low > mean else _MAX
        settings.fault(far, "is too far from the mean: nothing would ever be drawn")
        return None
    return normal


def _triangular(settings: _Settings) -> Distribution | None:
    low, mode, high = (settings.number(keys) for keys in (_MIN, _MODE, _MAX))
    if low is None or mode is None or high is None or not _ascend(settings, low, high):
        return None
    if not low <= mode <= high:
        settings.fault(_MODE, "must lie between the limits")
        return None
    return Triangular(low=low, mode=mode, high=high)


def _log_normal(settings: _Settings) -> Distribution | None:
    """The key decides whether the moments are those of ln x or of x."""
    logs = settings.has(_LOG_MEAN) or settings.has(_LOG_DEVIATION)
    if logs and (settings.has(_MEAN_OF_X) or settings.has(_DEVIATION_OF_X)):
        settings.fault(
            _LOG_MEAN,
            "give either logMean and logStandardDeviation or mean and standardDeviation",
        )
        return None
    if logs:
        mu, sigma = settings.number(_LOG_MEAN), settings.number(_LOG_DEVIATION, above=0)
        if mu is None or sigma is None:
            return None
        return LogNormal(log_mean=mu, log_deviation=sigma, middle=math.exp(mu))
    mean = settings.number(_MEAN_OF_X, above=0)
    deviation = settings.number(_DEVIATION_OF_X, above=0)
    if mean is None or deviation is None:
        return None
    variance = math.log1p((deviation / mean) ** 2)
    return LogNormal(
        log_mean=math.log(mean) - variance / 2, log_deviation=math.sqrt(variance), middle=mean
    )


def _weibull(settings: _Settings) -> Distribution | None:
    shape, scale = settings.number(_SHAPE, above=0), settings.number(_SCALE, above=0)
    if shape is None or scale is None:
        return None
    return Weibull(shape=shape, scale=scale)


def _discrete(settings: _Settings) -> Distribution | None:
    texts = settings.texts(_VALUES)
    if texts is None:
        return None
    weights = [1.0] * len(texts)
    if settings.has(_WEIGHTS):
        sent = settings.take(_WEIGHTS)[1]
        numbers = [_decimal(item) for item in sent] if isinstance(sent, list | tuple) else []
        good = [float(n) for n in numbers if n is not None and 0 <= n <= 10**_LARGEST]
        if len(good) != len(texts) or len(numbers) != len(texts) or not sum(good) > 0:
            settings.fault(_WEIGHTS, "must be one number for each value, none below 0, not all 0")
            return None
        top = max(good)
        weights = [weight / top for weight in good]
    return Discrete(
        texts=texts,
        sums=tuple(accumulate(weights)),
        is_numeric=_are_numbers(texts),
        is_real=_are_real(settings.take(_VALUES)[1]),
    )


def _ascend(settings: _Settings, low: float, high: float) -> bool:
    if low < high:
        return True
    settings.fault(_MAX if settings.has(_MAX) else _MIN, "must be above the lower limit")
    return False


def _many(count: int) -> str:
    return str(count) if count < 10**15 else "more than 1e15"


KINDS = (  # as they are called, what reads their settings, and all names of each of those
    ("FixedRange", _fixed_range, (_MIN, _MAX, _STEP)),
    ("Linspace", _linspace, (_MIN, _MAX, _COUNT)),
    ("List", _list, (_VALUES,)),
    ("Uniform", _uniform, (_MIN, _MAX)),
    ("Normal", _normal, (_MEAN, _DEVIATION, _MIN, _MAX)),
    ("Triangular", _triangular, (_MIN, _MODE, _MAX)),
    ("LogNormal", _log_normal, (_MEAN_OF_X, _DEVIATION_OF_X, _LOG_MEAN, _LOG_DEVIATION)),
    ("Integer", _whole, (_MIN, _MAX)),
    ("Discrete", _discrete, (_VALUES, _WEIGHTS)),
    ("Categorical", _discrete, (_VALUES, _WEIGHTS)),
    ("Weibull", _weibull, (_SHAPE, _SCALE)),
)
_READERS: Mapping[str, Callable[[_Settings], Levels | Distribution | None]] = {
    fold(name): reader for name, reader, _ in KINDS
}
_SETTINGS: Mapping[str, Sequence[Sequence[str]]] = {fold(name): keys for name, _, keys in KINDS}
_EVERYWHERE = ("nominal", "relative", "unit", "log")  # in no other spelling


def passed_over(kind: str, settings: Mapping[str, object]) -> list[tuple[str, str]]:
    """The settings that have no effect, each with what may be meant by it."""
    every = _SETTINGS.get(fold(kind) if kind.strip() else "list", ())
    known = {fold(name) for names in every for name in names}
    shown = [*(names[0] for names in every), *_EVERYWHERE]
    return [
        (key, instead(key, shown))
        for key in settings
        if key not in _EVERYWHERE and fold(key) not in known
    ]


def generator(kind: str, settings: Mapping[str, object]) -> Levels | Distribution:
    """What the settings of a generator of this kind come to, see also `passed_over`.

    Numbers may be sent as numbers or as text. "" with `values` is a List. Raises BadSettings with
    everything that is wrong.
    """
    read = _READERS.get(fold(kind) if kind.strip() else "list")
    if read is None:
        known = ", ".join(name for name, _, _ in KINDS)
        raise BadSettings([("", f"there is no generator {_shown(kind)}; there are {known}")])
    reading = _Settings(settings)
    try:
        made = read(reading)
        if isinstance(made, Distribution):
            values = made.at(0), made.at(1), made.centre()
            if not all(isinstance(v, str) or math.isfinite(v) for v in values):
                raise OverflowError
    except OverflowError:
        reading.faults.append(("", "these settings give numbers that are too large"))
        made = None
    if made is None or reading.faults:
        raise BadSettings(reading.faults)
    return made
