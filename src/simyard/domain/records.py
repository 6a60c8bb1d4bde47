"""`dataclass` of the standard library, for classes that are quick to define and to make.

That one writes and compiles up to six methods for each class: half a second of a start with our
three hundred, before anything is served. Here the methods are the same few functions for all, which
look at what the standard library notes of the fields; so `fields`, `replace`, `asdict` and type
checkers see what they always see. The same are: equality, hash, repr, defaults, keyword-only,
`__post_init__`, FrozenInstanceError, TypeError for wrong arguments. There are no slots, no order
and no InitVar: a class that wants those takes the standard library's, and inherits from none of
these if it is frozen.
"""

import dataclasses
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:

    def replace(record: Any, /, **changes: Any) -> Any:
        """See `dataclasses.replace`, at a fifth of what that takes: for what every run goes
        through, and only for classes of this module.
        """
        shape, kept = record.__record__, record.__dict__
        if shape.after is not None or kept.keys() != shape.named or changes.keys() - shape.named:
            return dataclasses.replace(record, **changes)  # it knows what to do, or to say
        made = object.__new__(type(record))
        made.__dict__.update(kept, **changes)
        return made

    def dataclass(
        cls: Any = None, /, *, frozen: bool = False, kw_only: bool = False, eq: bool = True
    ) -> Any:
        """See `dataclasses.dataclass`."""
        if cls is None:
            return lambda cls: _made(cls, frozen, kw_only, eq)
        return _made(cls, frozen, kw_only, eq)


class _Shape:
    """What the methods of a class know about its fields."""

    def __init__(self, cls: Any) -> None:
        fields = dataclasses.fields(cls)
        mine = [field for field in fields if field.init]
        self.named = {field.name for field in mine}
        self.placed = tuple(field.name for field in mine if not field.kw_only)
        unset = dataclasses.MISSING
        self.defaults = {f.name: f.default for f in fields if f.default is not unset}
        made = ((f.name, f.default_factory) for f in fields)
        self.made = tuple((name, make) for name, make in made if make is not unset)
        self.needed = tuple(f.name for f in mine if f.default is f.default_factory is unset)
        # Without `init`, `__post_init__` gives the value.
        self.count = len(self.needed) + len(self.defaults) + len(self.made)
        # Raises KeyError where one is missing.
        self.demand = itemgetter(*self.needed) if self.needed else len
        self.after = getattr(cls, "__post_init__", None)
        self.shown = tuple(field.name for field in fields if field.repr)
        # By attribute: who makes one without `__init__` (msgspec) leaves defaults to the class.
        compared = [field.name for field in fields if field.compare]
        self.compared = attrgetter(*compared) if compared else type


def _made(cls: Any, frozen: bool, kw_only: bool, eq: bool) -> Any:
    own = vars(cls)
    cls.__doc__ = own.get("__doc__") or cls.__name__  # else the signature would be written there
    cls = dataclasses.dataclass(cls, init=False, repr=False, eq=False, kw_only=kw_only)
    methods = {"__init__": _init, "__repr__": _repr}
    if eq:
        methods["__eq__"] = _eq
    if frozen:
        methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    if eq and "__hash__" not in own:
        cls.__hash__ = _hash if frozen else None
    cls.__record__ = _Shape(cls)
    return cls


def _init(self: Any, /, *values: Any, **given: Any) -> None:
    shape = self.__record__
    kept = self.__dict__
    if shape.defaults:
        kept.update(shape.defaults)
    if values:
        kept.update(_placed(self, values, given))
    if given:
        kept.update(given)
    for name, make in shape.made:
        if name not in kept:
            kept[name] = make()
    try:
        shape.demand(kept)
        whole = len(kept) == shape.count
    except KeyError:
        whole = False
    if not whole:
        raise TypeError(_wrong(self, given))
    if shape.after is not None:
        shape.after(self)


def _placed(self: Any, values: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
    names = self.__record__.placed
    if len(values) > len(names):
        said = f"takes {len(names)} positional arguments but {len(values)} were given"
        raise TypeError(f"{type(self).__qualname__}() {said}")
    found = dict(zip(names, values, strict=False))
    if given and (twice := found.keys() & given.keys()):
        said = f"got multiple values for argument {min(twice)!r}"
        raise TypeError(f"{type(self).__qualname__}() {said}")
    return found


def _wrong(self: Any, given: dict[str, Any]) -> str:
    shape = self.__record__
    if unknown := given.keys() - shape.named:
        said = f"got an unexpected keyword argument {min(unknown)!r}"
    else:
        missing = [repr(name) for name in shape.needed if name not in self.__dict__]
        said = f"missing {len(missing)} required arguments: {', '.join(missing)}"
    return f"{type(self).__qualname__}() {said}"


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    compared = self.__record__.compared
    return compared(self) == compared(other)


def _hash(self: Any) -> int:
    return hash(self.__record__.compared(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__record__.shown)
    return f"{type(self).__qualname__}({shown})"


def _refuse(_self: Any, name: str, *_: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot change field {name!r}")
