"""What of the optional parts is there: they come with extra packages."""

from functools import cache
from importlib.util import find_spec

_PACKAGES = {
    "studies": ("numpy", "scipy"),
    "optuna": ("numpy", "scipy", "optuna"),
    "parquet": ("pyarrow",),
}


@cache
def present() -> tuple[str, ...]:
    """Their names, those of the extras in pyproject.toml."""
    return tuple(
        name for name, packages in _PACKAGES.items() if all(find_spec(each) for each in packages)
    )
