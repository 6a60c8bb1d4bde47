"""Points of the unit cube, from which the values of random variables are made.

Every kind goes the same way from here on: through the inverse CDF of each variable
(`domain/generators.py`).
"""

import math
import random
from types import ModuleType
from typing import Any

from simyard.domain.errors import Refused

_CLOSEST = 2.0**-32  # to the faces of the cube, where an inverse CDF may be infinite
_MOST_DIMENSIONS = 1_000
# Evening out a hypercube took 4 s for 100 points in 10 dimensions, and grows with their product.
_MOST_TO_EVEN_OUT = 400


def sample(
    kind: str, *, dimensions: int, count: int, seed: int, skip: int = 0
) -> list[list[float]]:
    """`count` points in the open cube, without the first `skip` of the sequence.

    The same seed gives the same points. "monte-carlo", "sobol" and "halton" are sequences: fewer
    points are the beginning of more. "lhs" is made for its count. All but "monte-carlo" raise
    Refused where numpy and scipy are missing.
    """
    if dimensions > _MOST_DIMENSIONS:
        raise Refused(f"{dimensions} random variables; at most {_MOST_DIMENSIONS} can be sampled.")
    if count < 1 or dimensions < 1:
        return [[] for _ in range(count)]
    points: Any
    match kind:
        case "monte-carlo":
            points = _monte_carlo(dimensions, count, seed, skip)
        case "sobol":
            points = _sobol(dimensions, count, seed, skip)
        case "halton":
            sequence = _qmc().Halton(dimensions, scramble=True, rng=_generator(seed))
            points = sequence.fast_forward(skip).random(count).tolist()
        case "lhs" if not skip:
            points = _lhs(dimensions, count, seed)
        case _:
            raise ValueError(f"no points of kind {kind} after {skip}")
    return [[min(max(x, _CLOSEST), 1 - _CLOSEST) for x in point] for point in points]


def _monte_carlo(dimensions: int, count: int, seed: int, skip: int) -> list[tuple[float, ...]]:
    """A stream for each dimension: more draws, or one more variable, leave the others alone."""
    columns = []
    for dimension in range(dimensions):
        stream = random.Random(f"{seed}/{dimension}")  # noqa: S311  no secret is made of it
        for _ in range(skip):
            stream.random()
        columns.append([stream.random() for _ in range(count)])
    return list(zip(*columns, strict=True))


def _sobol(dimensions: int, count: int, seed: int, skip: int) -> Any:
    sequence = _qmc().Sobol(dimensions, scramble=True, rng=_generator(seed))
    if skip:
        return sequence.fast_forward(skip).random(count).tolist()
    # scipy warns of a first batch that is no power of 2.
    return sequence.random_base2(math.ceil(math.log2(count)))[:count].tolist()


def _lhs(dimensions: int, count: int, seed: int) -> Any:
    # Never "lloyd": with 200 points in 10 dimensions it did not end within minutes.
    even_out = dimensions > 1 and count > 2 and count * dimensions <= _MOST_TO_EVEN_OUT
    hypercube = _qmc().LatinHypercube(
        dimensions, optimization="random-cd" if even_out else None, rng=_generator(seed)
    )
    return hypercube.random(count).tolist()


def _qmc() -> ModuleType:
    try:
        from scipy.stats import qmc  # type: ignore[import-untyped, unused-ignore]  # no stubs
    except ImportError as e:
        raise Refused(
            "This design needs the extra packages: pip install 'simyard[studies]'."
        ) from e
    return qmc  # type: ignore[no-any-return, unused-ignore]


def _generator(seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(abs(seed))
